#![allow(clippy::unwrap_used)]
use super::*;

const CONFIG: &str = r#""config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#;

fn document(json: &str, content_type: &str) -> Result<Document, String> {
    let bytes = json.as_bytes().to_vec();
    let digest = Digest::of(&bytes);
    Document::new(bytes, content_type, digest).map_err(|cause| cause.to_string())
}

#[test]
fn the_server_and_the_document_must_agree() {
    let manifest = |own: &str| format!(r#"{{"schemaVersion":2,{own}{CONFIG},"layers":[]}}"#);
    let oci = format!(r#""mediaType":"{OCI_MANIFEST}","#);
    for (own, header, expected) in [
        ("", OCI_MANIFEST, OCI_MANIFEST),
        (
            "",
            "Application/VND.oci.image.manifest.v1+JSON; charset=utf-8",
            OCI_MANIFEST,
        ),
        ("", DOCKER_MANIFEST, DOCKER_MANIFEST),
        ("", "application/json", OCI_MANIFEST),
        ("", "", OCI_MANIFEST),
        (&oci, "text/plain; charset=utf-8", OCI_MANIFEST),
        (&oci, OCI_MANIFEST, OCI_MANIFEST),
    ] {
        let got = document(&manifest(own), header).unwrap();
        assert_eq!(got.media_type, expected, "{own} {header}");
        assert!(matches!(got.parse().unwrap(), Parsed::Image(_)));
    }
    for header in [DOCKER_MANIFEST, OCI_INDEX] {
        let why = document(&manifest(&oci), header).unwrap_err();
        assert!(
            why.contains("the server says that its media type is"),
            "{why}"
        );
    }
}

#[test]
fn documents_of_other_kinds_are_refused() {
    for (json, content_type, why) in [
        ("<html>", "text/html; charset=utf-8", "an HTML page"),
        ("<html>", OCI_MANIFEST, "not JSON"),
        ("[]", OCI_MANIFEST, "not a JSON object"),
        (r#"{"schemaVersion":3}"#, OCI_MANIFEST, "schemaVersion"),
        ("{}", OCI_MANIFEST, "schemaVersion"),
        (
            r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
            OCI_INDEX,
            "at once",
        ),
        (
            r#"{"schemaVersion":2,"manifests":[],"config":{}}"#,
            OCI_INDEX,
            "at once",
        ),
    ] {
        let got = document(json, content_type).unwrap_err();
        assert!(got.contains(why), "{json}: {got}");
    }
    let deep = format!("{}{}", r#"{"a":"#.repeat(1000), "}".repeat(1000));
    assert!(document(&deep, OCI_MANIFEST).is_err());
}

#[test]
fn null_is_an_empty_list() {
    let image = format!(r#"{{"schemaVersion":2,{CONFIG},"layers":null,"annotations":null}}"#);
    let Parsed::Image(image) = document(&image, OCI_MANIFEST).unwrap().parse().unwrap() else {
        panic!("not an image");
    };
    assert!(image.layers().is_empty());
    let index = r#"{"schemaVersion":2,"manifests":null}"#;
    let Parsed::Index(index) = document(index, DOCKER_LIST).unwrap().parse().unwrap() else {
        panic!("not an index");
    };
    assert!(index.manifests().is_empty());
}

#[test]
fn schema_1_has_an_error_of_its_own() {
    for (json, content_type) in [
        (r#"{"schemaVersion":1,"fsLayers":[]}"#, "application/json"),
        (
            r#"{"schemaVersion":1}"#,
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
        ),
    ] {
        let error = document(json, content_type).unwrap().parse().unwrap_err();
        assert!(matches!(error, Error::Schema1 { .. }), "{error}");
    }
}

#[test]
fn an_artifact_is_told_from_an_image() {
    let parse = |json: &str| match document(json, OCI_MANIFEST).unwrap().parse().unwrap() {
        Parsed::Image(manifest) => artifact_type(&manifest),
        Parsed::Index(_) => panic!("an index"),
    };
    let image = format!(r#"{{"schemaVersion":2,{CONFIG},"layers":[]}}"#);
    assert_eq!(parse(&image), None);
    let helm = image.replace("vnd.oci.image.config", "vnd.cncf.helm.config");
    assert_eq!(
        parse(&helm).unwrap(),
        "application/vnd.cncf.helm.config.v1+json"
    );
    let typed = helm.replace(r#""layers""#, r#""artifactType":"a/b","layers""#);
    assert_eq!(parse(&typed).unwrap(), "a/b");
}
