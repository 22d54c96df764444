//! The files of a container: copied in and out, compared with the image, committed to an image.

use std::fs;
use std::process::Command;

use box_tests::{Home, Outcome};

use crate::with_web;

#[test]
fn files_go_in_and_out_of_running_and_stopped_containers() {
    let home = with_web();
    fs::create_dir_all(home.path().join("site/css")).unwrap();
    fs::write(home.path().join("site/index.html"), "hello").unwrap();
    fs::write(home.path().join("site/css/a.css"), "a{}").unwrap();
    for stopped in [false, true] {
        if stopped {
            home.run(["stop", "web"]).succeeds();
        }
        home.run(["cp", "site", "web:/srv"]).succeeds();
        home.run(["cp", "site/index.html", "web:/srv/copy.html"])
            .succeeds();
        home.run(["cp", "web:/srv/site", "out"]).succeeds();
        assert_eq!(
            fs::read_to_string(home.path().join("out/css/a.css")).unwrap(),
            "a{}"
        );
        home.run(["cp", "web:/srv/copy.html", "."]).succeeds();
        assert_eq!(
            fs::read_to_string(home.path().join("copy.html")).unwrap(),
            "hello"
        );
        fs::remove_dir_all(home.path().join("out")).unwrap();
        home.run(["cp", "web:/nonesuch", "."])
            .fails(&["web:/nonesuch", "no such file"]);
        home.run(["cp", "nonesuch", "web:/"])
            .fails(&["nonesuch", "no such file"]);
        home.run(["cp", "site", "web:/etc/passwd"])
            .fails(&["not a directory"]);
    }
    home.run(["cp", "web:/a", "web:/b"])
        .fails(&["cannot copy from one container to another"]);
    home.run(["cp", "a", "b"]).fails(&["neither side"]);
    home.run(["cp", "site", "none:/"])
        .fails(&["no container named none"]);
    home.run(["start", "web"]).succeeds();
    assert_eq!(
        home.run(["exec", "web", "cat", "/srv/copy.html"])
            .succeeds()
            .text(),
        "hello"
    );
    assert_eq!(
        home.run(["exec", "web", "stat", "-c", "%u:%g", "/srv/copy.html"])
            .succeeds()
            .text(),
        "0:0"
    );
    home.run(["rm", "-f", "web"]).succeeds();
}

#[test]
fn no_link_leads_a_copy_onto_the_host() {
    let home = with_web();
    fs::write(home.path().join("mine"), "mine").unwrap();
    fs::write(home.path().join("host"), "host").unwrap();
    let outside = home.path().join("host").display().to_string();
    let links = format!(
        "ln -s {outside} /tmp/file; ln -s {} /tmp/dir; ln -s /proc/1/root/../../.. /tmp/up",
        home.path().display()
    );
    home.run(["exec", "web", "sh", "-c", &links]).succeeds();
    for stopped in [false, true] {
        if stopped {
            home.run(["stop", "web"]).succeeds();
        }
        for destination in ["web:/tmp/file", "web:/tmp/dir/host", "web:/tmp/up/host"] {
            home.run(["cp", "mine", destination]);
            assert_eq!(
                fs::read_to_string(home.path().join("host")).unwrap(),
                "host",
                "{destination}"
            );
        }
        home.run(["cp", "-L", "web:/tmp/file", "stolen"])
            .fails(&["no such file"]);
        home.run(["cp", "web:/tmp/dir/host", "stolen"])
            .fails(&["no such file"]);
    }
    home.run(["rm", "web"]).succeeds();
}

#[test]
fn archives_go_in_and_out() {
    let home = with_web();
    let out = home.run(["cp", "web:/etc", "-"]).succeeds();
    let list = |bytes: &[u8]| {
        let mut tar = Command::new("tar");
        tar.arg("t");
        Outcome::of(tar, bytes).succeeds()
    };
    assert!(list(&out.stdout).text().contains("etc/passwd"));
    home.run_with_stdin(["cp", "-", "web:/tmp"], &out.stdout)
        .succeeds();
    home.run(["exec", "web", "cmp", "/etc/passwd", "/tmp/etc/passwd"])
        .succeeds();
    home.run_with_stdin(["cp", "-", "web:/nonesuch"], &out.stdout)
        .fails(&["web:/nonesuch"]);
    home.run_with_stdin(
        ["cp", "-", "web:/tmp"],
        b"this is no archive, however long it may be",
    )
    .exits(125);
    home.run(["rm", "-f", "web"]).succeeds();
}

#[test]
fn what_changed_is_listed() {
    let home = Home::with_alpine();
    let script = "echo x > /root/new; rm /etc/motd; echo y >> /etc/passwd; mkdir /data; rm -r /opt; mkdir /opt; touch /opt/in";
    home.run(["run", "--name", "c", "alpine", "sh", "-c", script])
        .succeeds();
    let expected = "A /data\nC /etc\nD /etc/motd\nC /etc/passwd\nA /opt/in\nC /root\nA /root/new";
    let listed = home.run(["diff", "c"]).succeeds();
    let lines: Vec<&str> = listed
        .text()
        .lines()
        .filter(|line| *line != "C /opt")
        .collect();
    assert_eq!(lines.join("\n"), expected);
    let rows = home
        .run(["diff", "--format", "json", "c"])
        .succeeds()
        .json();
    assert_eq!(
        rows[0],
        serde_json::json!({"kind": "added", "path": "/data"})
    );
    home.run(["run", "--name", "same", "alpine", "true"])
        .succeeds();
    assert_eq!(home.run(["diff", "same"]).succeeds().text(), "");
    home.run(["rm", "c", "same"]).succeeds();
}

#[test]
fn a_container_becomes_an_image() {
    let home = Home::with_alpine();
    let script = "echo committed > /root/new; rm /etc/motd; rm -r /media; ln /root/new /root/same; chown 5:6 /root/new; mkdir -p /a/b";
    home.run(["run", "--name", "c", "alpine", "sh", "-c", script])
        .succeeds();
    let change = [
        "--change",
        "ENV WHO=me",
        "--change",
        "CMD [\"sh\", \"-c\", \"echo $WHO; cat /root/new\"]",
    ];
    let digest = home
        .run(["commit", "c", "mine:1"].into_iter().chain(change))
        .succeeds();
    assert!(digest.text().starts_with("sha256:"), "{}", digest.text());
    // The same files make the same image.
    let again = home
        .run(["commit", "c", "mine:2"].into_iter().chain(change))
        .succeeds();
    assert_eq!(again.text(), digest.text());
    assert_eq!(
        home.run(["run", "--rm", "mine:1"]).succeeds().text(),
        "me\ncommitted"
    );
    let look = "ls /etc/motd /media; stat -c '%u:%g %h' /root/same; ls /a";
    let out = home
        .run(["run", "--rm", "mine:1", "sh", "-c", look])
        .succeeds();
    assert_eq!(out.text(), "5:6 2\nb");
    // As other tools see it.
    let layout = format!("oci:{}:mine:1", home.cache().display());
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["inspect", &layout]);
    let seen = Outcome::of(skopeo, b"").succeeds().json();
    assert_eq!(seen["Layers"].as_array().unwrap().len(), 2);
    let bundle = home.path().join("bundle");
    let mut umoci = Command::new("umoci");
    umoci
        .args(["unpack", "--image"])
        .arg(format!("{}:mine:1", home.cache().display()))
        .arg(&bundle);
    Outcome::of(umoci, b"").succeeds();
    assert_eq!(
        fs::read_to_string(bundle.join("rootfs/root/new")).unwrap(),
        "committed\n"
    );
    assert!(!bundle.join("rootfs/etc/motd").exists() && !bundle.join("rootfs/media").exists());
    home.run(["commit", "c", "Bad Name"]).fails(&["Bad Name"]);
    home.run(["commit", "--change", "FROM x", "c", "y"])
        .fails(&["--change FROM x"]);
    home.run(["rm", "c"]).succeeds();
}

/// The Dockerfile's grammar, with the variables of the image.
#[test]
fn changes_are_instructions_of_a_dockerfile() {
    let home = Home::with_alpine();
    home.run(["run", "--name", "c", "alpine", "true"])
        .succeeds();
    let changes = [
        "ENV A=b C=\"d e\" F=g\\ h PATH=/x:$PATH",
        "ENV W=${A:-no}${NO:+x}\n# a comment\nLABEL a=b \\\n  \"c d\"='$A'",
        "EXPOSE 8000-8001 53/udp",
        "WORKDIR /srv/$A",
        "WORKDIR ../$W",
        "USER guest:users",
        "CMD echo \"$C\" $W $PWD $(id -un) $(id -gn)",
    ];
    let changes = changes.iter().flat_map(|change| ["--change", change]);
    home.run(["commit", "c", "mine"].into_iter().chain(changes))
        .succeeds();
    let run = home.run(["run", "--rm", "mine"]).succeeds();
    assert_eq!(run.text(), "d e b /srv/b guest users");
    let image = home.run(["inspect", "mine"]).succeeds().json();
    let config = &image[0]["config"]["config"];
    let labels = serde_json::json!({"a": "b", "c d": "$A"});
    assert_eq!(config["Labels"], labels);
    let ports = config["ExposedPorts"].as_object().unwrap().keys();
    assert_eq!(
        ports.collect::<Vec<_>>(),
        ["53/udp", "8000/tcp", "8001/tcp"]
    );
    for (change, reason) in [
        ("ENV A='b", "ENV A='b"),
        ("EXPOSE 99999", "99999 is not a port"),
        ("USER 4294967295", "4294967295 is no id"),
        ("ONBUILD RUN x", "ONBUILD"),
    ] {
        home.run(["commit", "-c", change, "c", "y"])
            .fails(&["--change", reason]);
    }
    home.run(["rm", "c"]).succeeds();
}

#[test]
fn a_running_container_becomes_an_image() {
    let home = with_web();
    home.run(["exec", "web", "sh", "-c", "echo 1 > /root/one"])
        .succeeds();
    home.run(["commit", "web", "snapshot"]).succeeds();
    assert_eq!(crate::field(&home, "web", "status"), "running");
    assert_eq!(
        home.run(["run", "--rm", "snapshot", "cat", "/root/one"])
            .succeeds()
            .text(),
        "1"
    );
    home.run(["rm", "-f", "web"]).succeeds();
}

/// A rename onto a mount point removes the mount if it belongs to another mount namespace.
#[test]
fn a_file_that_is_mounted_in_a_container_stays_mounted() {
    let home = Home::with_alpine();
    let at = |name: &str| home.path().join(name);
    fs::write(at("volume"), "old, and longer").unwrap();
    fs::write(at("new"), "new").unwrap();
    fs::write(at("kept"), "kept").unwrap();
    let volume = format!("{}:/volume", at("volume").display());
    let kept = format!("{}:/kept:ro", at("kept").display());
    home.run([
        "run", "-d", "--name", "m", "-v", &volume, "-v", &kept, "alpine", "sleep", "1000",
    ])
    .succeeds();
    let mounts = || {
        let grep = "grep -c -e ' /volume ' -e ' /kept ' -e ' /etc/hosts ' /proc/self/mounts";
        let found = home.run(["exec", "m", "sh", "-c", grep]).succeeds();
        found.text().to_owned()
    };
    assert_eq!(mounts(), "3");
    for path in ["m:/volume", "m:/etc/hosts"] {
        home.run(["cp", "new", path]).succeeds();
        home.run(["cp", "-a", "new", path]).succeeds();
    }
    home.run(["cp", "new", "m:/kept"]).fails(&["read-only"]);
    assert_eq!(mounts(), "3");
    assert_eq!(fs::read_to_string(at("volume")).unwrap(), "new");
    assert_eq!(fs::read_to_string(at("kept")).unwrap(), "kept");
    let seen = home.run(["exec", "m", "cat", "/volume", "/etc/hosts"]);
    assert_eq!(seen.succeeds().text(), "newnew");
    home.run(["rm", "-f", "m"]).succeeds();
}
