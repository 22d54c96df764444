//! What is in a layer, and what the documents say of it.

use std::fs;
use std::io::Write;

use box_tests::Home;
use box_tests::registry::{Image, Layer, Scripted, archive, digest};
use box_tests::server::{Response, Server};
use serde_json::json;

use super::{is_empty, is_whole, pull};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

#[test]
fn the_form_of_a_layer_is_seen_whatever_its_type_says() {
    let tar = archive(&[("etc/hello", b"hello\n")]);
    let gzip = Layer::gzip(&tar).blob;
    // Several members, as eStargz has them, and a frame that readers skip, as zstd:chunked has it at its end.
    let (first, second) = tar.split_at(512);
    let members = [Layer::gzip(first).blob, Layer::gzip(second).blob].concat();
    let mut chunked = Layer::zstd(&tar).blob;
    chunked.extend([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]);
    let cases = [
        ("opencontainers/umoci#220", Layer::plain(&tar)),
        ("opencontainers/image-tools#58", Layer::gzip(&tar)),
        ("octasoft-ltd/wsl-ui#131", Layer::zstd(&tar)),
        (
            "containerd/containerd#13662",
            Layer::new(gzip.clone(), TAR, &tar),
        ),
        (
            "ostreedev/ostree-rs-ext#102",
            Layer::new(tar.clone(), GZIP, &tar),
        ),
        (
            "octasoft-ltd/wsl-ui#131",
            Layer::zstd(&tar).media_type(GZIP),
        ),
        (
            "containerd/containerd#13662",
            Layer::new(gzip, "application/vnd.docker.image.rootfs.diff.tar", &tar),
        ),
        (
            "containers/storage#1771",
            Layer::new(chunked, "application/vnd.oci.image.layer.v1.tar+zstd", &tar),
        ),
        ("containers/storage#1771", Layer::new(members, GZIP, &tar)),
    ];
    for (report, layer) in cases {
        let image = Image::new(std::slice::from_ref(&layer));
        let registry = Scripted::new(|_, _| None).with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let outcome = pull(&home, &registry.reference("app:one"));
        assert_eq!(
            outcome.status, 0,
            "{report} {}: {}",
            layer.media_type, outcome.stderr
        );
        is_whole(&home, &image);
        let hex = layer.diff_id.trim_start_matches("sha256:");
        let file = home.root().join("layers").join(hex).join("etc/hello");
        assert_eq!(
            fs::read(file).ok().as_deref(),
            Some(&b"hello\n"[..]),
            "{report}"
        );
    }
}

#[test]
fn a_layer_that_is_not_what_the_config_says_is_refused() {
    let good = Layer::of(&[("a", b"a")]);
    let mut wrong = Layer::of(&[("b", b"b")]);
    wrong.diff_id = digest(b"something else");
    let image = Image::new(&[good.clone(), wrong.clone()]);
    let registry = Scripted::new(|_, _| None).with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    let actual = digest(&archive(&[("b", b"b")]));
    pull(&home, &registry.reference("app:one")).fails(&[&wrong.digest(), &wrong.diff_id, &actual]);
    is_empty(&home);
    // boxlite-ai/boxlite#772: fewer or more digests than layers, which some clients take as `nothing to compare`.
    for count in [0, 1, 3] {
        let image = Image::new(&[good.clone(), Layer::of(&[("b", b"b")])]).with_config(|config| {
            let own = digest(b"x");
            config["rootfs"]["diff_ids"] = (0..count).map(|_| json!(own)).collect();
        });
        let registry = Scripted::new(|_, _| None).with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        pull(&home, &registry.reference("app:one")).fails(&[]);
        is_empty(&home);
    }
    // Two layers in the wrong order.
    let (a, b) = (Layer::of(&[("a", b"a")]), Layer::of(&[("b", b"b")]));
    let image = Image::new(&[a, b]).with_config(|config| {
        config["rootfs"]["diff_ids"]
            .as_array_mut()
            .unwrap()
            .reverse();
    });
    let registry = Scripted::new(|_, _| None).with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:one")).fails(&[]);
    is_empty(&home);
}

/// Only one of two claims about the same bytes can be true, and the layer is fetched once.
#[test]
fn a_layer_that_comes_twice_cannot_be_two_trees() {
    let twice = Layer::of(&[("a", b"a")]);
    let image = Image::new(&[twice.clone(), twice.clone()]).with_config(|config| {
        config["rootfs"]["diff_ids"][1] = json!(digest(b"the tree of another image"));
    });
    let registry = Scripted::new(|_, _| None).with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:one")).fails(&[&twice.digest(), "two diff_ids"]);
    is_empty(&home);
}

#[test]
fn a_layer_that_comes_twice_is_fetched_once() {
    // containerd/containerd#3583 (waited for ever), hpc/charliecloud#1568, uber-archive/makisu#203,
    // confidential-containers/guest-components#76, jfrog/jenkins-artifactory-plugin#290.
    let twice = Layer::random("twice", 3, 500_000);
    let layers = [
        twice.clone(),
        Layer::of(&[("a", b"a")]),
        twice.clone(),
        twice.clone(),
    ];
    let image = Image::new(&layers);
    let registry = Scripted::new(|_, _| None).with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:one")).succeeds();
    is_whole(&home, &image);
    assert_eq!(registry.asked("GET", &twice.digest()).len(), 1);
    // The same files packed differently: two blobs, one tree.
    let tar = archive(&[("etc/hello", b"hello\n")]);
    let image = Image::new(&[Layer::plain(&tar), Layer::gzip(&tar), Layer::zstd(&tar)]);
    let registry = Scripted::new(|_, _| None).with("app", "one", &image);
    pull(&home, &registry.reference("app:one")).succeeds();
    is_whole(&home, &image);
}

#[test]
fn layers_of_nothing_are_layers() {
    // moby/buildkit#2198, regclient/regclient#610, spinframework/spin#1695, tianon's `zerobytes`: archives without entries, and a blob
    // without bytes.
    let empty = archive(&[]);
    for layer in [
        Layer::gzip(&empty),
        Layer::plain(&empty),
        Layer::zstd(&empty),
        Layer::new(Vec::new(), TAR, b""),
    ] {
        let image = Image::new(&[Layer::of(&[("a", b"a")]), layer.clone()]);
        let registry = Scripted::new(|_, _| None).with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let outcome = pull(&home, &registry.reference("app:one"));
        assert_eq!(
            outcome.status,
            0,
            "{} bytes: {}",
            layer.blob.len(),
            outcome.stderr
        );
        is_whole(&home, &image);
    }
}

#[test]
fn bytes_after_the_archive_belong_to_the_layer() {
    // distribution/distribution#2952: the digest is of everything, not of what a reader of archives looks at.
    let mut tar = archive(&[("etc/hello", b"hello\n")]);
    tar.extend(vec![0; 20_480]);
    let image = Image::new(&[Layer::gzip(&tar)]);
    let registry = Scripted::new(|_, _| None).with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:one")).succeeds();
    is_whole(&home, &image);
}

#[test]
fn a_foreign_layer_comes_from_where_its_publisher_has_it() {
    // moby/moby#22866, bazel-contrib/rules_oci#121, oras-project/oras-go#319.
    let layer = Layer::of(&[("etc/hello", b"hello\n")]);
    let blob = layer.blob.clone();
    let publisher = Server::new(move |request| match request.header("authorization") {
        None => Response::new(blob.clone()),
        Some(_) => Response::status(400),
    });
    let foreign = layer
        .clone()
        .media_type("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
        .with(
            "urls",
            json!([
                "http://127.0.0.1:1/gone",
                format!("{}/layer", publisher.url())
            ]),
        );
    let image = Image::new(&[Layer::of(&[("a", b"a")]), foreign]);
    let missing = layer.digest();
    let registry = Scripted::new(move |request, _| {
        request
            .route()
            .ends_with(&missing)
            .then(|| Response::status(404))
    })
    .with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:one")).succeeds();
    is_whole(&home, &image);
    assert_eq!(publisher.paths(), ["/layer"]);
    // The digest decides, and a local file is no publisher.
    let liar = Server::new(|_| Response::new("other bytes"));
    for url in [
        format!("{}/layer", liar.url()),
        "file:///etc/passwd".to_owned(),
        "not a url".to_owned(),
    ] {
        let foreign = layer
            .clone()
            .media_type("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
            .with("urls", json!([url]));
        let image = Image::new(&[foreign]);
        let missing = layer.digest();
        let registry = Scripted::new(move |request, _| {
            request
                .route()
                .ends_with(&missing)
                .then(|| Response::status(404))
        })
        .with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        pull(&home, &registry.reference("app:one")).fails(&[]);
        is_empty(&home);
    }
}

#[test]
fn sizes_are_compared() {
    // opencontainers/image-spec#781: a server that sends for ever is stopped by the size in the descriptor.
    let layer = Layer::random("big", 5, 300_000);
    for size in [1, 299_999, 10_000_000] {
        let image = Image::new(std::slice::from_ref(&layer)).edited(|manifest| {
            manifest["layers"][0]["size"] = json!(size);
        });
        let registry = Scripted::new(|_, _| None).with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        pull(&home, &registry.reference("app:one")).fails(&["size"]);
        is_empty(&home);
    }
}

#[test]
fn embedded_data_is_checked() {
    use base64::Engine as _;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let image = super::small();
    let config = image.blobs[&image.config_digest()].clone();
    let with = |data: String| {
        image
            .clone()
            .edited(|manifest| manifest["config"]["data"] = json!(data))
    };
    let good = with(encode(&config));
    let registry = Scripted::new(|_, _| None).with("app", "one", &good);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:one")).succeeds();
    is_whole(&home, &good);
    assert!(
        registry.asked("GET", &image.config_digest()).is_empty(),
        "it was in the manifest"
    );
    // Wrong data is never used: an error, or the blob itself.
    for data in [encode(b"{\"os\":\"evil\"}"), "***".to_owned()] {
        let bad = with(data);
        let registry = Scripted::new(|_, _| None).with("app", "one", &bad);
        let home = Home::with_mirror("file:///nonexistent");
        if pull(&home, &registry.reference("app:one")).status == 0 {
            is_whole(&home, &bad);
        } else {
            is_empty(&home);
        }
    }
}

#[test]
fn damaged_archives_are_no_image() {
    let tar = archive(&[("etc/hello", &[7; 100_000])]);
    let mut cut = Layer::gzip(&tar);
    cut.blob.truncate(cut.blob.len() / 2);
    let mut noise = Vec::new();
    noise.write_all(&[0x5a; 4096]).unwrap();
    for layer in [
        cut,
        Layer::new(noise.clone(), GZIP, &noise),
        Layer::new(b"<html>".to_vec(), TAR, b"<html>"),
    ] {
        let image = Image::new(&[layer]);
        let registry = Scripted::new(|_, _| None).with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        pull(&home, &registry.reference("app:one")).fails(&[]);
        is_empty(&home);
    }
}
