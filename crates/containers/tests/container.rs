//! A container as seen from inside.
#![allow(clippy::unwrap_used)]

mod support;

use box_containers::overrides::{Sharing, UserNamespace};
use box_containers::{RunOptions, launch};
use support::{Engine, command, shell};

#[test]
fn it_is_alone() {
    let engine = Engine::new();
    let seen = engine.output(
        "set -- /proc/[0-9]*; echo $$ $#; hostname; cat /proc/1/comm; ip -o addr",
        |_| {},
    );
    let lines: Vec<_> = seen.lines().collect();
    // The shell itself expands the pattern, so that it is the only process.
    assert_eq!(lines[..3], ["1 1", "container", "sh"], "{seen}");
    assert!(
        seen.contains("127.0.0.1/8") && !seen.contains("eth"),
        "{seen}"
    );
}

#[test]
fn its_devices_mounts_and_files_are_its_own() {
    let engine = Engine::new();
    let script = "ls -1 /dev; cat /etc/hosts /etc/resolv.conf /etc/hostname; readlink /dev/ptmx; \
                  echo x >/dev/null && head -c 3 /dev/zero | wc -c; touch /sys/x; echo 1 >/proc/sys/kernel/panic; \
                  grep -c ' /proc/sys ' /proc/self/mountinfo";
    let seen = engine.output(script, |_| {});
    for part in [
        "full\n",
        "mqueue\n",
        "pts\n",
        "shm\n",
        "urandom\n",
        "127.0.1.1\tcontainer",
        "nameserver 192.0.2.1",
        "pts/ptmx",
        "\n3\n",
    ] {
        assert!(seen.contains(part), "{part:?} in {seen}");
    }
    assert_eq!(seen.matches("Read-only file system").count(), 2, "{seen}");
    assert!(
        seen.contains("can't create /proc/sys/kernel/panic"),
        "{seen}"
    );
}

#[test]
fn masked_files_are_empty_and_directories_too() {
    let engine = Engine::new();
    let seen = engine.output(
        "cat /proc/keys /proc/timer_list | wc -c; ls /sys/firmware | wc -l; touch /sys/firmware/x",
        |_| {},
    );
    assert!(seen.starts_with("0\n0\n"), "{seen}");
    assert!(seen.contains("Read-only"), "{seen}");
}

#[test]
fn users_groups_and_capabilities() {
    let engine = Engine::new();
    let script = "id; pwd; grep -E 'Cap(Eff|Bnd|Amb)|NoNewPrivs|Seccomp:' /proc/self/status; umask; echo $HOME";
    let seen = engine.output(script, |asked| {
        asked.user = Some("web".to_owned());
        asked.cwd = Some("/made/for/it".into());
        asked.no_new_privileges = true;
        asked.umask = Some(0o077);
    });
    assert!(
        seen.contains("uid=1000(web) gid=1001(web) groups=50(extra)"),
        "{seen}"
    );
    for part in [
        "/made/for/it\n",
        "CapEff:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "0077",
        "/tmp\n",
    ] {
        assert!(seen.contains(part), "{part:?} in {seen}");
    }
    assert!(!seen.contains("CapBnd:\t0000000000000000"), "{seen}");
}

#[test]
fn nothing_is_inherited_but_the_three() {
    let engine = Engine::new();
    // ls opens the directory itself.
    let seen = engine.output("ls /proc/self/fd | wc -l", |_| {});
    assert_eq!(seen, "4\n");
    for field in ["SigBlk", "SigIgn", "SigCgt"] {
        let pattern = format!("^{field}:.0000000000000000$");
        let ended = engine
            .run(command(&["grep", "-q", &pattern, "/proc/self/status"]))
            .unwrap();
        assert_eq!(ended.code, 0, "{field} is not empty");
    }
}

#[test]
fn shared_namespaces_are_the_hosts() {
    let engine = Engine::new();
    let host = |name: &str| {
        std::fs::read_link(format!("/proc/self/ns/{name}"))
            .unwrap()
            .into_os_string()
            .into_string()
            .unwrap()
    };
    let script = "for name in pid ipc uts net cgroup; do readlink /proc/self/ns/$name; done";
    let private = engine.output(script, |_| {});
    let shared = engine.output(script, |asked| {
        (asked.pid, asked.ipc, asked.uts, asked.cgroupns) =
            (Sharing::Host, Sharing::Host, Sharing::Host, Sharing::Host);
        asked.net = box_containers::overrides::Network::Host;
    });
    for name in ["pid", "ipc", "uts", "net", "cgroup"] {
        assert!(shared.contains(&host(name)), "{name}: {shared}");
        assert!(!private.contains(&host(name)), "{name}: {private}");
    }
}

#[test]
fn a_time_namespace() {
    let engine = Engine::new();
    let host = std::fs::read_link("/proc/self/ns/time").unwrap();
    let seen = engine.output("readlink /proc/self/ns/time", |asked| asked.time = true);
    assert!(
        seen.starts_with("time:") && seen.trim() != host.to_string_lossy(),
        "{seen}"
    );
}

#[test]
fn a_user_namespace_maps_root_and_shows_the_image_as_its_own() {
    let engine = Engine::new();
    let script = "id -u; stat -c %u /bin/busybox /etc/hosts; touch /mine && stat -c %u /mine; cat /proc/self/uid_map; \
                  mount -t tmpfs x /tmp; cat /proc/sys/kernel/hostname; echo x >/dev/null && echo fine";
    let seen = engine.output(script, |asked| {
        asked.userns = UserNamespace::Range {
            first: 300_000,
            size: 65_536,
        }
    });
    assert!(seen.starts_with("0\n0\n0\n0\n"), "{seen}");
    assert!(
        seen.contains("300000      65536") && seen.contains("container\nfine"),
        "{seen}"
    );
    // With the host's network, as root of a user namespace may not mount its sysfs.
    let seen = engine.output("ls /sys/class; touch /sys/class/x", |asked| {
        asked.userns = UserNamespace::Range {
            first: 300_000,
            size: 65_536,
        };
        asked.net = box_containers::overrides::Network::Host;
    });
    assert!(
        seen.contains("net\n") && seen.contains("Read-only"),
        "{seen}"
    );
    assert!(engine.left().is_empty(), "{:?}", engine.left());
}

#[test]
fn a_terminal_of_its_own() {
    let engine = Engine::new();
    let mut asked = shell("tty; test -t 0 && test -c /dev/console && echo terminal; exit 4");
    asked.terminal = true;
    let container = engine.create(asked).unwrap();
    let plan = container.plan().unwrap();
    let running = launch(container, plan).unwrap();
    let terminal = running.terminal().unwrap().try_clone_to_owned().unwrap();
    let mut seen = vec![];
    let mut buffer = [0u8; 512];
    // EIO: the container's side is closed.
    while let Ok(length @ 1..) = rustix::io::read(&terminal, &mut buffer[..]) {
        seen.extend_from_slice(&buffer[..length]);
    }
    assert_eq!(String::from_utf8_lossy(&seen), "/dev/pts/0\r\nterminal\r\n");
    assert_eq!(running.wait().unwrap().code, 4);
}

#[test]
fn without_pivot_root_the_hosts_root_is_out_of_reach() {
    let engine = Engine::new();
    let options = RunOptions::from(box_run::Options {
        no_pivot: true,
        ..box_run::Options::default()
    });
    let script = "test -e /bin/busybox && ! test -e /work && ! test -e /../proc/1/root/usr/bin && test $$ = 1";
    let container = engine
        .create_with(None, shell(script), true, options)
        .unwrap();
    let plan = container.plan().unwrap();
    assert_eq!(launch(container, plan).unwrap().wait().unwrap().code, 0);
}

#[test]
fn preserved_descriptors_have_to_be_there_and_no_way_out() {
    let engine = Engine::new();
    let refused = |count: u32| {
        let options = RunOptions::from(box_run::Options {
            preserve_fds: count,
            ..box_run::Options::default()
        });
        let container = engine
            .create_with(None, shell("true"), true, options)
            .unwrap();
        let name = container.name().to_owned();
        let plan = container.plan().unwrap();
        let error = launch(container, plan).unwrap_err().to_string();
        engine.containers.remove(&name, true).unwrap();
        error
    };
    // Descriptors of this process are close-on-exec, so these numbers are not inherited.
    let error = refused(40);
    assert!(
        error.starts_with("preserved descriptors: 40 are requested"),
        "{error}"
    );
}

#[test]
fn kernel_parameters_of_its_own_namespaces() {
    let engine = Engine::new();
    let seen = engine.output(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni",
        |asked| {
            asked
                .sysctl
                .insert("net.ipv4.ip_forward".into(), "1".into());
            asked.sysctl.insert("kernel.shmmni".into(), "77".into());
        },
    );
    assert_eq!(seen, "1\n77\n");
}

#[test]
fn limits_of_the_process() {
    let engine = Engine::new();
    let seen = engine.output(
        "ulimit -n; ulimit -c; cat /proc/self/oom_score_adj",
        |asked| {
            asked.rlimits = vec!["nofile=100:200".parse().unwrap(), "core=0".parse().unwrap()];
            asked.oom_score_adj = Some(321);
        },
    );
    assert_eq!(seen, "100\n0\n321\n");
}

#[test]
fn a_read_only_root_and_a_volume_with_options() {
    let engine = Engine::new();
    let data = engine.path("data");
    std::fs::create_dir(&data).unwrap();
    let script = "touch /x; touch /data/x; touch /scratch/x && echo scratch; grep ' /scratch ' /proc/self/mountinfo";
    let seen = engine.output(script, |asked| {
        asked.read_only = true;
        let text = format!("{}:/data:ro", data.display());
        asked
            .volumes
            .push(box_containers::volumes::Volume::bind(&text, &data).unwrap());
        asked
            .volumes
            .push(box_containers::volumes::Volume::tmpfs("/scratch:size=1m,exec").unwrap());
    });
    assert_eq!(seen.matches("Read-only file system").count(), 2, "{seen}");
    assert!(
        seen.contains("scratch\n") && seen.contains("nosuid,nodev") && seen.contains("size=1024k"),
        "{seen}"
    );
    assert!(!seen.contains("noexec"), "{seen}");
}
