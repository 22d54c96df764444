//! A short, repeatable run of what `scripts/fuzz` does for hours: archives with bytes changed by chance.
#![allow(clippy::unwrap_used)]

#[path = "../../../fuzz/checks.rs"]
mod checks;
mod support;

use support::archive::{Head, Tar, bzip2, gzip, xz, zstd};
use support::require_root;

/// A generator whose numbers are the same in every run (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Archives that hold every type of entry and header.
fn seeds() -> Vec<Vec<u8>> {
    let all = Tar::new()
        .global(&[("comment", "x"), ("uid", "5")])
        .dir("d")
        .file("d/f", "content")
        .symlink("l", "../outside/secret")
        .symlink("m", "/outside")
        .hard_link("h", "d/f")
        .fifo("p")
        .char_device("n", 1, 3)
        .gnu_long(b'L', "d/long name")
        .file("x", "y".repeat(700))
        .pax(&[
            ("path", "d/../e"),
            ("mtime", "-1.5"),
            ("SCHILY.xattr.user.a", "b"),
        ])
        .file("x", "z")
        .file("d/.wh.f", "")
        .file("d/.wh..wh..opq", "");
    let swapped = Tar::new()
        .symlink("a", "../outside")
        .file("a/secret", "1")
        .dir("a")
        .file("a/secret", "2")
        .symlink("a", "/outside/link")
        .hard_link("b", "a")
        .file("b", "3");
    let map = [(0, 4), (1000, 4)];
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "100"),
    ];
    let sparse = Tar::new()
        .with(
            Head::new(b'S', "s").gnu_sparse(&map, false, 2000),
            "12345678",
        )
        .pax(&records)
        .file("t", [&b"1\n5\n8\n"[..], &[0; 506], b"12345678"].concat());
    vec![all.end(), swapped.end(), sparse.end()]
}

/// Some bytes changed, cut, doubled or moved, in the ways that headers are sensitive to.
fn changed(seed: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(data.len());
        match chance.below(7) {
            0 => data[at] ^= 1 << chance.below(8),
            1 => data[at] = b"\0/.0179xgLKS\xff\x80"[chance.below(14)],
            2 => {
                let block = at / 512 * 512;
                let field = [0, 100, 108, 124, 136, 156, 157, 257, 345][chance.below(9)];
                if let Some(byte) = data.get_mut(block + field) {
                    *byte = chance.below(256) as u8;
                }
            }
            3 => data.truncate(at.max(1)),
            4 => {
                let block = at / 512 * 512;
                let end = data.len().min(block + 512);
                let copied = data[block..end].to_vec();
                let to = chance.below(data.len()) / 512 * 512;
                data.splice(to..to, copied);
            }
            5 => {
                let text = [
                    &b"../"[..],
                    b"/",
                    b".wh.",
                    b"a/",
                    b"l/",
                    b"outside/secret\0",
                ][chance.below(6)];
                let end = data.len().min(at / 512 * 512 + text.len());
                let start = end - text.len().min(end);
                data[start..end].copy_from_slice(&text[..end - start]);
            }
            _ => {
                let end = data.len().min(at + chance.below(2000));
                data.drain(at..end);
                if data.is_empty() {
                    data.push(0);
                }
            }
        }
    }
    data
}

#[test]
fn changed_archives_change_nothing_outside() {
    require_root();
    let scratch = checks::Scratch::new();
    let seeds = seeds();
    let mut chance = Chance(0x5eed);
    for _ in 0..500 {
        let mut data = changed(&seeds[chance.below(seeds.len())], &mut chance);
        checks::mend_checksums(&mut data);
        scratch.archive(&data);
    }
}

#[test]
fn changed_headers_are_parsed_or_refused() {
    let seeds = seeds();
    let mut chance = Chance(0xca5e);
    for number in 0..20_000 {
        let mut data = changed(&seeds[chance.below(seeds.len())], &mut chance);
        checks::entries(&data);
        checks::mend_checksums(&mut data);
        checks::entries(&data);
        if number % 8 == 0 {
            checks::ends(&data);
        }
    }
}

#[test]
fn records_of_every_spelling_are_parsed_or_refused() {
    let seed = b"\0user.a%3Db=1\xff\x01user.a%3Db=MQ\xff\x02opaque=y\xff\x03opaque=eQ\xff\x04user::rw-\xff\x051.5\xff\x06x\xff\x07uid=5";
    let mut chance = Chance(0xa77);
    for _ in 0..5_000 {
        let mut data = seed.to_vec();
        // As many pieces as there are decide what is refused first.
        let from = chance.below(data.len());
        data.drain(..from);
        for _ in 0..chance.below(5) {
            let at = chance.below(data.len());
            data[at] = b"=%2356DduX.\0\n\xff\x01"[chance.below(15)];
        }
        checks::records(&data);
    }
}

#[test]
fn changed_streams_are_decoded_or_refused() {
    let plain = &seeds()[0];
    let packed = [gzip(plain), bzip2(plain), xz(plain, 0), zstd(plain)];
    let mut chance = Chance(0xdec0de);
    for _ in 0..2000 {
        checks::decoded(&changed(&packed[chance.below(packed.len())], &mut chance));
    }
}
