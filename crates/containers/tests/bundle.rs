//! A container is an OCI bundle, hooks included.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use box_containers::{RunOptions, launch};
use oci_spec::runtime::{HookBuilder, HooksBuilder};
use support::{Engine, command, shell};

#[test]
fn runc_runs_the_bundle() {
    runs_the_bundle("runc", "exec runc");
}

/// crun requires that all control groups of a host have the same version: the others are hidden from it here.
#[test]
fn crun_runs_the_bundle() {
    runs_the_bundle(
        "crun",
        "umount /sys/fs/cgroup/unified 2>/dev/null; exec crun",
    );
}

fn runs_the_bundle(name: &str, script: &str) {
    let engine = Engine::new();
    let mut asked = command(&[
        "sh",
        "-c",
        "hostname; cat /etc/hostname; id -u; grep Seccomp: /proc/self/status",
    ]);
    asked.user = Some("web".to_owned());
    let bundle = format!("for-{name}");
    let container = engine
        .create_with(Some(&bundle), asked, false, RunOptions::default())
        .unwrap();
    // Other runtimes do not know box's lock.
    drop(container);
    let container = engine.containers.get(&bundle).unwrap();
    let rootfs = container.mount().unwrap();
    assert!(rootfs.join("bin/busybox").exists());
    let out = Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg(format!(
            "command -v {name} >/dev/null || exit 99; {script} --root \"$0\" run -b \"$1\" \"$2\""
        ))
        .arg(engine.path(name))
        .arg(container.dir())
        .arg(format!("box-test-{name}-{}", std::process::id()))
        .output();
    container.unmount().unwrap();
    let out = out.unwrap();
    assert_ne!(
        out.status.code(),
        Some(99),
        "{name} is needed: apt-get install {name}"
    );
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert_eq!(text, "container\ncontainer\n1000\nSeccomp:\t2\n");
    assert!(
        !rootfs.join("bin").exists(),
        "the root file system is unmounted"
    );
    engine.containers.remove(&bundle, false).unwrap();
}

#[test]
fn hooks_run_where_and_when_the_spec_says() {
    let engine = Engine::new();
    let log = engine.path("log");
    let hook = |name: &str| {
        let script = format!(
            "state=$(cat); echo {name} $(readlink /proc/self/ns/net) $state >> {}",
            log.display()
        );
        let args = ["sh", "-c", &script].map(str::to_owned).to_vec();
        let env = vec!["PATH=/usr/bin:/bin".to_owned()];
        vec![
            HookBuilder::default()
                .path("/bin/sh")
                .args(args)
                .env(env)
                .build()
                .unwrap(),
        ]
    };
    let inside = ["sh", "-c", "cat >/out/start"].map(str::to_owned).to_vec();
    let inside = HookBuilder::default()
        .path("/bin/sh")
        .args(inside)
        .env(vec!["PATH=/bin".to_owned()])
        .build()
        .unwrap();
    let hooks = HooksBuilder::default()
        .create_runtime(hook("createRuntime"))
        .create_container(hook("createContainer"))
        .start_container(vec![inside])
        .poststart(hook("poststart"))
        .poststop(hook("poststop"));
    let mut asked = shell("test -s /out/start");
    let out = engine.path("out");
    std::fs::create_dir(&out).unwrap();
    asked.volumes.push(support::bind(&out, "/out"));
    asked.hooks = Some(hooks.build().unwrap());
    let container = engine
        .create_with(Some("hooked"), asked, true, RunOptions::default())
        .unwrap();
    let plan = container.plan().unwrap();
    assert_eq!(launch(container, plan).unwrap().wait().unwrap().code, 0);
    let text = std::fs::read_to_string(log).unwrap();
    let names: Vec<_> = text
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        names,
        ["createRuntime", "createContainer", "poststart", "poststop"]
    );
    let host = std::fs::read_link("/proc/self/ns/net")
        .unwrap()
        .into_os_string()
        .into_string()
        .unwrap();
    let on_host = |line: &str| line.contains(&host);
    let lines: Vec<_> = text.lines().collect();
    assert!(
        on_host(lines[0]) && !on_host(lines[1]) && on_host(lines[2]) && on_host(lines[3]),
        "{text}"
    );
    assert!(
        lines[1].contains("\"id\":\"hooked\"") && lines[1].contains("\"pid\":"),
        "{text}"
    );
}

#[test]
fn a_failing_hook_stops_the_start() {
    let engine = Engine::new();
    let hook = HookBuilder::default().path("/bin/false").build().unwrap();
    let mut asked = shell("true");
    asked.hooks = Some(
        HooksBuilder::default()
            .create_runtime(vec![hook.clone()])
            .build()
            .unwrap(),
    );
    let error = engine.run(asked).unwrap_err().to_string();
    assert_eq!(
        error,
        "createRuntime hook /bin/false: it exited with status 1"
    );
    let mut asked = shell("true");
    asked.hooks = Some(
        HooksBuilder::default()
            .create_container(vec![hook])
            .build()
            .unwrap(),
    );
    assert_eq!(
        engine.run(asked).unwrap_err().to_string(),
        "createContainer hook /bin/false: it exited with status 1"
    );
    assert!(engine.left().is_empty(), "{:?}", engine.left());
}

/// A start in one process whose container another one looks after: what ties the two together is optional.
#[test]
fn a_container_outlives_its_starter_only_if_it_is_to() {
    for outlives_caller in [false, true] {
        let engine = Engine::new();
        let asked = command(&["sleep", "100"]);
        let container = engine
            .create_with(Some("tied"), asked, false, RunOptions::default())
            .unwrap();
        drop(container);
        let container = engine.containers.get("tied").unwrap();
        container.mount().unwrap();
        let bundle = box_run::Bundle {
            id: format!("box-test-tied-{}", std::process::id()),
            directory: container.dir().to_owned(),
            spec: container.spec().unwrap(),
        };
        let options = box_run::Options {
            outlives_caller,
            ..box_run::Options::default()
        };
        // The kernel sends the death signal when the thread ends that made the process, prctl(2).
        let start = move || {
            let plan = box_run::Plan::new(&bundle, &options).unwrap();
            let running = box_run::process::launch((), plan).unwrap();
            let (pid, group) = (running.pid(), running.cgroup().unwrap().path().to_owned());
            if outlives_caller {
                assert_eq!(running.release().unwrap(), pid);
            } else {
                // As if the starter had been killed: nothing is dropped.
                std::mem::forget(running);
            }
            (pid, group)
        };
        let (pid, group) = std::thread::spawn(start).join().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let options = rustix::process::WaitOptions::empty();
        if outlives_caller {
            let none = rustix::process::WaitOptions::NOHANG;
            assert!(rustix::process::waitpid(Some(pid), none).unwrap().is_none());
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        let (_, status) = rustix::process::waitpid(Some(pid), options)
            .unwrap()
            .unwrap();
        assert_eq!(status.terminating_signal(), Some(libc::SIGKILL));
        let group = box_run::cgroup::Cgroup::open(&group).unwrap();
        assert!(group.exists());
        group.remove().unwrap();
        container.unmount().unwrap();
    }
}
