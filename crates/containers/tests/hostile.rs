//! Images and requests that try to reach the host, or that are broken.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;

use box_containers::overrides::Overrides;
use support::{Engine, bind, command, shell};

/// Replaces a directory of the layer.
fn replace(engine: &Engine, name: &str, with: impl FnOnce(&Path)) {
    let path = engine.layer().join(name);
    std::fs::remove_dir_all(&path)
        .or_else(|_| std::fs::remove_file(&path))
        .unwrap();
    with(&path);
}

#[test]
fn links_in_place_of_proc_sys_and_dev_are_refused() {
    for name in ["proc", "sys", "dev"] {
        for target in ["/tmp", "/", "..", "../../../../../tmp", "/nowhere"] {
            let engine = Engine::new();
            replace(&engine, name, |path| symlink(target, path).unwrap());
            let error = engine.run(shell("true")).unwrap_err().to_string();
            assert!(
                error.contains("symbolic link"),
                "{name} -> {target}: {error}"
            );
            assert!(engine.left().is_empty(), "{:?}", engine.left());
        }
    }
}

#[test]
fn files_in_place_of_directories_are_refused() {
    for name in ["proc", "sys", "dev"] {
        let engine = Engine::new();
        replace(&engine, name, |path| std::fs::write(path, "").unwrap());
        let error = engine.run(shell("true")).unwrap_err().to_string();
        assert!(
            error.contains(&format!("on /{name}")) && error.ends_with("not a directory"),
            "{error}"
        );
    }
}

#[test]
fn missing_mount_points_are_made_and_leave_no_trace() {
    let engine = Engine::new();
    for name in ["proc", "sys", "dev"] {
        replace(&engine, name, |_| {});
    }
    for name in ["passwd", "group"] {
        std::fs::remove_file(engine.layer().join("etc").join(name)).unwrap();
    }
    let options = box_containers::RunOptions::default();
    let container = engine
        .create_with(
            Some("bare"),
            shell("test -e /proc/1 && test -c /dev/null"),
            false,
            options,
        )
        .unwrap();
    let upper = container.dir().join("upper");
    let plan = container.plan().unwrap();
    assert_eq!(
        box_containers::launch(container, plan)
            .unwrap()
            .wait()
            .unwrap()
            .code,
        0
    );
    assert_eq!(
        std::fs::read_dir(upper).unwrap().count(),
        0,
        "mount points are not the user's changes"
    );
}

#[test]
fn the_files_of_etc_follow_links_inside_the_image_only() {
    let engine = Engine::new();
    let victim = engine.path("victim");
    std::fs::write(&victim, "untouched").unwrap();
    // As in Debian images, where /run is empty; then links out of the root, absolute and relative.
    let up = format!("../../../../../../../../..{}", victim.display());
    let links = [
        "../run/systemd/resolve/stub-resolv.conf",
        victim.to_str().unwrap(),
        up.as_str(),
    ];
    for link in links {
        let path = engine.layer().join("etc/resolv.conf");
        let _ = std::fs::remove_file(&path);
        symlink(link, &path).unwrap();
        let seen = engine.output("cat /etc/resolv.conf; echo more >>/etc/resolv.conf", |_| {});
        assert_eq!(seen, "nameserver 192.0.2.1\n", "{link}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    }
    // A file cannot be mounted on a directory.
    let path = engine.layer().join("etc/hosts");
    std::fs::create_dir(&path).unwrap();
    let error = engine.run(shell("true")).unwrap_err();
    assert!(error.to_string().contains("/etc/hosts"), "{error}");
}

#[test]
fn loops_and_devices_in_place_of_passwd_do_not_hang() {
    for make in [
        |path: &Path| symlink("passwd", path).unwrap(),
        |path: &Path| symlink("/dev/zero", path).unwrap(),
        |path: &Path| {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                path,
                rustix::fs::FileType::Fifo,
                0o600.into(),
                0,
            )
            .unwrap()
        },
        |path: &Path| std::fs::create_dir(path).unwrap(),
        |path: &Path| std::fs::write(path, [0xff; 4096]).unwrap(),
    ] {
        let engine = Engine::new();
        let path = engine.layer().join("etc/passwd");
        std::fs::remove_file(&path).unwrap();
        make(&path);
        assert_eq!(engine.run(shell("true")).unwrap().code, 0);
    }
}

#[test]
fn a_volume_is_mounted_inside_whatever_the_image_says() {
    let engine = Engine::new();
    let (data, outside) = (engine.path("data"), engine.path("outside"));
    std::fs::create_dir(&data).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(data.join("mark"), "data").unwrap();
    symlink(&outside, engine.layer().join("mnt")).unwrap();
    let seen = engine.output("cat /mnt/sub/mark; readlink /mnt", |asked| {
        asked.volumes.push(bind(&data, "/mnt/sub"))
    });
    assert_eq!(seen, format!("data{}\n", outside.display()));
    assert_eq!(
        std::fs::read_dir(&outside).unwrap().count(),
        0,
        "the host's directory got a mount point"
    );
}

#[test]
fn a_working_directory_outside_is_refused() {
    let engine = Engine::new();
    // A descriptor of the host that would be inherited, as in CVE-2024-21626.
    let held = std::fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty()).unwrap();
    for number in 3..40 {
        let asked = Overrides {
            cwd: Some(format!("/proc/self/fd/{number}").into()),
            ..command(&["cat", "etc/passwd"])
        };
        let error = engine.run(asked).unwrap_err().to_string();
        assert!(
            error.starts_with("change to the working directory /proc/self/fd/"),
            "{error}"
        );
    }
}

#[test]
fn the_program_of_the_host_is_not_executed() {
    let engine = Engine::new();
    symlink("/proc/self/exe", engine.layer().join("link")).unwrap();
    let script = engine.layer().join("script");
    std::fs::write(&script, "#!/proc/self/exe\n").unwrap();
    let nested = engine.layer().join("nested");
    std::fs::write(&nested, "#!/script x\n").unwrap();
    for path in [&script, &nested] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
    }
    for name in [
        "/link",
        "/script",
        "/nested",
        "/proc/self/exe",
        "/proc/1/exe",
    ] {
        // They lead to the sealed program, which reports that it is not a command.
        let ended = engine.run(command(&[name])).unwrap();
        assert_eq!(ended.code, 126, "{name}");
    }
}

#[test]
fn mounts_over_proc_are_refused() {
    let engine = Engine::new();
    let mut asked = shell("true");
    asked.volumes.push(bind(Path::new("/tmp"), "/proc/self"));
    let error = engine.run(asked).unwrap_err().to_string();
    assert!(error.contains("mount on /proc/self"), "{error}");
}

#[test]
fn devices_of_the_host_are_out_of_reach() {
    let engine = Engine::new();
    let script = "mknod /tmp/disk b 8 0 && echo made; mount -t tmpfs x /tmp && echo mounted; unshare -m true && echo unshared; \
                  echo c >/proc/sysrq-trigger && echo triggered; umount /proc/sys && echo unmounted; \
                  mount -o remount,rw /sys && echo remounted; true";
    let seen = engine.output(script, |_| {});
    for word in [
        "made",
        "mounted",
        "unshared",
        "triggered",
        "unmounted",
        "remounted",
    ] {
        assert!(!seen.lines().any(|line| line == word), "{seen}");
    }
    // With the capability to make it, the node is still not opened.
    let seen = engine.output(
        "mknod /tmp/disk b 8 0 && echo made; head -c 1 /tmp/disk && echo read; true",
        |asked| {
            asked.cap_add = vec!["MKNOD".parse().unwrap()];
        },
    );
    assert!(!seen.lines().any(|line| line == "read"), "{seen}");
}
