//! Damaged streams, and too much of everything.

use box_unpack::Limits;

use super::support::archive::{BLOCK, Tar, bzip2, gzip, xz, zstd};
use super::support::arena::{Arena, WAYS, Way};
use super::support::require_root;
use super::{assert_refused, fixed};

/// Bytes that no format can pack (xorshift).
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..count).map(|_| next()).collect()
}

/// A sound archive of two files.
fn good() -> Vec<u8> {
    Tar::new()
        .dir("d")
        .file("d/f", "x".repeat(3000))
        .file("g", "y".repeat(700))
        .end()
}

/// A sound archive that stays large when it is compressed.
fn large() -> Vec<u8> {
    let noise = noise(100_000);
    Tar::new().file("d", &noise).file("e", &noise).end()
}

/// Changes one bit of the byte so far from the end.
fn flip(mut packed: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = packed.len() - from_end;
    packed[at] ^= 0x40;
    packed
}

fn half(packed: Vec<u8>) -> Vec<u8> {
    packed[..packed.len() / 2].to_vec()
}

#[test]
fn damaged_archives() {
    assert_refused(
        vec![
            fixed("nothing", "empty", Vec::new()),
            fixed("text", "checksum", b"#!/bin/sh\nrm -rf /\n".repeat(100)),
            fixed(
                "cut in the first header",
                "has 100 bytes, less than one header",
                good()[..100].to_vec(),
            ),
            fixed(
                "cut in a later header",
                "ends here",
                good()[..BLOCK + 10].to_vec(),
            ),
            fixed(
                "cut in content",
                "\"d/f\" at byte 512: the archive ends here",
                good()[..2 * BLOCK + 100].to_vec(),
            ),
            fixed(
                "cut in padding",
                "ends here",
                good()[..2 * BLOCK + 3010].to_vec(),
            ),
            fixed(
                "cut behind an extended header",
                "not followed by an entry",
                Tar::new().pax(&[("mtime", "1")]).cut(),
            ),
            fixed(
                "lone zero block",
                "single block of zeros",
                Tar::new()
                    .file("x", "x")
                    .raw([0; BLOCK])
                    .file("y", "y")
                    .end(),
            ),
        ],
        &WAYS,
    );
}

#[test]
fn damaged_gzip() {
    assert_refused(
        vec![
            fixed(
                "gzip cut between entries",
                "truncated",
                gzip(&good()[..2 * BLOCK + 3072])[..60].to_vec(),
            ),
            fixed("gzip cut", "truncated", half(gzip(&large()))),
            fixed(
                "gzip cut in the trailer",
                "truncated",
                gzip(&good())[..gzip(&good()).len() - 2].to_vec(),
            ),
            fixed(
                "gzip checksum",
                "gzip stream is damaged",
                flip(gzip(&good()), 7),
            ),
            fixed(
                "gzip length",
                "gzip stream is damaged",
                flip(gzip(&good()), 2),
            ),
            fixed(
                "gzip and garbage",
                "neither another",
                [gzip(&good()), b"garbage".to_vec()].concat(),
            ),
            fixed(
                "gzip and half a member",
                "truncated",
                [gzip(&good()), gzip(&good())[..9].to_vec()].concat(),
            ),
            fixed(
                "gzip header alone",
                "truncated",
                gzip(&good())[..10].to_vec(),
            ),
            fixed(
                "gzip magic and garbage",
                "gzip stream is damaged",
                [&[0x1f, 0x8b][..], &[0xff; 600]].concat(),
            ),
        ],
        &WAYS,
    );
}

#[test]
fn damaged_bzip2_xz_and_zstd() {
    assert_refused(
        vec![
            fixed("bzip2 cut", "truncated", half(bzip2(&large()))),
            fixed(
                "bzip2 damaged",
                "bzip2 stream is damaged",
                flip(bzip2(&large()), 5000),
            ),
            fixed("xz cut", "truncated", half(xz(&large(), 0))),
            fixed(
                "xz damaged",
                "xz stream is damaged",
                flip(xz(&large(), 0), 5000),
            ),
            fixed("xz with a large dictionary", "xz stream", xz(&good(), 6)),
            fixed("zstd cut", "truncated", half(zstd(&large()))),
            fixed(
                "zstd damaged",
                "zstd stream is damaged",
                flip(zstd(&large()), 5000),
            ),
        ],
        &WAYS,
    );
}

#[test]
fn too_much() {
    let many = (0..1001).fold(Tar::new(), |tar, n| tar.fifo(format!("{n}")));
    let globals = (0..1001).fold(Tar::new(), |tar, _| tar.global(&[("comment", "x")]));
    let twice = Tar::new()
        .file("a", vec![0; 33 << 20])
        .file("b", vec![0; 33 << 20]);
    let trailing = || [Tar::new().file("a", "a").end(), vec![0; 65 << 20]].concat();
    assert_refused(
        vec![
            fixed("entries", "limit entries", many.end()),
            fixed("headers without entries", "limit entries", globals.end()),
            fixed("bytes", "limit bytes", twice.end()),
            fixed("zeros behind the end", "limit bytes", trailing()),
            fixed(
                "packed zeros behind the end",
                "limit bytes",
                gzip(&trailing()),
            ),
        ],
        &[Way::NewDirectory, Way::Layer],
    );
}

#[test]
fn a_bomb_stops_at_the_ratio() {
    require_root();
    let arena = Arena::new(Way::Layer);
    let bomb = zstd(&Tar::new().file("zeros", vec![0; 200 << 20]).end());
    let error = arena
        .unpack(&bomb, &Limits::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"zeros\" at byte 0: limit ratio exceeded"),
        "{error}"
    );
    arena.assert_untouched("bomb");
}
