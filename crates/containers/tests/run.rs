//! How containers start and end, and how that is reported.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use box_containers::overrides::Overrides;
use box_containers::{Error, RunOptions, Status, launch, prepare};
use box_run::{ExitStatus, Reason};
use oci_spec::runtime::{HookBuilder, HooksBuilder};
use support::{Engine, command, groups, shell};

#[test]
fn the_status_of_the_command_is_the_status() {
    let engine = Engine::new();
    assert_eq!(
        engine.run(shell("exit 7")).unwrap().status,
        ExitStatus::Exited(7)
    );
    // PID 1 can be killed from outside only, so the child is killed.
    let ended = engine.run(shell("sh -c 'kill -9 $$'; exit $?")).unwrap();
    assert_eq!(ended.code, 137);
    assert!(engine.left().is_empty(), "{:?}", engine.left());
}

#[test]
fn a_command_that_cannot_be_executed_is_reported_with_the_reason() {
    let engine = Engine::new();
    let layer = engine.layer();
    let write = |name: &str, text: &[u8], mode: u32| {
        std::fs::write(layer.join(name), text).unwrap();
        std::fs::set_permissions(
            layer.join(name),
            std::os::unix::fs::PermissionsExt::from_mode(mode),
        )
        .unwrap();
    };
    write("script", b"#!/usr/bin/python9\n", 0o755);
    write("plain", b"just text\n", 0o755);
    write("closed", b"#!/bin/sh\n", 0o644);
    write("empty", b"", 0o755);
    let mut foreign = std::fs::read(layer.join("bin/busybox")).unwrap();
    foreign[18] = 183;
    write("foreign", &foreign, 0o755);
    let error = |asked: Overrides| {
        let error = engine.run(asked).unwrap_err();
        (error.exit_code(), error.to_string())
    };
    let says = |asked: Overrides, code: u8, part: &str| {
        let (found, text) = error(asked);
        assert!(found == code && text.contains(part), "{found} {text}");
    };
    says(
        command(&["nope"]),
        127,
        "nope: command not found in the container's PATH",
    );
    says(command(&["/bin/nope"]), 127, "/bin/nope: no such file");
    says(
        command(&["/script"]),
        126,
        "interpreter \"/usr/bin/python9\"",
    );
    says(command(&["/plain"]), 126, "neither a program");
    says(command(&["/closed"]), 126, "no execute permission");
    says(command(&["/empty"]), 126, "empty file");
    says(command(&["/etc"]), 126, "it is a directory");
    says(command(&["/foreign"]), 126, "built for aarch64");
    let mut asked = command(&["/there/busybox"]);
    asked.volumes.push(
        box_containers::volumes::Volume::bind(
            &format!("{}:/there:noexec", layer.join("bin").display()),
            &layer,
        )
        .unwrap(),
    );
    says(asked, 126, "mounted noexec");
    assert!(engine.left().is_empty(), "{:?}", engine.left());
}

#[test]
fn failing_steps_name_the_step_and_leave_nothing() {
    let engine = Engine::new();
    let mut asked = shell("true");
    asked.sysctl.insert("net.no.such".into(), "1".into());
    let error = engine.run(asked).unwrap_err();
    assert_eq!(
        error.to_string(),
        "set /proc/sys/net/no/such to 1: the container's namespaces have no such parameter"
    );
    let mut asked = shell("true");
    asked
        .volumes
        .push(support::bind(&engine.path("missing"), "/x"));
    let error = engine.run(asked).unwrap_err();
    assert!(
        matches!(error, Error::Run(box_run::Error::Io { .. }))
            && error
                .to_string()
                .ends_with("missing: no such file or directory"),
        "{error}"
    );
    let mut asked = shell("true");
    asked.sysctl.insert("kernel.panic".into(), "1".into());
    assert!(
        engine
            .run(asked)
            .unwrap_err()
            .to_string()
            .contains("does not belong to a namespace")
    );
    assert!(engine.left().is_empty(), "{:?}", engine.left());
}

#[test]
fn a_kept_instance_starts_again_with_its_files() {
    let engine = Engine::new();
    let script = "test -e /mark && exit 3; touch /mark";
    let container = engine
        .create_with(Some("kept"), shell(script), false, RunOptions::default())
        .unwrap();
    let plan = container.plan().unwrap();
    let running = launch(container, plan).unwrap();
    let other = engine.containers.get("kept").unwrap();
    assert!(matches!(other.status().unwrap(), Status::Running { pid } if pid == running.pid()));
    assert!(matches!(
        engine.containers.remove("kept", false),
        Err(Error::Running { .. })
    ));
    assert_eq!(running.wait().unwrap().code, 0);
    let again = engine.containers.get("kept").unwrap();
    assert_eq!(
        again.status().unwrap(),
        Status::Exited {
            exit: ExitStatus::Exited(0)
        }
    );
    let plan = again.plan().unwrap();
    assert_eq!(launch(again, plan).unwrap().wait().unwrap().code, 3);
    let taken = engine
        .create_with(Some("kept"), shell("true"), false, RunOptions::default())
        .unwrap_err();
    assert_eq!(
        taken.to_string(),
        "the name kept is taken by a container of test (exited (3))"
    );
    engine.containers.remove("kept", false).unwrap();
    assert!(engine.left().is_empty() && groups("kept").is_empty());
}

#[test]
fn prepared_it_waits_to_be_let_go() {
    let engine = Engine::new();
    let out = engine.path("out");
    std::fs::create_dir(&out).unwrap();
    let mut asked = shell("touch /out/ran");
    asked.volumes.push(support::bind(&out, "/out"));
    let container = engine
        .create_with(Some("gate"), asked, true, RunOptions::default())
        .unwrap();
    let plan = container.plan().unwrap();
    let prepared = prepare(container, plan).unwrap();
    // It is in its namespaces and its group.
    let pid = prepared.pid();
    assert!(!groups("gate").is_empty());
    assert!(
        std::fs::read_to_string(format!("/proc/{pid}/status"))
            .unwrap()
            .contains("\t1\n")
    );
    assert!(!out.join("ran").exists());
    assert_eq!(prepared.start().unwrap().wait().unwrap().code, 0);
    assert!(out.join("ran").exists());
}

#[test]
fn dropped_it_is_killed_and_gone() {
    let engine = Engine::new();
    let container = engine
        .create_with(
            Some("dropped"),
            command(&["sleep", "1000"]),
            true,
            RunOptions::default(),
        )
        .unwrap();
    let plan = container.plan().unwrap();
    let running = launch(container, plan).unwrap();
    let pid = running.pid();
    drop(running);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(groups("dropped").is_empty(), "{:?}", groups("dropped"));
}

#[test]
fn a_time_limit_ends_a_pid_1_without_handlers_at_once() {
    let engine = Engine::new();
    let options = RunOptions::from(box_run::Options {
        timeout: Some(Duration::from_millis(200)),
        ..box_run::Options::default()
    });
    let container = engine
        .create_with(None, command(&["sleep", "1000"]), true, options)
        .unwrap();
    let plan = container.plan().unwrap();
    let begun = Instant::now();
    let ended = launch(container, plan).unwrap().wait().unwrap();
    assert_eq!(
        (ended.code, ended.reason, ended.status),
        (124, Reason::Timeout, ExitStatus::Signaled(15))
    );
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "it was not ended before the grace time was over"
    );
}

#[test]
fn an_init_reaps_and_passes_the_status_on() {
    let engine = Engine::new();
    let options = RunOptions::from(box_run::Options {
        init: true,
        ..box_run::Options::default()
    });
    let run = |script: &str| {
        let container = engine
            .create_with(None, shell(script), true, options.clone())
            .unwrap();
        let plan = container.plan().unwrap();
        launch(container, plan).unwrap().wait().unwrap().code
    };
    assert_eq!(run("exit 5"), 5);
    assert_eq!(run("kill -9 $$"), 137);
    // Orphans become children of PID 1: none of them stays a zombie.
    assert_eq!(
        run("(sleep 0.1 &); sleep 0.5; test $$ != 1 && test $(ps -o stat= | grep -c Z) = 0"),
        0
    );
}

#[test]
fn killed_while_being_set_up_it_is_no_end_of_the_command() {
    // The hook gets the pid before the container enters its control group, so it cannot have got far.
    let script = r#"kill -9 $(sed 's/.*"pid":\([0-9]*\).*/\1/')"#;
    let args = ["sh", "-c", script].map(str::to_owned).to_vec();
    let hook = HookBuilder::default()
        .path("/bin/sh")
        .args(args)
        .env(vec!["PATH=/usr/bin:/bin".to_owned()])
        .build()
        .unwrap();
    let hooks = HooksBuilder::default()
        .create_runtime(vec![hook])
        .build()
        .unwrap();
    for init in [false, true] {
        let engine = Engine::new();
        let mut asked = shell("exit 0");
        asked.hooks = Some(hooks.clone());
        let options = RunOptions::from(box_run::Options {
            init,
            ..box_run::Options::default()
        });
        let container = engine
            .create_with(Some("victim"), asked, true, options)
            .unwrap();
        let plan = container.plan().unwrap();
        let error = launch(container, plan).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("the container was killed while being set up, at the step \"")
                && text.ends_with("\" (signal 9)"),
            "{text}"
        );
        assert_eq!(error.exit_code(), 125);
        engine.containers.remove("victim", true).unwrap();
        assert!(engine.left().is_empty(), "{:?}", engine.left());
    }
}
