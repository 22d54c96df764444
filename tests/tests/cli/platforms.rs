//! Images for other platforms than this machine's.

use std::process::Command;

use box_tests::Home;

/// A home with one image, `other:1`, for another platform than this machine's.
fn home(os: &str, architecture: &str) -> Home {
    let home = Home::new();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    let layout = home.path().join("layout");
    let to = format!("oci:{}:other:1", layout.display());
    let from = format!("oci:{}:alpine:3.20", home.cache().display());
    let copied = Command::new("skopeo")
        .args(["copy", "-q", &from, &to])
        .status();
    assert!(copied.expect("skopeo is installed").success());
    let mut config = Command::new("umoci");
    let image = format!("{}:other:1", layout.display());
    config.args([
        "config",
        "--image",
        &image,
        "--os",
        os,
        "--architecture",
        architecture,
    ]);
    assert!(config.status().expect("umoci is installed").success());
    let archive = format!(
        "oci-archive:{}:other:1",
        home.path().join("other.tar").display()
    );
    let packed = Command::new("skopeo")
        .args(["copy", "-q", &to, &archive])
        .status();
    assert!(packed.expect("skopeo is installed").success());
    home.run(["load", "-q", "-i", "other.tar"]).succeeds();
    home
}

#[test]
fn an_image_for_another_machine_is_told_by_every_verb() {
    let home = home("linux", "s390x");
    for words in [
        &["run", "--rm", "other:1", "true"][..],
        &[
            "--offline",
            "run",
            "--rm",
            "docker.io/library/other:1",
            "true",
        ],
        &["run", "--pull", "never", "other:1"],
        &["unpack", "other:1", "out"],
        &["save", "other:1", "-o", "out.tar"],
    ] {
        let outcome = home
            .run(words)
            .fails(&["other:1: it is for linux/s390x", "this machine is linux/"]);
        assert!(
            outcome.stderr.contains("--platform linux/s390x"),
            "{}",
            outcome.stderr
        );
    }
    home.run(["--offline", "pull", "other:1"])
        .fails(&["for linux/s390x only", "cannot fetch other:1 for linux/"]);
    home.run(["unpack", "--platform", "linux/s390x", "other:1", "out"])
        .succeeds();
    home.run([
        "save",
        "--platform",
        "linux/s390x",
        "other:1",
        "-o",
        "out.tar",
    ])
    .succeeds();
    home.run(["run", "--rm", "--platform", "linux/arm64", "other:1"])
        .fails(&["other:1: it is for linux/s390x", "linux/arm64 is requested"]);
}

#[test]
fn another_system_is_told_without_a_hint_that_leads_nowhere() {
    let home = home("windows", "amd64");
    let outcome = home
        .run(["run", "--rm", "other:1"])
        .fails(&["other:1: it is for windows/amd64"]);
    assert!(!outcome.stderr.contains("hint"), "{}", outcome.stderr);
}
