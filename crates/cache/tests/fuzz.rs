//! A short, repeatable run of what `scripts/fuzz` does for as long as wanted: seeds with a few bytes changed.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../fuzz/images.rs"]
mod images;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn image_archives_with_changed_bytes(
        seed in 0..3usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..4), 0..3usize), 0..4),
    ) {
        let mut data = images::seeds().swap_remove(seed);
        for (at, bytes, taken) in changes {
            let at = at.index(data.len());
            let end = (at + taken).min(data.len());
            data.splice(at..end, bytes);
        }
        let scratch = tempfile::tempdir().unwrap();
        images::load(&images::layout(&data), scratch.path());
    }

    #[test]
    fn names(text in "((index\\.)?docker\\.io|library|localhost|a\\.b|alpine|[a-z0-9._-]{1,4}|[:/@+]|sha256:|[0-9a-f]{64}|linux|amd64|arm|v[0-9]){1,7}") {
        images::references(&text);
    }
}

#[test]
fn the_seeds_are_images() {
    for seed in images::seeds() {
        let scratch = tempfile::tempdir().unwrap();
        images::load(&images::layout(&seed), scratch.path());
        let cache = box_cache::Cache::open_existing(scratch.path());
        let listed = cache.images().unwrap();
        let claims = seed.windows(7).any(|part| part == b"ba7816b");
        assert_eq!(listed.is_empty(), claims, "{listed:?}");
    }
}
