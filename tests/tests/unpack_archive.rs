//! `box unpack ARCHIVE DIR`: the extractor alone, as used on local archives.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use box_tests::process::{status, with_few_descriptors};
use box_tests::{Home, Mirror, Outcome};

/// A line for each path: the attributes that `find` prints, and the digest of the content.
fn listing(dir: &Path) -> String {
    let script = "find . -printf '%p %y %#m %U:%G %s %T@ %n %l\\n' | sed '/^\\. /d; / d /s/ [0-9]* \\([0-9.]* [0-9]*\\) $/ \\1/' | sort
        find . -type f -exec sha256sum {} + | sort
        getfattr --absolute-names -dhm - -R . 2>&1 | sort";
    let listed = Command::new("sh")
        .args(["-ec", script])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        listed.status.success(),
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    String::from_utf8_lossy(&listed.stdout).into_owned()
}

#[test]
fn a_real_tarball_unpacks_as_with_tar() {
    let home = Home::new();
    let tarball = Mirror::get().tarball("3.20.3");
    let (ours, theirs) = (home.path().join("ours"), home.path().join("theirs"));
    home.run(["unpack", tarball.to_str().unwrap(), ours.to_str().unwrap()])
        .succeeds();
    fs::create_dir(&theirs).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf"])
        .arg(&tarball)
        .arg("-C")
        .arg(&theirs);
    assert!(tar.status().unwrap().success());
    assert_eq!(listing(&ours), listing(&theirs));
}

#[test]
fn who_leaves_out_the_dot_and_slash_is_told() {
    let home = Home::new();
    fs::write(home.path().join("rootfs.tar.gz"), "").unwrap();
    home.run(["unpack", "rootfs.tar.gz", "here"])
        .fails(&["rootfs.tar.gz"])
        .hints(&["box unpack ./rootfs.tar.gz here"]);
}

#[test]
fn an_archive_of_every_compression_is_told_by_its_content() {
    let home = Home::new();
    fs::create_dir(home.path().join("tree")).unwrap();
    fs::write(home.path().join("tree/file"), "content").unwrap();
    for option in ["--gzip", "--zstd", "--xz", "--bzip2", "--no-auto-compress"] {
        // The name says nothing.
        let archive = home.path().join("archive.iso");
        let mut tar = Command::new("tar");
        tar.arg(option)
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(home.path().join("tree"))
            .arg("file");
        assert!(tar.status().unwrap().success());
        home.run(["unpack", "./archive.iso", option]).fails(&[]);
        let out = format!("out{option}");
        home.run(["unpack", "./archive.iso", &out]).succeeds();
        assert_eq!(
            fs::read_to_string(home.path().join(out).join("file")).unwrap(),
            "content"
        );
    }
}

#[test]
fn an_archive_is_complete_where_its_last_entry_ends() {
    let home = Home::with_alpine();
    let tree = home.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("a"), vec![b'a'; 700]).unwrap();
    fs::write(tree.join("b"), "").unwrap();
    let mut tar = Command::new("tar");
    tar.args(["-c", "-C"]).arg(&tree).args(["a", "b"]);
    let whole = Outcome::of(tar, b"").succeeds().stdout;
    let (header, a, b) = (512, 512 + 1024, 512 + 1024 + 512);
    home.run(["run", "-d", "--name", "c", "alpine", "sleep", "1000"])
        .succeeds();
    let pack = |program: &str, bytes: &[u8]| match program {
        "cat" => bytes.to_vec(),
        program => Outcome::of(Command::new(program), bytes).succeeds().stdout,
    };
    for program in ["cat", "gzip", "xz", "bzip2", "zstd"] {
        for (number, kept) in [a, b, b + 512, b + 1024].into_iter().enumerate() {
            let bytes = pack(program, &whole[..kept]);
            fs::write(home.path().join("archive"), &bytes).unwrap();
            let out = home.path().join(format!("{program}-{number}"));
            home.run(["unpack", "-q", "./archive", out.to_str().unwrap()])
                .succeeds();
            assert_eq!(fs::read(out.join("a")).unwrap(), vec![b'a'; 700]);
            assert_eq!(out.join("b").exists(), kept > a);
            home.run(["import", "-q", "archive", "imported:1"])
                .succeeds();
            home.run([
                "unpack",
                "-q",
                "imported:1",
                &format!("image-{program}-{number}"),
            ])
            .succeeds();
            home.run_with_stdin(["cp", "-", "c:/tmp"], &bytes)
                .succeeds();
        }
        for kept in [a + 100, a - 10, header + 100, header] {
            let bytes = pack(program, &whole[..kept]);
            fs::write(home.path().join("archive"), &bytes).unwrap();
            let ways = [
                vec!["unpack", "./archive", "cut"],
                vec!["import", "archive", "cut:1"],
            ];
            for way in ways {
                home.run(way).fails(&["bytes too early"]);
            }
            home.run_with_stdin(["cp", "-", "c:/tmp"], &bytes)
                .fails(&["bytes too early"]);
        }
        if program != "cat" {
            let bytes = pack(program, &whole[..b]);
            fs::write(home.path().join("archive"), &bytes[..bytes.len() - 3]).unwrap();
            home.run(["unpack", "./archive", "cut"])
                .fails(&["truncated"]);
        }
    }
    // Nothing at all is what a download or a pipe that failed leaves.
    for way in [["unpack", "./none", "cut"], ["import", "none", "cut:1"]] {
        fs::write(home.path().join("none"), "").unwrap();
        home.run(way).fails(&["empty"]);
    }
    home.run(["rm", "-f", "c"]).succeeds();
}

#[test]
fn a_damaged_archive_leaves_the_directory_as_it_was() {
    let home = Home::new();
    let whole = fs::read(Mirror::get().tarball("3.20.3")).unwrap();
    fs::write(home.path().join("cut.tar.gz"), &whole[..whole.len() / 2]).unwrap();
    let before = names(home.path());
    home.run(["unpack", "./cut.tar.gz", "new"]).fails(&[
        "archive entry",
        "at byte",
        "gzip stream is truncated",
    ]);
    assert_eq!(names(home.path()), before);
    let dir = home.path().join("empty");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o751)).unwrap();
    let before = fs::metadata(&dir).unwrap();
    home.run(["unpack", "./cut.tar.gz", "empty"])
        .fails(&["truncated"]);
    let after = fs::metadata(&dir).unwrap();
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    assert_eq!(
        (
            before.mode(),
            before.uid(),
            before.ino(),
            before.modified().unwrap()
        ),
        (
            after.mode(),
            after.uid(),
            after.ino(),
            after.modified().unwrap()
        )
    );
    home.run(["unpack", "./absent.tar.gz", "new"])
        .fails(&["absent.tar.gz"]);
    home.run(["unpack", "./empty", "new"]).fails(&["empty"]);
    fs::write(
        home.path().join("text"),
        "no archive at all, but text that is long enough to be one",
    )
    .unwrap();
    home.run(["unpack", "./text", "new"])
        .fails(&["archive header at byte 0"]);
}

#[test]
fn limits_are_set_by_name() {
    let home = Home::new();
    let tarball = Mirror::get().tarball("3.20.3");
    let tarball = tarball.to_str().unwrap();
    home.run(["unpack", "--limit", "entries=10", tarball, "dir"])
        .fails(&["limit entries exceeded: 11, the maximum is 10"]);
    home.run(["unpack", "--limit", "bytes=1M", tarball, "dir"])
        .fails(&["limit bytes exceeded"]);
    assert!(!home.path().join("dir").exists());
    home.run([
        "unpack",
        "--limit",
        "entries=10K",
        "--limit",
        "bytes=1G",
        tarball,
        "dir",
    ])
    .succeeds();
    assert!(home.path().join("dir/etc").is_dir());
}

#[test]
fn a_hostile_archive_reaches_nothing() {
    let home = Home::new();
    let outside = home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, "way out", &outside).unwrap();
    let mut file = tar::Header::new_gnu();
    file.set_size(7);
    file.set_mode(0o777);
    builder
        .append_data(&mut file, "way out/secret", &b"changed"[..])
        .unwrap();
    fs::write(
        home.path().join("hostile.tar"),
        builder.into_inner().unwrap(),
    )
    .unwrap();
    home.run(["unpack", "./hostile.tar", "dir"])
        .fails(&["way out", "does not lead to a directory"]);
    assert_eq!(
        fs::read_to_string(outside.join("secret")).unwrap(),
        "secret"
    );
    assert!(!home.path().join("dir").exists());
}

#[test]
fn an_interrupt_leaves_the_directory_as_it_was() {
    let home = Home::new();
    let dir = home.path().join("dir");
    fs::create_dir(&dir).unwrap();
    // An archive that never ends: box waits for more of it.
    let fifo = fifo(&home);
    for target in ["dir", "new"] {
        let mut child = home
            .command(["unpack", "./fifo", target])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut writer = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        let tarball = fs::read(Mirror::get().tarball("3.20.3")).unwrap();
        std::io::Write::write_all(&mut writer, &tarball[..tarball.len() / 2]).unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        drop(writer);
        assert!(!status.success());
        assert_eq!(
            names(home.path()),
            ["dir", "fifo"].map(str::to_owned).to_vec(),
            "{target}"
        );
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "{target}");
    }
}

#[test]
fn an_interrupt_counts_also_when_all_was_read() {
    let home = Home::new();
    // A kilobyte, and a hundred thousand directories: its end is read at once.
    let mut archive = tar::Builder::new(Vec::new());
    for n in 0..100 {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        let path = format!("{n}/{}file", "d/".repeat(1000));
        archive
            .append_data(&mut header, path, std::io::empty())
            .unwrap();
    }
    fs::write(home.path().join("deep.tar"), archive.into_inner().unwrap()).unwrap();
    let child = home
        .command(["unpack", "./deep.tar", "dir"])
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    // It has begun to make them.
    while !names(home.path()).iter().any(|n| n.contains("unpacking")) {
        assert!(child.try_wait().unwrap().is_none());
    }
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(names(home.path()), ["deep.tar"]);
}

#[test]
fn what_others_put_into_the_directory_meanwhile_stays() {
    let home = Home::new();
    let dir = home.path().join("dir");
    let fifo = fifo(&home);
    let mut archive = tar::Builder::new(Vec::new());
    for name in ["a", "b", "c"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        archive
            .append_data(&mut header, name, &b"ours"[..])
            .unwrap();
    }
    let archive = archive.into_inner().unwrap();
    // Broken off; and whole, with a file of the same name there meanwhile.
    for (length, name) in [(700, "mine"), (archive.len(), "b")] {
        fs::create_dir(&dir).unwrap();
        let mut child = home
            .command(["unpack", "./fifo", "dir"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut writer = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        while fs::read_dir(&dir).unwrap().count() == 0 {}
        fs::write(dir.join(name), "mine").unwrap();
        std::io::Write::write_all(&mut writer, &archive[..length]).unwrap();
        drop(writer);
        assert_eq!(child.wait().unwrap().code(), Some(125));
        assert_eq!(names(&dir), [name]);
        assert_eq!(fs::read_to_string(dir.join(name)).unwrap(), "mine");
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn no_thread_waits_for_room_for_its_descriptors() {
    let home = Home::new();
    let fifo = fifo(&home);
    let (mut shell, pid) = with_few_descriptors(&home.command(["unpack", "./fifo", "dir"]));
    // Open at both ends, and nothing comes: both threads are there, and no directory is open yet.
    let writer = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    while status(pid, "Threads") < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let room = status(pid, "FDSize");
    drop(writer);
    shell.wait().unwrap();
    assert!(
        room >= 256,
        "the table of descriptors has to grow beyond {room} while threads share it"
    );
}

/// A fifo in the home, for an archive that the test sends at its own pace.
fn fifo(home: &Home) -> PathBuf {
    let fifo = home.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    fifo
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.retain(|name| name != "root");
    names
}
