//! Every way to an image leads past the policy.

use std::process::Command;

use box_tests::registry::{Image, Registry};
use box_tests::{Home, Outcome};

use super::cosign::{self, Key};
use super::{image, policy, signed_by};

/// An image with a shell.
fn alpine() -> Image {
    Image::alpine(0)
}

#[test]
fn a_rule_ends_where_a_name_ends() {
    let registry = Registry::new();
    let home = Home::new();
    let key = Key::p256(home.path(), "own");
    let host = registry.host();
    let rules = [
        signed_by(&format!("{host}/org"), &key),
        format!("[policy.\"{host}/org/free\"]\ntype = 'insecure-accept'\n"),
        format!("[policy.\"{host}/bad\"]\ntype = 'reject'\n"),
    ];
    policy(&home, &rules.concat());
    for (name, refused) in [
        ("org/app", Some("it is not signed")),
        ("org/app/part", Some("it is not signed")),
        ("organisation/app", None),
        ("org/free", None),
        ("org/freedom", Some("it is not signed")),
        ("bad", Some("rejects it")),
        ("bad/app", Some("rejects it")),
        ("badge", None),
    ] {
        let before = registry.log().len();
        registry.put(name, "1", &image(name));
        let pulled = home.run(["pull", &registry.reference(&format!("{name}:1"))]);
        match refused {
            None => drop(pulled.succeeds()),
            Some(why) => drop(pulled.fails(&[why]).hints(&["config.toml"])),
        }
        // What is rejected is not even asked for.
        if refused == Some("rejects it") {
            home.run([
                "pull",
                "--dry-run",
                &registry.reference(&format!("{name}:1")),
            ])
            .fails(&["rejects it"]);
            assert_eq!(registry.log().len(), before);
        }
    }
    // No flag lifts the policy.
    for flag in ["off", "prefer"] {
        let reference = registry.reference("org/app:1");
        home.run(["pull", "--verify", flag, &reference])
            .fails(&["it is not signed"]);
    }
}

#[test]
fn an_image_that_was_there_before_the_policy() {
    let registry = Registry::new();
    let home = Home::new();
    let key = Key::p256(home.path(), "own");
    let image = alpine();
    registry.put("app", "1", &image);
    let reference = registry.reference("app:1");
    home.run(["pull", &reference]).succeeds();
    home.run(["run", "--name", "before", &reference, "true"])
        .succeeds();
    policy(&home, &signed_by(registry.host(), &key));
    let pinned = format!("{}@{}", registry.reference("app"), image.digest());
    for name in [&reference, &pinned] {
        home.run(["--offline", "run", "--rm", name, "true"])
            .fails(&["demands a signature", "the cache has none"]);
        home.run(["--offline", "save", name, "-o", "x.tar"])
            .fails(&["demands a signature"]);
        home.run(["--offline", "unpack", name, "x"])
            .fails(&["demands a signature"]);
        home.run(["--offline", "pull", name])
            .fails(&["demands a signature"]);
    }
    home.run(["start", "before"])
        .fails(&["demands a signature"]);
    home.run(["commit", "before", "free:1"])
        .fails(&["demands a signature"]);
    home.run(["run", "--rm", &reference, "true"])
        .fails(&["it is not signed"]);
    // Once its publisher has signed it, nothing has to be fetched again but the signature.
    cosign::sign(&registry, "app", &image, &key);
    home.run(["run", "--rm", &reference, "true"]).succeeds();
    home.run(["--offline", "run", "--rm", &pinned, "true"])
        .succeeds();
    home.run(["start", "before"]).succeeds();
    // A key that is no longer trusted vouches for nothing, nor does one that cannot be read.
    let other = Key::p256(home.path(), "other");
    policy(&home, &signed_by(registry.host(), &other));
    home.run(["--offline", "run", "--rm", &reference, "true"])
        .fails(&["does not count: no trusted key made it"]);
    std::fs::remove_file(&other.public).unwrap();
    home.run(["--offline", "run", "--rm", &reference, "true"])
        .fails(&["cannot be applied", "does not exist"]);
    policy(
        &home,
        &format!("[policy.{:?}]\ntype = 'reject'\n", registry.host()),
    );
    home.run(["--offline", "run", "--rm", &pinned, "true"])
        .fails(&["rejects it"]);
    home.run(["start", "before"]).fails(&["rejects it"]);
    home.run(["commit", "before", "free:1"])
        .fails(&["rejects it"]);
    home.run(["rm", "before"]).succeeds();
}

#[test]
fn a_trusted_name_for_another_image() {
    let registry = Registry::new();
    let home = Home::new();
    let key = Key::p256(home.path(), "own");
    let (good, hostile) = (alpine(), Image::alpine(1));
    registry.put("app", "1", &good);
    registry.put("other", "1", &hostile);
    cosign::sign(&registry, "app", &good, &key);
    policy(&home, &signed_by(&registry.reference("app"), &key));
    let (trusted, other) = (registry.reference("app:1"), registry.reference("other:1"));
    home.run(["pull", &other]).succeeds();
    home.run(["pull", &trusted]).succeeds();
    // Another name for the signed image is not covered, and needs no signature.
    home.run(["tag", &other, &trusted]).succeeds();
    home.run(["--offline", "run", "--rm", &trusted, "true"])
        .fails(&["demands a signature"]);
    // An archive under the trusted name, with the notes of the signed image in its index.
    home.run(["pull", &trusted]).succeeds();
    let notes = index(&home)["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["digest"] == good.digest())
        .unwrap()["annotations"]
        .clone();
    assert!(notes["box.provenance.evidence"].is_string(), "{notes}");
    let layout = home.path().join("layout");
    hostile.write_layout(&layout, "x");
    let file = layout.join("index.json");
    let mut document: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    document["manifests"][0]["annotations"] = notes;
    std::fs::write(&file, document.to_string()).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-cf")
        .arg(home.path().join("hostile.tar"))
        .arg("-C")
        .arg(&layout)
        .arg(".");
    Outcome::of(tar, b"").succeeds();
    home.run(["load", "-i", "hostile.tar", "--name", &trusted])
        .succeeds();
    home.run(["--offline", "run", "--rm", &trusted, "true"])
        .fails(&["demands a signature"]);
    // Even the cache's own index is not believed.
    let mut document = index(&home);
    let entries = document["manifests"].as_array_mut().unwrap();
    let evidence = entries.iter().position(|e| e["digest"] == hostile.digest());
    let entry = &mut entries[evidence.unwrap()]["annotations"];
    for (name, value) in [
        ("verified", "key"),
        ("key", &key.id()),
        ("signed", &hostile.digest()),
    ] {
        entry[format!("box.provenance.{name}")] = value.into();
    }
    std::fs::write(home.cache().join("index.json"), document.to_string()).unwrap();
    home.run(["--offline", "run", "--rm", &trusted, "true"])
        .fails(&["demands a signature"]);
}

#[test]
fn a_publishers_signature_is_required_of_every_image() {
    let registry = Registry::new();
    let home = Home::new();
    let key = Key::p256(home.path(), "own");
    let image = alpine();
    registry.put("app", "1", &image);
    cosign::sign(&registry, "app", &image, &key);
    let reference = registry.reference("app:1");
    home.run(["pull", "--verify", "require", &reference])
        .fails(&["signature is required"]);
    policy(&home, &signed_by(registry.host(), &key));
    home.run(["pull", "--verify", "require", &reference])
        .succeeds();
    home.run([
        "--offline",
        "run",
        "--verify",
        "require",
        "--rm",
        &reference,
        "true",
    ])
    .succeeds();
    // For Alpine's own releases a rule demands the signature of OpenPGP.
    policy(&home, "[policy.alpine]\ntype = 'signed-by'\n");
    home.run(["import", "--name", "alpine:1", "-"]).fails(&[]);
}

fn index(home: &Home) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(home.cache().join("index.json")).unwrap()).unwrap()
}
