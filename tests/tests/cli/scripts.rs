//! The README's commands, on a clean clone.

use std::path::{Path, PathBuf};
use std::process::Command;

use box_tests::{Mirror, Outcome, binary, leftovers};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// A copy of what git tracks, as it is in the work tree.
fn clone(into: &Path) {
    let script = "git ls-files -z | xargs -0 cp --parents --no-dereference --preserve=mode,timestamps -t \"$0\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .arg(into)
        .current_dir(checkout());
    Outcome::of(command, b"").succeeds();
}

#[test]
fn the_readme_names_the_scripts_that_are_there() {
    let readme = std::fs::read_to_string(checkout().join("README.md")).unwrap();
    let first = readme.lines().take(15).collect::<Vec<_>>().join("\n");
    assert!(
        first.contains("./scripts/box run alpine /bin/sh"),
        "{first}"
    );
    assert!(first.contains("./scripts/test"), "{first}");
    for script in ["box", "build", "test"] {
        assert!(
            checkout().join("scripts").join(script).is_file(),
            "{script}"
        );
    }
}

/// Building the released binary takes minutes, so the clone is given the binary under test as what it has built.
#[test]
fn scripts_box_runs_what_is_built_with_the_checkouts_cache() {
    box_tests::require_root();
    let dir = tempfile::Builder::new()
        .prefix("box-test-clone-")
        .tempdir()
        .unwrap();
    clone(dir.path());
    let target = dir.path().join("target");
    std::fs::create_dir(&target).unwrap();
    std::fs::copy(binary::path(), target.join("built")).unwrap();
    std::os::unix::fs::symlink(target.join("built"), target.join("box")).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(dir.path().join("scripts/box"));
        command
            .args(args)
            .env("BOX_ROOT", dir.path().join("root"))
            .env("BOX_MIRROR", Mirror::get().url())
            .env_remove("BOX_CACHE");
        Outcome::of(command, b"")
    };
    let release = run(&["run", "--rm", "alpine", "cat", "/etc/alpine-release"]).succeeds();
    assert_eq!(release.text(), "3.20.3");
    assert!(dir.path().join("cache/index.json").is_file());
    run(&[
        "run",
        "--rm",
        "--offline",
        "alpine",
        "/bin/sh",
        "-c",
        "exit 4",
    ])
    .exits(4);
    assert_eq!(leftovers::of(dir.path()), Vec::<String>::new());
    let mut status = Command::new("git");
    status
        .args(["check-ignore", "cache/index.json"])
        .current_dir(checkout());
    Outcome::of(status, b"").succeeds();
}

#[test]
fn the_binary_is_static() {
    let mut command = Command::new("readelf");
    command
        .args(["--program-headers", "--wide"])
        .arg(binary::path());
    let headers = Outcome::of(command, b"").succeeds();
    assert!(!headers.text().contains("INTERP"), "{}", headers.text());
}

/// The page on security says by which tests each hole of the peers is tried: none of them is gone or was renamed.
#[test]
fn the_files_that_the_page_on_architecture_names_are_there() {
    let page = std::fs::read_to_string(checkout().join("docs/architecture.md")).unwrap();
    let named = page.split('`').filter(|word| word.starts_with("crates/"));
    let named: Vec<&str> = named.collect();
    assert!(named.len() > 40, "{named:?}");
    for name in named {
        assert!(checkout().join(name).exists(), "there is no {name}");
    }
    for entry in std::fs::read_dir(checkout().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(page.contains(&format!("`crates/{name}`")), "{name}");
    }
}

#[test]
fn the_tests_that_the_page_on_security_names_are_there() {
    let page = std::fs::read_to_string(checkout().join("docs/security.md")).unwrap();
    let mut command = Command::new("grep");
    command
        .args(["-rhoE", "--include=*.rs", r"fn [a-z0-9_]+\(\)"])
        .args(["crates", "tests"])
        .current_dir(checkout());
    let functions = Outcome::of(command, b"").succeeds();
    let functions: std::collections::HashSet<&str> = functions
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("fn ")?.strip_suffix("()"))
        .collect();
    let (_, table) = page.split_once("| tried by |").unwrap();
    let tests: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| **"))
        .flat_map(|line| line.trim_end_matches(" |").rsplit(" | ").take(1))
        .flat_map(|column| column.split('`').skip(1).step_by(2))
        .collect();
    assert!(tests.len() > 50, "{tests:?}");
    for test in tests {
        assert!(functions.contains(test), "there is no test {test}");
    }
}
