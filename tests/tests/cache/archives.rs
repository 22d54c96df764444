//! `box save` and `box load`.

use std::fs;
use std::process::Command;

use box_tests::Home;

use crate::check;

fn tool(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(
        output.status.success(),
        "{name} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_image_moves_to_another_machine() {
    let (here, there) = (Home::new(), Home::new());
    here.run(["pull", "-q", "alpine:3.20"]).succeeds();
    let digest = here.run(["images", "-q"]).succeeds().text().to_owned();
    here.run(["save", "alpine:3.20", "-o", "image.tar"])
        .succeeds();
    let file = here.path().join("image.tar");
    assert_eq!(
        check::names(here.path()),
        ["image.tar", "root"],
        "something was left beside the file"
    );

    there.run(["load", "-i", file.to_str().unwrap()]).succeeds();
    assert_eq!(there.run(["images", "-q"]).succeeds().text(), digest);
    let image = &there.run(["images", "--format", "json"]).succeeds().json()[0];
    assert_eq!(image["verified"]["by"], "unverified", "{image}");
    there
        .run([
            "run",
            "--rm",
            "--offline",
            "alpine:3.20",
            "cat",
            "/etc/alpine-release",
        ])
        .succeeds();
    check::sound(&there.cache());

    // Through a pipe, compressed.
    let packed = Command::new("gzip")
        .arg("-c")
        .arg(&file)
        .output()
        .unwrap()
        .stdout;
    let again = Home::new();
    let loaded = again.run_with_stdin(["load", "-q"], &packed).succeeds();
    assert_eq!(loaded.text(), digest);
    let piped = here.run(["save", "alpine:3.20"]).succeeds();
    assert!(piped.stdout == fs::read(&file).unwrap());
}

#[test]
fn skopeo_and_podman_read_what_box_saves_and_box_reads_theirs() {
    let home = Home::new();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    home.run(["save", "alpine:3.20", "-o", "image.tar"])
        .succeeds();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let inspected = tool(
        "skopeo",
        &["inspect", &format!("oci-archive:{}", at("image.tar"))],
    );
    assert!(
        inspected.contains(home.run(["images", "-q"]).succeeds().text()),
        "{inspected}"
    );
    let (root, run) = (at("podman"), at("podman-run"));
    let podman = [
        "--root",
        &root,
        "--runroot",
        &run,
        "--storage-driver",
        "vfs",
    ];
    tool(
        "podman",
        &[&podman[..], &["load", "-q", "-i", &at("image.tar")]].concat(),
    );

    let from = format!("oci:{}:alpine:3.20", home.cache().display());
    for (kind, name) in [("oci-archive", "moved:1"), ("docker-archive", "moved:2")] {
        let file = at(&format!("{kind}.tar"));
        tool(
            "skopeo",
            &["copy", "-q", &from, &format!("{kind}:{file}:{name}")],
        );
        home.run(["load", "-i", &file]).succeeds();
        home.run(["run", "--rm", "--offline", name, "true"])
            .succeeds();
    }
    home.run(["load", "-i", &at("docker-archive.tar"), "--name", "mine:3"])
        .succeeds();
    let expected = ["alpine:3.20", "mine:3", "moved:1", "moved:2"].map(str::to_owned);
    assert_eq!(check::sound(&home.cache()), expected.into());
}

#[test]
fn what_is_wrong_with_an_archive_is_said_and_changes_nothing() {
    let home = Home::new();
    home.run(["save", "alpine:3.20", "-o", "x.tar"])
        .fails(&["alpine:3.20", "not in the cache"]);
    assert!(!home.path().join("x.tar").exists());
    home.run(["load", "-i", "missing.tar"])
        .fails(&["missing.tar", "no such file"]);
    home.run_with_stdin(["load"], b"hello")
        .fails(&["stdin", "in the middle"]);
    home.run_with_stdin(["load"], &[b'x'; 4096])
        .fails(&["no tar archive"]);
    home.run_with_stdin(["load"], &[0; 4096])
        .fails(&["no image archive"]);
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    home.run(["save", "alpine:3.20", "-o", "x.tar"]).succeeds();
    home.run(["save", "alpine:3.20", "-o", "/proc/x.tar"])
        .fails(&["/proc/x.tar"]);
    let archive = fs::read(home.path().join("x.tar")).unwrap();
    home.run(["rmi", "alpine:3.20"]).succeeds();
    home.run(["gc"]).succeeds();
    home.run_with_stdin(["load"], &archive[..archive.len() / 2])
        .fails(&["in the middle of an entry"]);
    let mut changed = archive.clone();
    changed[archive.len() / 2] ^= 1;
    home.run_with_stdin(["load"], &changed)
        .fails(&["digest mismatch"]);
    assert!(check::sound(&home.cache()).is_empty());
    assert!(check::names(&home.cache().join("partial")).is_empty());
}

#[test]
fn all_platforms_of_an_image_move_in_one_archive() {
    let (here, there) = (Home::new(), Home::new());
    let mut digests = Vec::new();
    for arch in ["x86_64", "aarch64"] {
        let pulled = here.run(["pull", "-q", "alpine:3.20", "--arch", arch]);
        digests.push(pulled.succeeds().text().to_owned());
    }
    let save = ["save", "alpine:3.20", "--all-platforms", "-o", "all.tar"];
    here.run(save).succeeds();
    let file = here.path().join("all.tar");
    let both = ["--arch", "amd64,arm64", "-o", "both.tar"];
    here.run(["save", "alpine:3.20"].iter().chain(&both))
        .succeeds();
    assert!(fs::read(&file).unwrap() == fs::read(here.path().join("both.tar")).unwrap());

    let archive = format!("oci-archive:{}:alpine:3.20", file.display());
    let list: serde_json::Value =
        serde_json::from_str(&tool("skopeo", &["inspect", "--raw", &archive])).unwrap();
    let listed = list["manifests"].as_array().unwrap().iter();
    let mut listed: Vec<_> = listed.map(|m| m["digest"].as_str().unwrap()).collect();
    listed.sort_unstable();
    digests.sort_unstable();
    assert_eq!(listed, digests);
    for arch in ["amd64", "arm64"] {
        let seen = tool("skopeo", &["inspect", "--override-arch", arch, &archive]);
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(seen["Architecture"], arch);
    }
    there.run(["load", "-i", file.to_str().unwrap()]).succeeds();
    let loaded = there.run(["images", "-q"]).succeeds();
    let mut loaded: Vec<_> = loaded.text().lines().collect();
    loaded.sort_unstable();
    assert_eq!(loaded, digests);
    check::sound(&there.cache());
}
