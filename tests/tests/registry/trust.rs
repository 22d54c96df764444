//! Which signatures of images of registries are trusted.

mod cosign;
mod paths;
mod signing;

use box_tests::Home;
use box_tests::registry::{Image, Layer, Registry};
use cosign::{Key, SIGN};
use serde_json::{Value, json};

/// A small image that differs by its text.
fn image(text: &str) -> Image {
    Image::new(&[Layer::of(&[("etc/hello", text.as_bytes())])])
}

/// Writes the policy of a home.
fn policy(home: &Home, rules: &str) {
    let dir = home.path().join("config");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("config.toml"), rules).unwrap();
}

/// The rule that a key must sign what begins with a prefix.
fn signed_by(prefix: &str, key: &Key) -> String {
    format!(
        "[policy.{prefix:?}]\ntype = 'signed-by'\nkeys = [{:?}]\n",
        key.public
    )
}

#[test]
fn keys_of_every_kind_vouch() {
    let registry = Registry::new();
    for (name, words) in [
        ("p256", "ecparam -name prime256v1 -genkey -noout"),
        (
            "p384",
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        ),
        ("ed25519", "genpkey -algorithm ED25519"),
        (
            "rsa",
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
        ),
    ] {
        let home = Home::new();
        let key = Key::new(home.path(), name, words);
        let image = image(name);
        registry.put(name, "1", &image);
        cosign::sign(&registry, name, &image, &key);
        let reference = registry.reference(&format!("{name}:1"));
        policy(&home, &signed_by(registry.host(), &key));
        let pulled = home.run(["pull", &reference]).succeeds();
        let said = format!("signature of key {}", &key.id()[..16]);
        assert!(pulled.text().contains(&said), "{}", pulled.text());
        let row = &home.run(["images", "--format", "json"]).succeeds().json()[0];
        assert_eq!(
            row["verified"],
            json!({"by": "key", "key": key.id(), "signed": image.digest()})
        );
        home.run(["--offline", "save", &reference, "-o", "saved.tar"])
            .succeeds();
    }
}

#[test]
fn what_does_not_vouch() {
    let registry = Registry::new();
    let home = Home::new();
    let key = Key::p256(home.path(), "own");
    let stranger = Key::p256(home.path(), "stranger");
    policy(&home, &signed_by(registry.host(), &key));
    let good =
        |name: &str, image: &Image| cosign::payload(&registry.reference(name), &image.digest());
    let cut = |text: String| text[..20].to_owned();
    type Make<'a> = Box<dyn Fn(&str, &Image) -> Vec<(Vec<u8>, String)> + 'a>;
    let cases: Vec<(&str, Make<'_>, &str)> = vec![
        ("unsigned", Box::new(|_, _| vec![]), "it is not signed"),
        (
            "stranger",
            Box::new(|name, image| vec![(good(name, image), stranger.sign(&good(name, image)))]),
            "no trusted key made it",
        ),
        (
            "digest",
            Box::new(|name, _| {
                let payload = good(name, &self::image("another"));
                vec![(payload.clone(), key.sign(&payload))]
            }),
            "another image",
        ),
        (
            "identity",
            Box::new(|_, image| {
                let payload = good("elsewhere", image);
                vec![(payload.clone(), key.sign(&payload))]
            }),
            "elsewhere, not as",
        ),
        (
            "tampered",
            Box::new(|name, image| {
                let signature = key.sign(&good("elsewhere", image));
                vec![(good(name, image), signature)]
            }),
            "no trusted key made it",
        ),
        (
            "truncated",
            Box::new(|name, image| {
                let payload = good(name, image);
                vec![(payload.clone(), cut(key.sign(&payload)))]
            }),
            "no trusted key made it",
        ),
    ];
    for (name, make, why) in cases {
        let image = image(name);
        registry.put(name, "1", &image);
        let signed = make(name, &image);
        if !signed.is_empty() {
            registry.put(
                name,
                &cosign::tag(&image.digest()),
                &cosign::signatures(&signed),
            );
        }
        let reference = registry.reference(&format!("{name}:1"));
        home.run(["pull", &reference])
            .fails(&["cannot use", "demands a signature", why]);
        home.run([
            "pull",
            &format!("{}@{}", registry.reference(name), image.digest()),
        ])
        .fails(&["demands a signature", why]);
        // Nothing of it is listed, and none of its layers was fetched in vain.
        assert_eq!(home.run(["images", "-q"]).succeeds().text(), "");
        let layer = &image.layer_digests()[0];
        assert_eq!(registry.count(&format!("GET /v2/{name}/blobs/{layer}")), 0);
    }
}

#[test]
fn a_good_signature_counts_after_strangers_and_nonsense() {
    let registry = Registry::new();
    let home = Home::new();
    let key = Key::p256(home.path(), "own");
    let stranger = Key::p256(home.path(), "stranger");
    policy(&home, &signed_by(registry.host(), &key));
    let image = image("several");
    registry.put("several", "1", &image);
    let payload = cosign::payload(&registry.reference("several"), &image.digest());
    let signed = [
        (payload.clone(), stranger.sign(&payload)),
        (payload.clone(), "%".to_owned()),
        (b"{}".to_vec(), key.sign(b"{}")),
        (payload.clone(), key.sign(&payload)),
    ];
    registry.put(
        "several",
        &cosign::tag(&image.digest()),
        &cosign::signatures(&signed),
    );
    home.run(["pull", &registry.reference("several:1")])
        .succeeds();
}

#[test]
fn a_signature_of_the_index_vouches_for_its_images() {
    let registry = Registry::new();
    let home = Home::new();
    let key = Key::p256(home.path(), "own");
    policy(&home, &signed_by(registry.host(), &key));
    let own = image("own");
    let index = Image::index(&[own.clone(), Image::attestation()]);
    registry.put("app", "1", &index);
    let reference = registry.reference("app:1");
    home.run(["pull", &reference]).fails(&["it is not signed"]);
    cosign::sign(&registry, "app", &index, &key);
    home.run(["pull", &reference]).succeeds();
    let row = &home.run(["images", "--format", "json"]).succeeds().json()[0];
    assert_eq!(row["digest"], own.digest());
    assert_eq!(row["verified"]["signed"], index.digest());
    // The chain from the index to the manifest is checked again when the image is used.
    home.run(["--offline", "save", &reference, "-o", "saved.tar"])
        .succeeds();
    for digest in [index.digest(), own.digest()] {
        let pinned = format!("{}@{digest}", registry.reference("app"));
        home.run(["--offline", "save", &pinned, "-o", "saved.tar"])
            .succeeds();
    }
    let blob = home
        .cache()
        .join("blobs")
        .join(index.digest().replace(':', "/"));
    std::fs::remove_file(&blob).unwrap();
    home.run(["--offline", "save", &reference, "-o", "saved.tar"])
        .fails(&["demands a signature", "another image"]);
}

#[test]
fn bundles_among_the_referrers_vouch() {
    let registry = Registry::new();
    let home = Home::new();
    let key = Key::p256(home.path(), "own");
    let stranger = Key::p256(home.path(), "stranger");
    policy(&home, &signed_by(registry.host(), &key));
    type Make<'a> = Box<dyn Fn(&Image) -> Vec<Value> + 'a>;
    let good = |image: &Image, key: &Key| cosign::statement_bundle(&image.digest(), SIGN, key);
    let cases: Vec<(&str, Make<'_>, Option<&str>)> = vec![
        ("statement", Box::new(|image| vec![good(image, &key)]), None),
        (
            "message",
            Box::new(|image| vec![cosign::message_bundle(&image.bytes, &key)]),
            None,
        ),
        (
            "second",
            Box::new(|image| vec![json!({}), good(image, &stranger), good(image, &key)]),
            None,
        ),
        (
            "stranger",
            Box::new(|image| vec![good(image, &stranger)]),
            Some("no trusted key made it"),
        ),
        (
            "moved",
            Box::new(|_| vec![good(&image("another"), &key)]),
            Some("another image"),
        ),
        (
            "provenance",
            Box::new(|image| {
                let predicate = "https://slsa.dev/provenance/v1";
                vec![cosign::statement_bundle(&image.digest(), predicate, &key)]
            }),
            Some("not a signature of it"),
        ),
        (
            "other-message",
            Box::new(|_| vec![cosign::message_bundle(b"{}", &key)]),
            Some("another image"),
        ),
    ];
    for (name, make, refused) in cases {
        let image = image(name);
        registry.put(name, "1", &image);
        cosign::refer(&registry, name, &image.digest(), &make(&image));
        let reference = registry.reference(&format!("{name}:1"));
        let pulled = home.run(["pull", &reference]);
        match refused {
            None => {
                pulled.succeeds();
                home.run(["--offline", "save", &reference, "-o", "saved.tar"])
                    .succeeds();
            }
            Some(why) => drop(pulled.fails(&["demands a signature", why])),
        }
    }
}
