//! `--storage`: containers with a copy of their image's files, on request or because overlay is not available.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use box_tests::{Home, Outcome};

/// Changes of every kind.
const CHANGES: &str = "echo new > /new; rm /etc/motd; rm -r /etc/apk; mkdir /etc/apk; echo x > /etc/apk/x; \
     echo more >> /etc/hostname.d 2>/dev/null; chmod 700 /srv; ln -s /new /link; mv /etc/issue /etc/renamed; \
     cp -p /etc/profile /p; echo '# changed' >> /etc/profile; touch -r /p /etc/profile; rm /p; \
     ln /etc/shells /shells; touch /etc/shells; chown 1000:1000 /etc/services";

fn tree(home: &Home, name: &str) -> PathBuf {
    home.root().join("instances").join(name).join("rootfs")
}

fn warnings(outcome: &Outcome) -> usize {
    outcome.stderr.matches("warning:").count()
}

/// Every file of every layer, with its inode, size and time.
fn layers(root: &Path) -> String {
    let listed = Command::new("find")
        .arg(root.join("layers"))
        .args(["-printf", "%P %i %s %T@ %C@ %n\n"])
        .output()
        .unwrap();
    let mut lines: Vec<_> = std::str::from_utf8(&listed.stdout)
        .unwrap()
        .lines()
        .collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn a_copy_is_the_containers_own() {
    let home = Home::with_alpine();
    let copy = ["run", "--storage", "copy", "--name", "c", "alpine"];
    let seen = home
        .run(copy.iter().chain(&[
            "sh",
            "-c",
            "grep ' / ' /proc/self/mounts; cat /etc/alpine-release",
        ]))
        .succeeds();
    assert!(!seen.text().starts_with("overlay"), "{}", seen.text());
    assert!(seen.text().contains("nodev"), "{}", seen.text());
    assert_eq!(warnings(&seen), 0, "{}", seen.stderr);
    let before = layers(&home.root());
    let layer = fs::read_dir(home.root().join("layers"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.join("etc/profile").exists())
        .unwrap();
    let (own, theirs) = (
        tree(&home, "c").join("etc/profile"),
        layer.join("etc/profile"),
    );
    let (own, theirs) = (fs::metadata(own).unwrap(), fs::metadata(theirs).unwrap());
    assert_ne!(own.ino(), theirs.ino(), "it is a hard link");
    assert_eq!((own.mtime(), own.mode()), (theirs.mtime(), theirs.mode()));
    assert_eq!(home.run(["diff", "c"]).succeeds().text(), "");
    // It starts again, with what it wrote.
    home.run([
        "run",
        "--storage",
        "copy",
        "--name",
        "again",
        "alpine",
        "sh",
        "-c",
        "echo x >> /n; wc -l < /n",
    ])
    .succeeds();
    home.run(["start", "-a", "again"]).succeeds();
    assert_eq!(
        fs::read_to_string(tree(&home, "again").join("n")).unwrap(),
        "x\nx\n"
    );
    assert_eq!(home.run(["diff", "again"]).succeeds().text(), "A /n");
    // The image may go meanwhile, and come back.
    home.run(["rename", "again", "other"]).succeeds();
    home.run(["start", "-a", "other"]).succeeds();
    home.run(["cp", "other:/n", "n"]).succeeds();
    assert_eq!(
        fs::read_to_string(home.path().join("n")).unwrap(),
        "x\nx\nx\n"
    );
    fs::write(home.path().join("n"), "in").unwrap();
    home.run(["cp", "n", "other:/srv/in"]).succeeds();
    assert_eq!(
        home.run(["diff", "other"]).succeeds().text(),
        "A /n\nC /srv\nA /srv/in"
    );
    assert_eq!(layers(&home.root()), before, "a layer was written to");
    home.run(["rm", "c", "other"]).succeeds();
    assert!(home.instances().is_empty());
    let gone = home.run(["run", "--rm", "--storage", "copy", "alpine", "true"]);
    gone.succeeds();
    assert!(home.instances().is_empty());
}

#[test]
fn a_copy_differs_from_its_image_as_an_overlay_does() {
    let home = Home::with_alpine();
    for storage in ["overlay", "copy"] {
        let run = [
            "run",
            "--storage",
            storage,
            "--name",
            storage,
            "alpine",
            "sh",
            "-c",
            CHANGES,
        ];
        home.run(run).succeeds();
    }
    let differs = |name: &str| home.run(["diff", name]).succeeds().text().to_owned();
    assert_eq!(differs("copy"), differs("overlay"));
    for line in [
        "D /etc/motd",
        "C /etc/profile",
        "A /etc/renamed",
        "A /etc/apk/x",
        "D /etc/apk/world",
    ] {
        assert!(
            differs("copy").lines().any(|found| found == line),
            "{line} is not in {}",
            differs("copy")
        );
    }
    // Committed, both are the same root file system.
    let listing = "cd /; find . -xdev -type f ! -path './proc/*' ! -path './sys/*' ! -path './dev/*' | sort | xargs md5sum; \
                   find . -xdev ! -path './proc/*' ! -path './sys/*' ! -path './dev/*' -exec stat -c '%n %F %a %u %g' {} + | sort";
    let mut seen = vec![];
    for name in ["overlay", "copy"] {
        home.run(["commit", name, &format!("made-of-{name}")])
            .succeeds();
        let image = format!("made-of-{name}");
        seen.push(
            home.run([
                "run", "--rm", "--pull", "never", &image, "sh", "-c", listing,
            ])
            .succeeds()
            .text()
            .to_owned(),
        );
    }
    assert!(seen[0].contains("./etc/renamed"), "{}", seen[0]);
    assert_eq!(seen[0], seen[1]);
    // The collector keeps the layers that a copy is compared with.
    home.run(["rmi", "made-of-copy", "made-of-overlay", "alpine"])
        .succeeds();
    home.run(["gc"]).succeeds();
    assert!(differs("copy").contains("D /etc/motd"));
    home.run(["rm", "copy", "overlay"]).succeeds();
    home.run(["gc"]).succeeds();
    assert_eq!(box_trees(&home.root()), Vec::<String>::new());
}

fn box_trees(root: &Path) -> Vec<String> {
    fs::read_dir(root.join("layers"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect()
}

#[test]
fn a_killed_copy_leaves_nothing_that_stays() {
    let home = Home::with_alpine();
    // A file that takes a while to copy.
    let big = home.path().join("big");
    fs::create_dir(&big).unwrap();
    fs::write(big.join("file"), vec![7; 64 << 20]).unwrap();
    let tarball = home.path().join("big.tar");
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(&tarball).arg("-C").arg(&big).arg("file");
    assert!(tar.status().unwrap().success());
    home.run(["import", "./big.tar", "big"]).succeeds();
    let mut run = home.command(["run", "--storage", "copy", "--name", "k", "big", "x"]);
    let mut child = run.stderr(std::process::Stdio::null()).spawn().unwrap();
    let dir = home.root().join("instances/k");
    while !dir.exists() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // The next command removes it.
    home.run([
        "run",
        "--rm",
        "--storage",
        "copy",
        "--name",
        "k",
        "alpine",
        "true",
    ])
    .succeeds();
    assert!(home.instances().is_empty(), "{:?}", home.instances());
}

#[test]
fn ids_of_a_user_namespace_are_mapped_and_stay_the_images_on_disk() {
    let home = Home::with_alpine();
    let seen = home
        .run([
            "run", "--storage", "copy", "--userns", "100000:65536", "--name", "u", "alpine", "sh", "-c",
            "cat /proc/self/uid_map; stat -c %u /bin/busybox /etc; echo x > /mine; chown 7:8 /mine; stat -c %u:%g /mine",
        ])
        .succeeds();
    let words: Vec<_> = seen.text().split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "65536", "0", "0", "7:8"]);
    let mine = fs::metadata(tree(&home, "u").join("mine")).unwrap();
    assert_eq!((mine.uid(), mine.gid()), (7, 8));
    assert_eq!(home.run(["diff", "u"]).succeeds().text(), "A /mine");
    home.run(["commit", "u", "mine"]).succeeds();
    let owner = home.run([
        "run", "--rm", "--pull", "never", "mine", "stat", "-c", "%u:%g", "/mine",
    ]);
    assert_eq!(owner.succeeds().text(), "7:8");
    home.run(["cp", "-a", "u:/mine", "out"]).succeeds();
    assert_eq!(fs::metadata(home.path().join("out")).unwrap().uid(), 7);
    home.run(["rm", "u"]).succeeds();
}

#[test]
fn device_nodes_of_an_image_open_nowhere() {
    let home = Home::with_alpine();
    let dir = home.path().join("tree");
    fs::create_dir(&dir).unwrap();
    let busybox = tree_of_alpine(&home).join("bin/busybox");
    let script = "mkdir bin lib; cp \"$1\" bin/busybox; cp -a \"$2\"/lib/ld-* \"$2\"/lib/libc.* lib; ln bin/busybox bin/sh; \
                  mknod null c 1 3; chmod 666 null; tar -cf ../dev.tar .";
    let made = Command::new("sh")
        .args(["-ec", script, "sh"])
        .arg(&busybox)
        .arg(tree_of_alpine(&home))
        .current_dir(&dir)
        .status()
        .unwrap();
    assert!(made.success());
    home.run(["import", "./dev.tar", "dev"]).succeeds();
    for storage in ["overlay", "copy"] {
        // The control group lets containers have /dev/null, so it is the mount that says no.
        let tried = home.run([
            "run",
            "--rm",
            "--storage",
            storage,
            "dev",
            "sh",
            "-c",
            "echo x > /null",
        ]);
        assert_ne!(tried.status, 0, "{storage}: {tried:?}");
        assert!(
            tried.stderr.contains("ermission denied"),
            "{}",
            tried.stderr
        );
    }
}

fn tree_of_alpine(home: &Home) -> PathBuf {
    let trees = box_trees(&home.root());
    let layers = home.root().join("layers");
    let tree = trees
        .iter()
        .map(|name| layers.join(name))
        .find(|tree| tree.join("bin/busybox").exists());
    tree.unwrap()
}

#[test]
fn the_choice_is_configured_and_misspelt_ones_are_refused() {
    let home = Home::with_alpine();
    fs::create_dir(home.path().join("config")).unwrap();
    fs::write(
        home.path().join("config/config.toml"),
        "[run]\nstorage = 'copy'\n",
    )
    .unwrap();
    let root = ["sh", "-c", "grep ' / ' /proc/self/mounts"];
    let seen = home
        .run(["run", "--rm", "alpine"].iter().chain(&root))
        .succeeds();
    assert!(!seen.text().starts_with("overlay"), "{}", seen.text());
    let flag = ["run", "--rm", "--storage", "overlay", "alpine"];
    let seen = home.run(flag.iter().chain(&root)).succeeds();
    assert!(seen.text().starts_with("overlay"), "{}", seen.text());
    let plan = home
        .run(["run", "--dry-run", "--name", "p", "alpine"])
        .succeeds();
    assert!(
        plan.text().contains("copy of the layers"),
        "{}",
        plan.text()
    );
    assert!(home.instances().is_empty());
    let bad = home.run(["run", "--storage", "hardlink", "alpine"]);
    assert_ne!(bad.status, 0);
    assert!(bad.stderr.contains("overlay or copy"), "{}", bad.stderr);
    fs::write(
        home.path().join("config/config.toml"),
        "[run]\nstorage = 'x'\n",
    )
    .unwrap();
    home.run(["run", "--rm", "alpine", "true"])
        .fails(&["config.toml", "line 2"]);
}

/// An overlay, which cannot hold the upper directory of another one. Dropped before the home that contains it.
struct Stacked(PathBuf);

impl Stacked {
    fn mount(home: &Home) -> Stacked {
        let at = |name: &str| home.path().join("outer").join(name);
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        let show = |name: &str| at(name).display().to_string();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            show("lower"),
            show("upper"),
            show("work")
        );
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(at("merged"));
        assert!(mount.status().unwrap().success());
        Stacked(at("merged"))
    }
}

impl Drop for Stacked {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status()
            .unwrap();
        assert!(unmounted.success() || std::thread::panicking());
    }
}

#[test]
fn without_an_overlay_it_is_a_copy_with_one_warning() {
    let home = Home::with_alpine();
    // Layers with whiteouts and a directory made anew.
    home.run(["run", "--name", "m", "alpine", "sh", "-c", CHANGES])
        .succeeds();
    home.run(["commit", "m", "changed"]).succeeds();
    home.run(["save", "-o", "changed.tar", "changed"])
        .succeeds();
    let whole = "find / -xdev -type f ! -path '/proc/*' ! -path '/etc/hosts' ! -path '/etc/hostname' ! -path '/etc/resolv.conf' | sort | xargs md5sum";
    let expected = home
        .run([
            "run", "--rm", "--pull", "never", "changed", "sh", "-c", whole,
        ])
        .succeeds();
    home.run(["rm", "m"]).succeeds();

    let stacked = Stacked::mount(&home);
    let inside = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("BOX_ROOT", stacked.0.join("root"));
        Outcome::of(command, b"")
    };
    inside(&["load", "-i", "changed.tar"]).succeeds();
    let seen = inside(&[
        "run", "--name", "c", "--pull", "never", "changed", "sh", "-c", whole,
    ])
    .succeeds();
    assert_eq!(seen.text(), expected.text());
    assert_eq!(warnings(&seen), 1, "{}", seen.stderr);
    assert!(
        seen.stderr.contains("overlays do not work in") && seen.stderr.contains("copy"),
        "{}",
        seen.stderr
    );
    let again = inside(&["start", "c"]).succeeds();
    assert_eq!(warnings(&again), 0, "{}", again.stderr);
    assert_eq!(inside(&["diff", "c"]).succeeds().text(), "");
    assert_eq!(
        warnings(
            &inside(&[
                "run",
                "--rm",
                "--storage",
                "copy",
                "--pull",
                "never",
                "changed",
                "true"
            ])
            .succeeds()
        ),
        0
    );
    inside(&[
        "run",
        "--rm",
        "--storage",
        "overlay",
        "--pull",
        "never",
        "changed",
        "true",
    ])
    .fails(&["overlay"])
    .hints(&["--storage copy"]);
    inside(&["rm", "c"]).succeeds();
    inside(&["rmi", "changed"]).succeeds();
    inside(&["gc"]).succeeds();
    assert_eq!(box_trees(&stacked.0.join("root")), Vec::<String>::new());
    let left: Vec<_> = fs::read_dir(stacked.0.join("root/instances"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, [".mount-points"]);
}
