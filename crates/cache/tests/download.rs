//! Downloads in flight, within one process and between several takers.
#![allow(clippy::unwrap_used, missing_docs)]

mod fixture;

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;

use box_cache::{Cache, Claim, Digest, Error, Expected, Origin, Partial, PartialKey};

fn claim(cache: &Cache, key: &PartialKey) -> Box<Partial> {
    match cache.partial(key, &mut |_| ControlFlow::Break(())).unwrap() {
        Claim::Partial(partial) => partial,
        Claim::Present(size) => panic!("the blob is there already, of {size} bytes"),
    }
}

fn expected(bytes: &[u8]) -> Expected {
    Expected {
        digest: Some(Digest::of(bytes)),
        size: Some(bytes.len() as u64),
    }
}

#[test]
fn a_download_is_continued_where_it_broke_off() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let key = PartialKey::Digest(Digest::of(b"hello world"));
    let origin = Origin {
        url: "https://m/x".to_owned(),
        etag: Some("\"1\"".to_owned()),
        ..Origin::default()
    };
    let mut first = claim(&cache, &key);
    first.set_origin(origin.clone()).unwrap();
    first.append(b"hello ").unwrap();
    drop(first);

    let mut second = claim(&cache, &key);
    assert_eq!((second.length(), second.origin()), (6, Some(&origin)));
    let mut replayed = Vec::new();
    second
        .replay(&mut |bytes| replayed.write_all(bytes))
        .unwrap();
    assert_eq!(replayed, b"hello ");
    drop(second);

    // Without a replay the bytes that are there are digested all the same.
    let mut third = claim(&cache, &key);
    third.append(b"world").unwrap();
    let hold = cache.hold().unwrap();
    let digest = third
        .commit(&cache, &hold, &expected(b"hello world"))
        .unwrap();
    let blob = cache.layout().blob(&digest);
    assert_eq!(fs::read(&blob).unwrap(), b"hello world");
    assert_eq!(
        fs::metadata(&blob).unwrap().permissions().mode() & 0o7777,
        0o444
    );
    assert_eq!(fs::read_dir(cache.layout().partial()).unwrap().count(), 0);
    assert!(matches!(
        cache
            .partial(&key, &mut |_| ControlFlow::Break(()))
            .unwrap(),
        Claim::Present(11)
    ));
}

#[test]
fn wrong_bytes_never_get_a_name_and_are_not_continued() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let hold = cache.hold().unwrap();
    let key = PartialKey::Digest(Digest::of(b"good"));
    for (bytes, right) in [
        (&b"evil"[..], b"good"),
        (b"good2", b"good"),
        (b"goo", b"good"),
    ] {
        let mut partial = claim(&cache, &key);
        assert_eq!(partial.length(), 0);
        partial.append(bytes).unwrap();
        let error = partial.commit(&cache, &hold, &expected(right)).unwrap_err();
        assert!(
            matches!(
                error,
                Error::DigestMismatch { .. } | Error::SizeMismatch { .. }
            ),
            "{error}"
        );
        assert_eq!(fs::read_dir(cache.layout().blobs()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(cache.layout().partial()).unwrap().count(), 0);
    }
}

#[test]
fn a_second_taker_watches_and_gets_the_blob() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let bytes = vec![7; 100_000];
    let key = PartialKey::Digest(Digest::of(&bytes));
    let mut first = claim(&cache, &key);
    let refused = cache.partial(&key, &mut |_| ControlFlow::Break(()));
    assert!(matches!(refused, Err(Error::Locked { .. })));
    std::thread::scope(|scope| {
        let (seen, see) = std::sync::mpsc::channel();
        let (cache, key) = (&cache, &key);
        let waiter = scope.spawn(move || {
            let watch = &mut |length| {
                seen.send(length).ok();
                ControlFlow::Continue(())
            };
            cache.partial(key, watch).unwrap()
        });
        assert_eq!(see.recv().unwrap(), 0);
        first.append(&bytes[..50_000]).unwrap();
        assert_eq!(see.iter().find(|length| *length > 0), Some(50_000));
        first.append(&bytes[50_000..]).unwrap();
        let hold = cache.hold().unwrap();
        first.commit(cache, &hold, &expected(&bytes)).unwrap();
        drop(see);
        assert!(matches!(waiter.join().unwrap(), Claim::Present(100_000)));
    });
}

#[test]
fn a_taker_that_dies_leaves_the_turn_and_the_bytes_to_the_next() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let key = PartialKey::Source("https://m/x".to_owned());
    claim(&cache, &key).append(b"abc").unwrap();
    let mut next = claim(&cache, &key);
    assert_eq!(next.length(), 3);
    next.restart().unwrap();
    next.append(b"xyz").unwrap();
    let hold = cache.hold().unwrap();
    assert_eq!(
        next.commit(&cache, &hold, &Expected::default()).unwrap(),
        Digest::of(b"xyz")
    );
}

#[test]
fn what_has_no_name_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let mut one = claim(&cache, &PartialKey::Anonymous);
    let mut two = claim(&cache, &PartialKey::Anonymous);
    one.append(b"1").unwrap();
    two.append(b"2").unwrap();
    drop(one);
    let hold = cache.hold().unwrap();
    assert_eq!(
        two.commit(&cache, &hold, &Expected::default()).unwrap(),
        Digest::of(b"2")
    );
    assert_eq!(fs::read_dir(cache.layout().partial()).unwrap().count(), 0);
}
