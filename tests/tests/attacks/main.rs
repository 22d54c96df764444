//! Escapes that worked in other programs, tried on the real binary and the real kernel: each must fail.
#![allow(clippy::unwrap_used)]

mod accounts;
mod copy;
mod escape;
mod host;
mod image;
mod kernel;
mod program;
mod target;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use box_tests::Home;

/// The hostile program, statically linked: `BOX_TEST_ATTACK`, or compiled from attack.c.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compiled("attack.c", "BOX_TEST_ATTACK"))
}

/// A static program: the one that the variable names, or one compiled from this file beside the test.
fn compiled(file: &str, variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    static COMPILING: Mutex<()> = Mutex::new(());
    let _alone = COMPILING.lock().unwrap();
    // Beside this test's executable, under a name of our own until it is complete.
    let name = file.trim_end_matches(".c");
    let program = std::env::current_exe().unwrap().with_file_name(name);
    let aside = program.with_file_name(format!("{name}-{}", std::process::id()));
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/attacks")).join(file);
    let compiled = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .arg(&aside)
        .arg(source)
        .status();
    assert!(compiled.unwrap().success(), "{file} does not compile");
    std::fs::rename(&aside, &program).unwrap();
    program
}

/// Waits for something that comes by itself.
#[track_caller]
fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("never in a minute");
}

/// A flag that mounts the hostile program in the container, as /attack.
fn volume() -> String {
    format!("{}:/attack:ro", program().display())
}

/// Runs the hostile program in a plain container with more flags, and returns its output.
#[track_caller]
fn attack(home: &Home, flags: &[&str], words: &[&str]) -> String {
    let volume = volume();
    let mut args = vec!["run", "--rm", "-v", &volume];
    args.extend(flags);
    args.extend(["alpine", "/attack"]);
    args.extend(words);
    home.run(args).succeeds().text().to_owned()
}
