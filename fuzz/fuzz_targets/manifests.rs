//! Manifests and indexes of registries: nothing panics, and what is read means itself when it is written again.
#![no_main]

use box_cache::Digest;
use box_registry::{Document, Parsed, artifact_type};

const TYPES: [&str; 7] = [
    "",
    "text/html",
    "application/json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json; charset=utf-8",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

fn read(bytes: Vec<u8>, content_type: &str) -> Option<(Document, Parsed)> {
    let digest = Digest::of(&bytes);
    let document = Document::new(bytes, content_type, digest).ok()?;
    let parsed = document.parse();
    if let Err(error) = &parsed {
        assert!(!error.to_string().contains('\n'));
    }
    Some((document, parsed.ok()?))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let content_type = TYPES[usize::from(*kind) % TYPES.len()];
    let Some((document, parsed)) = read(bytes.to_vec(), content_type) else {
        return;
    };
    let written = match &parsed {
        Parsed::Image(manifest) => {
            let _ = artifact_type(manifest);
            serde_json::to_vec(manifest)
        }
        Parsed::Index(index) => serde_json::to_vec(index),
    };
    let (_, again) = read(written.expect("JSON"), &document.media_type).expect("what was read");
    assert_eq!(format!("{again:?}").len(), format!("{parsed:?}").len());
});
