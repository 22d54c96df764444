//! Documents, and the answers that carry them.

use box_tests::Home;
use box_tests::registry::{Image, Layer, Scripted, digest, document, failure};
use box_tests::server::{Body, Response};
use serde_json::{Value, json};

use super::{is_empty, is_whole, pull, small};

/// How a registry answers a HEAD of a manifest: by what the right answer is.
type Head = fn(&str, &[u8]) -> Response;

#[test]
fn a_head_that_tells_nothing_is_followed_by_a_get() {
    let cases: &[(&str, Head)] = &[
        ("distribution/distribution#1485", |_, _| {
            Response::status(405)
        }),
        ("nicholas-fedor/watchtower#669", |_, _| {
            Response::status(404)
        }),
        ("carvel-dev/imgpkg#131", |_, _| Response::status(400)),
        ("merll/docker-registry-util#3", |_, _| Response::status(501)),
        ("crossplane/crossplane#3223", |_, _| Response::status(403)),
        ("containerd/containerd#3238", |kind, bytes| {
            Response::new(bytes).header("Content-Type", kind)
        }),
        ("distribution/distribution#2384", |_, bytes| {
            Response::new(bytes)
        }),
        ("containerd/containerd#7390", |_, bytes| {
            Response::new(bytes).header("Docker-Content-Digest", digest(bytes))
        }),
        ("yusing/godoxy#169", |kind, bytes| {
            document(kind, bytes).header("Content-Length", "0")
        }),
        ("oras-project/oras-go#1176", |kind, bytes| {
            document(kind, bytes).header("Content-Length", "12345")
        }),
        ("camallo/dkregistry-rs#82", |kind, bytes| {
            document(&format!("{kind}; charset=utf-8"), bytes)
        }),
        ("distribution/distribution#2475", |kind, bytes| {
            document(kind, bytes)
                .without_length()
                .header("Transfer-Encoding", "chunked")
        }),
        ("distribution/distribution#3792", |kind, bytes| {
            Response::new(bytes)
                .header("Content-Type", kind)
                .header("Docker-Content-Digest", "")
        }),
    ];
    for (report, head) in cases {
        let image = small();
        let (kind, bytes) = (image.media_type.clone(), image.bytes.clone());
        let head = *head;
        let registry = Scripted::new(move |request, _| {
            (request.method == "HEAD" && request.route().contains("/manifests/"))
                .then(|| head(&kind, &bytes))
        })
        .with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let outcome = pull(&home, &registry.reference("app:one"));
        assert_eq!(outcome.status, 0, "{report}: {}", outcome.stderr);
        is_whole(&home, &image);
    }
}

/// A digest as few registries know it.
fn sha512(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let hex: String = sha2::Sha512::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha512:{hex}")
}

#[test]
fn a_get_without_the_niceties_is_enough() {
    let cases: &[(&str, Head)] = &[
        ("camallo/dkregistry-rs#82", |kind, bytes| {
            document(&format!("{kind}; charset=utf-8"), bytes)
        }),
        ("camallo/dkregistry-rs#82", |kind, bytes| {
            document(&kind.to_uppercase(), bytes)
        }),
        ("distribution/distribution#3848", |kind, bytes| {
            Response::new(bytes).header("Content-Type", kind)
        }),
        ("oras-project/oras-go#882", |kind, bytes| {
            document(kind, bytes).without_length()
        }),
        ("moby/moby#48241", |kind, bytes| {
            Response::new(bytes)
                .header("Content-Type", kind)
                .header("Docker-Content-Digest", sha512(bytes))
        }),
    ];
    for (report, get) in cases {
        let image = small();
        let (kind, bytes) = (image.media_type.clone(), image.bytes.clone());
        let get = *get;
        let registry = Scripted::new(move |request, _| {
            request
                .route()
                .contains("/manifests/")
                .then(|| get(&kind, &bytes))
        })
        .with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let outcome = pull(&home, &registry.reference("app:one"));
        assert_eq!(outcome.status, 0, "{report}: {}", outcome.stderr);
        is_whole(&home, &image);
    }
}

/// Report, media type, document, and words of the error that box gives.
type Refused = (&'static str, String, Vec<u8>, &'static [&'static str]);

/// What nobody should take as the manifest of `image`: other documents.
fn no_manifests(image: &Image) -> Vec<Refused> {
    let own = &image.media_type;
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let old = "application/vnd.docker.distribution.manifest.v1+json";
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let schema1 =
        json!({"schemaVersion": 1, "name": "app", "tag": "one", "fsLayers": [], "history": []});
    let schema1 = schema1.to_string().into_bytes();
    let page = b"<!DOCTYPE html><html>Sign in</html>".to_vec();
    let case = |report, kind: &str, bytes: &[u8], words: &'static [&'static str]| -> Refused {
        (report, kind.to_owned(), bytes.to_vec(), words)
    };
    vec![
        case("moby/moby#19526", "text/html", &page, &["HTML"]),
        case("goharbor/harbor#23911", own, &page, &[]),
        case("golang/vulndb#257", docker, &image.bytes, &["the document"]),
        case(
            "google/go-containerregistry#411",
            signed,
            &schema1,
            &["schema 1"],
        ),
        case("moby/moby#44521", old, &schema1, &["schema 1"]),
        case("moby/moby#27568", own, b"{}", &[]),
        case("goharbor/harbor#7853", own, b"\x1f\x8b\x08not JSON", &[]),
    ]
}

/// A report, and how it makes a manifest wrong.
type Edit = (&'static str, fn(&mut Value));

/// What nobody should take as the manifest of `image`: members that make no sense.
fn wrong_members(image: &Image) -> Vec<Refused> {
    let edits: &[Edit] = &[
        ("containers/image#1409", |m| m["manifests"] = json!([])),
        ("quay/quay#3683", |m| m["layers"][0]["size"] = json!(-1)),
        ("moby/moby#48241", |m| {
            m["layers"][0]["digest"] = json!(format!("sha512:{}", "0".repeat(128)))
        }),
        ("opencontainers/distribution-spec#260", |m| {
            m["layers"][0]["digest"] = json!("sha256:../../etc/passwd")
        }),
        ("opencontainers/distribution-spec#260", |m| {
            m["layers"][0]["size"] = json!(u64::MAX)
        }),
        ("zarf-dev/zarf#1244", |m| {
            m["layers"] = json!([m["layers"][0], m["layers"][0]])
        }),
        ("moby/moby#27568", |m| m["config"] = Value::Null),
    ];
    let case = |(report, edit): &Edit| -> Refused {
        (
            *report,
            image.media_type.clone(),
            image.clone().edited(*edit).bytes,
            &[],
        )
    };
    edits.iter().map(case).collect()
}

#[test]
fn documents_that_nobody_should_take_are_refused_in_words() {
    let image = small();
    for (report, kind, bytes, words) in [no_manifests(&image), wrong_members(&image)].concat() {
        let served = bytes.clone();
        let registry = Scripted::new(move |request, _| {
            request
                .route()
                .ends_with("/manifests/one")
                .then(|| document(&kind, &served))
        })
        .with("app", "good", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let outcome = pull(&home, &registry.reference("app:one"));
        assert_eq!(outcome.status, 125, "{report}: {}", outcome.stderr);
        let outcome = outcome.fails(words);
        assert!(!outcome.stderr.contains('\u{1b}'));
        is_empty(&home);
    }
}

#[test]
fn a_digest_is_compared_with_what_came() {
    // distribution/distribution#4890: other bytes than the digest that was asked for.
    let image = small();
    let other = Image::alpine(0);
    let (kind, bytes) = (other.media_type.clone(), other.bytes.clone());
    let registry = Scripted::new(move |request, _| {
        request
            .route()
            .contains("/manifests/sha256:")
            .then(|| Response::new(bytes.clone()).header("Content-Type", kind.clone()))
    })
    .with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    let name = format!("{}@{}", registry.reference("app"), image.digest());
    pull(&home, &name).fails(&[]);
    is_empty(&home);
    // A digest header that the body does not have.
    let (kind, bytes) = (image.media_type.clone(), image.bytes.clone());
    let lie = other.digest();
    let registry = Scripted::new(move |request, _| {
        request.route().contains("/manifests/").then(|| {
            Response::new(bytes.clone())
                .header("Content-Type", kind.clone())
                .header("Docker-Content-Digest", lie.clone())
        })
    })
    .with("app", "one", &image);
    pull(&home, &registry.reference("app:one")).fails(&[]);
    is_empty(&home);
}

#[test]
fn a_manifest_of_nearly_four_megabytes_is_fine_and_an_endless_one_is_not() {
    // moby/buildkit#4916 (a limit of 1 MB) and opencontainers/distribution-spec#260.
    let padding = "x".repeat(3_900_000);
    let image = small().edited(|manifest| manifest["annotations"] = json!({"padding": padding}));
    let registry = Scripted::new(|_, _| None).with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:one")).succeeds();
    is_whole(&home, &image);
    // google/go-containerregistry#1711: as much as the memory takes.
    let kind = image.media_type.clone();
    let registry = Scripted::new(move |request, _| {
        (request.method == "GET" && request.route().contains("/manifests/")).then(|| {
            Response::with(200, Body::Zeros(1 << 40))
                .without_length()
                .header("Content-Type", kind.clone())
        })
    });
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:one")).fails(&[]);
    is_empty(&home);
}

#[test]
fn docker_and_oci_types_may_be_mixed() {
    let plain = small();
    let docker = small().docker();
    // imjasonh/kontain.me#222: docker's manifest, layers of OCI.
    let mixed = small().docker().edited(|manifest| {
        manifest["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip");
    });
    // passbolt/passbolt_docker#234: docker's list of OCI manifests.
    let mut list = Image::index(std::slice::from_ref(&plain)).edited(|index| {
        index["mediaType"] = json!("application/vnd.docker.distribution.manifest.list.v2+json");
    });
    list.media_type = "application/vnd.docker.distribution.manifest.list.v2+json".to_owned();
    // No media type in the document, as the first OCI images had it.
    let silent = small().edited(|manifest| {
        manifest.as_object_mut().unwrap().remove("mediaType");
    });
    for (image, inner) in [
        (docker.clone(), docker),
        (mixed.clone(), mixed),
        (list, plain),
        (silent.clone(), silent),
    ] {
        let registry = Scripted::new(|_, _| None).with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        pull(&home, &registry.reference("app:one")).succeeds();
        is_whole(&home, &inner);
    }
}

#[test]
fn images_without_layers_are_images() {
    // moby/moby#21222 and #27568: `null`, nothing, and an empty list.
    let none = Image::new(&[]);
    for image in [
        none.clone(),
        none.clone()
            .edited(|manifest| manifest["layers"] = Value::Null),
        none.clone().with_config(|config| {
            config["rootfs"]["diff_ids"] = Value::Null;
            config["history"] = Value::Null;
        }),
        none.with_config(|config| config["config"] = Value::Null),
    ] {
        let registry = Scripted::new(|_, _| None).with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        pull(&home, &registry.reference("app:one")).succeeds();
        let inspect = home
            .run(["inspect", &registry.reference("app:one")])
            .succeeds();
        assert!(inspect.text().contains(&image.digest()));
    }
}

#[test]
fn members_that_are_null_are_not_there() {
    // What Go's programs write for empty lists and maps (opencontainers/image-spec's own samples do).
    let image = Image::new(&[Layer::of(&[("etc/hello", b"hello\n")])])
        .with_config(|config| {
            for name in ["Entrypoint", "Volumes", "OnBuild", "Labels", "ExposedPorts"] {
                config["config"][name] = Value::Null;
            }
            config["history"] = Value::Null;
        })
        .edited(|manifest| manifest["annotations"] = Value::Null);
    let registry = Scripted::new(|_, _| None).with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    pull(&home, &registry.reference("app:one")).succeeds();
    is_whole(&home, &image);
}

#[test]
fn an_artifact_is_no_container() {
    // moby/moby#44367: told as `invalid rootfs in image configuration`.
    let config = b"{\"name\":\"chart\"}".to_vec();
    let chart = b"not a root file system".to_vec();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digest(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "digest": digest(&chart), "size": chart.len()}],
    });
    let image = Image::document(kind, manifest.to_string().into_bytes(), &[config, chart]);
    let registry = Scripted::new(|_, _| None).with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    let reference = registry.reference("app:one");
    home.run(["run", "--rm", &reference, "true"])
        .fails(&["artifact"]);
}

#[test]
fn limits_and_failures_of_the_server_are_told_in_words() {
    // containers/image#618: `Invalid status code`, and hub-feedback#2040.
    let home = Home::with_mirror("file:///nonexistent");
    let registry =
        Scripted::new(|_, _| Some(failure(429, "TOOMANYREQUESTS").header("Retry-After", "3600")));
    pull(&home, &registry.reference("app:one")).fails(&["429"]);
    assert!(
        registry.requests().len() <= 3,
        "it wants to be left alone for an hour"
    );
    // seqeralabs/wave#610: a limit is no missing repository.
    let registry =
        Scripted::new(|request, _| (request.route() != "/v2/").then(|| failure(403, "DENIED")));
    pull(&home, &registry.reference("app:one")).fails(&["denies", "said DENIED"]);
    let registry = Scripted::new(|_, _| None);
    pull(&home, &registry.reference("app:one")).fails(&["not found or private", &registry.host()]);
}

#[test]
fn a_busy_server_is_asked_again() {
    // GoogleContainerTools/jib#3042, CodesWhat/drydock#343.
    for (status, after) in [
        (429, Some("0")),
        (429, Some("Sun, 06 Nov 1994 08:49:37 GMT")),
        (503, None),
        (502, None),
        (500, None),
    ] {
        let image = small();
        let registry = Scripted::new(move |_, nth| {
            (nth == 0).then(|| match after {
                Some(after) => Response::status(status).header("Retry-After", after),
                None => Response::status(status),
            })
        })
        .with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let outcome = home.run(["pull", &registry.reference("app:one"), "--retries", "3"]);
        assert_eq!(outcome.status, 0, "{status} {after:?}: {}", outcome.stderr);
        is_whole(&home, &image);
    }
}

#[test]
fn the_limit_of_the_registry_is_shown_when_it_is_near() {
    let image = small();
    for (remaining, shown) in [
        ("3;w=21600", true),
        ("95;w=21600", false),
        ("nonsense", false),
    ] {
        let (kind, bytes) = (image.media_type.clone(), image.bytes.clone());
        let registry = Scripted::new(move |request, _| {
            request.route().contains("/manifests/").then(|| {
                document(&kind, &bytes)
                    .header("ratelimit-limit", "100;w=21600")
                    .header("ratelimit-remaining", remaining)
            })
        })
        .with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let outcome = pull(&home, &registry.reference("app:one")).succeeds();
        let told = outcome
            .stderr
            .lines()
            .filter(|line| line.contains("3 of 100") || line.contains("3 more"))
            .count();
        assert_eq!(told, usize::from(shown), "{remaining}: {}", outcome.stderr);
    }
}
