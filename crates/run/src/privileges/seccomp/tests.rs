//! Programs are judged twice: by an interpreter here, which can play any architecture, and by the kernel.
#![allow(clippy::unwrap_used)]

mod interpreter;
mod kernel;
mod profiles;

use super::policy::{Action, Arch, Comparison, Condition, Policy, Rule};
use super::*;
use crate::privileges::capabilities::Capability;
use interpreter::judge;
use proptest::prelude::*;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL: u32 = 0x8000_0000;

/// The default filter of `arch`, asked about one call by name.
struct Default {
    program: Vec<Instruction>,
    table: syscalls::Table,
}

impl Default {
    fn of(arch: Arch, capabilities: Set) -> Self {
        let table = syscalls::Table::load();
        Self {
            program: bpf::compile(&default::policy(arch, capabilities.bits()), &table),
            table,
        }
    }

    fn answer(&self, arch: Arch, name: &str, args: [u64; 6]) -> u32 {
        let number = self.table.number(name, arch).unwrap();
        judge(&self.program, arch.audit(), number, args)
    }
}

#[test]
fn the_built_in_filter_is_the_default_policy() {
    let filter = Filter::default_for(Set::DEFAULT).unwrap();
    assert!(
        matches!(filter.program, Cow::Borrowed(_)),
        "compiled at run time"
    );
    let table = syscalls::Table::load();
    let policy = default::policy(native().unwrap(), Set::DEFAULT.bits());
    assert_eq!(*filter.program, bpf::compile(&policy, &table));
    assert!(filter.len() < 1000, "{} instructions", filter.len());
}

/// No start with common flags compiles one: not on the host's network, and not where capabilities are dropped.
#[test]
fn the_built_in_filter_is_used_wherever_it_is_the_same() {
    let table = syscalls::Table::load();
    let program = |set: Set| bpf::compile(&default::policy(native().unwrap(), set.bits()), &table);
    let built_in = program(Set::DEFAULT);
    for capability in Set::ALL.iter() {
        let one = Set::EMPTY.with(capability);
        for set in [Set::DEFAULT.union(one), Set::DEFAULT.difference(one)] {
            let filter = Filter::default_for(set).unwrap();
            assert_eq!(*filter.program, program(set), "{set:?}");
            let borrowed = matches!(filter.program, Cow::Borrowed(_));
            assert_eq!(borrowed, *filter.program == built_in, "{set:?}");
        }
    }
    for network in [true, false] {
        let filter = Filter::default_for(Set::default_on(network)).unwrap();
        assert!(matches!(filter.program, Cow::Borrowed(_)), "{network:?}");
    }
}

#[test]
fn every_name_of_the_default_policy_is_a_system_call() {
    let table = syscalls::Table::load();
    for arch in [Arch::X86_64, Arch::Aarch64] {
        for rule in default::policy(arch, u64::MAX).rules {
            for name in rule.names {
                assert!(table.knows(name) || name == "sync_file_range2", "{name}");
            }
        }
    }
}

#[test]
fn ordinary_calls_pass_and_dangerous_ones_fail() {
    for native in [Arch::X86_64, Arch::Aarch64] {
        let filter = Default::of(native, Set::DEFAULT);
        for name in [
            "read",
            "write",
            "execve",
            "openat",
            "futex",
            "mmap",
            "exit_group",
            "rseq",
            "landlock_create_ruleset",
            "openat2",
            "chroot",
            "ptrace",
            "memfd_create",
            "setxattrat",
        ] {
            assert_eq!(
                filter.answer(native, name, [0; 6]),
                ALLOW,
                "{name} on {native:?}"
            );
        }
        for name in [
            "mount",
            "umount2",
            "unshare",
            "setns",
            "pivot_root",
            "kexec_load",
            "bpf",
            "init_module",
            "finit_module",
            "delete_module",
            "reboot",
            "swapon",
            "acct",
            "perf_event_open",
            "keyctl",
            "add_key",
            "request_key",
            "userfaultfd",
            "io_uring_setup",
            "open_by_handle_at",
            "settimeofday",
            "syslog",
            "quotactl",
            "move_mount",
            "open_tree",
            "fsopen",
            "mount_setattr",
            "mbind",
            "kcmp",
            "pidfd_getfd",
            "fanotify_init",
        ] {
            assert_eq!(
                filter.answer(native, name, [0; 6]),
                EPERM,
                "{name} on {native:?}"
            );
        }
    }
}

#[test]
fn clone3_and_calls_younger_than_the_policy_do_not_exist() {
    for native in [Arch::X86_64, Arch::Aarch64] {
        let filter = Default::of(native, Set::DEFAULT);
        for arch in native.family() {
            assert_eq!(filter.answer(*arch, "clone3", [0; 6]), ENOSYS, "{arch:?}");
        }
        for number in [467, 500, 10_000, u32::MAX - 1, u32::MAX] {
            assert_eq!(
                judge(&filter.program, native.audit(), number, [0; 6]),
                ENOSYS,
                "{number}"
            );
        }
        assert_eq!(judge(&filter.program, 0x1234_5678, 0, [0; 6]), KILL);
    }
}

#[test]
fn namespaces_need_the_capability() {
    for native in [Arch::X86_64, Arch::Aarch64] {
        let plain = Default::of(native, Set::DEFAULT);
        let admin = Default::of(native, Set::DEFAULT.with(Capability::SYS_ADMIN));
        let sigchld = 17;
        for arch in native.family() {
            assert_eq!(
                plain.answer(*arch, "clone", [sigchld, 0, 0, 0, 0, 0]),
                ALLOW
            );
            for flag in [
                0x2_0000_u64,
                0x200_0000,
                0x400_0000,
                0x800_0000,
                0x1000_0000,
                0x2000_0000,
                0x4000_0000,
            ] {
                let args = [flag | sigchld, 0, 0, 0, 0, 0];
                assert_eq!(
                    plain.answer(*arch, "clone", args),
                    EPERM,
                    "{flag:#x} on {arch:?}"
                );
                assert_eq!(admin.answer(*arch, "clone", args), ALLOW);
            }
            assert_eq!(admin.answer(*arch, "clone3", [0; 6]), ALLOW);
            assert_eq!(admin.answer(*arch, "unshare", [0; 6]), ALLOW);
        }
    }
}

#[test]
fn sockets_into_the_kernels_cryptography_and_the_hypervisor_are_refused() {
    for native in [Arch::X86_64, Arch::Aarch64] {
        let filter = Default::of(native, Set::DEFAULT);
        for arch in native.family() {
            for family in [1_u64, 2, 10, 16, 17, 39, 45] {
                assert_eq!(
                    filter.answer(*arch, "socket", [family, 1, 0, 0, 0, 0]),
                    ALLOW,
                    "{family}"
                );
            }
            // The kernel reads the lower half of the register alone.
            for family in [
                38_u64,
                40,
                1 << 32 | 38,
                1 << 32 | 40,
                u64::MAX << 32 | 38,
                46,
            ] {
                assert_eq!(
                    filter.answer(*arch, "socket", [family, 5, 0, 0, 0, 0]),
                    EPERM,
                    "{family:#x}"
                );
            }
        }
        for domain in [0_u64, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
            assert_eq!(
                filter.answer(native, "personality", [domain, 0, 0, 0, 0, 0]),
                ALLOW
            );
        }
        // ADDR_NO_RANDOMIZE and READ_IMPLIES_EXEC weaken the programs to come.
        for domain in [0x4_0000_u64, 0x40_0000, 1 << 32] {
            assert_eq!(
                filter.answer(native, "personality", [domain, 0, 0, 0, 0, 0]),
                EPERM
            );
        }
    }
}

#[test]
fn the_other_instruction_sets_of_x86_are_judged() {
    let filter = Default::of(Arch::X86_64, Set::DEFAULT);
    assert_eq!(filter.answer(Arch::X86, "read", [0; 6]), ALLOW);
    assert_eq!(filter.answer(Arch::X86, "mount", [0; 6]), EPERM);
    for name in ["read", "mount"] {
        assert_eq!(filter.answer(Arch::X32, name, [0; 6]), ENOSYS, "{name}");
    }
    assert_eq!(filter.answer(Arch::X86, "socketcall", [0; 6]), ALLOW);
    // 32-bit x86 has read as 3, which is close elsewhere: numbers are not mixed up.
    assert_eq!(
        judge(&filter.program, Arch::X86.audit(), 21, [0; 6]),
        EPERM,
        "mount of 32-bit x86"
    );
    assert_eq!(
        judge(&filter.program, Arch::X86_64.audit(), 21, [0; 6]),
        ALLOW,
        "access of 64-bit x86"
    );
}

#[test]
fn the_table_agrees_with_the_c_library_of_this_host() {
    let table = syscalls::Table::load();
    let arch = native().unwrap();
    for (name, number) in [
        ("read", libc::SYS_read),
        ("openat", libc::SYS_openat),
        ("clone", libc::SYS_clone),
        ("execve", libc::SYS_execve),
        ("mount", libc::SYS_mount),
        ("unshare", libc::SYS_unshare),
        ("setns", libc::SYS_setns),
        ("socket", libc::SYS_socket),
        ("personality", libc::SYS_personality),
        ("kexec_load", libc::SYS_kexec_load),
        ("bpf", libc::SYS_bpf),
        ("finit_module", libc::SYS_finit_module),
        ("seccomp", libc::SYS_seccomp),
        ("clone3", libc::SYS_clone3),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("keyctl", libc::SYS_keyctl),
        ("mseal", libc::SYS_mseal),
    ] {
        assert_eq!(
            table.number(name, arch),
            u32::try_from(number).ok(),
            "{name}"
        );
    }
}

/// What a policy means, said as plainly as can be.
fn meaning(
    policy: &Policy,
    table: &syscalls::Table,
    arch: Arch,
    number: u32,
    args: [u64; 6],
) -> Action {
    let holds = |condition: &Condition| {
        let (left, right) = (args[usize::from(condition.index)], condition.value);
        match condition.comparison {
            Comparison::Ne => left != right,
            Comparison::Lt => left < right,
            Comparison::Le => left <= right,
            Comparison::Eq => left == right,
            Comparison::Ge => left >= right,
            Comparison::Gt => left > right,
            Comparison::MaskedEq(mask) => left & mask == right & mask,
        }
    };
    let numbers = |rule: &Rule| {
        rule.names
            .iter()
            .filter_map(|name| table.number(name, arch))
            .collect::<Vec<_>>()
    };
    let newest = policy.rules.iter().flat_map(numbers).max();
    if !policy.default.passes() && newest.is_none_or(|newest| number > newest) {
        return Action::Errno(38);
    }
    policy
        .rules
        .iter()
        .filter(|rule| rule.action != policy.default && numbers(rule).contains(&number))
        .filter(|rule| rule.conditions.iter().all(holds))
        .map(|rule| rule.action)
        .min()
        .unwrap_or(policy.default)
}

fn an_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Allow),
        Just(Action::Log),
        Just(Action::KillProcess),
        Just(Action::Trap),
        (1_u16..5).prop_map(Action::Errno)
    ]
}

fn a_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..4,
        any::<u64>(),
        (0_u64..3).prop_map(|low| 1 << 32 | low),
        Just(u64::MAX)
    ]
}

fn a_condition() -> impl Strategy<Value = Condition> {
    let comparison = prop_oneof![
        Just(Comparison::Ne),
        Just(Comparison::Lt),
        Just(Comparison::Le),
        Just(Comparison::Eq),
        Just(Comparison::Ge),
        Just(Comparison::Gt),
        a_value().prop_map(Comparison::MaskedEq)
    ];
    (0_u8..6, comparison, a_value()).prop_map(|(index, comparison, value)| Condition {
        index,
        comparison,
        value,
    })
}

fn a_rule() -> impl Strategy<Value = Rule<'static>> {
    let names = proptest::sample::subsequence(
        vec![
            "read",
            "write",
            "close",
            "socket",
            "clone",
            "mount",
            "personality",
            "mseal",
            "unshare",
            "execve",
        ],
        1..4,
    );
    (
        names,
        an_action(),
        proptest::collection::vec(a_condition(), 0..4),
    )
        .prop_map(|(names, action, conditions)| Rule {
            names,
            action,
            conditions,
        })
}

proptest! {
    #[test]
    fn programs_do_what_policies_mean(
        default in an_action(),
        rules in proptest::collection::vec(a_rule(), 0..40),
        number in prop_oneof![0_u32..70, Just(101), Just(135), Just(165), 450_u32..480, any::<u32>()],
        args in proptest::array::uniform6(a_value()),
    ) {
        let table = syscalls::Table::load();
        let policy = Policy { default, arches: vec![Arch::X86_64], rules };
        let program = bpf::compile(&policy, &table);
        if number < 0x4000_0000 {
            let expected = meaning(&policy, &table, Arch::X86_64, number, args);
            prop_assert_eq!(judge(&program, Arch::X86_64.audit(), number, args), expected.value());
        } else {
            prop_assert_eq!(judge(&program, Arch::X86_64.audit(), number, args), ENOSYS);
        }
    }
}
