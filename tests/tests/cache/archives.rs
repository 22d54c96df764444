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
        .fails(&["not a tar archive"]);
    home.run_with_stdin(["load"], &[0; 4096])
        .fails(&["not an image archive"]);
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

/// The format of older versions of `docker save`: a config, and layers with arbitrary names.
fn docker_archive(name: &str, config: &serde_json::Value, layers: &[Vec<u8>]) -> Vec<u8> {
    let names: Vec<String> = (0..layers.len())
        .map(|n| format!("{n}/layer.tar"))
        .collect();
    // docker writes null for an empty list.
    let listed = (!names.is_empty()).then_some(&names);
    let manifest =
        serde_json::json!([{"Config": "config.json", "RepoTags": [name], "Layers": listed}]);
    let documents = [("manifest.json", &manifest), ("config.json", config)]
        .map(|(name, document)| (name.to_owned(), document.to_string().into_bytes()));
    let mut tar = tar::Builder::new(Vec::new());
    let layers = names.into_iter().zip(layers.iter().cloned());
    for (name, bytes) in documents.into_iter().chain(layers) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

fn config(layers: &[&[u8]], command: &[&str]) -> serde_json::Value {
    use sha2::Digest;
    let hex = |layer: &&[u8]| {
        let hash = sha2::Sha256::digest(layer);
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    };
    let ids: Vec<String> = layers.iter().map(hex).collect();
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    serde_json::json!({"architecture": architecture, "os": "linux", "config": {"Cmd": command},
        "rootfs": {"type": "layers", "diff_ids": ids}})
}

fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(["-1", "-c"]);
    box_tests::Outcome::of(command, bytes).succeeds().stdout
}

/// The minirootfs as a plain tar archive.
fn rootfs() -> Vec<u8> {
    let tarball = box_tests::Mirror::get().tarball("3.20.3");
    tool_bytes("gzip", &["-dc", tarball.to_str().unwrap()])
}

fn tool_bytes(name: &str, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(name);
    command.args(arguments);
    box_tests::Outcome::of(command, b"").succeeds().stdout
}

#[test]
fn layers_of_docker_archives_load_however_they_are_packed() {
    let home = Home::new();
    let plain = rootfs();
    let config = config(&[&plain], &["cat", "/etc/alpine-release"]);
    for program in ["xz", "bzip2", "zstd", "gzip"] {
        let name = format!("{program}:1");
        let layer = packed(program, &plain);
        let archive = docker_archive(&name, &config, std::slice::from_ref(&layer));
        home.run_with_stdin(["load", "-q"], &archive).succeeds();
        let ran = home.run(["run", "--rm", "--offline", &name]).succeeds();
        assert_eq!(ran.text(), "3.20.3", "{program}");
        // The blob has a form that other tools know.
        let seen = tool(
            "skopeo",
            &[
                "inspect",
                "--raw",
                &format!("oci:{}:{name}", home.cache().display()),
            ],
        );
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        let suffix = match program {
            "gzip" | "zstd" => format!("+{program}"),
            _ => String::new(),
        };
        let expected = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        assert_eq!(seen["layers"][0]["mediaType"], expected, "{program}");
        // If it is truncated or changed, `load` reports that, not a later `run`.
        let cut = docker_archive("bad:1", &config, &[layer[..layer.len() / 2].to_vec()]);
        home.run_with_stdin(["load"], &cut)
            .fails(&["0/layer.tar", "truncated"]);
        let other = docker_archive("bad:1", &config, &[packed(program, &plain[..512 * 3])]);
        home.run_with_stdin(["load"], &other)
            .fails(&["0/layer.tar", "digest mismatch"]);
    }
    assert!(!check::sound(&home.cache()).contains("bad:1"));
    home.run(["save", "xz:1", "-o", "saved.tar"]).succeeds();
    home.run(["load", "-i", "saved.tar", "--name", "again:1"])
        .succeeds();
    home.run(["run", "--name", "c", "--offline", "again:1", "touch", "/x"])
        .succeeds();
    home.run(["commit", "c", "committed:1"]).succeeds();
    home.run(["run", "--rm", "committed:1", "test", "-e", "/x"])
        .succeeds();
    home.run(["rm", "c"]).succeeds();
}

#[test]
fn an_image_without_layers_is_an_image() {
    let home = Home::new();
    let mut config = config(&[], &["/x/busybox", "echo", "ran"]);
    let archive = docker_archive("none:1", &config, &[]);
    // docker leaves out a list that is empty.
    config["rootfs"] = serde_json::json!({"type": "layers"});
    let short = docker_archive("none:2", &config, &[]);
    for archive in [archive, short] {
        home.run_with_stdin(["load"], &archive).succeeds();
    }
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    home.run(["unpack", "-q", "alpine:3.20", "rootfs"])
        .succeeds();
    for name in ["none:1", "none:2"] {
        home.run(["unpack", "-q", name, &format!("out-{name}")])
            .succeeds();
        assert!(check::names(&home.path().join(format!("out-{name}"))).is_empty());
        // The program and its loader come from elsewhere.
        let volumes = [
            "-v",
            "./rootfs/bin/busybox:/x/busybox:ro",
            "-v",
            "./rootfs/lib:/lib:ro",
        ];
        for storage in ["overlay", "copy"] {
            let run = ["run", "--rm", "--storage", storage];
            let ran = home
                .run(run.iter().chain(&volumes).chain(&[name]))
                .succeeds();
            assert_eq!(ran.text(), "ran", "{name} {storage}");
        }
        home.run(["run", "--rm", name])
            .fails_with(127, &["/x/busybox"]);
        home.run(["save", name, "-o", "saved.tar"]).succeeds();
        home.run(["load", "-i", "saved.tar", "--name", "again:1"])
            .succeeds();
        let script = "/x/busybox echo hi > /new";
        let run = ["run", "--name", "c"].iter();
        let command = ["again:1", "/x/busybox", "sh", "-c", script];
        home.run(run.chain(&volumes).chain(&command)).succeeds();
        assert_eq!(home.run(["diff", "c"]).succeeds().text(), "A /new");
        home.run(["cp", "c:/new", "copied"]).succeeds();
        home.run(["commit", "c", "more:1"]).succeeds();
        home.run(["rm", "c"]).succeeds();
        home.run(["unpack", "-q", "more:1", &format!("more-{name}")])
            .succeeds();
        assert_eq!(
            check::names(&home.path().join(format!("more-{name}"))),
            ["new"]
        );
        home.run(["gc"]).succeeds();
    }
    check::sound(&home.cache());
}

#[test]
fn an_archive_ends_with_its_last_file() {
    let home = Home::new();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    home.run(["save", "alpine:3.20", "-o", "x.tar"]).succeeds();
    let whole = fs::read(home.path().join("x.tar")).unwrap();
    let end = whole.len() - whole.iter().rev().take_while(|byte| **byte == 0).count();
    let end = end.next_multiple_of(512);
    for kept in [end, end + 512] {
        home.run(["rmi", "alpine:3.20"]).succeeds();
        home.run_with_stdin(["load"], &whole[..kept]).succeeds();
    }
    home.run_with_stdin(["load"], &whole[..end - 512])
        .fails(&["in the middle of an entry"]);
    // Cut behind the last file, a compressed archive is not whole.
    let gzip = packed("gzip", &whole);
    home.run_with_stdin(["load"], &gzip[..gzip.len() - 4])
        .fails(&["truncated"]);
}
