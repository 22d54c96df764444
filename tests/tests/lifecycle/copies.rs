//! What `box cp` does where something is in the way, is a mount, has holes, or is not there any more.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::{Command, Stdio};

use box_tests::{Home, Outcome};

use crate::with_web;

fn sh(home: &Home, script: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(home.path());
    Outcome::of(command, b"").succeeds().text().to_owned()
}

fn list(archive: &[u8]) -> String {
    let mut tar = Command::new("tar");
    tar.arg("tv");
    Outcome::of(tar, archive).succeeds().text().to_owned()
}

#[test]
fn nothing_on_the_host_takes_the_place_of_a_device_a_pipe_or_a_socket() {
    let home = with_web();
    sh(
        &home,
        "mknod null c 1 3; mknod disk b 7 99; mkfifo pipe; ln -s null to-null; mkdir -p d/sub; mkfifo d/sub/passwd; mkfifo d/passwd",
    );
    let _socket = std::os::unix::net::UnixListener::bind(home.path().join("socket")).unwrap();
    let kind = |name: &str| {
        fs::symlink_metadata(home.path().join(name))
            .unwrap()
            .file_type()
    };
    // Named, a device or pipe of the host is written to, as with cp(1), by its link too.
    home.run(["cp", "web:/etc/passwd", "null"]).succeeds();
    home.run(["cp", "web:/etc/passwd", "to-null"]).succeeds();
    let reader = Command::new("cat")
        .arg("pipe")
        .current_dir(home.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    home.run(["cp", "web:/etc/passwd", "pipe"]).succeeds();
    let piped = reader.wait_with_output().unwrap().stdout;
    assert!(piped.starts_with(b"root:x:0"), "{piped:?}");
    let shown = home
        .run(["cp", "web:/etc/passwd", "/dev/stdout"])
        .succeeds();
    assert!(shown.text().starts_with("root:x:0"));
    home.run(["cp", "web:/etc/passwd", "disk"])
        .fails(&["cannot copy to disk", "block device"]);
    home.run(["cp", "web:/etc/passwd", "socket"])
        .fails(&["socket", "it is a socket"]);
    home.run(["cp", "web:/etc", "null"]).fails(&["null"]);
    // Under a name that the container chose it is not.
    home.run(["cp", "web:/etc/passwd", "d"])
        .fails(&["d/passwd", "it is a pipe"]);
    home.run([
        "exec",
        "web",
        "sh",
        "-c",
        "mkdir /tmp/sub; cp /etc/passwd /tmp/sub/",
    ])
    .succeeds();
    home.run(["cp", "web:/tmp/.", "d"])
        .fails(&["d/sub/passwd", "it is a pipe"]);
    assert!(kind("null").is_char_device() && kind("disk").is_block_device());
    assert!(kind("pipe").is_fifo() && kind("socket").is_socket());
    assert!(kind("d/passwd").is_fifo() && kind("d/sub/passwd").is_fifo());
    home.run(["rm", "-f", "web"]).succeeds();
}

#[test]
fn nothing_in_a_container_takes_the_place_of_a_device_or_a_pipe() {
    let home = with_web();
    let make = "mkfifo /tmp/pipe; ln -s /dev/null /tmp/link; mkdir -p /srv/d; mkfifo /srv/d/file; ln -s ../tmp/pipe /srv/link";
    home.run(["exec", "web", "sh", "-c", make]).succeeds();
    fs::write(home.path().join("file"), "x").unwrap();
    for to in [
        "/dev/null",
        "/tmp/pipe",
        "/tmp/link",
        "/srv/link",
        "/srv/d",
        "/dev/full",
    ] {
        let to = format!("web:{to}");
        home.run(["cp", "file", &to])
            .fails(&["cannot copy to web:", "it is a"]);
    }
    let mut tar = Command::new("tar");
    tar.args(["c", "file"]).current_dir(home.path());
    let archive = Outcome::of(tar, b"").succeeds().stdout;
    home.run_with_stdin(["cp", "-", "web:/srv/d"], &archive)
        .fails(&["web:/srv/d/file"]);
    let look = "test -c /dev/null -a -p /tmp/pipe -a -p /srv/d/file -a -L /tmp/link";
    home.run(["exec", "web", "sh", "-c", look]).succeeds();
    // A pipe over a pipe is no change.
    sh(&home, "mkfifo pipe");
    home.run(["cp", "web:/tmp/pipe", "."]).succeeds();
    home.run(["cp", "web:/dev/null", "x"])
        .fails(&["web:/dev/null", "--archive"]);
    home.run(["rm", "-f", "web"]).succeeds();
}

#[test]
fn a_file_needs_a_directory_that_is_there() {
    let home = with_web();
    fs::write(home.path().join("file"), "x").unwrap();
    fs::create_dir_all(home.path().join("dir/in")).unwrap();
    for stopped in [false, true] {
        if stopped {
            home.run(["stop", "web"]).succeeds();
        }
        for to in [
            "/missing/",
            "/missing/.",
            "/missing/..",
            "/missing/x",
            "/etc/passwd/",
            "/etc/passwd/.",
        ] {
            home.run(["cp", "file", &format!("web:{to}")])
                .fails(&["web:/"]);
            let host = format!("{}{to}", home.path().display());
            home.run(["cp", "web:/etc/passwd", &host])
                .fails(&["directory"]);
        }
        home.run(["cp", "dir", "web:/etc/passwd"])
            .fails(&["not a directory"]);
        home.run(["cp", "web:/etc", "file"])
            .fails(&["not a directory"]);
        home.run(["cp", "file", "web:/etc/passwd/x"])
            .fails(&["not a directory"]);
        home.run(["cp", "web:/etc/passwd/.", "x"])
            .fails(&["not a directory"]);
        // A directory may be new, whatever its path ends with.
        let to = format!("web:/new{stopped}/.");
        home.run(["cp", "dir", &to]).succeeds();
        home.run(["cp", &to, "out"]).succeeds();
        assert!(home.path().join("out/in").is_dir());
    }
    home.run(["rm", "web"]).succeeds();
    assert!(!home.path().join("missing").exists());
}

#[test]
fn all_of_a_running_container_is_copied_but_the_kernels_view_of_itself() {
    let home = with_web();
    let work = "while :; do touch /tmp/f$n; rm /tmp/f$n; mkdir -p /tmp/d/e; rm -r /tmp/d; n=$((n+1)); done";
    home.run(["exec", "-d", "web", "sh", "-c", work]).succeeds();
    fs::create_dir(home.path().join("all")).unwrap();
    for to in ["all", "new"] {
        home.run(["cp", "web:/", to]).succeeds();
        let at = |path: &str| home.path().join(to).join(path);
        assert_eq!(fs::read_dir(at("proc")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(at("sys")).unwrap().count(), 0);
        assert!(at("etc/passwd").is_file() && at("bin/busybox").is_file());
        assert!(
            fs::read_to_string(at("etc/hosts"))
                .unwrap()
                .contains("localhost")
        );
    }
    let archive = home.run(["cp", "web:/", "-"]).succeeds().stdout;
    let listed = list(&archive);
    assert!(listed.contains(" ./etc/passwd\n") && listed.contains(" ./proc/\n"));
    assert!(!listed.contains("./proc/1") && !listed.contains("./sys/kernel"));
    // A file of the kernel's has no size, and is copied all the same; a directory is refused.
    home.run(["cp", "web:/proc/version", "version"]).succeeds();
    assert!(
        fs::read_to_string(home.path().join("version"))
            .unwrap()
            .starts_with("Linux")
    );
    let archive = home.run(["cp", "web:/proc/version", "-"]).succeeds().stdout;
    assert!(String::from_utf8_lossy(&archive).contains("Linux version"));
    home.run(["cp", "web:/proc", "x"])
        .fails(&["cannot copy web:/proc", "kernel"]);
    home.run(["cp", "web:/sys/kernel", "-"])
        .fails(&["cannot copy web:/sys/kernel"]);
    home.run(["rm", "-f", "web"]).succeeds();
}

#[test]
fn a_stopped_container_shows_its_volumes_and_what_is_gone_is_told() {
    let home = Home::with_alpine();
    sh(
        &home,
        "mkdir -p vol/sub ro lost; echo content >one; echo inside >vol/sub/two; echo x >lost/x; echo y >lostfile; echo kept >ro/kept",
    );
    let volume = |what: &str| format!("{}/{what}", home.path().display());
    let flags = [
        volume("one:/mnt/one"),
        volume("vol:/vol"),
        volume("ro:/ro:ro"),
        volume("lost:/lost"),
        volume("lostfile:/etc/lost"),
    ];
    let mut args = vec!["run", "--name", "s", "--tmpfs", "/scratch"];
    for flag in &flags {
        args.extend(["-v", flag]);
    }
    args.extend([
        "alpine",
        "sh",
        "-c",
        "echo t >/scratch/t; echo 10.1.2.3 other >>/etc/hosts",
    ]);
    home.run(args).succeeds();
    let read = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
    home.run(["cp", "s:/mnt/one", "out"]).succeeds();
    assert_eq!(read("out"), "content\n");
    home.run(["cp", "s:/etc/hosts", "out"]).succeeds();
    assert!(read("out").contains("localhost"));
    home.run(["cp", "s:/etc/resolv.conf", "resolv"]).succeeds();
    home.run(["cp", "s:/vol/sub/two", "out"]).succeeds();
    assert_eq!(read("out"), "inside\n");
    // Inward the volume gets it, unless that is read-only.
    home.run(["cp", "one", "s:/vol/sub/"]).succeeds();
    home.run(["cp", "resolv", "s:/mnt/one"]).succeeds();
    assert_eq!(
        (read("vol/sub/one"), read("one")),
        ("content\n".into(), read("resolv"))
    );
    home.run(["cp", "one", "s:/ro/"])
        .fails(&["s:/ro/one", "read-only file system"]);
    // What is gone is told, both ways; what was in memory too.
    sh(&home, "rm -r lost lostfile");
    for path in ["s:/lost", "s:/lost/x", "s:/etc/lost"] {
        home.run(["cp", path, "out"])
            .fails(&["cannot", path, "mount point", "no such file"]);
        home.run(["cp", "one", path])
            .fails(&["cannot reach s:/", "mount point", "no such file"]);
    }
    for path in ["s:/scratch/t", "s:/scratch", "s:/proc/version", "s:/dev/x"] {
        home.run(["cp", "one", path])
            .fails(&["cannot reach s:/", "while the container runs"]);
        home.run(["cp", path, "out"])
            .fails(&["cannot", path, "while the container runs"]);
    }
    let all = home.run(["cp", "s:/", "all"]).succeeds();
    let warned = all.stderr.clone();
    assert_eq!(warned.matches("skipped: ").count(), 2, "{warned}");
    assert!(warned.contains("/lost is a mount point") && warned.contains("/etc/lost is"));
    assert_eq!(read("all/vol/sub/two"), "inside\n");
    assert!(!home.path().join("all/etc/lost").exists());
    assert_eq!(
        fs::read_dir(home.path().join("all/proc")).unwrap().count(),
        0
    );
    home.run(["rm", "s"]).succeeds();
}

#[test]
fn holes_stay_holes() {
    let home = Home::with_alpine();
    sh(
        &home,
        "echo begin >mine; truncate -s 64M mine; echo end >>mine; truncate -s 128M mine",
    );
    let used = |name: &str| fs::metadata(home.path().join(name)).unwrap().blocks() * 512;
    let same = |name: &str| sh(&home, &format!("cmp mine {name} && echo same"));
    for storage in ["overlay", "copy"] {
        let script = "echo begin >/holes; truncate -s 64M /holes; echo end >>/holes; truncate -s 128M /holes; truncate -s 10000G /large";
        home.run([
            "run",
            "--name",
            storage,
            "--storage",
            storage,
            "alpine",
            "sh",
            "-c",
            script,
        ])
        .succeeds();
        let at = |path: &str| format!("{storage}:{path}");
        home.run(["cp", &at("/holes"), "out"]).succeeds();
        assert!(used("out") < 1 << 20, "{}", used("out"));
        assert_eq!(same("out"), "same");
        let archive = home.run(["cp", &at("/holes"), "-"]).succeeds().stdout;
        assert!(archive.len() < 1 << 20, "{}", archive.len());
        let mut unpack = Command::new("tar");
        fs::create_dir_all(home.path().join("x")).unwrap();
        unpack.args(["x", "-C", "x"]).current_dir(home.path());
        Outcome::of(unpack, &archive).succeeds();
        assert!(used("x/holes") < 1 << 20);
        assert_eq!(same("x/holes"), "same");
        // And inward, by itself and from an archive.
        home.run(["cp", "mine", &at("/mine")]).succeeds();
        home.run_with_stdin(["cp", "-", &at("/tmp")], &archive)
            .succeeds();
        for path in ["/mine", "/tmp/holes"] {
            home.run(["cp", &at(path), "back"]).succeeds();
            assert!(used("back") < 1 << 20);
            assert_eq!(same("back"), "same");
        }
        // As large as a file can be: as many bytes as it has, not as it says.
        home.run(["cp", &at("/large"), "large"]).succeeds();
        assert!(used("large") < 1 << 20);
        let archive = home.run(["cp", &at("/large"), "-"]).succeeds().stdout;
        assert!(archive.len() < 1 << 20);
        home.run(["rm", storage]).succeeds();
    }
}

#[test]
fn no_layer_holds_a_file_that_nobody_could_unpack() {
    let home = Home::with_alpine();
    home.run([
        "run", "--name", "c", "alpine", "truncate", "-s", "10000G", "/large",
    ])
    .succeeds();
    home.run(["commit", "c", "mine:1"])
        .fails(&["large", "bytes", "no layer"]);
    home.run(["rm", "c"]).succeeds();
}

#[test]
fn a_read_only_container_is_told_as_one() {
    let home = Home::with_alpine();
    fs::write(home.path().join("file"), "x").unwrap();
    let vol = format!("{}/vol:/vol", home.path().display());
    fs::create_dir(home.path().join("vol")).unwrap();
    home.run([
        "run",
        "-d",
        "--read-only",
        "-v",
        &vol,
        "--name",
        "ro",
        "alpine",
        "sleep",
        "600",
    ])
    .succeeds();
    for stopped in [false, true] {
        if stopped {
            home.run(["kill", "ro"]).succeeds();
            home.run(["wait", "ro"]).succeeds();
        }
        home.run(["cp", "file", "ro:/x"])
            .fails(&["ro:/x", "read-only file system"])
            .hints(&["--read-only", "volume"]);
        home.run(["cp", "file", "ro:/vol/"]).succeeds();
    }
    assert_eq!(
        fs::read_to_string(home.path().join("vol/file")).unwrap(),
        "x"
    );
    home.run(["rm", "ro"]).succeeds();
}

#[test]
fn deep_trees_and_a_copy_into_itself_end() {
    let home = with_web();
    let deep =
        "cd /srv; n=0; while [ $n -lt 900 ]; do mkdir d; cd d; n=$((n+1)); done; echo bottom >file";
    home.run(["exec", "web", "sh", "-c", deep]).succeeds();
    home.run(["cp", "web:/srv", "out"]).succeeds();
    let bottom = "cd out; while cd d 2>/dev/null; do :; done; cat file";
    assert_eq!(sh(&home, bottom), "bottom");
    home.run(["cp", "out", "web:/tmp"]).succeeds();
    let deeper = "cd /srv; while [ -d d ]; do cd d; done; while [ $((n=n+1)) -lt 300 ]; do mkdir d; cd d; done";
    home.run(["exec", "web", "sh", "-c", deeper]).succeeds();
    home.run(["cp", "web:/srv", "deeper"]).fails(&["1024 deep"]);
    // Nothing half-made is left, nor the place where it was made.
    let left = sh(&home, "ls -a");
    assert!(
        !left.contains("deeper") && !left.contains(".box-cp"),
        "{left}"
    );
    home.run(["cp", "web:/srv", "-"]).exits(125);
    home.run(["rm", "-f", "web"]).succeeds();
    // The destination lies in what is copied.
    fs::create_dir(home.path().join("vol")).unwrap();
    let volume = format!("{}/vol:/vol", home.path().display());
    home.run([
        "run", "-d", "--name", "v", "-v", &volume, "alpine", "sleep", "600",
    ])
    .succeeds();
    fs::write(home.path().join("vol/file"), "x").unwrap();
    home.run(["cp", "v:/vol", "vol/within"]).succeeds();
    fs::create_dir(home.path().join("vol/there")).unwrap();
    home.run(["cp", "v:/vol/.", "vol/there"]).succeeds();
    assert_eq!(
        sh(&home, "cd vol; find . -type f | sort"),
        "./file\n./there/file\n./there/within/file\n./within/file"
    );
    // And the container's own files lie below what is copied to it.
    home.run(["cp", "root/instances", "v:/srv"]).succeeds();
    home.run(["rm", "-f", "v"]).succeeds();
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let home = with_web();
    sh(
        &home,
        "mkdir t; echo 1 >t/a; ln t/a t/b; mkdir t/in; ln t/a t/in/c; tar cf t.tar t",
    );
    home.run(["cp", "t", "web:/srv/new"]).succeeds();
    home.run(["exec", "web", "mkdir", "-p", "/srv/t"])
        .succeeds();
    home.run(["cp", "t", "web:/srv"]).succeeds();
    let archive = fs::read(home.path().join("t.tar")).unwrap();
    home.run_with_stdin(["cp", "-", "web:/tmp"], &archive)
        .succeeds();
    let look =
        "stat -c %h /srv/new/a /srv/new/in/c /srv/t/b /tmp/t/in/c; cmp /srv/new/a /srv/new/in/c";
    assert_eq!(
        home.run(["exec", "web", "sh", "-c", look])
            .succeeds()
            .text(),
        "3\n3\n3\n3"
    );
    home.run(["rm", "-f", "web"]).succeeds();
}

#[test]
fn a_container_with_ids_of_its_own_is_copied_to_as_its_root() {
    let home = Home::with_alpine();
    fs::create_dir_all(home.path().join("d")).unwrap();
    fs::write(home.path().join("d/file"), "x").unwrap();
    for storage in ["overlay", "copy"] {
        home.run([
            "run",
            "-d",
            "--name",
            storage,
            "--userns",
            "auto",
            "--storage",
            storage,
            "alpine",
            "sleep",
            "600",
        ])
        .succeeds();
        let at = |path: &str| format!("{storage}:{path}");
        home.run(["cp", "d", &at("/srv")]).succeeds();
        let look = [
            "exec",
            storage,
            "stat",
            "-c",
            "%u:%g",
            "/srv/d",
            "/srv/d/file",
        ];
        assert_eq!(home.run(look).succeeds().text(), "0:0\n0:0");
        home.run(["cp", "-a", &at("/srv/d"), storage]).succeeds();
        assert_eq!(
            fs::metadata(home.path().join(storage).join("file"))
                .unwrap()
                .uid(),
            0
        );
        home.run(["kill", storage]).succeeds();
        home.run(["wait", storage]).succeeds();
        home.run(["cp", "d", &at("/srv/stopped")]).succeeds();
        home.run(["rm", storage]).succeeds();
    }
}
