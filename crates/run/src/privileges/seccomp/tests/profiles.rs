//! Profiles as documents.

use oci_spec::runtime::LinuxSeccompAction;

use super::super::*;
use super::interpreter::judge;
use super::{ALLOW, ENOSYS, EPERM};
use crate::privileges::capabilities::Capability;

fn host(arch: Arch, kernel: (u32, u32), capabilities: Set) -> Host {
    Host {
        arch,
        kernel,
        capabilities,
    }
}

/// The names that a profile allows on a host.
fn allowed(text: &str, host: &Host) -> Vec<String> {
    let profile = profile::read(text, host).unwrap();
    let rules = profile.syscalls().iter().flatten();
    let allowed = rules.filter(|rule| rule.action() == LinuxSeccompAction::ScmpActAllow);
    allowed.flat_map(|rule| rule.names().clone()).collect()
}

#[test]
fn conditions_of_dockers_form_are_decided_by_the_host() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
        {"name":"read","action":"SCMP_ACT_ALLOW","comment":"old form"},
        {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
        {"names":["both"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN","CAP_MKNOD"]}},
        {"names":["clone"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"],"arches":["s390x"]}},
        {"names":["arch_prctl"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["amd64","x32"]}},
        {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
        {"names":["old"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"4.8"}}]}"#;
    let plain = host(Arch::X86_64, (6, 18), Set::DEFAULT);
    assert_eq!(
        allowed(text, &plain),
        ["read", "clone", "arch_prctl", "ptrace"]
    );
    let admin = host(
        Arch::Aarch64,
        (4, 7),
        Set::DEFAULT.with(Capability::SYS_ADMIN),
    );
    assert_eq!(allowed(text, &admin), ["read", "mount", "old"]);
    let both = host(Arch::X86_64, (4, 8), Set::ALL);
    assert_eq!(
        allowed(text, &both),
        ["read", "mount", "both", "arch_prctl", "ptrace"]
    );
}

#[test]
fn architectures_come_from_the_map_or_the_list() {
    let mapped = r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[
        {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
        {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]}],
        "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#;
    let document = profile::read(mapped, &host(Arch::X86_64, (6, 1), Set::DEFAULT)).unwrap();
    let policy = profile::policy(&document, Arch::X86_64).unwrap();
    assert_eq!(policy.arches, [Arch::X86_64, Arch::X86]);
    let program = bpf::compile(&policy, &syscalls::Table::load());
    assert_eq!(judge(&program, Arch::X86_64.audit(), 0, [0; 6]), ALLOW);
    assert_eq!(judge(&program, Arch::X86.audit(), 3, [0; 6]), ALLOW);
    let refused = judge(&program, Arch::X86_64.audit(), 0x4000_0000, [0; 6]);
    assert_eq!(refused, 0x0005_0026, "x32 is not listed");

    let listed = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_PPC64LE"]}"#;
    let document = profile::read(listed, &host(Arch::X86_64, (6, 1), Set::DEFAULT)).unwrap();
    assert_eq!(
        profile::policy(&document, Arch::X86_64).unwrap().arches,
        [Arch::X86_64]
    );
}

#[test]
fn the_default_profile_compiles_to_the_default_filter() {
    for capabilities in [Set::DEFAULT, Set::EMPTY, Set::ALL] {
        let profile = default_profile(capabilities).unwrap();
        let text = serde_json::to_string(&profile).unwrap();
        let read = read_profile(&text, capabilities).unwrap();
        assert_eq!(read, {
            let mut explicit = profile.clone();
            explicit.set_flags(None);
            explicit
        });
        let compiled = Filter::compile(&profile).unwrap();
        assert_eq!(
            compiled.program,
            Filter::default_for(capabilities).unwrap().program
        );
        assert_eq!(
            compiled.flags,
            Filter::default_for(capabilities).unwrap().flags
        );
    }
}

#[test]
fn several_conditions_on_one_argument_are_alternatives() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[
        {"index":0,"value":3,"op":"SCMP_CMP_EQ"},{"index":0,"value":5,"op":"SCMP_CMP_EQ"}]}]}"#;
    let document = profile::read(text, &host(Arch::X86_64, (6, 1), Set::DEFAULT)).unwrap();
    let policy = profile::policy(&document, Arch::X86_64).unwrap();
    let program = bpf::compile(&policy, &syscalls::Table::load());
    let answer = |arg| judge(&program, Arch::X86_64.audit(), 0, [arg, 0, 0, 0, 0, 0]);
    assert_eq!([answer(3), answer(4), answer(5)], [ALLOW, EPERM, ALLOW]);
    assert_eq!(judge(&program, Arch::X86_64.audit(), 1, [0; 6]), ENOSYS);
}

#[test]
fn what_cannot_be_enforced_is_refused_with_a_reason() {
    for (text, reason) in [
        ("{", "EOF"),
        (r#"{"defaultAction":"SCMP_ACT_SHRUG"}"#, "SCMP_ACT_SHRUG"),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "NOTIFY"),
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","listenerPath":"/x"}"#,
            "listenerPath",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":70000}"#,
            "70000",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}"#,
            "names",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW",
                "args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            "index is 6",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW",
                "includes":{"minKernel":"new"}}]}"#,
            "minKernel",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"archMap":[
                {"architecture":"SCMP_ARCH_X86_64"}]}"#,
            "archMap",
        ),
    ] {
        let message =
            match read_profile(text, Set::DEFAULT).and_then(|profile| Filter::compile(&profile)) {
                Ok(_) => panic!("{text} was accepted"),
                Err(error) => error.to_string(),
            };
        assert!(
            message.starts_with("seccomp profile: ") && message.contains(reason),
            "{message}"
        );
    }
}

#[test]
fn a_profile_too_long_for_the_kernel_is_refused() {
    let conditions: Vec<String> = (0..2000)
        .map(|value| format!(r#"{{"index":0,"value":{value},"op":"SCMP_CMP_EQ"}}"#))
        .collect();
    let text = format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{}]}}]}}"#,
        conditions.join(",")
    );
    let error = Filter::compile(&read_profile(&text, Set::DEFAULT).unwrap()).unwrap_err();
    assert!(error.to_string().contains("4096"), "{error}");
}

/// What containers of podman may call, from the package golang-github-containers-common, which podman comes with.
const PEERS: &str = "/usr/share/containers/seccomp.json";

/// What podman's profile of 2022 did not know yet: calls of Linux 5.16 and later, which docker's current one allows.
const YOUNGER: &str = "cachestat fchmodat2 futex_requeue futex_wait futex_waitv futex_wake getxattrat listmount listxattrat \
                       map_shadow_stack mseal removexattrat setxattrat statmount uretprobe";

/// What docker allows and podman does not: pages of one's own into a pipe, and completions of one's own I/O.
const OF_DOCKER: &str = "io_pgetevents io_pgetevents_time64 vmsplice";

/// What podman allows for containers in containers, and calls that no program makes any more.
const OF_PODMAN: &str = "clone3 fsconfig fsmount fsopen fspick get_mempolicy keyctl mbind mount mount_setattr move_mount open_tree \
                         pidfd_getfd pivot_root readdir reboot set_mempolicy sigaction signal sigpending sigsuspend syslog \
                         umount umount2 unshare";

#[test]
fn compared_with_podmans_every_difference_is_known() {
    let text = std::fs::read_to_string(PEERS).expect("podman is needed: apt-get install podman");
    let host = host(Arch::X86_64, (6, 18), Set::DEFAULT);
    let table = syscalls::Table::load();
    let document = profile::read(&text, &host).unwrap();
    let theirs = bpf::compile(&profile::policy(&document, Arch::X86_64).unwrap(), &table);
    let ours = bpf::compile(&default::policy(Arch::X86_64, Set::DEFAULT.bits()), &table);
    let mut only = (
        std::collections::BTreeSet::new(),
        std::collections::BTreeSet::new(),
    );
    for arch in Arch::X86_64.family() {
        let known = |name| Some((name, table.number(name, *arch)?));
        for (name, number) in table.names().filter_map(known) {
            let passes = |program: &[_]| judge(program, arch.audit(), number, [0; 6]) == ALLOW;
            match (passes(&ours), passes(&theirs)) {
                (true, false) => only.0.insert(name),
                (false, true) => only.1.insert(name),
                _ => false,
            };
        }
    }
    let sorted = |texts: &[&'static str]| {
        let words = texts.iter().flat_map(|text| text.split_ascii_whitespace());
        words.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(only.0, sorted(&[YOUNGER, OF_DOCKER]));
    assert_eq!(only.1, sorted(&[OF_PODMAN]));
}
