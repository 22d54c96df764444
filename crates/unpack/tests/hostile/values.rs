//! Attributes and numbers that no file can have.

use super::support::archive::{BLOCK, Head, Tar};
use super::support::arena::Way;
use super::{assert_refused, fixed};

/// A file with this extended attribute.
fn xattr(name: &str, value: &[u8]) -> Vec<u8> {
    Tar::new()
        .pax(&[(format!("SCHILY.xattr.{name}").as_bytes(), value)])
        .file("x", "x")
        .end()
}

#[test]
fn attributes_that_steer_the_overlay() {
    assert_refused(
        vec![
            fixed(
                "opaque",
                "control the overlay",
                xattr("trusted.overlay.opaque", b"y"),
            ),
            fixed(
                "redirect",
                "control the overlay",
                xattr("trusted.overlay.redirect", b"/etc"),
            ),
            fixed(
                "metacopy",
                "control the overlay",
                xattr("trusted.overlay.metacopy", b""),
            ),
            fixed(
                "nested",
                "control the overlay",
                xattr("trusted.overlay.overlay.opaque", b"y"),
            ),
            fixed(
                "unprivileged opaque",
                "control the overlay",
                xattr("user.overlay.opaque", b"y"),
            ),
            fixed(
                "unprivileged whiteout",
                "control the overlay",
                xattr("user.overlay.whiteout", b""),
            ),
            fixed(
                "fuse opaque",
                "control the overlay",
                xattr("user.fuseoverlayfs.opaque", b"y"),
            ),
            fixed(
                "owner override",
                "control the overlay",
                xattr("user.containers.override_stat", b"0:0:0755"),
            ),
            fixed(
                "opaque in libarchive's words",
                "control the overlay",
                Tar::new()
                    .pax(&[("LIBARCHIVE.xattr.trusted%2Eoverlay.opaque", "eQ")])
                    .dir("x")
                    .end(),
            ),
            fixed(
                "opaque for all",
                "control the overlay",
                Tar::new()
                    .global(&[("SCHILY.xattr.trusted.overlay.opaque", "y")])
                    .dir("x")
                    .end(),
            ),
        ],
        &[Way::NewDirectory, Way::Layer],
    );
}

#[test]
fn attributes_that_are_malformed() {
    let acl = |text: &str| {
        Tar::new()
            .pax(&[("SCHILY.acl.access", text)])
            .file("x", "x")
            .end()
    };
    assert_refused(
        vec![
            fixed(
                "no base64",
                "base64",
                Tar::new()
                    .pax(&[("LIBARCHIVE.xattr.user.x", "!")])
                    .dir("x")
                    .end(),
            ),
            fixed("large value", "65536", xattr("user.x", &vec![b'x'; 65537])),
            fixed(
                "long name",
                "does not accept this name",
                xattr(&format!("user.{}", "x".repeat(300)), b""),
            ),
            fixed(
                "malformed capability",
                "malformed",
                xattr("security.capability", b"nonsense"),
            ),
            fixed(
                "malformed list",
                "malformed",
                xattr("system.posix_acl_access", b"nonsense"),
            ),
            fixed(
                "list by name",
                "is not a number",
                acl("user::rw-,user:joe:rw-,group::r--,mask::rw-,other::r--"),
            ),
            fixed("list of nonsense", "access control list", acl("nonsense")),
            fixed("list without its base", "malformed", acl("user:5:rwx")),
        ],
        &[Way::NewDirectory, Way::Layer],
    );
}

fn head() -> Head {
    Head::new(b'0', "x")
}

/// A file with this extended header.
fn pax(key: &str, value: &str) -> Vec<u8> {
    Tar::new().pax(&[(key, value)]).file("x", "x").end()
}

#[test]
fn sizes() {
    let minus_one = [0xffu8; 12];
    let huge = [
        0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ];
    let beyond = [
        0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ];
    assert_refused(
        vec![
            fixed(
                "negative size",
                "size is negative",
                Tar::new().head(head().set(124, &minus_one)).end(),
            ),
            fixed(
                "size of 8 EiB",
                "limit bytes",
                Tar::new().head(head().set(124, &huge)).end(),
            ),
            fixed(
                "size beyond 64 bits",
                "size is",
                Tar::new().head(head().set(124, &beyond)).end(),
            ),
            fixed(
                "size of letters",
                "size is not a number",
                Tar::new().head(head().set(124, b"0000000000x\0")).end(),
            ),
            fixed(
                "size with a sign",
                "size is not a number",
                Tar::new().head(head().set(124, b"-0000000001\0")).end(),
            ),
            fixed("negative PAX size", "size is negative", pax("size", "-5")),
            fixed(
                "PAX size of letters",
                "size is not a number",
                pax("size", "5x"),
            ),
            fixed(
                "PAX size of 8 EiB",
                "limit bytes",
                pax("size", "9223372036854775807"),
            ),
            fixed(
                "PAX size beyond 64 bits",
                "size is",
                pax("size", "99999999999999999999"),
            ),
        ],
        &[Way::EmptyDirectory, Way::Layer],
    );
}

#[test]
fn owners_modes_times_and_devices() {
    assert_refused(
        vec![
            fixed(
                "owner that means none",
                "owner is",
                pax("uid", "4294967295"),
            ),
            fixed("negative owner", "owner is negative", pax("uid", "-2")),
            fixed("group beyond 32 bits", "group is", pax("gid", "4294967296")),
            fixed(
                "negative owner in the header",
                "owner is negative",
                Tar::new().head(head().set(108, &[0xff; 8])).end(),
            ),
            fixed(
                "mode of letters",
                "mode is not a number",
                Tar::new().head(head().set(100, b"rwxrwxr\0")).end(),
            ),
            fixed(
                "time of letters",
                "time is not a number",
                pax("mtime", "yesterday"),
            ),
            fixed(
                "time beyond 64 bits",
                "time is not a number",
                pax("mtime", "99999999999999999999.5"),
            ),
            fixed(
                "device beyond what Linux has",
                "device number is",
                Tar::new()
                    .pax(&[("SCHILY.devmajor", "4096")])
                    .char_device("x", 0, 0)
                    .end(),
            ),
        ],
        &[Way::EmptyDirectory, Way::Layer],
    );
}

#[test]
fn headers_of_no_known_kind() {
    assert_refused(
        vec![
            fixed(
                "checksum",
                "bad checksum",
                Tar::new().raw(flipped(&head().block())).end(),
            ),
            fixed(
                "checksum of letters",
                "checksum is not a number",
                Tar::new().raw(vec![b'x'; BLOCK]).end(),
            ),
            fixed(
                "unknown type",
                "of type \"Z\"",
                Tar::new().head(Head::new(b'Z', "x")).end(),
            ),
            fixed(
                "volume's continuation",
                "of type \"M\"",
                Tar::new().head(Head::new(b'M', "x")).end(),
            ),
        ],
        &[Way::EmptyDirectory, Way::Layer],
    );
}

fn flipped(block: &[u8; BLOCK]) -> Vec<u8> {
    let mut block = block.to_vec();
    block[0] ^= 1;
    block
}
