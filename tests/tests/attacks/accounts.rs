//! Users and groups: images and running containers that define them so as to become root.

use box_tests::Home;

use crate::attack;

/// Entries written after Alpine's own entries, and before them.
const HOSTILE: &str = "{ echo 1000:x:0:0::/:/bin/sh; echo +7:x:0:0::/:/bin/sh; echo web:x:4294967295:4294967295::/:/bin/sh; \
                       echo mix:x:5:4294967295::/:/bin/sh; cat /etc/passwd; } >/p; cat /p >/etc/passwd; \
                       { echo 50:x:0:; echo none:x:4294967295:; cat /etc/group; } >/g; cat /g >/etc/group";

/// Makes an image of Alpine, changed by a script.
fn image(home: &Home, name: &str, script: &str, changes: &[&str]) {
    home.run(["run", "--name", "made", "alpine", "sh", "-c", script])
        .succeeds();
    let changes = changes.iter().flat_map(|change| ["--change", change]);
    home.run(["commit", "made", name].into_iter().chain(changes))
        .succeeds();
    home.run(["rm", "made"]).succeeds();
}

const SHOW: &str = "echo $(id -u) $(id -g) $HOME $(grep CapEff /proc/self/status | cut -f2)";

/// CVE-2016-3697, CVE-2026-46680: `-u 1000` is root if root has that number as its name.
#[test]
fn a_number_is_an_id_whatever_is_called_so() {
    let home = Home::with_alpine();
    image(&home, "hostile", HOSTILE, &["USER 1000"]);
    let show = |flags: &[&str], script: &str| {
        let line = [&["run", "--rm"], flags, &["hostile", "sh", "-c", script]].concat();
        home.run(line).succeeds().text().to_owned()
    };
    assert_eq!(show(&[], SHOW), "1000 0 / 0000000000000000");
    assert_eq!(show(&["-u", "1000"], SHOW), "1000 0 / 0000000000000000");
    assert_eq!(show(&["-u", "5:50"], "id -u; id -g"), "5\n50");
    let groups = show(&["-u", "5:5", "--group-add", "50"], "id -G");
    assert_eq!(groups, "5 50");
    // The user with that number as its id determines home and groups.
    assert_eq!(
        show(&["-u", "405"], SHOW),
        "405 100 /dev/null 0000000000000000"
    );
    for text in [
        "+7",
        " 1000",
        "0x0",
        "-1",
        "4294967295",
        "4294967296",
        "5:+0",
        "web",
        "mix",
        "5:none",
    ] {
        home.run(["run", "--rm", &format!("--user={text}"), "hostile", "true"])
            .fails(&[text.trim_start_matches("5:"), "4294967294"]);
    }
    home.run([
        "run", "-d", "--name", "r", "-u", "0", "hostile", "sleep", "1000",
    ])
    .succeeds();
    let exec = |user: &str| home.run(["exec", "-u", user, "r", "sh", "-c", SHOW]);
    assert_eq!(exec("1000").succeeds().text(), "1000 0 / 0000000000000000");
    exec("web").fails(&["user web", "no ids"]);
    // The name of another number would lie.
    home.run(["exec", "-d", "r", "sleep", "1001"]).succeeds();
    let top = home.run(["top", "r"]).succeeds();
    let named = top.text().lines().any(|line| line.starts_with("1000 "));
    assert!(!named, "{}", top.text());
    home.run(["rm", "-f", "r"]).succeeds();
}

/// Users come from the files that the container sees, not from a lower layer or the host.
#[test]
fn accounts_are_those_that_the_container_sees() {
    let home = Home::with_alpine();
    let svc = "svc:x:321:654::/srv/svc:/bin/sh";
    image(&home, "deleted", "rm /etc/passwd", &[]);
    image(
        &home,
        "linked",
        &format!("echo {svc} >/usr/lib/passwd; ln -sf ../usr/lib/passwd /etc/passwd"),
        &[],
    );
    home.run(["run", "--rm", "-u", "guest", "deleted", "true"])
        .fails(&["guest", "/etc/passwd"]);
    let show = |image: &str, flags: &[&str]| {
        let line = [
            &["run", "--rm", "-u", "svc"],
            flags,
            &[image, "sh", "-c", "echo $(id -u) $HOME"],
        ]
        .concat();
        home.run(line)
    };
    assert_eq!(show("linked", &[]).succeeds().text(), "321 /srv/svc");
    // A volume, too.
    let file = home.path().join("passwd");
    std::fs::write(&file, format!("{svc}\n")).unwrap();
    let volume = format!("{}:/etc/passwd:ro", file.display());
    assert_eq!(
        show("alpine", &["-v", &volume]).succeeds().text(),
        "321 /srv/svc"
    );
    home.run([
        "run", "--rm", "-u", "guest", "-v", &volume, "alpine", "true",
    ])
    .fails(&["guest"]);
    home.run([
        "run", "-d", "--name", "v", "-v", &volume, "alpine", "sleep", "1000",
    ])
    .succeeds();
    let exec = home.run(["exec", "-u", "svc", "v", "id", "-u"]).succeeds();
    assert_eq!(exec.text(), "321");
    home.run(["rm", "-f", "v"]).succeeds();
}

/// Whatever a container puts there, reading it ends and opens no device.
#[test]
fn what_is_no_file_is_not_read() {
    let home = Home::with_alpine();
    home.run(["run", "-d", "--name", "c", "alpine", "sleep", "1000"])
        .succeeds();
    for script in [
        "mkfifo /etc/passwd /etc/group",
        "mkdir /etc/passwd /etc/group",
        "ln -s /dev/zero /etc/passwd; ln -s /dev/zero /etc/group",
        "ln -s /proc/kmsg /etc/passwd; ln -s /proc/1/mem /etc/group",
        "ln -s passwd /etc/passwd; ln -s ../../../../../etc/group /etc/group",
        "truncate -s 1T /etc/passwd; echo bad >/etc/group",
        "truncate -s 8M /p; (echo root:x:0:0::/r:; cat /p; echo; echo evil:x:0:0::/:) >/etc/passwd; rm /p",
    ] {
        let script = format!("rm -rf /etc/passwd /etc/group; {script}");
        home.run(["exec", "c", "sh", "-c", &script]).succeeds();
        // Alpine's own id would open the pipe, and wait.
        let show = ["grep", "^[UG]id:", "/proc/self/status"];
        let line = ["exec", "-u", "7:8", "c"].into_iter().chain(show);
        let exec = home.run(line);
        let ids = "Uid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8";
        assert_eq!(
            (exec.status, exec.text()),
            (0, ids),
            "{script}: {}",
            exec.stderr
        );
        home.run(["exec", "-u", "evil", "c", "true"])
            .fails(&["evil"]);
        let top = home.run(["top", "c"]).succeeds();
        assert!(
            top.text().contains("sleep 1000"),
            "{script}: {}",
            top.text()
        );
        if script.contains("truncate") {
            // An image of it takes too long to make.
            continue;
        }
        assert_eq!(home.run(["commit", "c", "odd"]).status, 0, "{script}");
        let line = ["run", "--rm", "-u", "7:8", "odd"].into_iter().chain(show);
        let run = home.run(line);
        assert_eq!(
            (run.status, run.text()),
            (0, ids),
            "{script}: {}",
            run.stderr
        );
    }
    home.run(["rm", "-f", "c"]).succeeds();
}

/// On the host's network a container sees no foreign packets, except with NET_RAW.
#[test]
fn packets_of_the_hosts_network_are_not_seen() {
    let home = Home::with_alpine();
    for (flags, answer) in [
        (&[][..], "EPERM"),
        (&["--net", "host"], "EPERM"),
        (&["--net", "host", "--init", "--read-only"], "EPERM"),
        (&["--net", "none"], "DONE"),
        (&["--cap-add", "NET_RAW"], "DONE"),
        (&["--net", "none", "--cap-drop", "NET_RAW"], "EPERM"),
        (&["--net", "none", "-u", "1000"], "EPERM"),
    ] {
        let printed = attack(&home, flags, &["packets"]);
        let expected = format!("packet {answer}\nraw {answer}");
        assert_eq!(printed, expected, "{flags:?}");
    }
}
