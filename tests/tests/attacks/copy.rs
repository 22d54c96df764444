//! Copies between host and container under attack by another user of the host, a user of the container, or the
//! container's root.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use box_tests::{Home, Outcome};

use crate::compiled;

/// A user of the host without any files.
const OTHER: u32 = 12345;

fn race() -> PathBuf {
    compiled("race.c", "BOX_TEST_RACE")
}

/// The racer, running on the host until this value is dropped.
struct Racer(Child);

impl Racer {
    fn start(words: &[&str]) -> Racer {
        let mut child = Command::new(race())
            .args(words)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        Racer(child)
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A directory of the other user.
fn others(home: &Home, name: &str) -> PathBuf {
    let dir = home.path().join(name);
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o755)).unwrap();
    chown(&dir, Some(OTHER), Some(OTHER)).unwrap();
    dir
}

/// Files that the racer created and root owns: each is a success of the attack.
fn won(dir: &Path) -> Vec<String> {
    let mut found = vec![];
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(stat) = std::fs::symlink_metadata(entry.path()) else {
                continue;
            };
            if stat.is_dir() {
                left.push(entry.path());
            } else if stat.is_file()
                && stat.uid() == 0
                && std::fs::read(entry.path()).is_ok_and(|text| text.starts_with(b"#!/bin/evil"))
            {
                found.push(format!("{} {:o}", entry.path().display(), stat.mode()));
            }
        }
    }
    found
}

/// A set-user-ID program, large enough to take a while, and all other kinds of files.
const TREE: &str = "mkdir -p /tree/in/deeper; cd /tree; \
    head -c 8000000 /dev/zero >prog; chmod 4755 prog; ln prog same; ln -s prog link; chmod 2777 in/deeper; \
    for n in 1 2 3 4 5 6 7 8; do mkfifo in/pipe$n; chmod 4777 in/pipe$n; ln -s x in/link$n; cp prog in/deeper/$n; chmod 6755 in/deeper/$n; done";

#[test]
fn the_owner_of_a_directory_gets_no_file_of_the_one_who_copies_to_it() {
    let home = Home::with_alpine();
    home.run(["run", "--name", "s", "alpine", "sh", "-c", TREE])
        .succeeds();
    for (number, how) in ["swap", "follow"].into_iter().enumerate() {
        let dir = others(&home, how);
        std::fs::create_dir(dir.join("tree")).unwrap();
        chown(dir.join("tree"), Some(OTHER), Some(OTHER)).unwrap();
        let text = dir.display().to_string();
        let racer = Racer::start(&[how, &text, &OTHER.to_string()]);
        for turn in 0..4 {
            // Whether a copy gets through is the racer's to say; what it leaves is not.
            home.run([
                "cp",
                "-a",
                "s:/tree/prog",
                &format!("{text}/{number}{turn}"),
            ]);
            home.run(["cp", "-a", "s:/tree", &format!("{text}/new{turn}")]);
            home.run(["cp", "-a", "s:/tree/.", &format!("{text}/tree")]);
        }
        drop(racer);
        assert_eq!(won(&dir), [""; 0], "{how}");
    }
    // Undisturbed, the same copy arrives whole.
    let dir = others(&home, "calm").join("tree");
    home.run(
        ["cp", "-a", "s:/tree"]
            .into_iter()
            .chain([dir.to_str().unwrap()]),
    )
    .succeeds();
    let stat = |name: &str| std::fs::symlink_metadata(dir.join(name)).unwrap();
    assert_eq!(
        (stat("prog").mode() & 0o7777, stat("prog").uid()),
        (0o4755, 0)
    );
    assert_eq!(stat("in/pipe3").mode() & 0o7777, 0o4777);
    assert_eq!(stat("in/deeper").mode() & 0o7777, 0o2777);
    assert_eq!(stat("in/deeper/3").mode() & 0o7777, 0o6755);
    // Two names of one file stay that.
    assert_eq!(
        (stat("prog").ino(), stat("prog").nlink()),
        (stat("same").ino(), 2)
    );
    home.run(["rm", "s"]).succeeds();
}

#[test]
fn a_user_of_a_container_gets_no_file_of_its_root() {
    let home = Home::with_alpine();
    let volume = format!("{}:/race:ro", race().display());
    let script = "mkdir /tmp/w /tmp/w/tree; chown 1000:1000 /tmp/w /tmp/w/tree; exec /race \"$HOW\" /tmp/w 1000";
    std::fs::create_dir_all(home.path().join("tree/in")).unwrap();
    let prog = home.path().join("tree/in/prog");
    std::fs::write(&prog, vec![0; 8_000_000]).unwrap();
    std::fs::set_permissions(&prog, PermissionsExt::from_mode(0o4755)).unwrap();
    // The same as an archive, with a pipe and a link.
    let mut tar = Command::new("sh");
    let pack = "mkfifo tree/in/pipe; chmod 4777 tree/in/pipe; ln -s prog tree/in/link; tar cf tree.tar tree";
    tar.args(["-c", pack]).current_dir(home.path());
    assert!(tar.status().unwrap().success());
    let archive = std::fs::read(home.path().join("tree.tar")).unwrap();
    for how in ["swap", "follow"] {
        let setting = format!("HOW={how}");
        home.run([
            "run", "-d", "--name", how, "-e", &setting, "-v", &volume, "alpine", "sh", "-c", script,
        ])
        .succeeds();
        crate::until(|| home.run(["logs", how]).text().contains("ready"));
        for turn in 0..4 {
            home.run(["cp", "tree/in/prog", &format!("{how}:/tmp/w/prog{turn}")]);
            home.run(["cp", "tree", &format!("{how}:/tmp/w/new{turn}")]);
            home.run(["cp", "tree/.", &format!("{how}:/tmp/w/tree")]);
            home.run_with_stdin(["cp", "-", &format!("{how}:/tmp/w")], &archive);
        }
        let look = "find /tmp/w -type f -user 0 -size -2 -exec grep -l evil {} +";
        let found = home.run(["exec", how, "sh", "-c", look]);
        assert_eq!(found.text(), "", "{how}");
        home.run(["rm", "-f", how]).succeeds();
    }
}

#[test]
fn unpacking_gives_nothing_to_the_owner_of_a_directory() {
    let home = Home::new();
    // A directory of the other user's in the archive, and pipes of root's in it that become set-user-ID.
    let pack = format!(
        "mkdir -p t/home; for n in $(seq 300); do mkfifo t/home/p$n; chown 0:5 t/home/p$n; chmod 4777 t/home/p$n; done; \
         chown {OTHER}:{OTHER} t/home; chmod 777 t/home; tar cf t.tar -C t ."
    );
    let mut tar = Command::new("sh");
    tar.args(["-c", &pack]).current_dir(home.path());
    assert!(tar.status().unwrap().success());
    for how in ["swap", "follow"] {
        let dir = others(&home, how);
        let text = dir.display().to_string();
        let racer = Racer::start(&[how, &text, &OTHER.to_string()]);
        for turn in 0..4 {
            home.run(["unpack", "./t.tar", &format!("{text}/new{turn}")]);
        }
        drop(racer);
        assert_eq!(won(&dir), [""; 0], "{how}");
    }
    let calm = others(&home, "calm").join("new");
    home.run(["unpack", "./t.tar", calm.to_str().unwrap()])
        .succeeds();
    let stat = std::fs::symlink_metadata(calm.join("home/p7")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid()), (0o4777, 0));
}

/// Any user can give such a name to a directory of root, in a directory of their own.
#[test]
fn unpacking_sweeps_nothing_but_its_own_leftovers() {
    let home = Home::with_alpine();
    let dir = others(&home, "others");
    let named = dir.join(".out.unpacking-7-8");
    std::fs::create_dir_all(named.join("tree/kept")).unwrap();
    let unpack = || {
        let out = dir.join("out");
        home.run(["unpack", "-q", "alpine", out.to_str().unwrap()])
            .succeeds();
        std::fs::remove_dir_all(out).unwrap();
    };
    unpack();
    assert!(named.join("tree/kept").exists());
    // As a process that was killed has left it.
    let mut tool = Command::new("setfattr");
    tool.args(["-n", "trusted.box.unpacking", "-v", "1"])
        .arg(&named);
    Outcome::of(tool, b"").succeeds();
    unpack();
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}

/// CVE-2018-15664: the components of a path change all the time.
#[test]
fn a_container_that_renames_all_the_time_leads_no_copy_out() {
    let home = Home::with_alpine();
    let volume = format!("{}:/race:ro", race().display());
    let script = "mkdir /tmp/w; exec /race whirl /tmp/w";
    home.run([
        "run", "-d", "--name", "w", "-v", &volume, "alpine", "sh", "-c", script,
    ])
    .succeeds();
    crate::until(|| home.run(["logs", "w"]).text().contains("ready"));
    // What a way out would reach: the way up from a/ leads to the root, and there this is the host's alone.
    let outside = home.path().join("only-of-the-host");
    std::fs::write(&outside, "secret").unwrap();
    std::fs::write(home.path().join("mine"), "mine").unwrap();
    std::fs::create_dir(home.path().join("out")).unwrap();
    let below = outside.strip_prefix("/").unwrap().display().to_string();
    for turn in 0..15 {
        for path in ["a/", "b/", "d/e/../../a/", "a/../b/"] {
            let inside = format!("w:/tmp/w/{path}{below}");
            home.run(["cp", "-L", &inside, "stolen"]).exits(125);
            home.run(["cp", "mine", &inside]).exits(125);
        }
        home.run(["cp", "mine", "w:/tmp/w/a/mine"]);
        home.run(["cp", "w:/tmp/w", &format!("out/{turn}")]);
        let _archive = home.run(["cp", "w:/tmp/w", "-"]);
    }
    assert_eq!(std::fs::read(&outside).unwrap(), b"secret");
    assert!(!home.path().join("stolen").exists() && !Path::new("/mine").exists());
    home.run(["rm", "-f", "w"]).succeeds();
}

/// Files with a temporary name of a copy.
fn aside(dir: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(dir).unwrap();
    let paths = names.map(|entry| entry.unwrap().path());
    let hidden = |path: &PathBuf| path.display().to_string().contains("/.box-cp-");
    paths.filter(hidden).collect()
}

/// Whether a copy to this directory has started to write a file, with or without a name.
fn is_writing(pid: u32, dir: &Path) -> bool {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let mut links = open
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| std::fs::read_link(entry.path()));
    links.any(|path| {
        path.is_ok_and(|path| {
            let below = path
                .strip_prefix(dir)
                .map(|below| below.display().to_string());
            below.is_ok_and(|below| below.starts_with('#') || below.contains("/copy"))
        })
    })
}

#[test]
fn a_killed_copy_leaves_nothing_of_a_file_and_the_next_one_sweeps_a_tree() {
    let home = Home::with_alpine();
    let script = "mkdir /tree; cd /tree; head -c 100000000 /dev/zero >large; mkdir in; cp large in";
    home.run(["run", "-d", "--name", "s", "alpine", "sleep", "1000"])
        .succeeds();
    home.run(["exec", "s", "sh", "-c", script]).succeeds();
    let dir = home.path().join("out");
    std::fs::create_dir(&dir).unwrap();
    let start = |source: &str| {
        let mut copy = home.command(["cp", source, dir.to_str().unwrap()]);
        let mut copy = copy.spawn().unwrap();
        // Looked at often: an idle machine copies all of it within a tenth of a second.
        while !is_writing(copy.id(), &dir) && copy.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        copy
    };
    let kill = |copy: &mut Child| {
        copy.kill().unwrap();
        copy.wait().unwrap();
    };
    let signal = |copy: &Child, signal: &str| {
        let mut tool = Command::new("kill");
        tool.args(["-s", signal, &copy.id().to_string()]);
        Outcome::of(tool, b"").succeeds();
    };
    for _ in 0..3 {
        kill(&mut start("s:/tree/large"));
        assert_eq!(aside(&dir), [""; 0].map(PathBuf::from));
    }

    // A directory with such a name but without a mark belongs to someone else, and a locked one is in use.
    let planted = dir.join(format!(".box-cp-{}", "0".repeat(32)));
    std::fs::create_dir_all(planted.join("copy/kept")).unwrap();
    std::fs::set_permissions(&planted, PermissionsExt::from_mode(0o700)).unwrap();
    kill(&mut start("s:/tree"));
    let mut working = loop {
        let mut copy = start("s:/tree/in");
        // It may have ended before it was seen.
        if copy.try_wait().unwrap().is_none() {
            break copy;
        }
    };
    signal(&working, "STOP");
    let left = aside(&dir).len();
    home.run(["cp", "s:/tree/.", &format!("{}/", dir.display())])
        .succeeds();
    assert!(planted.join("copy/kept").exists());
    signal(&working, "CONT");
    working.wait().unwrap();
    home.run(["cp", "s:/etc", dir.to_str().unwrap()]).succeeds();
    assert_eq!(aside(&dir), [planted], "there were {left}");
    let stat = std::fs::metadata(dir.join("in/large")).unwrap();
    assert_eq!(stat.len(), 100_000_000);
    home.run(["rm", "-f", "s"]).succeeds();
}
