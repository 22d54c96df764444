//! `box commit --change`: nothing panics, and what is read means itself when it is written again.
#![no_main]

#[path = "../../crates/cli/src/commands/images/commit/dockerfile.rs"]
mod dockerfile;
#[path = "../../crates/cli/src/commands/images/commit/expansion.rs"]
mod expansion;

use dockerfile::{Dockerfile, Instruction};

/// Values that hold all that could be taken for something else.
fn variable(name: &str) -> Option<String> {
    (name.len() % 2 == 1).then(|| "$A '\"\\ ${B}".to_owned())
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for escape in ['\\', '`'] {
        // As long as the text and all values put into it, at most.
        if let Ok(meant) = expansion::expand(text, escape, &variable) {
            assert!(meant.len() <= text.len() * 16);
        }
        // What is quoted means itself.
        if !text.contains('\'') {
            let quoted = format!("'{text}'");
            assert_eq!(expansion::expand(&quoted, escape, &variable).as_deref(), Ok(text));
        }
    }
    let read = match Dockerfile::read(text) {
        Ok(read) => read,
        Err(problem) => {
            assert!(!problem.line.contains('\n') && !problem.reason.is_empty());
            return;
        }
    };
    for (instruction, line) in read.instructions {
        assert!(!line.contains('\n') && line == line.trim());
        if read.escape == '\\' && !line.ends_with('\\') && !line.starts_with('#') {
            let again = Dockerfile::read(&line).expect("what was read is read again");
            assert_eq!(again.instructions, [(instruction.clone(), line)]);
        }
        match instruction {
            Instruction::Env(pairs) | Instruction::Label(pairs) => {
                assert!(!pairs.is_empty() && pairs.iter().all(|(name, _)| !name.is_empty()));
            }
            Instruction::User(value) | Instruction::Workdir(value) | Instruction::Stopsignal(value) => {
                assert!(!value.is_empty());
            }
            Instruction::Expose(words) => assert!(words.iter().all(|word| !word.is_empty())),
            Instruction::Cmd(_) | Instruction::Entrypoint(_) | Instruction::Volume(_) => {}
        }
    }
});
