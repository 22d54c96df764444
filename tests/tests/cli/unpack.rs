//! `box unpack`.

use std::fs;

use box_tests::Home;

#[test]
fn an_image_becomes_plain_files() {
    let home = Home::new();
    let dir = home.path().join("plain");
    // Fetches what is missing, as run does.
    home.run(["unpack", "alpine:3.20", dir.to_str().unwrap()])
        .succeeds();
    assert_eq!(
        fs::read_to_string(dir.join("etc/alpine-release"))
            .unwrap()
            .trim(),
        "3.20.3"
    );
    assert!(
        fs::symlink_metadata(dir.join("bin/sh"))
            .unwrap()
            .file_type()
            .is_symlink()
    );
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    home.run(["unpack", "--offline", "alpine:3.20", "empty"])
        .succeeds();
    assert!(empty.join("bin").is_dir());
}

#[test]
fn a_directory_that_is_not_empty_stays_as_it_is() {
    let home = Home::with_alpine();
    let dir = home.path().join("full");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("mine"), "mine").unwrap();
    home.run(["unpack", "alpine", dir.to_str().unwrap()])
        .fails(&["full", "not empty"]);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(dir.join("mine")).unwrap(), "mine");
    fs::write(home.path().join("file"), "mine").unwrap();
    home.run(["unpack", "alpine", "file"]).fails(&["file"]);
    assert_eq!(
        fs::read_to_string(home.path().join("file")).unwrap(),
        "mine"
    );
}
