//! Links of an image on the path of a mount: the resolved target counts, not its name.

use std::path::Path;

use box_tests::Home;

use crate::image::{image, link};

/// The words of a refusal: the source and the target of the mount.
fn refused(home: &Home, image: &str, flags: &[&str], place: &str) {
    let mut args = vec!["run", "--rm"];
    args.extend(flags);
    args.extend([image, "true"]);
    home.run(args).fails(&[place, "symbolic link", "image"]);
}

/// CVE-2019-19921 and CVE-2025-52881: a volume on procfs replaces it, and one on a device replaces the device.
#[test]
fn volumes_do_not_follow_links_into_file_systems_of_the_kernel() {
    let home = Home::with_alpine();
    let image = image(&home, |tree| {
        link(tree, "file", "/proc/1/comm");
        link(tree, "directory", "proc/sys/kernel");
        link(tree, "srv/deep", "../proc/tty/missing");
        link(tree, "sysfs", "/sys/class");
        link(tree, "group", "/sys/fs/cgroup");
        link(tree, "pts", "/dev/pts");
        link(tree, "queue", "/dev/mqueue/made");
        link(tree, "null", "/dev/null");
        link(tree, "node", "/dev/made/by/a/link");
        link(tree, "stdin", "/dev/stdin");
        link(tree, "twice", "/directory");
        link(tree, "parent", "/proc");
    });
    let file = home.path().join("file");
    std::fs::write(&file, "FAKE").unwrap();
    let directory = home.path().join("directory");
    std::fs::create_dir(&directory).unwrap();
    for place in ["/file", "/null", "/node", "/stdin", "/queue"] {
        let volume = format!("{}:{place}", file.display());
        refused(&home, image, &["-v", &volume], place);
        refused(
            &home,
            image,
            &["--userns", "300000:65536", "-v", &volume],
            place,
        );
    }
    for place in [
        "/directory",
        "/srv/deep",
        "/sysfs",
        "/group",
        "/pts",
        "/twice",
        "/parent/tty",
    ] {
        let volume = format!("{}:{place}", directory.display());
        refused(&home, image, &["-v", &volume], place);
        let mount = format!("type=bind,src={},dst={place}", directory.display());
        refused(&home, image, &["--mount", &mount], place);
        refused(&home, image, &["--tmpfs", place], place);
    }
    // Said outright it is the caller's decision, and links to elsewhere are followed.
    let volume = format!("{}:/sys/kernel", directory.display());
    home.run(["run", "--rm", "-v", &volume, "alpine", "true"])
        .succeeds();
    let volume = format!("{}:/var/run/made", directory.display());
    let script = "grep -q ' /run/made ' /proc/mounts";
    home.run(["run", "--rm", "-v", &volume, "alpine", "sh", "-c", script])
        .succeeds();
}

#[test]
fn files_of_box_do_not_either() {
    for (name, target) in [
        ("etc/hosts", "/proc/1/comm"),
        ("etc/hostname", "../proc/sys/kernel/msgmax"),
        ("etc/resolv.conf", "/dev/null"),
        ("etc/resolv.conf", "/dev/made"),
    ] {
        let home = Home::with_alpine();
        let image = image(&home, |tree| link(tree, name, target));
        let place = format!("/{name}");
        refused(&home, image, &[], &place);
        refused(&home, image, &["--userns", "300000:65536"], &place);
    }
    let home = Home::with_alpine();
    let image = image(&home, |tree| link(tree, "etc", "/proc"));
    refused(&home, image, &[], "/etc/");
    // One that systemd's images have is followed as ever.
    let home = Home::with_alpine();
    let image = self::image(&home, |tree: &Path| {
        link(
            tree,
            "etc/resolv.conf",
            "../run/systemd/resolve/stub-resolv.conf",
        );
    });
    let script = "grep -q ' /run/systemd/resolve/stub-resolv.conf ' /proc/mounts";
    home.run(["run", "--rm", image, "sh", "-c", script])
        .succeeds();
}

/// One target by two names: one volume would silently hide the other.
#[test]
fn two_volumes_on_one_place() {
    let home = Home::with_alpine();
    let image = image(&home, |tree| link(tree, "link", "/srv/data"));
    for name in ["one", "two"] {
        std::fs::create_dir(home.path().join(name)).unwrap();
    }
    let volume = |name: &str, place: &str| format!("{}:{place}", home.path().join(name).display());
    for (one, two) in [("/link", "/srv/data"), ("/link/x", "/srv/data/x")] {
        let (one, two) = (volume("one", one), volume("two", two));
        let args = ["run", "--rm", "-v", &one, "-v", &two, image, "true"];
        home.run(args).fails(&["symbolic link", "another volume"]);
    }
    for places in [["/x", "/x"], ["/x", "/x/"], ["/x", "/y/../x"]] {
        let (one, two) = (volume("one", places[0]), volume("two", places[1]));
        let args = ["run", "--rm", "-v", &one, "-v", &two, "alpine", "true"];
        home.run(args).fails(&["/x", "two volumes"]);
    }
    let one = volume("one", "/x");
    let args = [
        "run",
        "--rm",
        "-v",
        &one,
        "--tmpfs",
        "/x:size=1m",
        "alpine",
        "true",
    ];
    home.run(args).fails(&["/x", "two volumes"]);
    let below = volume("two", "/x/below");
    home.run(["run", "--rm", "-v", &one, "-v", &below, "alpine", "true"])
        .succeeds();
}
