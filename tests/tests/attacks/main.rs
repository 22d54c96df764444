//! Ways out of a container that worked elsewhere, tried on the real binary and the real kernel: each must fail.
#![allow(clippy::unwrap_used)]

mod accounts;
mod escape;
mod host;
mod image;
mod kernel;
mod program;
mod target;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use box_tests::Home;

/// The hostile program, statically linked: `BOX_TEST_ATTACK`, or compiled from attack.c.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("BOX_TEST_ATTACK") {
        Some(path) => path.into(),
        None => {
            // Beside this test's executable, under a name of our own until it is complete.
            let program = std::env::current_exe().unwrap().with_file_name("attack");
            let aside = program.with_file_name(format!("attack-{}", std::process::id()));
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/attacks/attack.c");
            let compiled = Command::new("cc")
                .args(["-static", "-O1", "-o"])
                .arg(&aside)
                .arg(source)
                .status();
            assert!(compiled.unwrap().success(), "attack.c does not compile");
            std::fs::rename(&aside, &program).unwrap();
            program
        }
    })
}

/// A flag that shows the hostile program in the container, as /attack.
fn volume() -> String {
    format!("{}:/attack:ro", program().display())
}

/// Runs the hostile program in a plain container with more flags, and returns what it printed.
#[track_caller]
fn attack(home: &Home, flags: &[&str], words: &[&str]) -> String {
    let volume = volume();
    let mut args = vec!["run", "--rm", "-v", &volume];
    args.extend(flags);
    args.extend(["alpine", "/attack"]);
    args.extend(words);
    home.run(args).succeeds().text().to_owned()
}
