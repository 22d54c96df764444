//! On the real hierarchies of this host, whichever they are: the same tests run on v1 and on v2. They need root.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Child, Command, Stdio};

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids};

use super::*;

/// A path of its own for each test.
fn path(test: &str) -> PathBuf {
    PathBuf::from(format!("/box-test-{}-{test}", std::process::id()))
}

fn create(test: &str, resources: &LinuxResources) -> Result<Cgroup, Error> {
    Cgroup::create(&Request {
        place: &Place::of(&path(test)).unwrap(),
        resources,
        pids_by_default: false,
        confine_devices: true,
        count_cpu: false,
    })
}

fn memory(limit: i64) -> LinuxResources {
    let mut memory = LinuxMemory::default();
    memory.set_limit(Some(limit)).set_swap(Some(limit * 2));
    let mut resources = LinuxResources::default();
    resources.set_memory(Some(memory));
    resources
}

fn pids(limit: i64) -> LinuxResources {
    let mut pids = LinuxPids::default();
    pids.set_limit(limit);
    let mut resources = LinuxResources::default();
    resources.set_pids(Some(pids));
    resources
}

/// A shell in the group that waits for a line before it goes on with `script`.
fn shell(cgroup: &Cgroup, script: &str) -> Child {
    let script = format!("read line; {script}");
    let child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    cgroup.add(child.id() as i32).unwrap();
    child
}

fn go(child: &mut Child) {
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
}

/// All groups of this host whose names say that a test made them.
fn left_over(test: &str) -> Vec<PathBuf> {
    let name = path(test).file_name().unwrap().to_owned();
    let roots = std::fs::read_dir("/sys/fs/cgroup")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let places = roots
        .chain([PathBuf::from("/sys/fs/cgroup")])
        .map(|root| root.join(&name));
    places.filter(|place| place.exists()).collect()
}

#[test]
fn limits_are_set_and_nothing_is_left() {
    let mut resources = memory(64 << 20);
    resources.set_pids(pids(17).pids().to_owned());
    let cgroup = create("limits", &resources).unwrap();
    assert_eq!(cgroup.warning(), None);
    assert!(cgroup.exists());
    let stats = cgroup.stats().unwrap();
    assert_eq!(
        (stats.memory_limit, stats.pids_limit),
        (Some(64 << 20), Some(17))
    );
    assert_eq!((stats.pids, stats.oom_kills), (Some(0), Some(0)));
    cgroup.remove().unwrap();
    assert_eq!(left_over("limits"), Vec::<PathBuf>::new());
}

#[test]
fn a_dropped_group_is_removed_with_its_processes() {
    let cgroup = create("dropped", &pids(50)).unwrap();
    let mut child = shell(&cgroup, "sleep 1000 & sleep 1000; true");
    go(&mut child);
    while cgroup.pids().unwrap().len() < 3 {
        std::thread::yield_now();
    }
    drop(cgroup);
    assert_eq!(left_over("dropped"), Vec::<PathBuf>::new());
    assert!(!child.wait().unwrap().success());
}

#[test]
fn a_kept_group_is_found_again() {
    let mut cgroup = create("kept", &pids(50)).unwrap();
    cgroup.keep();
    drop(cgroup);
    let found = Cgroup::open(&path("kept")).unwrap();
    assert!(found.exists());
    assert_eq!(found.stats().unwrap().pids_limit, Some(50));
    found.remove().unwrap();
    assert!(!Cgroup::open(&path("kept")).unwrap().exists());
}

#[test]
fn the_pids_limit_stops_forks() {
    let cgroup = create("pids", &pids(3)).unwrap();
    let mut child = shell(
        &cgroup,
        "sleep 0 & sleep 0 & sleep 0 & sleep 0 & wait; true",
    );
    go(&mut child);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("fork"), "{text}");
}

#[test]
fn freeze_stops_thaw_continues_and_kill_ends_even_the_frozen() {
    let cgroup = create("freeze", &LinuxResources::default()).unwrap();
    let mut child = shell(&cgroup, "while :; do :; done");
    assert!(!cgroup.is_frozen().unwrap());
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen().unwrap());
    cgroup.thaw().unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    go(&mut child);
    while cgroup.stats().unwrap().cpu_nanoseconds == Some(0) {}
    cgroup.freeze().unwrap();
    cgroup.kill().unwrap();
    assert_eq!(
        child.wait().unwrap().code(),
        None,
        "it was ended by a signal"
    );
    cgroup.remove().unwrap();
    assert_eq!(left_over("freeze"), Vec::<PathBuf>::new());
}

#[test]
fn limits_are_changed_while_it_runs() {
    let cgroup = create("update", &memory(64 << 20)).unwrap();
    let mut child = shell(&cgroup, "true");
    cgroup.update(&memory(256 << 20)).unwrap();
    assert_eq!(cgroup.stats().unwrap().memory_limit, Some(256 << 20));
    cgroup.update(&memory(32 << 20)).unwrap();
    assert_eq!(cgroup.stats().unwrap().memory_limit, Some(32 << 20));
    let mut cpu = LinuxCpu::default();
    cpu.set_quota(Some(50_000))
        .set_period(Some(100_000))
        .set_cpus(Some("0".to_owned()));
    let mut resources = LinuxResources::default();
    resources.set_cpu(Some(cpu));
    cgroup.update(&resources).unwrap();
    go(&mut child);
    let allowed = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    assert!(allowed.contains("Cpus_allowed_list:\t0\n"), "{allowed}");
    child.wait().unwrap();
    cgroup.remove().unwrap();
    assert_eq!(left_over("update"), Vec::<PathBuf>::new());
}

#[test]
fn devices_beyond_the_default_are_denied() {
    let cgroup = create("devices", &LinuxResources::default()).unwrap();
    let script = "head -c1 /dev/zero >/dev/null && echo zero; mknod $0 b 8 0 || echo no node; head -c1 /dev/kmsg || echo no kmsg";
    let mut child = shell(&cgroup, script);
    go(&mut child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "zero\nno node\nno kmsg\n"
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("Operation not permitted"));
}

#[test]
fn a_limit_that_cannot_be_set_is_an_error_and_leaves_nothing() {
    let mut block = LinuxBlockIo::default();
    block.set_leaf_weight(Some(100));
    let mut resources = memory(64 << 20);
    resources.set_block_io(Some(block));
    let error = create("refused", &resources).unwrap_err();
    assert!(error.to_string().contains("leaf weight"), "{error}");
    assert_eq!(left_over("refused"), Vec::<PathBuf>::new());

    let mut cpu = LinuxCpu::default();
    cpu.set_cpus(Some("4000-5000".to_owned()));
    let mut resources = LinuxResources::default();
    resources.set_cpu(Some(cpu));
    let error = create("refused", &resources).unwrap_err().to_string();
    for part in [
        "cpus 4000-5000 cannot be enforced",
        "cpuset controller",
        "cpuset.cpus",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(left_over("refused"), Vec::<PathBuf>::new());
}

#[test]
fn an_empty_group_of_that_name_is_replaced_and_a_used_one_is_not() {
    let mut first = create("again", &pids(5)).unwrap();
    first.keep();
    let mut second = create("again", &pids(6)).unwrap();
    assert_eq!(second.stats().unwrap().pids_limit, Some(6));
    second.keep();
    let mut child = shell(&second, "true");
    let error = create("again", &pids(7)).unwrap_err().to_string();
    assert!(error.contains("in use by other processes"), "{error}");
    assert_eq!(second.stats().unwrap().pids_limit, Some(6));
    go(&mut child);
    child.wait().unwrap();
    second.remove().unwrap();
}

#[test]
fn groups_made_below_are_removed_as_well() {
    let cgroup = create("nested", &pids(5)).unwrap();
    for directory in cgroup.directories() {
        std::fs::create_dir_all(directory.path().join("a/b")).unwrap();
        std::fs::create_dir(directory.path().join("c")).unwrap();
    }
    cgroup.remove().unwrap();
    assert_eq!(left_over("nested"), Vec::<PathBuf>::new());
}
