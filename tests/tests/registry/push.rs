//! `box push`, `box tag`, `box tags` and the like, with Debian's registry and with the tools that read what box has pushed.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use box_tests::registry::{Image, Layer, PASSWORD, Registry, TokenServer, USER, digest};
use box_tests::{Home, Outcome};
use serde_json::json;

/// Runs another program, without the settings of this machine.
#[track_caller]
fn tool(program: &str, args: &[&str]) -> Outcome {
    let mut command = Command::new(program);
    command.args(args).env_remove("REGISTRY_AUTH_FILE");
    Outcome::of(command, b"")
}

/// Puts an image into the cache under a name, byte for byte.
#[track_caller]
fn load(home: &Home, name: &str, image: &Image) {
    let layout = home.path().join(format!("layout-{}", &image.digest()[7..]));
    let archive = layout.with_extension("tar");
    image.write_layout(&layout, "one");
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(&archive).arg("-C").arg(&layout).arg(".");
    Outcome::of(tar, b"").succeeds();
    let archive = archive.display().to_string();
    home.run(["load", "-q", "-i", &archive, "--name", name])
        .succeeds();
}

fn three_layers() -> Image {
    Image::new(&[
        Layer::alpine(),
        Layer::of(&[("etc/hello", b"hello\n")]),
        Layer::random("opt/data", 7, 300_000),
    ])
}

#[test]
fn what_is_pushed_is_the_image_byte_for_byte() {
    let home = Home::new();
    let registry = Registry::new();
    for (tag, image) in [("oci", three_layers()), ("docker", three_layers().docker())] {
        load(&home, &format!("app:{tag}"), &image);
        let target = registry.reference(&format!("team/app:{tag}"));
        let pushed = home.run(["push", &format!("app:{tag}"), &target]);
        assert!(pushed.succeeds().text().contains(&image.digest()));
        let there = registry.manifest("team/app", tag);
        assert_eq!(there, Some(image.bytes.clone()), "{tag}");
        assert_eq!(registry.missing("team/app", tag), [""; 0]);
    }
}

#[test]
fn skopeo_umoci_buildah_and_podman_read_what_was_pushed() {
    let home = Home::new();
    let registry = Registry::new();
    let image = three_layers();
    load(&home, "app:1", &image);
    let target = registry.reference("app:1");
    home.run(["push", "-q", "app:1", &target]).succeeds();
    let remote = format!("docker://{target}");
    let found = tool("skopeo", &["inspect", "--tls-verify=false", &remote]);
    assert_eq!(found.succeeds().json()["Digest"], json!(image.digest()));
    let layout = format!("{}:1", home.path().join("out").display());
    let oci = format!("oci:{layout}");
    let copy = ["copy", "-q", "--src-tls-verify=false", &remote, &oci];
    tool("skopeo", &[&["--insecure-policy"], &copy[..]].concat()).succeeds();
    let bundle = home.path().join("bundle");
    let at = bundle.display().to_string();
    tool("umoci", &["unpack", "--image", &layout, &at]).succeeds();
    let hello = fs::read_to_string(bundle.join("rootfs/etc/hello")).unwrap();
    assert_eq!(hello, "hello\n");
    let storage = home.path().join("storage").display().to_string();
    let run = home.path().join("run").display().to_string();
    let place = [
        "--root",
        &storage,
        "--runroot",
        &run,
        "--storage-driver=vfs",
    ];
    for program in ["podman", "buildah"] {
        let pull = ["pull", "-q", "--tls-verify=false", &target];
        let id = tool(program, &[&place[..], &pull].concat()).succeeds();
        let config = image.config_digest();
        assert_eq!(id.text(), config.trim_start_matches("sha256:"), "{program}");
    }
}

/// Another tool's image, as that tool has put it there, comes back the same.
#[test]
fn what_others_pushed_is_seen_as_it_is() {
    let home = Home::new();
    let registry = Registry::new();
    let image = Image::index(&[three_layers(), Image::attestation()]);
    registry.put("app", "1", &image);
    let name = registry.reference("app:1");
    let raw = home.run(["manifest", &name]).succeeds();
    assert_eq!(digest(&raw.stdout), image.digest());
    let found = home.run(["inspect", "--remote", &name]).succeeds().json();
    assert_eq!(found[0]["digest"], json!(image.digest()));
    assert_eq!(found[0]["manifest_digest"], json!(three_layers().digest()));
    assert_eq!(found[0]["layers"].as_array().unwrap().len(), 3);
    assert_eq!(found[0]["platforms"].as_array().unwrap().len(), 1);
    registry.put("app", "2", &three_layers());
    let tags = home.run(["tags", &registry.reference("app")]).succeeds();
    let mut tags: Vec<_> = tags.text().lines().collect();
    tags.sort_unstable();
    assert_eq!(tags, ["1", "2"]);
    let one = home.run(["manifest", "--arch", "s390x", &name]);
    one.fails(&["no image for linux/s390x", "it has linux/"]);
    home.run(["tags", &registry.reference("none")])
        .fails(&["not found or private"]);
    home.run(["tags", "alpine"])
        .fails(&["Alpine's own releases"]);
}

#[test]
fn blobs_are_mounted_from_another_repository_and_sent_once() {
    let home = Home::new();
    let registry = Registry::new();
    let one = registry.reference("one:1");
    load(&home, &one, &three_layers());
    home.run(["push", "-q", &one]).succeeds();
    let other = registry.reference("deep/er/two:1");
    let pushed = home.run(["push", &one, &other, "--format", "json"]);
    let blobs = pushed.succeeds().json()["blobs"].clone();
    let none = json!({"sent": 0, "sent_bytes": 0, "present": 0, "mounted": 4});
    assert_eq!(blobs, none);
    let two = registry.count("POST /v2/deep/er/two/blobs/uploads/");
    let mounts = registry.count("POST /v2/deep/er/two/blobs/uploads/?mount=sha256");
    assert_eq!((two, mounts), (4, 4));
    assert_eq!(registry.count("PUT /v2/deep/er/two/blobs/"), 0);
    assert_eq!(registry.missing("deep/er/two", "1"), [""; 0]);
    home.run(["push", "-q", &one]).succeeds();
    assert_eq!(registry.count("POST /v2/one/blobs/uploads/"), 4);
}

#[test]
fn all_platforms_are_pushed_with_an_index_of_them() {
    let home = Home::new();
    let registry = Registry::new();
    let arm = json!({"os": "linux", "architecture": "arm64"});
    let amd = json!({"os": "linux", "architecture": "amd64"});
    let layers = [Layer::of(&[("a", b"a")])];
    let images = [amd, arm].map(|platform| Image::for_platform(&layers, platform));
    load(&home, "app:1", &Image::index(&images));
    let target = registry.reference("app:all");
    home.run(["push", "-q", "--all-platforms", "app:1", &target])
        .succeeds();
    assert_eq!(registry.missing("app", "all"), [""; 0]);
    let found = home.run(["inspect", "--remote", "--arch=arm64", &target]);
    let found = found.succeeds().json();
    assert_eq!(found[0]["manifest_digest"], json!(images[1].digest()));
    let platforms = json!(["linux/amd64", "linux/arm64"]);
    assert_eq!(found[0]["platforms"], platforms);
    let one = registry.reference("app:arm");
    home.run(["push", "-q", "--arch", "arm64", "app:1", &one])
        .succeeds();
    let there = registry.manifest("app", "arm");
    assert_eq!(there, Some(images[1].bytes.clone()));
}

#[test]
fn names_digests_and_missing_blobs() {
    let home = Home::with_alpine();
    let registry = Registry::new();
    home.run(["push", "alpine"])
        .fails(&["Alpine's own releases"])
        .hints(&["box push alpine:latest "]);
    let id = home.run(["images", "-q"]).succeeds().text()[7..19].to_owned();
    home.run(["push", &id]).fails(&["without a name"]);
    let target = registry.reference("team/alpine:1");
    let file = home.path().join("digest");
    let at = file.display().to_string();
    let args = ["push", "-q", "--digestfile", &at, &id, &target];
    let pushed = home.run(args).succeeds();
    assert_eq!(fs::read_to_string(&file).unwrap(), pushed.text().trim());
    assert_eq!(registry.missing("team/alpine", "1"), [""; 0]);
    let other = format!("{}@{}", registry.reference("x"), digest(b"other"));
    home.run(["push", "alpine", &other])
        .fails(&["its digest is"]);
    let exact = format!("{}@{}", registry.reference("x"), pushed.text().trim());
    home.run(["push", "-q", "alpine", &exact]).succeeds();
    // What was named and what is missing.
    let manifest = registry.manifest("team/alpine", "1").unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    fs::remove_file(home.cache().join("blobs/sha256").join(&layer[7..])).unwrap();
    home.run(["push", "alpine", &registry.reference("y:1")])
        .fails(&[layer, "is not in the cache"]);
    assert_eq!(registry.manifest("y", "1"), None);
}

#[test]
fn tags_move_and_ids_remove_only_what_is_meant() {
    let home = Home::new();
    load(&home, "app:1", &three_layers());
    home.run(["tag", "app:1", "app:2", "localhost:1/team/app:x"])
        .succeeds();
    let id = three_layers().config_digest()[7..19].to_owned();
    home.run(["rmi", &id])
        .fails(&["several names", "app:1", "app:2", "localhost:1/team/app:x"]);
    home.run(["rmi", "app:1", "localhost:1/team/app:x"])
        .succeeds();
    home.run(["tag", &id, "app:3"]).succeeds();
    home.run(["rmi", "--force", &id]).succeeds();
    assert_eq!(home.run(["images", "-q"]).succeeds().text(), "");
    home.run(["rmi", &id]).fails(&["not in the cache"]);
    let digest = format!("app@{}", three_layers().digest());
    home.run(["tag", "app:1", &digest]).fails(&["digest"]);
}

#[test]
fn history_shows_each_step_with_its_layer() {
    let home = Home::new();
    let image = three_layers().with_config(|config| {
        config["history"] = json!([
            {"created": "2024-09-06T11:34:16Z", "created_by": "ADD base"},
            {"created_by": "ENV a=b", "empty_layer": true},
            {"created_by": "RUN make", "comment": "built"},
        ]);
    });
    load(&home, "app", &image);
    let rows = home.run(["history", "app", "--format", "json"]).succeeds();
    let layers = image.layer_digests();
    let rows = rows.json();
    let seen: Vec<_> = rows.as_array().unwrap().iter().collect();
    let layer = |n: usize| json!(layers[n]);
    assert_eq!(seen.len(), 4);
    // A layer of which the history says nothing, then the steps backwards.
    assert_eq!(
        (&seen[0]["layer"], &seen[0]["created_by"]),
        (&layer(2), &json!(null))
    );
    assert_eq!(
        (&seen[1]["layer"], &seen[1]["comment"]),
        (&layer(1), &json!("built"))
    );
    assert_eq!(
        (&seen[2]["layer"], &seen[2]["size"]),
        (&json!(null), &json!(0))
    );
    assert_eq!(
        (&seen[3]["layer"], &seen[3]["created_by"]),
        (&layer(0), &json!("ADD base"))
    );
}

#[test]
fn a_saved_image_is_the_same_when_it_is_pushed() {
    let (home, other) = (Home::new(), Home::new());
    let registry = Registry::new();
    let name = registry.reference("team/app:1");
    let image = three_layers().docker();
    load(&home, &name, &image);
    let archive = home.path().join("saved.tar").display().to_string();
    home.run(["save", "-o", &archive, &name]).succeeds();
    other.run(["load", "-q", "-i", &archive]).succeeds();
    other.run(["push", "-q", &name]).succeeds();
    let there = registry.manifest("team/app", "1");
    assert_eq!(there, Some(image.bytes.clone()));
    // By way of docker's format, which has no manifest, the config stays.
    let docker = home.path().join("docker.tar").display().to_string();
    let from = format!("docker://{name}");
    let to = format!("docker-archive:{docker}:{name}");
    let copy = ["copy", "-q", "--src-tls-verify=false", &from, &to];
    tool("skopeo", &[&["--insecure-policy"], &copy[..]].concat()).succeeds();
    let third = Home::new();
    third.run(["load", "-q", "-i", &docker]).succeeds();
    let found = third.run(["inspect", &name]).succeeds().json();
    assert_eq!(found[0]["config_digest"], json!(image.config_digest()));
}

/// Short tokens, a password behind them, and a registry that checks their scopes.
#[test]
fn a_push_with_tokens() {
    let home = Home::new();
    let tokens = TokenServer::new();
    tokens.set_lifetime(5);
    let registry = Registry::with_tokens(&tokens);
    let target = registry.reference("team/app:1");
    load(&home, &target, &three_layers());
    home.run(["push", "--retries=0", &target])
        .fails(&["not found or private"]);
    let file = home.path().join("auth.json");
    let secret = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let auths = json!({"auths": {registry.host(): {"auth": secret}}});
    fs::write(&file, auths.to_string()).unwrap();
    let at = file.display().to_string();
    home.run(["push", "-q", "--authfile", &at, &target])
        .succeeds();
    assert_eq!(registry.missing("team/app", "1"), [""; 0]);
}

/// How many processes are killed: `BOX_TEST_KILLS`, or as many as do not slow the suite down.
fn kills() -> u64 {
    let set = std::env::var("BOX_TEST_KILLS").ok();
    set.map_or(30, |text| text.parse().unwrap())
}

/// Whatever moment a push is killed at, the tag stands for an image that is whole: the one before or the new one.
#[test]
fn a_push_that_is_killed_publishes_nothing_in_halves() {
    let home = Home::new();
    let registry = Registry::new();
    let image = |version: u64| {
        let layers = (0..5).map(|n| Layer::random("f", version * 10 + n, 1_200_000));
        Image::new(&layers.collect::<Vec<_>>())
    };
    let images: Vec<(String, Image)> = (1..=3).map(|n| (format!("app:{n}"), image(n))).collect();
    for (name, image) in &images {
        load(&home, name, image);
    }
    let mut moment = 17_u64;
    let mut ended = 0;
    for round in 0..kills() {
        // A repository of its own for every few kills: what has arrived once is not sent again.
        let repository = format!("app{}", round / 4);
        let target = registry.reference(&format!("{repository}:t"));
        let (name, _) = &images[usize::try_from(round % 3).unwrap()];
        let mut child = home.command(["push", name, &target]);
        let mut child = child
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        moment = (moment * 48_271) % 2_147_483_647;
        std::thread::sleep(Duration::from_micros(moment % 300_000));
        ended += u64::from(child.try_wait().unwrap().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(there) = registry.manifest(&repository, "t") {
            assert!(images.iter().any(|(_, image)| image.bytes == there));
            assert_eq!(registry.missing(&repository, "t"), [""; 0], "{round}");
        }
    }
    assert!(ended < kills(), "no push was killed in its course");
    for (name, image) in &images {
        home.run(["push", "-q", name, &registry.reference("app0:t")])
            .succeeds();
        assert_eq!(registry.manifest("app0", "t"), Some(image.bytes.clone()));
        assert_eq!(registry.missing("app0", "t"), [""; 0]);
    }
    let staged: Vec<PathBuf> = fs::read_dir(home.cache().join("partial"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(staged.is_empty(), "{staged:?}");
}
