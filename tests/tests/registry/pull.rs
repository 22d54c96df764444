//! `box pull` and `box run` of images of registries.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use box_tests::registry::{Image, Layer, Registry};
use box_tests::{Home, Outcome};
use serde_json::{Value, json};

/// The bytes of a blob of the cache.
fn blob(home: &Home, digest: &str) -> Vec<u8> {
    let hex = digest.strip_prefix("sha256:").unwrap();
    fs::read(home.cache().join("blobs/sha256").join(hex)).unwrap()
}

fn has_blob(home: &Home, digest: &str) -> bool {
    let hex = digest.strip_prefix("sha256:").unwrap();
    home.cache().join("blobs/sha256").join(hex).exists()
}

/// An image for a platform, with a file that names it.
fn image_for(os: &str, architecture: &str) -> Image {
    let layer = Layer::of(&[("etc/platform", architecture.as_bytes())]);
    Image::for_platform(&[layer], json!({"os": os, "architecture": architecture}))
}

/// An index of Alpine's files for this machine, an image for another one, and an attestation.
fn index() -> (Image, Image, Image) {
    let (own, other) = (Image::alpine(2), image_for("linux", "s390x"));
    let index = Image::index(&[own.clone(), other.clone(), Image::attestation()]);
    (index, own, other)
}

#[test]
fn documents_are_kept_byte_for_byte_and_other_programs_read_them() {
    let registry = Registry::new();
    let home = Home::new();
    for (tag, image) in [
        ("oci", Image::alpine(3)),
        ("docker", Image::alpine(1).docker()),
    ] {
        registry.put("team/app", tag, &image);
        let reference = registry.reference(&format!("team/app:{tag}"));
        home.run(["pull", &reference]).succeeds();
        assert_eq!(blob(&home, &image.digest()), image.bytes);
        for (digest, bytes) in &image.blobs {
            assert_eq!(blob(&home, digest), *bytes);
        }
        // Other programs expect manifests of OCI's type in a layout.
        if tag == "oci" {
            let mut skopeo = Command::new("skopeo");
            let layout = format!("oci:{}:{reference}", home.cache().display());
            skopeo.args(["inspect", "--raw", &layout]);
            assert_eq!(Outcome::of(skopeo, b"").succeeds().stdout, image.bytes);
        }
        let shown = home.run(["run", "--rm", &reference, "cat", "/layer1"]);
        assert_eq!(shown.succeeds().text(), "1");
    }
    home.run(["verify"]).succeeds();
}

#[test]
fn the_digest_of_an_index_finds_its_images_without_a_network() {
    let (index, own, other) = index();
    let registry = Registry::new();
    registry.put("app", "all", &index);
    let home = Home::new();
    let name = registry.reference("app");
    home.run(["pull", &format!("{name}:all")]).succeeds();
    assert_eq!(blob(&home, &index.digest()), index.bytes);
    assert!(!has_blob(&home, &other.digest()));
    let run = |digest: &str| {
        let reference = format!("{name}@{digest}");
        home.run(["--offline", "run", "--rm", &reference, "cat", "/layer2"])
    };
    for digest in [index.digest(), own.digest()] {
        assert_eq!(run(&digest).succeeds().text(), "2");
    }
    // The collector knows that the index is needed, and when it is not any more.
    home.run(["gc"]).succeeds();
    assert_eq!(run(&index.digest()).succeeds().text(), "2");
    home.run(["verify"]).succeeds();
    home.run(["rmi", &format!("{name}:all")]).succeeds();
    home.run(["gc"]).succeeds();
    assert!(!has_blob(&home, &index.digest()));
    run(&index.digest()).fails(&["not in the cache"]);
}

#[test]
fn a_layer_is_not_what_its_image_is_called_by() {
    // Of Alpine's own releases the digest of the tarball is a name. Anybody can put such a layer into another image.
    let image = Image::new(&[Layer::alpine()]);
    let registry = Registry::new();
    registry.put("app", "one", &image);
    let home = Home::new();
    home.run(["pull", &registry.reference("app:one")])
        .succeeds();
    let layer = &image.layer_digests()[0];
    let reference = registry.reference(&format!("app@{layer}"));
    home.run(["--offline", "run", "--rm", &reference, "true"])
        .fails(&["not in the cache"]);
}

#[test]
fn a_digest_is_demanded_of_the_registry() {
    let (index, own, other) = index();
    let registry = Registry::new();
    registry.put("app", "all", &index);
    let home = Home::new();
    let name = registry.reference("app");
    for digest in [own.digest(), index.digest()] {
        let pulled = home.run(["pull", "--format", "json", &format!("{name}@{digest}")]);
        let row = pulled.succeeds().json();
        assert_eq!(row["digest"], json!(own.digest()));
        assert_eq!(row["verified"]["by"], "digest");
    }
    home.run(["pull", &format!("{name}@{}", other.digest())])
        .fails(&["no image for linux/", "it has linux/s390x"]);
    let absent = format!("sha256:{}", "ab".repeat(32));
    home.run(["pull", &format!("{name}@{absent}")])
        .fails(&["app"]);
}

#[test]
fn all_platforms_are_fetched_once_and_found_each() {
    let (index, own, other) = index();
    let registry = Registry::new();
    registry.put("app", "all", &index);
    let home = Home::new();
    let reference = registry.reference("app:all");
    let pulled = home.run(["pull", "--all-platforms", &reference]);
    let pulled = pulled.succeeds();
    assert!(pulled.stderr.contains("leaving out"), "{}", pulled.stderr);
    for image in [&own, &other] {
        assert_eq!(blob(&home, &image.digest()), image.bytes);
    }
    let rows = home.run(["images", "--format", "json"]).succeeds().json();
    let platforms: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["platform"])
        .collect();
    assert_eq!(platforms.len(), 2, "{rows}");
    let shown = home.run(["run", "--rm", &reference, "cat", "/layer1"]);
    assert_eq!(shown.succeeds().text(), "1");
}

#[test]
fn a_tag_that_has_not_moved_costs_one_request() {
    let (index, _, _) = index();
    let registry = Registry::new();
    registry.put("app", "all", &index);
    let home = Home::new();
    let reference = registry.reference("app:all");
    home.run(["pull", &reference]).succeeds();
    let before = registry.count("GET /v2/app/");
    let again = home
        .run(["pull", "--format", "json", &reference])
        .succeeds();
    assert_eq!(again.json()["changed"], false);
    assert_eq!(registry.count("GET /v2/app/"), before);
    assert!(registry.count("HEAD /v2/app/manifests/all") >= 1);
}

#[test]
fn a_tag_that_moved_is_outdated_and_then_replaced() {
    let registry = Registry::new();
    let (old, new) = (Image::alpine(1), Image::alpine(2));
    registry.put("app", "one", &old);
    let home = Home::new();
    let reference = registry.reference("app:one");
    home.run(["pull", &reference]).succeeds();
    home.run(["outdated"]).succeeds();
    registry.put("app", "one", &new);
    let rows = home.run(["outdated", "--format", "json"]).exits(1).json();
    assert_eq!(rows[0]["reference"], json!(reference));
    let pulled = home.run(["pull", "--format", "json", &reference]);
    assert_eq!(pulled.succeeds().json()["digest"], json!(new.digest()));
    // Only the layer that is new was fetched.
    let layer = &old.layer_digests()[0];
    assert_eq!(registry.count(&format!("GET /v2/app/blobs/{layer}")), 1);
    home.run(["outdated"]).succeeds();
    // What the tag meant before is still found by its digest.
    let before = format!("{}@{}", registry.reference("app"), old.digest());
    home.run(["--offline", "run", "--rm", &before, "cat", "/layer1"])
        .succeeds();
}

#[test]
fn a_lock_file_pins_the_manifest() {
    let registry = Registry::new();
    let (index, own, _) = index();
    registry.put("app", "one", &index);
    let home = Home::new();
    let reference = registry.reference("app:one");
    let lock = home.path().join("box.lock").display().to_string();
    home.run(["lock", "--lock", &lock, &reference]).succeeds();
    let text = fs::read_to_string(&lock).unwrap();
    assert!(text.contains(&own.digest()), "{text}");
    assert!(
        !text.contains("tarball") && !text.contains("path"),
        "{text}"
    );
    registry.put("app", "one", &Image::alpine(4));
    let other = Home::new();
    for verb in [&["pull"][..], &["run", "--rm"]] {
        let mut args = verb.to_vec();
        args.extend(["--lock", &lock, "--locked", &reference]);
        if verb[0] == "run" {
            args.extend(["cat", "/layer2"]);
        }
        other.run(args).succeeds();
    }
    let rows = other.run(["images", "--format", "json"]).succeeds().json();
    assert_eq!(rows[0]["digest"], json!(own.digest()));
    let stale = home.run(["outdated", "--lock", &lock, "--format", "json"]);
    assert_eq!(stale.exits(1).json()[0]["place"], "cache");
}

#[test]
fn two_pulls_at_once_fetch_each_layer_once() {
    let layers: Vec<Layer> = (0..6)
        .map(|n| Layer::random(&format!("data{n}"), n, 3_000_000))
        .collect();
    let image = Image::new(&layers);
    // The same layers in the opposite order: nobody may wait for the other in a circle.
    let reversed: Vec<Layer> = layers.iter().rev().cloned().collect();
    let other = Image::new(&reversed);
    let registry = Registry::new();
    registry.put("app", "one", &image);
    registry.put("app", "two", &other);
    let home = Home::new();
    let children: Vec<_> = ["app:one", "app:two", "app:one", "app:two"]
        .iter()
        .map(|name| {
            let mut command = home.command(["pull", &registry.reference(name)]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    for digest in image.layer_digests() {
        let fetched = registry.count(&format!("GET /v2/app/blobs/{digest}"));
        assert_eq!(fetched, 1, "{digest}");
    }
    home.run(["verify"]).succeeds();
}

#[test]
fn a_layer_of_the_cache_is_compared_with_each_config() {
    let registry = Registry::new();
    let honest = Image::alpine(1);
    // The same blobs; but the config calls the second layer the first one's content.
    let hostile = Image::alpine(1).with_config(|config| {
        config["rootfs"]["diff_ids"][1] = config["rootfs"]["diff_ids"][0].clone();
    });
    registry.put("app", "honest", &honest);
    registry.put("app", "hostile", &hostile);
    let home = Home::new();
    home.run(["pull", &registry.reference("app:honest")])
        .succeeds();
    let layer = &honest.layer_digests()[1];
    home.run(["pull", &registry.reference("app:hostile")])
        .fails(&["cannot accept the layer", layer, "by the config"]);
    assert_eq!(listed(&home), [registry.reference("app:honest")]);
}

/// The references of all images of the cache.
fn listed(home: &Home) -> Vec<String> {
    let rows = home.run(["images", "--format", "json"]).succeeds().json();
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row["reference"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn run_fetches_what_is_missing_by_the_policy() {
    let registry = Registry::new();
    registry.put("app", "one", &Image::alpine(1));
    let home = Home::new();
    let reference = registry.reference("app:one");
    home.run(["run", "--pull", "never", "--rm", &reference, "true"])
        .fails(&["in the cache"]);
    home.run(["--offline", "run", "--rm", &reference, "true"])
        .fails(&["offline"]);
    home.run(["run", "--rm", &reference, "true"]).succeeds();
    let before = registry.count("/v2/app/");
    home.run(["run", "--rm", &reference, "true"]).succeeds();
    assert_eq!(registry.count("/v2/app/"), before);
    registry.put("app", "one", &Image::alpine(2));
    home.run([
        "run", "--pull", "always", "--rm", &reference, "cat", "/layer2",
    ])
    .succeeds();
    drop(registry);
    home.run([
        "run",
        "--pull",
        "newer",
        "--retries",
        "0",
        "--rm",
        &reference,
        "cat",
        "/layer2",
    ])
    .succeeds();
}

#[test]
fn what_would_be_fetched_is_said_without_fetching_it() {
    let registry = Registry::new();
    let image = Image::alpine(2);
    registry.put("app", "one", &image);
    let home = Home::new();
    let reference = registry.reference("app:one");
    let dry = |home: &Home| -> Value {
        let out = home.run(["pull", "--dry-run", "--format", "json", &reference]);
        out.succeeds().json()
    };
    let first = dry(&home);
    let sizes = |row: &Value| -> u64 {
        let layers = row["layers"].as_array().unwrap().iter();
        layers.map(|layer| layer["size"].as_u64().unwrap()).sum()
    };
    assert_eq!(
        (&first["cached"], &first["changed"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(first["layers"].as_array().unwrap().len(), 3);
    assert_eq!(first["size"], json!(sizes(&first)));
    assert!(listed(&home).is_empty());
    home.run(["pull", &reference]).succeeds();
    let second = dry(&home);
    assert_eq!(
        (&second["cached"], &second["changed"]),
        (&json!(true), &json!(false))
    );
    let tags = home.run([
        "list-remote",
        &registry.reference("app"),
        "--format",
        "json",
    ]);
    let tags = tags.succeeds().json();
    assert_eq!(tags[0]["version"], "one");
    assert_eq!(tags[0]["cached"], true);
}

#[test]
fn an_image_is_saved_and_loaded_with_its_own_manifest() {
    let registry = Registry::new();
    let image = Image::alpine(1);
    registry.put("app", "one", &image);
    let home = Home::new();
    let reference = registry.reference("app:one");
    home.run(["pull", &reference]).succeeds();
    let archive = home.path().join("app.tar");
    save(&home, &reference, &archive);
    let other = Home::new();
    other
        .run(["load", "--input", &archive.display().to_string()])
        .succeeds();
    assert_eq!(blob(&other, &image.digest()), image.bytes);
    let rows = other.run(["images", "--format", "json"]).succeeds().json();
    assert_eq!(rows[0]["verified"]["by"], "unverified");
}

fn save(home: &Home, reference: &str, archive: &Path) {
    let archive = archive.display().to_string();
    home.run(["save", "--output", &archive, reference])
        .succeeds();
}
