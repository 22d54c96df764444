//! Extended attributes: those that a container may have, and their way in and out of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use box_tests::{Home, Outcome};

/// `cap_net_raw+ep` as `setcap` writes it, and a list for the user 1000: linux/capability.h, linux/posix_acl_xattr.h.
const CAPABILITY: &str = "0x0100000200200000000000000000000000000000";
const LIST: &str =
    "0x0200000001000600ffffffff02000700e803000004000400ffffffff10000700ffffffff20000400ffffffff";

/// Names that archives must encode, and two attributes that contain ids.
const ATTRIBUTES: [(&str, &str); 7] = [
    ("security.capability", CAPABILITY),
    ("system.posix_acl_access", LIST),
    ("user.a=b", "0x633d64"),
    ("user.line\nfeed", "0x00"),
    ("user.p%q", "0x31"),
    ("user.x%3Dy", "0x32"),
    ("user.\u{fc}", "0x33"),
];

/// The output of `getfattr` for a file, in the user namespace of a process or on the host.
fn attributes(pid: Option<&str>, path: &str) -> String {
    let mut tool = command(pid, "getfattr");
    tool.args(["--absolute-names", "-d", "-m", "-", "-e", "hex", path]);
    let told = Outcome::of(tool, b"").succeeds();
    let mut lines: Vec<&str> = told.text().lines().skip(1).collect();
    lines.sort_unstable();
    lines.join("\n").trim().to_owned()
}

/// A program of this machine, with the rights of root in the namespace of a process.
fn command(pid: Option<&str>, program: &str) -> Command {
    let Some(pid) = pid else {
        return Command::new(program);
    };
    let mut command = Command::new("nsenter");
    command.args(["-t", pid, "-U", "-S", "0", "-G", "0", program]);
    command
}

fn set(pid: Option<&str>, path: &str, name: &str, value: &str) {
    let mut tool = command(pid, "setfattr");
    tool.args(["-n", name, "-v", value, path]);
    Outcome::of(tool, b"").succeeds();
}

/// A waiting container, and its process.
fn start(home: &Home, name: &str, options: &[&str], image: &str) -> String {
    let run = ["run", "-d", "--name", name];
    let command = [image, "sleep", "1000"];
    home.run(run.iter().chain(options).chain(&command))
        .succeeds();
    let rows = home.run(["ps", "--format", "json"]).succeeds().json();
    let rows = rows.as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == name).unwrap();
    row["pid"].to_string()
}

/// The path on the host of a path in a container.
fn within(pid: &str, path: &str) -> String {
    format!("/proc/{pid}/root{path}")
}

/// Copies the model into the container `c`, and an archive of it. Returns their paths there.
fn copied_in(home: &Home, stream: &[u8]) -> [&'static str; 2] {
    home.run(["cp", "-a", "model", "c:/in"]).succeeds();
    home.run(["exec", "c", "mkdir", "/streamed"]).succeeds();
    home.run_with_stdin(["cp", "-", "c:/streamed"], stream)
        .succeeds();
    ["in", "streamed/f"]
}

/// GNU tar finds the same in an archive. It does not read access control lists from attributes.
fn read_by_tar(stream: &[u8], dir: &str, model: &str) {
    fs::create_dir(dir).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "-x", "-C", dir]);
    Outcome::of(tar, stream).succeeds();
    let taken = attributes(None, &format!("{dir}/f"));
    for line in model.lines().filter(|line| !line.contains("posix_acl")) {
        assert!(taken.contains(line), "{line}: {taken}");
    }
}

#[test]
fn attributes_and_the_ids_in_them_come_through_every_way() {
    let home = Home::with_alpine();
    let at = |name: &str| home.path().join(name).display().to_string();
    fs::write(at("model"), "x").unwrap();
    for (name, value) in ATTRIBUTES {
        set(None, &at("model"), name, value);
    }
    let model = attributes(None, &at("model"));
    assert_eq!(model.lines().count(), ATTRIBUTES.len(), "{model}");
    for (storage, range) in [
        ("overlay", ""),
        ("overlay", "200000:65536"),
        ("copy", "200000:65536"),
    ] {
        let options = ["--storage", storage, "--userns", range];
        let options = &options[..if range.is_empty() { 2 } else { 4 }];
        let at = |name: &str| at(&format!("{name}-{storage}-{}", range.len()));
        let pid = start(&home, "c", options, "alpine");
        // Whose ids they are seen with.
        let seen = (!range.is_empty()).then_some(pid.as_str());
        home.run(["exec", "c", "sh", "-c", "touch /f; mkdir /d"])
            .succeeds();
        for (name, value) in ATTRIBUTES {
            set(seen, &within(&pid, "/f"), name, value);
        }
        set(seen, &within(&pid, "/d"), "system.posix_acl_default", LIST);
        let default = attributes(seen, &within(&pid, "/d"));
        assert_eq!(attributes(seen, &within(&pid, "/f")), model);

        // Out of it and into it, and through a stream both ways; of a running and of a stopped one.
        home.run(["cp", "-a", "c:/f", &at("out")]).succeeds();
        assert_eq!(attributes(None, &at("out")), model, "{options:?}");
        home.run(["cp", "-a", "c:/d", &at("out-d")]).succeeds();
        assert_eq!(attributes(None, &at("out-d")), default, "{options:?}");
        let stream = home.run(["cp", "c:/f", "-"]).succeeds().stdout;
        read_by_tar(&stream, &at("tar"), &model);
        let [copied, streamed] = copied_in(&home, &stream);
        let files = ["f", copied, streamed];
        for file in files {
            let path = within(&pid, &format!("/{file}"));
            assert_eq!(attributes(seen, &path), model, "{options:?} {file}");
        }

        // As an image, in whatever range of ids.
        home.run(["commit", "-q", "c", "made:1"]).succeeds();
        home.run(["stop", "-t", "0", "c"]).succeeds();
        home.run(["cp", "-a", "c:/f", &at("stopped")]).succeeds();
        assert_eq!(attributes(None, &at("stopped")), model, "{options:?}");
        home.run(["rm", "c"]).succeeds();
        home.run(["unpack", "-q", "made:1", &at("tree")]).succeeds();
        let tree = at("tree");
        for name in files {
            assert_eq!(attributes(None, &format!("{tree}/{name}")), model, "{name}");
        }
        assert_eq!(
            attributes(None, &format!("{tree}/d")),
            default,
            "{options:?}"
        );
        let pid = start(&home, "other", &["--userns", "300000:65536"], "made:1");
        assert_eq!(
            attributes(Some(&pid), &within(&pid, "/f")),
            model,
            "{options:?}"
        );
        home.run(["rm", "-f", "other"]).succeeds();
    }
}

#[test]
fn marks_that_a_container_makes_itself_hide_nothing() {
    let home = Home::with_alpine();
    let pid = start(&home, "c", &[], "alpine");
    home.run(["exec", "c", "sh", "-c", "touch /etc/new /f; mkdir -p /a/b"])
        .succeeds();
    for name in [
        "user.overlay.opaque",
        "user.overlay.whiteout",
        "user.fuseoverlayfs.opaque",
    ] {
        set(None, &within(&pid, "/etc"), name, "y");
        set(None, &within(&pid, "/f"), name, "y");
    }
    set(
        None,
        &within(&pid, "/f"),
        "user.containers.override_stat",
        "0:0:0755",
    );
    set(None, &within(&pid, "/f"), "user.mine", "kept");
    let changed = "A /a\nA /a/b\nC /etc\nA /etc/new\nA /f";
    assert_eq!(home.run(["diff", "c"]).succeeds().text(), changed);
    let committed = home.run(["commit", "c", "made:1"]).succeeds();
    // Said once, however many files there are.
    let said = committed.stderr.matches("left out").count();
    assert_eq!(said, 1, "{}", committed.stderr);
    assert!(committed.stderr.contains("2 files"), "{}", committed.stderr);
    home.run(["cp", "-a", "c:/f", "f"]).succeeds();
    home.run(["rm", "-f", "c"]).succeeds();
    let look = "test -f /etc/alpine-release && test -f /etc/new";
    home.run(["run", "--rm", "made:1", "sh", "-c", look])
        .succeeds();
    home.run(["unpack", "-q", "made:1", "tree"]).succeeds();
    for path in ["f", "tree/f"] {
        let path = home.path().join(path).display().to_string();
        assert_eq!(attributes(None, &path), "user.mine=0x6b657074");
    }
    assert!(Path::new(&home.path().join("tree/etc/alpine-release")).exists());
}
