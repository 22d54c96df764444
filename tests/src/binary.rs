//! The binary under test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of `box`: `BOX_TEST_BIN`, or the one that `cargo build` builds beside the test itself.
pub fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("BOX_TEST_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["build", "--quiet", "--locked", "--package", "box-cli"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command.status().expect("cargo runs, it started this test");
    assert!(status.success(), "cargo build of box failed: {status}");
    // <target>/<host>/<profile>/deps/<test>
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("a test lies in <profile>/deps");
    profile.join("box")
}
