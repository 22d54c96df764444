//! Listings are true after any process was killed.

use std::fs;

use box_tests::Home;
use rustix::process::{Pid, Signal, kill_process};

use crate::{field, until, with_web};

fn state(home: &Home, name: &str) -> serde_json::Value {
    let path = home.root().join("run").join(name).join("state.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn kill(pid: &serde_json::Value) {
    kill_process(
        Pid::from_raw(pid.as_i64().unwrap() as i32).unwrap(),
        Signal::KILL,
    )
    .unwrap();
}

#[test]
fn a_killed_monitor_takes_its_container_along() {
    let home = with_web();
    let state = state(&home, "web");
    kill(&state["monitor"]);
    until(&home, "it is known to be lost", || {
        field(&home, "web", "status") == "lost"
    });
    assert!(
        field(&home, "web", "reason")
            .as_str()
            .unwrap()
            .contains("killed")
    );
    until(&home, "the container has gone", || {
        !std::path::Path::new(&format!("/proc/{}/root", state["pid"])).exists()
    });
    home.run(["exec", "web", "true"])
        .fails(&["web is not running (lost"]);
    home.run(["wait", "web"])
        .fails(&["exit status of web is unknown"]);
    // It works again, with its files.
    home.run(["start", "web"]).succeeds();
    assert_eq!(field(&home, "web", "status"), "running");
    kill(&self::state(&home, "web")["monitor"]);
    home.run(["rm", "-f", "web"]).succeeds();
    assert!(home.instances().is_empty());
}

#[test]
fn a_killed_container_has_ended_by_the_signal() {
    let home = with_web();
    kill(&state(&home, "web")["pid"]);
    until(&home, "its end is recorded", || {
        field(&home, "web", "status") == "exited"
    });
    assert_eq!(field(&home, "web", "exit_status"), 137);
    home.run(["rm", "web"]).succeeds();
}

#[test]
fn a_reboot_is_told() {
    let home = with_web();
    kill(&state(&home, "web")["monitor"]);
    until(&home, "it is known to be lost", || {
        field(&home, "web", "status") == "lost"
    });
    // After a reboot, the state is gone and the machine has another boot id.
    let path = home.root().join("instances/web/instance.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["started"]["boot_id"] = "00000000-0000-0000-0000-000000000000".into();
    fs::write(&path, record.to_string()).unwrap();
    assert!(
        field(&home, "web", "reason")
            .as_str()
            .unwrap()
            .contains("restarted")
    );
    home.run(["start", "web"]).succeeds();
    home.run(["rm", "-f", "web"]).succeeds();
}

#[test]
fn what_a_killed_box_left_goes_in_passing() {
    let home = Home::with_alpine();
    home.run([
        "run", "-d", "--rm", "--name", "gone", "alpine", "sleep", "1000",
    ])
    .succeeds();
    kill(&state(&home, "gone")["monitor"]);
    until(&home, "the listing takes it away", || {
        home.run(["ps", "-aq"]).succeeds().text().is_empty() && home.instances().is_empty()
    });
    until(&home, "its state goes, too", || {
        home.run(["ps"]).succeeds();
        !home.root().join("run/gone").exists()
    });
}

#[test]
fn a_damaged_state_does_not_keep_a_container_from_going() {
    let home = with_web();
    fs::write(home.root().join("instances/web/config.json"), "{").unwrap();
    home.run(["rm", "-f", "web"]).succeeds();
    assert!(home.instances().is_empty());
    let home = with_web();
    fs::write(home.root().join("instances/web/instance.json"), "").unwrap();
    home.run(["rm", "-f", "web"]).succeeds();
    assert!(home.instances().is_empty());
}

#[test]
fn a_stopped_monitor_does_not_stop_rm() {
    let home = with_web();
    let monitor = Pid::from_raw(state(&home, "web")["monitor"].as_i64().unwrap() as i32).unwrap();
    kill_process(monitor, Signal::STOP).unwrap();
    home.run(["rm", "-f", "web"]).succeeds();
    assert!(home.instances().is_empty());
}

#[test]
fn a_container_with_a_very_deep_tree_goes() {
    let home = Home::with_alpine();
    let script = "i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || exit 1; i=$((i + 1)); done";
    home.run(["run", "--name", "deep", "alpine", "sh", "-c", script])
        .succeeds();
    home.run(["rm", "deep"]).succeeds();
    assert!(home.instances().is_empty());
}

#[test]
fn rm_works_on_a_full_disk() {
    let disk = tempfile::tempdir().unwrap();
    let home = Home::new();
    let mount = |arguments: &[&str]| {
        assert!(
            std::process::Command::new("mount")
                .args(arguments)
                .status()
                .unwrap()
                .success()
        )
    };
    mount(&[
        "-t",
        "tmpfs",
        "-o",
        "size=32m",
        "tmpfs",
        disk.path().to_str().unwrap(),
    ]);
    let root = disk.path().join("root");
    let on_disk = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("BOX_ROOT", &root);
        box_tests::Outcome::of(command, b"")
    };
    on_disk(&[
        "run",
        "-d",
        "--name",
        "full",
        "alpine",
        "sh",
        "-c",
        "cat /dev/zero > /fill; sleep 1000",
    ])
    .succeeds();
    until(&home, "the disk is full", || {
        rustix::fs::statvfs(disk.path()).unwrap().f_bavail == 0
    });
    let removed = on_disk(&["rm", "-f", "full"]);
    let listed = on_disk(&["ps", "-aq"]);
    assert!(
        std::process::Command::new("umount")
            .args(["-l"])
            .arg(disk.path())
            .status()
            .unwrap()
            .success()
    );
    removed.succeeds();
    assert_eq!(listed.succeeds().text(), "");
}

/// Between the look at a container and its lock, another container can get its name.
#[test]
fn a_start_takes_the_layers_of_the_container_that_it_locked() {
    use rustix::fs::{FlockOperation, Mode, flock, mkdir};
    let home = Home::with_alpine();
    home.run([
        "run",
        "--name",
        "made",
        "alpine",
        "sh",
        "-c",
        "echo second >/which",
    ])
    .succeeds();
    home.run(["commit", "made", "other"]).succeeds();
    home.run(["run", "--name", "one", "alpine", "true"])
        .succeeds();
    home.run(["run", "--name", "other", "other", "cat", "/which"])
        .succeeds();
    let place = home.root().join("run/one");
    mkdir(&place, Mode::RWXU).unwrap();
    let lock = fs::File::open(&place).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut start = home.command(["start", "-a", "one"]);
    let start = start.stdout(std::process::Stdio::piped()).spawn().unwrap();
    // Time to read the record; the lock is waited for longer than this.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let [one, other] = ["one", "other"].map(|name| home.root().join("instances").join(name));
    fs::remove_dir_all(&one).unwrap();
    fs::rename(&other, &one).unwrap();
    drop(lock);
    let ended = start.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "second\n");
    assert!(ended.status.success());
}
