//! Images of several layers: unpacked at once, each for once, and stacked.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use box_tests::{Home, Outcome};

fn run(program: &str, args: &[&str], dir: &Path) {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir);
    Outcome::of(command, b"").succeeds();
}

/// The trees there are.
fn trees(home: &Home) -> Vec<String> {
    let Ok(listing) = fs::read_dir(home.root().join("layers")) else {
        return vec![];
    };
    listing
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect()
}

fn assert_nothing_unfinished(home: &Home) {
    let staging = fs::read_dir(home.root().join("layers/.staging")).unwrap();
    let left: Vec<_> = staging.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Layers that umoci put together are put into the cache, and no tree is made of them yet.
fn load(home: &Home, layers: &[&str], name: &str) {
    let dir = home.path().join(format!("{name}.layers"));
    fs::create_dir(&dir).unwrap();
    let cache = home.cache();
    let from = format!("oci:{}:alpine:latest", cache.display());
    run("skopeo", &["copy", "-q", &from, "oci:layout:x"], &dir);
    for script in layers {
        let make = format!("rm -rf tree; mkdir tree; cd tree; {script}; tar -cf ../layer.tar .");
        run("sh", &["-ec", &make], &dir);
        run(
            "umoci",
            &["raw", "add-layer", "--image", "layout:x", "layer.tar"],
            &dir,
        );
    }
    run("tar", &["-cf", "image.tar", "-C", "layout", "."], &dir);
    let image = dir.join("image.tar");
    home.run(["load", "-i", image.to_str().unwrap(), "--name", name])
        .succeeds();
}

#[test]
fn the_root_directory_is_as_the_image_has_it() {
    let home = Home::with_alpine();
    // The second layer says nothing of it.
    load(&home, &["chown 12:34 .; chmod 1771 ."], "one");
    let silent = "mkdir d; tar -cf ../layer.tar d; cd ..; tar() { :; }";
    load(&home, &["chown 12:34 .; chmod 1771 .", silent], "two");
    let seen = |image: &str, flags: &[&str]| {
        let run = [
            &["run", "--rm"],
            flags,
            &[image, "stat", "-c", "%a %u %g", "/"],
        ]
        .concat();
        home.run(run).succeeds().text().to_owned()
    };
    for storage in ["overlay", "copy"] {
        let storage = ["--storage", storage];
        assert_eq!(seen("alpine", &storage), "755 0 0");
        assert_eq!(seen("one", &storage), "1771 12 34");
    }
    assert_eq!(seen("two", &[]), "1771 12 34");
    // What a container that went had there is nobody else's.
    for _ in 0..3 {
        assert_eq!(seen("one", &[]), "1771 12 34");
        assert_eq!(seen("alpine", &[]), "755 0 0");
    }
    // Whoever owns it in the image: a container with users of its own may do there what its root may.
    assert_eq!(seen("one", &["--userns", "100000:65536"]), "1771 0 0");
}

#[test]
fn layers_are_stacked_and_an_opaque_root_hides_all_below_it() {
    let home = Home::with_alpine();
    let first = "mkdir -p srv/a srv/b; echo 1 > srv/a/one; echo 1 > srv/b/one; echo 1 > srv/both";
    let second =
        "mkdir -p srv/b; echo 2 > srv/b/two; touch srv/.wh.a srv/b/.wh..wh..opq; echo 2 > srv/both";
    load(&home, &[first, second], "three");
    fs::remove_dir_all(home.root().join("layers")).unwrap();
    let seen = home.run([
        "run",
        "--rm",
        "--pull",
        "never",
        "three",
        "sh",
        "-c",
        "cd /srv; find . | sort; cat both",
    ]);
    assert_eq!(seen.succeeds().text(), ".\n./b\n./b/two\n./both\n2");
    assert_eq!(trees(&home).len(), 3);
    assert_nothing_unfinished(&home);
    // A layer that two images have is there once.
    home.run(["run", "--rm", "alpine", "true"]).succeeds();
    assert_eq!(trees(&home).len(), 3);

    // The overlay itself does not look for the mark on a layer's own root.
    let busybox = trees(&home)
        .iter()
        .map(|name| home.root().join("layers").join(name))
        .find(|tree| tree.join("bin/busybox").exists())
        .unwrap();
    let anew = format!(
        "mkdir -p bin lib etc; cp {0}/bin/busybox bin; ln bin/busybox bin/sh; ln bin/busybox bin/ls; \
         cp -a {0}/lib/ld-* {0}/lib/libc.* lib; touch .wh..wh..opq",
        busybox.display()
    );
    load(&home, &[first, &anew], "anew");
    for storage in ["overlay", "copy"] {
        let seen = home.run([
            "run",
            "--rm",
            "--pull",
            "never",
            "--storage",
            storage,
            "anew",
            "ls",
            "/",
        ]);
        assert_eq!(
            seen.succeeds().text(),
            "bin\ndev\netc\nlib\nproc\nsys",
            "{storage}"
        );
    }
    // Plain files are as if the layers below had never been.
    home.run(["unpack", "--pull", "never", "anew", "plain"])
        .succeeds();
    assert!(!home.path().join("plain/srv").exists() && home.path().join("plain/bin/ls").exists());
}

#[test]
fn a_layer_that_cannot_be_unpacked_fails_the_run_and_leaves_nothing() {
    let home = Home::with_alpine();
    load(
        &home,
        &["mkdir a; touch a/.wh..wh.x", "echo 2 > two"],
        "bad",
    );
    home.run(["run", "--rm", "--pull", "never", "bad", "true"])
        .fails(&["a/.wh..wh.x"]);
    assert_nothing_unfinished(&home);
    assert!(home.instances().is_empty());
}

#[test]
fn processes_that_want_a_layer_at_one_moment_make_it_once() {
    let home = Home::with_alpine();
    load(
        &home,
        &["echo 1 > /dev/null; mkdir srv; for i in $(seq 500); do echo $i > srv/$i; done"],
        "many",
    );
    for round in 0..3 {
        fs::remove_dir_all(home.root().join("layers")).unwrap();
        let count = "ls /srv | wc -l; cat /srv/500";
        let start = |_| {
            let mut command = home.command([
                "run",
                "--rm",
                "--progress",
                "plain",
                "--pull",
                "never",
                "many",
                "sh",
                "-c",
                count,
            ]);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let children: Vec<_> = (0..5).map(start).collect();
        let mut makers = 0;
        for child in children {
            let output = child.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "round {round}: {told}");
            assert_eq!(String::from_utf8_lossy(&output.stdout), "500\n500\n");
            // Two layers, each unpacked by whoever was first.
            makers += told
                .lines()
                .filter(|line| line.starts_with("unpack ") && line.contains(" ended"))
                .count();
        }
        assert_eq!(trees(&home).len(), 2);
        assert_nothing_unfinished(&home);
        assert_eq!(
            makers, 2,
            "round {round}: a layer was unpacked more than once"
        );
    }
}
