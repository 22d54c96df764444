//! Images of several layers: unpacked at once, each for once, and stacked.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use box_tests::{Home, Mirror, Outcome};
use sha2::{Digest, Sha256};

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

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn put(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append_data(&mut header, name, bytes).unwrap();
}

/// Alpine with further layers over it, one file in each, as docker saves an image; `number` layers in all, under each name.
fn load_many(home: &Home, number: usize) {
    let packed = fs::File::open(Mirror::get().tarball("3.20.3")).unwrap();
    let mut rootfs = Vec::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_end(&mut rootfs)
        .unwrap();
    let one = |index: usize| {
        let mut layer = tar::Builder::new(Vec::new());
        put(
            &mut layer,
            &format!("f{index}"),
            index.to_string().as_bytes(),
        );
        layer.into_inner().unwrap()
    };
    let layers: Vec<_> = std::iter::once(rootfs)
        .chain((1..number).map(one))
        .collect();
    let ids: Vec<_> = layers.iter().map(|layer| sha256(layer)).collect();
    let config = serde_json::json!({
        "architecture": match std::env::consts::ARCH { "aarch64" => "arm64", _ => "amd64" },
        "os": "linux",
        "config": {},
        "rootfs": {
            "type": "layers",
            "diff_ids": ids.iter().map(|id| format!("sha256:{id}")).collect::<Vec<_>>(),
        },
    });
    let manifest = serde_json::json!([{
        "Config": "config.json",
        "RepoTags": [format!("many:{number}")],
        "Layers": ids.iter().map(|id| format!("{id}.tar")).collect::<Vec<_>>(),
    }]);
    let mut archive = tar::Builder::new(Vec::new());
    put(&mut archive, "config.json", config.to_string().as_bytes());
    for (id, layer) in ids.iter().zip(&layers) {
        put(&mut archive, &format!("{id}.tar"), layer);
    }
    put(
        &mut archive,
        "manifest.json",
        manifest.to_string().as_bytes(),
    );
    let name = format!("many:{number}");
    home.run_with_stdin(
        ["load", "-q", "--name", &name],
        &archive.into_inner().unwrap(),
    )
    .succeeds();
}

/// What the kernel stacks at most: `OVL_MAX_STACK`.
const MOST: usize = 500;

#[test]
fn as_many_layers_as_the_kernel_stacks_are_seen_by_every_verb() {
    let home = Home::new();
    load_many(&home, MOST);
    let image = format!("many:{MOST}");
    all_layers_are_seen_by_run(&home, &image);
    all_layers_are_seen_by_exec_and_cp(&home, &image);
    all_layers_are_seen_when_stopped(&home, &image);
    one_layer_more_is_copied(&home);
}

fn all_layers_are_seen_by_run(home: &Home, image: &str) {
    let count = ["sh", "-c", "ls / | grep -c '^f[0-9]'; cat /f1 /f499"];
    let seen = format!("{}\n1499", MOST - 1);
    for flags in [
        &["--rm"][..],
        &["--rm", "--read-only"],
        &["--rm", "--userns", "auto"],
    ] {
        let line = [&["run", "-q"], flags, &[image], &count].concat();
        let outcome = home.run(line).succeeds();
        assert_eq!(outcome.text(), seen, "{flags:?}");
        assert_eq!(outcome.stderr, "", "{flags:?}");
    }
}

fn all_layers_are_seen_by_exec_and_cp(home: &Home, image: &str) {
    let change = "rm /f7; echo new > /f8; echo up; exec sleep 1000";
    for (name, userns) in [("plain", None), ("mapped", Some("--userns=auto"))] {
        let line = ["run", "-q", "-d", "--name", name]
            .into_iter()
            .chain(userns);
        home.run(line.chain([image, "sh", "-c", change])).succeeds();
        let wait = "until grep -q new /f8; do sleep 0.1; done; ls / | grep -c '^f[0-9]'";
        let inside = home.run(["exec", name, "sh", "-c", wait]).succeeds();
        assert_eq!(inside.text(), "498");
        home.run(["cp", &format!("{name}:/f8"), "running"])
            .succeeds();
        assert_eq!(
            fs::read_to_string(home.path().join("running")).unwrap(),
            "new\n"
        );
        home.run(["rm", "-f", name]).succeeds();
    }
}

/// Leaves the container `kept`, and its image as `more:1`, which has a layer more.
fn all_layers_are_seen_when_stopped(home: &Home, image: &str) {
    home.run([
        "run",
        "--name",
        "kept",
        image,
        "sh",
        "-c",
        "rm -f /f7; echo new > /f8",
    ])
    .succeeds();
    // Neither with a layer for the mount points, for which there is no room, nor with traces of these.
    let changed = home.run(["diff", "kept"]).succeeds();
    assert_eq!(changed.text(), "D /f7\nC /f8");
    // Few descriptors are enough, and what the container may have is not changed by that.
    for (flag, rest) in [
        ("run -q --rm", "sh -c 'ulimit -n; ls / | grep -c ^f'"),
        (
            "run -q --rm --userns auto",
            "sh -c 'ulimit -n; ls / | grep -c ^f'",
        ),
    ] {
        let line = format!("ulimit -S -n 200; box {flag} {image} {rest}");
        let seen = Outcome::of(home.shell(&line), b"").succeeds();
        assert_eq!(seen.text(), "200\n499");
    }
    let line = "ulimit -S -n 200; box diff kept && box cp kept:/f9 nine";
    Outcome::of(home.shell(line), b"").succeeds();
    home.run(["cp", "kept:/f499", "stopped"]).succeeds();
    assert_eq!(
        fs::read_to_string(home.path().join("stopped")).unwrap(),
        "499"
    );
    home.run(["start", "-a", "kept"]).succeeds();
    home.run(["unpack", "-q", image, "plain"]).succeeds();
    assert_eq!(
        fs::read_to_string(home.path().join("plain/f499")).unwrap(),
        "499"
    );
    home.run(["commit", "-q", "kept", "more:1"]).succeeds();
}

fn one_layer_more_is_copied(home: &Home) {
    let refused = ["run", "--rm", "--storage", "overlay", "more:1", "true"];
    home.run(refused)
        .fails(&["the image has 501 layers, and the kernel stacks 500 at most"])
        .hints(&["--storage copy"]);
    let copied = home
        .run(["run", "-q", "--rm", "more:1", "cat", "/f8", "/f9"])
        .succeeds();
    assert_eq!(copied.text(), "new\n9");
    assert_eq!(
        copied.stderr.matches("warning:").count(),
        1,
        "{}",
        copied.stderr
    );
}

#[test]
fn the_root_directory_may_have_any_name() {
    let mut home = Home::new();
    for name in [
        "a b",
        "a,b",
        "a:b",
        "a\"b'c",
        "a\\b\\",
        "a\nb",
        "%41=\tü,x:y\\z ",
    ] {
        home.set_root_name(name);
        load_many(&home, 5);
        let seen = home.run(["run", "--rm", "many:5", "cat", "/f4"]).succeeds();
        assert_eq!(seen.text(), "4", "{name:?}");
        let mapped = ["run", "--rm", "--userns=auto", "many:5", "cat", "/f4"];
        assert_eq!(home.run(mapped).succeeds().text(), "4", "{name:?}");
        let keep = [
            "run",
            "--name",
            "kept",
            "many:5",
            "sh",
            "-c",
            "cat /f1 /hidden; echo h > /hidden",
        ];
        home.run(keep).succeeds();
        assert_eq!(
            home.run(["diff", "kept"]).succeeds().text(),
            "A /hidden",
            "{name:?}"
        );
        home.run(["cp", "kept:/hidden", "out"]).succeeds();
        assert_eq!(
            home.run(["start", "-a", "kept"]).succeeds().text(),
            "1h",
            "{name:?}"
        );
        home.run(["commit", "-q", "kept", "next:1"]).succeeds();
        let next = home
            .run(["run", "--rm", "next:1", "cat", "/hidden"])
            .succeeds();
        assert_eq!(next.text(), "h", "{name:?}");
    }
}
