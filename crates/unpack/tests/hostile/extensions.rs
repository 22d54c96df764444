//! Extended headers and sparse maps that lie.

use super::support::archive::{BLOCK, Head, Tar, record};
use super::support::arena::Way;
use super::{assert_refused, fixed};

/// Records of attributes with these numbers and values so long.
fn attributes(numbers: std::ops::Range<usize>, length: usize) -> Vec<u8> {
    let value = "v".repeat(length);
    let one = |n| {
        record(
            format!("SCHILY.xattr.user.{n}").as_bytes(),
            value.as_bytes(),
        )
    };
    numbers.flat_map(one).collect()
}

#[test]
fn extended_headers() {
    let claims = |kind: u8| {
        Tar::new()
            .head(Head::new(kind, "x").size(1 << 30))
            .raw([0; 4 * BLOCK])
            .cut()
    };
    assert_refused(
        vec![
            fixed("PAX header of 1 GiB", "limit header", claims(b'x')),
            fixed("global header of 1 GiB", "limit header", claims(b'g')),
            fixed("long name of 1 GiB", "limit header", claims(b'L')),
            fixed("long link of 1 GiB", "limit header", claims(b'K')),
        ],
        &[Way::NewDirectory, Way::Layer],
    );
}

#[test]
fn records_of_extended_headers() {
    let text = |text: &[u8]| Tar::new().pax_text(b'x', text).file("x", "x").end();
    assert_refused(
        vec![
            fixed(
                "record beyond the header",
                "longer than the header",
                text(b"99 path=x\n"),
            ),
            fixed("record of length 0", "extended header", text(b"0 path=x\n")),
            fixed(
                "record without length",
                "extended header",
                text(b"path=x\n"),
            ),
            fixed(
                "record with an absurd length",
                "extended header",
                text(b"99999999999999999999 path=x\n"),
            ),
            fixed("record without end", "line feed", text(b"9 path=xyz")),
            fixed("record without value", "without", text(b"8 pathx\n")),
            fixed("record without key", "empty key", text(b"6 =xx\n")),
            fixed("records of zeros", "extended header", text(&[0; 100])),
        ],
        &[Way::NewDirectory, Way::Layer],
    );
}

#[test]
fn extended_headers_in_the_wrong_number_or_place() {
    let many = (0..9).fold(Tar::new(), |tar, _| tar.pax(&[("comment", "x")]));
    assert_refused(
        vec![
            fixed(
                "thousands of attributes",
                "extended attributes",
                Tar::new()
                    .pax_text(b'x', attributes(0..2000, 1))
                    .file("x", "x")
                    .end(),
            ),
            fixed(
                "attributes of several headers that add up",
                "extended attributes",
                (0..30)
                    .fold(Tar::new(), |tar, n| {
                        tar.pax_text(b'g', attributes(n..n + 1, 50_000))
                    })
                    .file("x", "x")
                    .end(),
            ),
            fixed(
                "path for all",
                "global header",
                Tar::new().global(&[("path", "x")]).file("y", "y").end(),
            ),
            fixed(
                "size for all",
                "global header",
                Tar::new().global(&[("size", "0")]).file("y", "y").end(),
            ),
            fixed(
                "header for nothing",
                "not followed by an entry",
                Tar::new().pax(&[("path", "x")]).end(),
            ),
            fixed(
                "long name for nothing",
                "not followed by an entry",
                Tar::new().gnu_long(b'L', "x").end(),
            ),
            fixed(
                "too many headers",
                "extended headers before one",
                many.file("x", "x").end(),
            ),
            fixed(
                "cut in a header",
                "ends here",
                Tar::new()
                    .head(Head::new(b'x', "x").size(600))
                    .raw(record(b"path", b"y"))
                    .cut(),
            ),
        ],
        &[Way::NewDirectory, Way::Layer],
    );
}

#[test]
fn sparse_files() {
    let old = |map: &[(u64, u64)], size: u64, content: &[u8]| {
        Tar::new()
            .with(Head::new(b'S', "x").gnu_sparse(map, false, size), content)
            .end()
    };
    let endless = (0..200).fold(
        Tar::new().head(Head::new(b'S', "x").gnu_sparse(&[], true, 10)),
        |tar, _| {
            let mut block = [0; BLOCK];
            block[504] = 1;
            tar.raw(block)
        },
    );
    assert_refused(
        vec![
            fixed(
                "overlap",
                "overlap",
                old(&[(0, 4), (2, 4)], 100, b"12345678"),
            ),
            fixed(
                "backwards",
                "out of order",
                old(&[(50, 4), (0, 4)], 100, b"12345678"),
            ),
            fixed(
                "past the end",
                "past the end",
                old(&[(0, 4), (98, 4)], 100, b"12345678"),
            ),
            fixed(
                "more than stored",
                "stored content",
                old(&[(0, 4), (50, 40)], 100, b"12345678"),
            ),
            fixed(
                "less than stored",
                "stored content",
                old(&[(0, 4)], 100, b"12345678"),
            ),
            fixed("endless map", "limit header", endless.cut()),
        ],
        &[Way::NewDirectory, Way::Layer],
    );
}

#[test]
fn sparse_files_of_pax() {
    let listed = |map: &str, size: &str| {
        Tar::new()
            .pax(&[("GNU.sparse.map", map), ("GNU.sparse.size", size)])
            .file("x", "12345678")
            .end()
    };
    let inside = |map: &[u8]| {
        let records = [
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.realsize", "100"),
        ];
        Tar::new()
            .pax(&records)
            .file("x", [map, &vec![0; BLOCK - map.len()]].concat())
            .end()
    };
    assert_refused(
        vec![
            fixed("odd list", "odd number", listed("0,4,10", "100")),
            fixed("list of letters", "not a number", listed("0,x", "100")),
            fixed("list of negatives", "not a number", listed("0,-8", "100")),
            fixed(
                "apparent size beyond the limit",
                "limit bytes",
                listed("0,8", "9223372036854775807"),
            ),
            fixed("map of letters", "not a number", inside(b"1\nx\n8\n")),
            fixed("map without end", "not a number", inside(&[b'1'; BLOCK])),
            fixed(
                "map longer than its content",
                "longer than the content",
                inside(&[b"400\n".as_slice(), &b"0\n".repeat(254)].concat()),
            ),
            fixed(
                "offset without length",
                "offset without a length",
                Tar::new()
                    .pax(&[("GNU.sparse.size", "9"), ("GNU.sparse.offset", "1")])
                    .file("x", "x")
                    .end(),
            ),
            fixed(
                "sparse directory",
                "not a regular file",
                Tar::new()
                    .pax(&[("GNU.sparse.size", "9"), ("GNU.sparse.map", "0,1")])
                    .dir("x")
                    .end(),
            ),
            fixed(
                "unknown version",
                "unknown version",
                Tar::new()
                    .pax(&[("GNU.sparse.major", "7"), ("GNU.sparse.minor", "0")])
                    .file("x", "x")
                    .end(),
            ),
        ],
        &[Way::NewDirectory, Way::Layer],
    );
}
