#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const SHA256: &str = "041fa34a81788242df9e78fa69b97ab45b8ec47ddbf88864755610414a7bf3de";

/// In the shape of the real file: folded descriptions, several flavors, fields unknown to us.
fn list() -> String {
    format!(
        r#"---
-
  title: "Standard"
  desc: "Alpine as it was intended.
    Just enough to get you started.
    Network connection is required."
  branch: v3.20
  arch: x86_64
  version: 3.20.3
  flavor: alpine-standard
  iso: alpine-standard-3.20.3-x86_64.iso
  size: 218103808
-
  title: "Mini root filesystem"
  desc: |
    Minimal root filesystem.
    For use in containers: "small"
  branch: v3.20
  arch: x86_64
  version: 3.20.3
  flavor: alpine-minirootfs
  file: alpine-minirootfs-3.20.3-x86_64.tar.gz
  iso: alpine-minirootfs-3.20.3-x86_64.tar.gz
  date: 2024-09-06
  time: 11:34:16
  size: 3490290
  sha256: {SHA256}
  sha512: {SHA256}{SHA256}
"#
    )
}

#[test]
fn the_minirootfs_is_found_among_the_flavors() {
    let found = parse(&list(), "x86_64").unwrap();
    assert_eq!(found.version.as_str(), "3.20.3");
    assert_eq!(found.branch.as_str(), "v3.20");
    assert_eq!(found.file, "alpine-minirootfs-3.20.3-x86_64.tar.gz");
    assert_eq!(found.size, Some(3_490_290));
    assert_eq!(found.sha256.to_string(), format!("sha256:{SHA256}"));
    assert_eq!(found.file, file_name(&found.version, "x86_64"));
}

#[test]
fn scalars_that_look_like_numbers_stay_text() {
    let digits = "1".repeat(62) + "e5";
    let text = list()
        .replace(&format!("sha256: {SHA256}"), &format!("sha256: {digits}"))
        .replace("version: 3.20.3", "version: 20240807")
        .replace("branch: v3.20", "branch: edge");
    let found = parse(&text, "x86_64").unwrap();
    assert_eq!(found.sha256.to_string(), format!("sha256:{digits}"));
    assert_eq!(found.version.as_str(), "20240807");
}

#[test]
fn wrong_lists_say_what_is_wrong() {
    let x = "x86_64";
    let file = "file: alpine-minirootfs-3.20.3-x86_64.tar.gz";
    for (text, why) in [
        ("<!DOCTYPE html>\n<html>".to_owned(), "got an HTML page"),
        (String::new(), "none is alpine-minirootfs"),
        ("a: b".to_owned(), "not a release list"),
        ("- {flavor: [".to_owned(), "not a release list"),
        (
            list().replace("alpine-minirootfs\n", "netboot\n"),
            "lists 2 flavors, none is",
        ),
        (list() + &list()[4..], "more than once"),
        (
            list().replace(x, "riscv64"),
            "arch of alpine-minirootfs is `riscv64`, expected x86_64",
        ),
        (
            list().replace("size: 3490290", "size: -1"),
            "not a release list",
        ),
        (list().replace("size: 3490290", "size: 0"), "has no size"),
        (
            list().replace(file, "file: ../../etc/passwd"),
            "expected a plain file name",
        ),
        (
            list().replace(file, "file: .hidden"),
            "expected a plain file name",
        ),
        (
            list().replace("version: 3.20.3", "version: \"3\\e[31m\""),
            "version of alpine-minirootfs is `3\\u{1b}[31m`",
        ),
        (
            list().replace("branch: v3.20", "branch: latest-stable"),
            "branch of alpine-minirootfs is",
        ),
        (
            list().replace(&format!("sha256: {SHA256}"), "sha256: abc"),
            "sha256 of alpine-minirootfs is `abc`",
        ),
        (
            list().replace("  sha512:", "  other:"),
            "alpine-minirootfs has no sha512",
        ),
    ] {
        let error = parse(&text, x).unwrap_err();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn documents_that_grow_when_read_are_refused() {
    let mut bomb = String::from("- &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for n in 1..30 {
        let alias = format!("*a{},", n - 1).repeat(10);
        bomb += &format!("- &a{n} [{}]\n", alias.trim_end_matches(','));
    }
    assert!(parse(&bomb, "x86_64").is_err());
    assert!(parse(&"[".repeat(500_000), "x86_64").is_err());
    assert!(parse(&"- ".repeat(500_000), "x86_64").is_err());
}

proptest! {
    #[test]
    fn any_text_gives_an_answer(cut in 0usize..1200, junk in "\\PC{0,40}", at in 0usize..1200) {
        let text = list();
        let cut = text.floor_char_boundary(cut);
        let _ = parse(&text[..cut], "x86_64");
        let at = text.floor_char_boundary(at);
        let error = parse(&format!("{}{junk}{}", &text[..at], &text[at..]), "x86_64");
        if let Err(error) = error {
            prop_assert!(!error.chars().any(char::is_control), "{error:?}");
        }
    }
}
