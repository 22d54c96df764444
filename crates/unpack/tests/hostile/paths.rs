//! Names, links and whiteouts that lead where they must not.

use box_unpack::Limits;

use super::support::archive::{Head, Tar};
use super::support::arena::{Arena, WAYS, Way};
use super::{assert_refused, bytes, case, fixed};

#[test]
fn names_that_lead_upwards() {
    assert_refused(
        vec![
            fixed(
                "parent",
                "\"..\" component",
                Tar::new().file("../x", "x").end(),
            ),
            fixed(
                "parent in the middle",
                "\"..\" component",
                Tar::new().dir("a").file("a/../../x", "x").end(),
            ),
            fixed(
                "parent at the end",
                "\"..\" component",
                Tar::new().dir("a/..").end(),
            ),
            fixed(
                "parent behind the root",
                "\"..\" component",
                Tar::new().file("/../../x", "x").end(),
            ),
            fixed(
                "parent as directory",
                "\"..\" component",
                Tar::new().head(Head::new(b'5', "..").mode(0o777)).end(),
            ),
            fixed(
                "parent in a PAX path",
                "\"..\" component",
                Tar::new().pax(&[("path", "../x")]).file("x", "x").end(),
            ),
            fixed(
                "parent in a GNU name",
                "\"..\" component",
                Tar::new().gnu_long(b'L', "../x").file("x", "x").end(),
            ),
            fixed(
                "parent in the prefix",
                "\"..\" component",
                Tar::new().head(Head::new(b'0', "x").prefix("..")).end(),
            ),
            fixed(
                "parent in a sparse name",
                "\"..\" component",
                Tar::new()
                    .pax(&[
                        ("GNU.sparse.name", "../x"),
                        ("GNU.sparse.realsize", "0"),
                        ("GNU.sparse.numblocks", "0"),
                    ])
                    .file("x", "")
                    .end(),
            ),
        ],
        &WAYS,
    );
}

#[test]
fn names_that_are_none() {
    assert_refused(
        vec![
            fixed(
                "no name",
                "the name is empty",
                Tar::new().file("", "x").end(),
            ),
            fixed(
                "NUL in a PAX path",
                "NUL",
                Tar::new().pax(&[("path", "a\0b")]).file("x", "x").end(),
            ),
            fixed(
                "long component",
                "255",
                Tar::new()
                    .pax(&[("path", "x".repeat(256))])
                    .file("x", "x")
                    .end(),
            ),
            fixed(
                "long path",
                "limit path",
                Tar::new()
                    .pax(&[("path", "x/".repeat(4000))])
                    .file("x", "x")
                    .end(),
            ),
            fixed(
                "deep path",
                "limit depth",
                Tar::new()
                    .pax(&[("path", "d/".repeat(2000))])
                    .dir("x")
                    .end(),
            ),
        ],
        &WAYS,
    );
}

#[test]
fn names_that_are_no_place_for_their_kind() {
    assert_refused(
        vec![
            fixed(
                "root as file",
                "root can only be a directory",
                Tar::new().file("./", "x").end(),
            ),
            fixed(
                "root as fifo",
                "root can only be a directory",
                Tar::new().fifo(".").end(),
            ),
            case("root as link", "root can only be a directory", |outside| {
                Tar::new().symlink("./", bytes(outside)).end()
            }),
            fixed(
                "file named as directory",
                "ends in",
                Tar::new().file("x/", "content").end(),
            ),
            fixed(
                "file as parent",
                "is not a directory",
                Tar::new().file("x", "x").file("x/y", "y").end(),
            ),
            fixed(
                "fifo as parent",
                "is not a directory",
                Tar::new().fifo("x").file("x/y", "y").end(),
            ),
            fixed(
                "device as parent",
                "is not a directory",
                Tar::new().char_device("x", 1, 3).file("x/y", "y").end(),
            ),
        ],
        &WAYS,
    );
}

#[test]
fn paths_through_links_to_the_outside() {
    assert_refused(
        vec![
            case(
                "file behind a link to the outside",
                "does not lead to a directory",
                |outside| {
                    Tar::new()
                        .symlink("l", bytes(outside))
                        .file("l/secret", "changed")
                        .end()
                },
            ),
            case(
                "directory behind a link to the outside",
                "does not lead to a directory",
                |outside| Tar::new().symlink("l", bytes(outside)).dir("l/new").end(),
            ),
            case(
                "file behind two links",
                "does not lead to a directory",
                |outside| {
                    Tar::new()
                        .symlink("a", bytes(outside))
                        .symlink("b", "a")
                        .file("b/secret", "x")
                        .end()
                },
            ),
            fixed(
                "file behind relative links upwards",
                "does not lead to a directory",
                Tar::new()
                    .symlink("l", "../../outside")
                    .file("l/secret", "x")
                    .end(),
            ),
            case(
                "link swapped in for a directory",
                "does not lead to a directory",
                |outside| {
                    Tar::new()
                        .dir("d")
                        .file("d/a", "a")
                        .symlink("d", bytes(outside))
                        .file("d/secret", "x")
                        .end()
                },
            ),
        ],
        &WAYS,
    );
}

#[test]
fn paths_through_circles_and_links_of_proc() {
    assert_refused(
        vec![
            fixed(
                "circle",
                "does not lead to a directory",
                Tar::new()
                    .symlink("a", "b")
                    .symlink("b", "a")
                    .file("a/x", "x")
                    .end(),
            ),
            fixed(
                "link to itself",
                "does not lead to a directory",
                Tar::new().symlink("a", "a").file("a/x", "x").end(),
            ),
            fixed(
                "link into proc",
                "does not lead to a directory",
                Tar::new()
                    .symlink("p", "/proc/self/root")
                    .file("p/tmp/x", "x")
                    .end(),
            ),
            fixed(
                "link to a descriptor",
                "does not lead to a directory",
                Tar::new()
                    .symlink("p", "/proc/self/fd/3")
                    .file("p/x", "x")
                    .end(),
            ),
        ],
        &WAYS,
    );
}

#[test]
fn hard_links() {
    assert_refused(
        vec![
            case(
                "hard link to the outside",
                "not in the archive before it",
                |outside| {
                    Tar::new()
                        .hard_link("h", bytes(&outside.join("secret")))
                        .end()
                },
            ),
            fixed(
                "hard link upwards",
                "\"..\" component",
                Tar::new().hard_link("h", "../outside/secret").end(),
            ),
            case(
                "hard link through a link",
                "not in the archive before it",
                |outside| {
                    Tar::new()
                        .symlink("l", bytes(outside))
                        .hard_link("h", "l/secret")
                        .end()
                },
            ),
            fixed(
                "hard link to nothing",
                "not in the archive before it",
                Tar::new().hard_link("h", "x").end(),
            ),
            fixed(
                "hard link to itself",
                "not in the archive before it",
                Tar::new().hard_link("h", "h").end(),
            ),
            fixed(
                "hard link to a directory",
                "is a directory",
                Tar::new().dir("d").hard_link("h", "d").end(),
            ),
            fixed(
                "hard link to the root",
                "is a directory",
                Tar::new().hard_link("h", "./").end(),
            ),
            fixed(
                "hard link without target",
                "no target",
                Tar::new().hard_link("h", "").end(),
            ),
            fixed(
                "hard link that replaces its target's directory",
                "not in the archive before it",
                Tar::new()
                    .dir("d")
                    .file("d/f", "f")
                    .hard_link("d", "d/f")
                    .end(),
            ),
        ],
        &WAYS,
    );
}

#[test]
fn targets_of_links() {
    assert_refused(
        vec![
            fixed(
                "link without target",
                "no target",
                Tar::new().symlink("l", "").end(),
            ),
            fixed(
                "link to NUL",
                "NUL",
                Tar::new()
                    .pax(&[("linkpath", "a\0b")])
                    .symlink("l", "x")
                    .end(),
            ),
            fixed(
                "link to a long target",
                "limit path",
                Tar::new().symlink("l", "x".repeat(5000)).end(),
            ),
        ],
        &WAYS,
    );
}

#[test]
fn detours() {
    // Each resolution takes 39 links of 800 components: for hours, were there entries as many as are allowed.
    let chain = (0..39).fold(Tar::new().dir("a"), |tar, n| {
        let next = if n < 38 {
            format!("l{}", n + 1)
        } else {
            "a".to_owned()
        };
        tar.gnu_long(b'K', format!("{}{next}", "a/../".repeat(400)))
            .symlink(format!("l{n}"), "x")
    });
    let archive = (0..3000)
        .fold(chain, |tar, n| tar.file(format!("l0/{n}/f"), ""))
        .end();
    let arena = Arena::new(Way::NewDirectory);
    let error = arena
        .unpack(&archive, &Limits::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("lead through symbolic links"), "{error}");
    arena.assert_untouched("detours");
}

#[test]
fn whiteouts_of_nothing() {
    assert_refused(
        vec![
            fixed(
                "whiteout of nothing",
                "whiteout",
                Tar::new().file(".wh.", "").end(),
            ),
            fixed(
                "whiteout of the directory itself",
                "whiteout",
                Tar::new().file("d/.wh..", "").end(),
            ),
            fixed(
                "whiteout of the parent",
                "whiteout",
                Tar::new().file("d/.wh...", "").end(),
            ),
            fixed(
                "whiteout of a whiteout",
                "whiteout",
                Tar::new().file(".wh..wh.x", "").end(),
            ),
            fixed(
                "whiteout as directory",
                "whiteout",
                Tar::new().dir(".wh.d").end(),
            ),
            fixed(
                "whiteout on the path",
                "whiteout",
                Tar::new().file(".wh.d/x", "").end(),
            ),
        ],
        &WAYS,
    );
}

#[test]
fn whiteouts_that_are_links_or_lie_behind_them() {
    assert_refused(
        vec![
            fixed(
                "whiteout as link",
                "whiteout",
                Tar::new().symlink(".wh.x", "/").end(),
            ),
            fixed(
                "whiteout as device",
                "whiteout",
                Tar::new().char_device(".wh.x", 0, 0).end(),
            ),
            fixed(
                "opaque as directory",
                "whiteout",
                Tar::new().dir(".wh..wh..opq").end(),
            ),
            case("whiteout behind a link", "symbolic link", |outside| {
                Tar::new()
                    .symlink("l", bytes(outside))
                    .file("l/.wh.secret", "")
                    .end()
            }),
            case("opaque behind a link", "symbolic link", |outside| {
                Tar::new()
                    .symlink("l", bytes(outside))
                    .file("l/.wh..wh..opq", "")
                    .end()
            }),
            fixed(
                "whiteout behind a link to a place inside",
                "symbolic link",
                Tar::new()
                    .file("d/below/secret", "")
                    .symlink("l", "d")
                    .file("l/below/.wh.secret", "")
                    .end(),
            ),
            fixed(
                "hard link to a whiteout",
                "whiteout",
                Tar::new().file(".wh.x", "").hard_link("h", ".wh.x").end(),
            ),
        ],
        &WAYS,
    );
    assert_refused(
        vec![fixed(
            "whiteout as the overlay's own",
            "0:0",
            Tar::new().char_device("x", 0, 0).end(),
        )],
        &[Way::Layer],
    );
}
