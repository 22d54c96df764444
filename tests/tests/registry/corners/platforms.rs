//! Which image of an index is taken.

use box_tests::Home;
use box_tests::registry::{Image, Layer, Scripted};
use serde_json::{Value, json};

use super::{blob_path, is_empty, is_whole, pull, pull_with, small};

/// An image for `arch/variant` with a file that says so.
fn image(platform: &str) -> Image {
    let mut parts = platform.split('/');
    let (arch, variant) = (parts.next().unwrap(), parts.next());
    let mut object = json!({"os": "linux", "architecture": arch});
    if let Some(variant) = variant {
        object["variant"] = json!(variant);
    }
    Image::for_platform(&[Layer::of(&[("platform", platform.as_bytes())])], object)
}

/// The report, what there is, what is wanted, and what has to be taken.
const VARIANTS: &[(&str, &[&str], &str, Option<&str>)] = &[
    (
        "moby/moby#34875",
        &["arm/v6", "arm/v7"],
        "arm/v7",
        Some("arm/v7"),
    ),
    (
        "moby/moby#34875",
        &["arm/v7", "arm/v6"],
        "arm/v7",
        Some("arm/v7"),
    ),
    (
        "moby/moby#37647",
        &["arm/v5", "arm/v7"],
        "arm/v6",
        Some("arm/v5"),
    ),
    ("moby/moby#41017", &["arm/v7"], "arm/v6", None),
    (
        "balena-os/balena-engine#269",
        &["arm/v7", "arm/v6"],
        "arm/v6",
        Some("arm/v6"),
    ),
    (
        "GoogleContainerTools/distroless#1382",
        &["amd64", "arm"],
        "arm/v7",
        Some("arm"),
    ),
    (
        "containers/image#898",
        &["amd64", "arm64"],
        "arm64",
        Some("arm64"),
    ),
    (
        "containers/image#898",
        &["amd64", "arm64/v8"],
        "arm64",
        Some("arm64/v8"),
    ),
    (
        "containerd/containerd#2133",
        &["arm64/v9", "arm64/v8"],
        "arm64",
        Some("arm64/v8"),
    ),
    (
        "moby/moby#34875",
        &["amd64/v4", "amd64"],
        "amd64",
        Some("amd64"),
    ),
];

#[test]
fn the_best_variant_that_the_processor_has_is_taken() {
    for (report, there, wanted, taken) in VARIANTS {
        let children: Vec<_> = there.iter().map(|platform| image(platform)).collect();
        let registry = Scripted::new(|_, _| None).with("app", "all", &Image::index(&children));
        let home = Home::with_mirror("file:///nonexistent");
        let reference = registry.reference("app:all");
        let outcome = pull_with(&home, &reference, &["--arch", wanted]);
        match taken {
            Some(taken) => {
                assert_eq!(outcome.status, 0, "{report}: {}", outcome.stderr);
                let at = there.iter().position(|platform| platform == taken).unwrap();
                is_whole(&home, &children[at]);
                for (n, other) in children.iter().enumerate().filter(|(n, _)| *n != at) {
                    assert!(
                        !blob_path(&home, &other.config_digest()).exists(),
                        "{report}: also {}",
                        there[n]
                    );
                }
            }
            None => {
                outcome.fails(&["no image for", "linux/arm/v6", "linux/arm/v7"]);
                is_empty(&home);
            }
        }
    }
}

#[test]
fn what_there_is_is_listed() {
    let index = Image::index(&[
        image("s390x"),
        image("arm64/v8"),
        Image::attestation(),
        image("mips64le"),
    ]);
    let registry = Scripted::new(|_, _| None).with("app", "all", &index);
    let home = Home::with_mirror("file:///nonexistent");
    let reference = registry.reference("app:all");
    let outcome = pull_with(&home, &reference, &["--arch", "riscv64"]).fails(&[
        "no image for linux/riscv64",
        "linux/s390x",
        "linux/arm64",
    ]);
    assert!(
        !outcome.stderr.contains("unknown/unknown"),
        "{}",
        outcome.stderr
    );
    // A single image for another platform is refused likewise.
    let registry = Scripted::new(|_, _| None).with("app", "one", &image("s390x"));
    pull(&home, &registry.reference("app:one")).fails(&["linux/s390x"]);
    is_empty(&home);
}

#[test]
fn statements_beside_an_image_are_not_images() {
    // containerd/containerd#8243, jeessy2/ddns-go#1127, and Mangio621/Mangio-RVC-Fork#97.
    let own = small();
    let old = Image::attestation();
    // An artifact without a platform, as newer builders write it.
    let new = Image::attestation().edited(|manifest| {
        manifest["artifactType"] = json!("application/vnd.docker.attestation.manifest.v1+json");
    });
    let index = Image::index(&[old, own.clone(), new]).edited(|index| {
        index["manifests"][2]
            .as_object_mut()
            .unwrap()
            .remove("platform");
        index["manifests"][2]["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": index["manifests"][1]["digest"],
        });
    });
    let registry = Scripted::new(|_, _| None).with("app", "all", &index);
    let home = Home::with_mirror("file:///nonexistent");
    let reference = registry.reference("app:all");
    pull(&home, &reference).succeeds();
    is_whole(&home, &own);
    let home = Home::with_mirror("file:///nonexistent");
    pull_with(&home, &reference, &["--all-platforms"]).succeeds();
    is_whole(&home, &own);
    // Only statements.
    let index = Image::index(&[Image::attestation()]);
    let registry = Scripted::new(|_, _| None).with("app", "all", &index);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:all")).fails(&["no image for"]);
    is_empty(&home);
}

#[test]
fn an_index_may_be_in_an_index_but_not_without_end() {
    // podman-container-tools/podman#25045, pelagos-containers/pelagos#533.
    let own = small();
    let inner = Image::index(&[image("s390x"), own.clone()]);
    let outer = Image::index(&[image("arm64"), inner]);
    let registry = Scripted::new(|_, _| None).with("app", "all", &outer);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:all")).succeeds();
    is_whole(&home, &own);
    let mut deep = Image::index(&[small()]);
    for _ in 0..200 {
        deep = Image::index(&[deep]);
    }
    let registry = Scripted::new(|_, _| None).with("app", "all", &deep);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:all")).fails(&[]);
    assert!(registry.asked("GET", "/manifests/").len() < 50);
    is_empty(&home);
}

#[test]
fn indexes_of_the_strangest_forms_are_no_panic() {
    let own = small();
    let edits: &[fn(&mut Value)] = &[
        |index| index["manifests"] = Value::Null,
        |index| index["manifests"] = json!([]),
        |index| index["manifests"] = json!([{}]),
        |index| index["manifests"] = json!([null]),
        |index| index["manifests"][0]["platform"] = json!({"os": 7}),
        |index| index["manifests"][0]["size"] = json!(-3),
        |index| index["manifests"][0]["digest"] = json!("sha256:short"),
        |index| {
            index["manifests"][0]["platform"] = json!({"os": "linux", "architecture": "\u{1b}[31m"})
        },
    ];
    for edit in edits {
        let index = Image::index(std::slice::from_ref(&own)).edited(edit);
        let registry = Scripted::new(|_, _| None).with("app", "all", &index);
        let home = Home::with_mirror("file:///nonexistent");
        pull(&home, &registry.reference("app:all")).fails(&[]);
        is_empty(&home);
    }
}

#[test]
fn all_platforms_come_together() {
    let index = Image::index(&[
        image("amd64"),
        image("arm64"),
        Image::attestation(),
        image("arm/v7"),
    ]);
    let registry = Scripted::new(|_, _| None).with("app", "all", &index);
    let home = Home::with_mirror("file:///nonexistent");
    pull_with(&home, &registry.reference("app:all"), &["--all-platforms"]).succeeds();
    assert_eq!(
        std::fs::read(blob_path(&home, &index.digest())).ok(),
        Some(index.bytes.clone())
    );
    // Those for other machines are unpacked when they are used.
    is_whole(&home, &image("amd64"));
    for platform in ["arm64", "arm/v7"] {
        let image = image(platform);
        for digest in [vec![image.digest()], image.layer_digests()].concat() {
            assert!(blob_path(&home, &digest).exists(), "{platform}: {digest}");
        }
    }
}
