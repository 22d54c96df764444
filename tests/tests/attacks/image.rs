//! Images that are themselves the attack.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use box_tests::{Home, Outcome};

/// An image of Alpine's root file system, changed by `tamper`.
pub(crate) fn image(home: &Home, tamper: impl Fn(&Path)) -> &'static str {
    let tree = home.path().join("tree");
    home.run(["unpack", "alpine", tree.to_str().unwrap()])
        .succeeds();
    tamper(&tree);
    let packed = home.path().join("tree.tar");
    let tar = Command::new("tar")
        .arg("-C")
        .arg(&tree)
        .arg("-cf")
        .arg(&packed)
        .arg(".")
        .status();
    assert!(tar.unwrap().success());
    home.run(["import", packed.to_str().unwrap(), "hostile"])
        .succeeds();
    std::fs::remove_dir_all(&tree).unwrap();
    std::fs::remove_file(&packed).unwrap();
    "hostile"
}

/// Replaces a file with a link.
pub(crate) fn link(tree: &Path, name: &str, target: &str) {
    let path = tree.join(name);
    let _absent = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
    symlink(target, path).unwrap();
}

/// CVE-2025-31133 and CVE-2025-52565: the file that masks others is itself a link of the image.
#[test]
fn links_in_the_place_of_devices_change_nothing() {
    let home = Home::with_alpine();
    let image = image(&home, |tree| {
        for name in ["null", "zero", "console", "ptmx", "tty", "pts", "shm"] {
            link(tree, &format!("dev/{name}"), "/proc/sysrq-trigger");
        }
    });
    let script = "[ -c /dev/null ] && [ -c /dev/zero ] && [ -d /dev/pts ] && [ ! -L /dev/null ] && \
                  wc -c </proc/timer_list && echo h >/proc/sysrq-trigger";
    let run = home.run(["run", "--rm", image, "sh", "-c", script]);
    assert_eq!((run.text().trim(), run.status), ("0", 1), "{}", run.stderr);
    let mut terminal = home.terminal([
        "run",
        "--rm",
        "-it",
        image,
        "sh",
        "-c",
        "[ -c /dev/console ] && echo fine",
    ]);
    assert_eq!(terminal.wait(), 0, "{}", terminal.transcript());
}

/// CVE-2025-52881: writes meant for procfs go elsewhere, as /proc is not procfs.
#[test]
fn links_in_the_place_of_file_systems_are_refused() {
    let home = Home::with_alpine();
    for (name, target) in [
        ("proc", "/tmp"),
        ("proc", "/sys"),
        ("sys", "/proc"),
        ("dev", "/"),
    ] {
        let image = image(&home, |tree| link(tree, name, target));
        let run = Outcome::of(home.command(["run", "--rm", image, "true"]), b"");
        run.fails(&[&format!("/{name}"), "symbolic link"]);
        home.run(["rmi", "-f", image]);
    }
}

#[test]
fn links_in_the_place_of_names_and_hosts_stay_inside() {
    let home = Home::with_alpine();
    let outside = home.path().join("outside");
    std::fs::write(&outside, "untouched").unwrap();
    let target = outside.display().to_string();
    let image = image(&home, |tree| {
        for name in ["resolv.conf", "hosts", "hostname"] {
            link(tree, &format!("etc/{name}"), &target);
        }
    });
    Outcome::of(
        home.command([
            "run",
            "--rm",
            image,
            "sh",
            "-c",
            "echo changed >/etc/resolv.conf; true",
        ]),
        b"",
    );
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "untouched");
}

#[test]
fn accounts_are_read_inside_the_image_only() {
    let home = Home::with_alpine();
    std::fs::write(home.path().join("passwd"), "intruder:x:0:0::/:/bin/sh\n").unwrap();
    let target = home.path().join("passwd").display().to_string();
    let image = image(&home, |tree| link(tree, "etc/passwd", &target));
    let run = Outcome::of(
        home.command(["run", "--rm", "-u", "intruder", image, "id", "-u"]),
        b"",
    );
    assert_ne!(run.status, 0, "a name was looked up in a file of the host");
}
