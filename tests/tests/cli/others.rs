//! Other users of the host: files that they put where box reads and writes have no effect.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use box_tests::{Home, Outcome, behind};

const OTHER: u32 = 12_345;

/// A directory of another user.
fn theirs(home: &Home) -> PathBuf {
    let dir = home.path().join("theirs");
    fs::create_dir(&dir).unwrap();
    chown(&dir, Some(OTHER), Some(OTHER)).unwrap();
    dir
}

fn in_directory(home: &Home, dir: &Path, args: &[&str]) -> Outcome {
    let mut command = home.command(args);
    command.current_dir(dir);
    Outcome::of(command, b"")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Writes a lock file in which `alpine:3.20` is Alpine 3.18.
fn lying_lock(home: &Home, path: &Path) {
    home.run(["lock", "alpine:3.18", "--lock", "true.lock"])
        .succeeds();
    let text = fs::read_to_string(home.path().join("true.lock")).unwrap();
    fs::write(path, text.replace("alpine:3.18", "alpine:3.20")).unwrap();
}

#[test]
fn a_lock_file_of_another_user_is_refused() {
    let home = Home::new();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    let (dir, mine) = (theirs(&home), home.path().join("mine"));
    fs::create_dir(&mine).unwrap();
    let lock = dir.join("box.lock");
    lying_lock(&home, &lock);
    let run = ["run", "--rm", "alpine:3.20", "cat", "/etc/alpine-release"];
    let refused = |at: &Path, words: &[&str]| {
        for verb in [
            &run[..],
            &["pull", "-q", "alpine:3.20"],
            &["unpack", "-q", "alpine:3.20", "tree"],
            &["lock"],
        ] {
            in_directory(&home, at, verb)
                .fails(&[&["cannot trust box.lock"], words].concat())
                .hints(&["--lock box.lock"]);
        }
    };
    // The file is root's, but whose directory it is can put another one there.
    refused(&dir, &["belongs to user 12345"]);
    chown(&lock, Some(OTHER), Some(OTHER)).unwrap();
    refused(&dir, &["cannot trust box.lock: it belongs to user 12345"]);
    // By way of a link, from a directory that is in order.
    symlink(&lock, mine.join("box.lock")).unwrap();
    refused(&mine, &["belongs to user 12345"]);
    fs::remove_file(mine.join("box.lock")).unwrap();
    // A link of theirs to a file that is in order.
    fs::rename(&lock, mine.join("good.lock")).unwrap();
    chown(mine.join("good.lock"), Some(0), Some(0)).unwrap();
    symlink("good.lock", mine.join("box.lock")).unwrap();
    std::os::unix::fs::lchown(mine.join("box.lock"), Some(OTHER), None).unwrap();
    refused(&mine, &["belongs to user 12345"]);
    fs::remove_file(mine.join("box.lock")).unwrap();
    // For all, or a group that is not ours, to write.
    let good = mine.join("box.lock");
    fs::rename(mine.join("good.lock"), &good).unwrap();
    fs::set_permissions(&good, fs::Permissions::from_mode(0o666)).unwrap();
    refused(&mine, &["is writable by everybody"]);
    chown(&good, None, Some(OTHER)).unwrap();
    fs::set_permissions(&good, fs::Permissions::from_mode(0o664)).unwrap();
    refused(&mine, &["is writable by group 12345"]);
    chown(&good, None, Some(0)).unwrap();
    fs::set_permissions(&mine, fs::Permissions::from_mode(0o777)).unwrap();
    refused(&mine, &["is writable by everybody"]);
    fs::set_permissions(&mine, fs::Permissions::from_mode(0o1777)).unwrap();
    let obeyed = in_directory(&home, &mine, &run).succeeds();
    assert!(obeyed.text().starts_with("3.18"), "{}", obeyed.text());
}

#[test]
fn a_lock_file_that_is_named_or_of_the_person_behind_sudo_is_obeyed() {
    let home = Home::new();
    let dir = theirs(&home);
    lying_lock(&home, &dir.join("box.lock"));
    chown(dir.join("box.lock"), Some(OTHER), Some(OTHER)).unwrap();
    fs::set_permissions(dir.join("box.lock"), fs::Permissions::from_mode(0o664)).unwrap();
    let run = ["run", "--rm", "alpine:3.20", "cat", "/etc/alpine-release"];
    let named = [
        "run",
        "--rm",
        "--lock",
        "box.lock",
        "alpine:3.20",
        "cat",
        "/etc/alpine-release",
    ];
    let obeyed = in_directory(&home, &dir, &named).succeeds();
    assert!(obeyed.text().starts_with("3.18"), "{}", obeyed.text());
    let behind_sudo = |uid: &str, gid: &str| {
        let mut command = home.command(run);
        command
            .current_dir(&dir)
            .env("SUDO_UID", uid)
            .env("SUDO_GID", gid);
        Outcome::of(command, b"")
    };
    let obeyed = behind_sudo("12345", "12345").succeeds();
    assert!(obeyed.text().starts_with("3.18"), "{}", obeyed.text());
    behind_sudo("12346", "12345").fails(&["belongs to user 12345"]);
    behind_sudo("12345", "7").fails(&["is writable by group 12345"]);
    // A pipe in its place keeps nobody waiting.
    fs::remove_file(dir.join("box.lock")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("box.lock"), 0o666.into()).unwrap();
    in_directory(&home, &dir, &run).fails(&["box.lock", "not a regular file"]);
}

#[test]
fn configuration_and_keys_of_another_user_are_refused() {
    let home = Home::new();
    let config = home.path().join("config");
    let keys = config.join("trusted-keys");
    fs::create_dir_all(&keys).unwrap();
    fs::write(config.join("config.toml"), "[pull]\nverify = 'off'\n").unwrap();
    home.run(["images"]).succeeds();
    chown(config.join("config.toml"), Some(OTHER), None).unwrap();
    home.run(["images"])
        .fails(&["cannot trust", "config.toml", "user 12345"]);
    fs::remove_file(config.join("config.toml")).unwrap();
    fs::write(keys.join("k.asc"), "no key").unwrap();
    chown(keys.join("k.asc"), Some(OTHER), None).unwrap();
    home.run(["pull", "alpine:3.20"])
        .fails(&["cannot trust", "k.asc", "user 12345"]);
    chown(keys.join("k.asc"), Some(0), None).unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o777)).unwrap();
    home.run(["pull", "alpine:3.20"])
        .fails(&["cannot trust", "k.asc", "is writable by everybody"]);
}

#[test]
fn a_root_directory_of_another_user_is_refused() {
    let home = Home::new();
    let dir = theirs(&home);
    for verb in [&["images"][..], &["pull", "-q", "alpine:3.20"], &["ps"]] {
        let root = dir.to_str().unwrap();
        let line = ["--root", root].into_iter().chain(verb.iter().copied());
        home.run(line)
            .fails(&[
                "the root directory",
                "belongs to user 12345, and this is user 0",
            ])
            .hints(&["--root DIR"]);
        let mut command = home.command(verb);
        command.env("BOX_RUN", &dir);
        Outcome::of(command, b"").fails(&["the run directory", "belongs to user 12345"]);
    }
    assert!(names(&dir).is_empty());
    // One in a directory of theirs is root's own, and shut; so is a cache there, which they may own.
    let below = dir.join("box");
    let cache = dir.join("cache");
    fs::create_dir(&cache).unwrap();
    chown(&cache, Some(OTHER), None).unwrap();
    home.run([
        "--root",
        below.to_str().unwrap(),
        "--cache",
        cache.to_str().unwrap(),
        "pull",
        "-q",
        "alpine:3.20",
    ])
    .succeeds();
    assert_eq!(fs::metadata(&below).unwrap().mode() & 0o7777, 0o700);
}

/// Creates links to a precious file under all names that a process with this pid might use, then executes box.
fn with_planted(home: &Home, dir: &Path, args: &[&str]) -> Outcome {
    let plant = "cd \"$PLANTED\" && for name in x.tar box.lock r.json; do for end in part tmp new; do \
         for n in \"$name.$$.$end\" \"$name.$end\" \".$name.$$\"; do ln -s ../precious \"$n\"; chown -h 12345 \"$n\"; done; done; done; \
         exec \"$@\"";
    let mut command = behind(plant, &home.command(args));
    command.env("PLANTED", dir).current_dir(dir);
    Outcome::of(command, b"")
}

#[test]
fn files_are_written_past_what_others_planted() {
    let home = Home::with_alpine();
    let precious = home.path().join("precious");
    for (number, args, name) in [
        (0, &["save", "alpine", "-o", "x.tar"][..], "x.tar"),
        (
            1,
            &["lock", "-q", "alpine", "--lock", "box.lock"],
            "box.lock",
        ),
        (
            2,
            &["run", "--rm", "--report", "r.json", "alpine", "true"],
            "r.json",
        ),
        (3, &["man", "."], "box.1"),
    ] {
        fs::write(&precious, "precious").unwrap();
        let dir = home.path().join(number.to_string());
        fs::create_dir(&dir).unwrap();
        chown(&dir, Some(OTHER), None).unwrap();
        with_planted(&home, &dir, args).succeeds();
        // The target itself, as a link of theirs and as a further name of the file.
        for link in [true, false] {
            fs::remove_file(dir.join(name)).unwrap();
            if link {
                symlink("../precious", dir.join(name)).unwrap();
                std::os::unix::fs::lchown(dir.join(name), Some(OTHER), None).unwrap();
            } else {
                fs::hard_link(&precious, dir.join(name)).unwrap();
            }
            // A lock file is read first: what is in there is not one.
            if name != "box.lock" {
                in_directory(&home, &dir, args).succeeds();
                assert!(
                    dir.join(name).symlink_metadata().unwrap().is_file(),
                    "{name}"
                );
            } else {
                in_directory(&home, &dir, args).fails(&["box.lock"]);
            }
            assert_eq!(fs::read(&precious).unwrap(), b"precious", "{name}");
        }
        fs::remove_file(dir.join(name)).unwrap();
        // A pipe of theirs keeps nobody waiting, and gets nothing.
        if number < 1 {
            rustix::fs::mkfifoat(rustix::fs::CWD, dir.join(name), 0o666.into()).unwrap();
            chown(dir.join(name), Some(OTHER), None).unwrap();
            in_directory(&home, &dir, args).fails(&["x.tar", "a pipe or socket of user 12345"]);
        }
    }
}

#[test]
fn an_archive_goes_where_its_name_leads() {
    let home = Home::with_alpine();
    let whole = home.run(["save", "alpine"]).succeeds().stdout;
    home.run(["save", "alpine", "-o", "new.tar"]).succeeds();
    let path = home.path().join("new.tar");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    // One that was opened to others on purpose stays so.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    home.run(["save", "alpine", "-o", "new.tar"]).succeeds();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
    // The caller's own link is followed.
    fs::create_dir(home.path().join("elsewhere")).unwrap();
    symlink("elsewhere/there.tar", home.path().join("link.tar")).unwrap();
    home.run(["save", "alpine", "-o", "link.tar"]).succeeds();
    assert!(home.path().join("link.tar").is_symlink());
    assert_eq!(
        fs::read(home.path().join("elsewhere/there.tar")).unwrap(),
        whole
    );
    assert_eq!(names(&home.path().join("elsewhere")), ["there.tar"]);
    // A name of an open file is written to in place, and stays as it is.
    let before = fs::symlink_metadata("/dev/stdout").unwrap().ino();
    for line in [
        "(echo first; box save alpine -o /dev/stdout) > out",
        "(echo first; box save alpine -o /dev/stdout) | cat > out",
        "(echo first; box save alpine -o /dev/fd/3 3>&1) | cat > out",
        "mkfifo pipe; cat pipe > out & echo first > pipe; wait; \
         cat pipe >> out & box save alpine -o pipe; wait; test -p pipe",
    ] {
        Outcome::of(home.shell(line), b"").succeeds();
        let out = fs::read(home.path().join("out")).unwrap();
        assert_eq!(out, [b"first\n", &whole[..]].concat(), "{line}");
    }
    assert_eq!(fs::symlink_metadata("/dev/stdout").unwrap().ino(), before);
    home.run(["save", "alpine", "-o", "/dev/null"]).succeeds();
    assert!(
        fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );
    for bad in ["elsewhere", "elsewhere/", "missing/x.tar", "new/"] {
        home.run(["save", "alpine", "-o", bad]).fails(&[bad]);
    }
}

#[test]
fn a_killed_save_leaves_nothing() {
    let home = Home::with_alpine();
    let dir = home.path().join("empty");
    fs::create_dir(&dir).unwrap();
    // Half an archive is written when the limit on the size of files ends it: SIGXFSZ, as hard as a kill.
    let line = "ulimit -f 512; exec box save alpine -o empty/x.tar";
    let outcome = Outcome::of(home.shell(line), b"");
    assert_ne!(outcome.status, 0, "{}", outcome.stderr);
    assert!(names(&dir).is_empty(), "{:?}", names(&dir));
    let mut command: Command = home.command(["save", "alpine", "-o", "empty/x.tar"]);
    let mut child = command.spawn().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        names(&dir).iter().all(|name| name == "x.tar"),
        "{:?}",
        names(&dir)
    );
}
