//! The default policy: Docker's default profile as of mid 2026, as a table.
//!
//! It differs in two places. Socket families are listed one by one; Docker compares the 64-bit register with "greater than 40", but
//! the kernel uses the lower half only, so `socket(1 << 32 | AF_ALG)` passes there. And for numbers beyond the profile, the filter
//! itself returns ENOSYS, not a wrapper around it.
//!
//! Uses the standard library alone, as the build script compiles the default filter with it.

use super::policy::{Action, Arch, Comparison, Condition, Policy, Rule};

/// Calls that every container may make, whatever their arguments.
const ALWAYS: &str = "
_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1
epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2
fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat
fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait
futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32
geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid
getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt
gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl
ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32
lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64
madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2
mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc
pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6
pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg
recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir
rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop
semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address
setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid
setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid
setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn
socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range
syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64
utimes vfork vmsplice wait4 waitid waitpid write writev
";

/// Calls that only some architectures have.
const BY_ARCH: &[(&[Arch], &str)] = &[
    (&[Arch::X86_64, Arch::X32], "arch_prctl"),
    (&[Arch::X86_64, Arch::X86, Arch::X32], "modify_ldt"),
    (
        &[Arch::Aarch64, Arch::Arm],
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
];

/// Calls that a capability allows, by its number.
const BY_CAPABILITY: &[(u8, &str)] = &[
    (2, "open_by_handle_at"),                       // DAC_READ_SEARCH
    (16, "delete_module init_module finit_module"), // SYS_MODULE
    (17, "iopl ioperm"),                            // SYS_RAWIO
    (18, "chroot"),                                 // SYS_CHROOT
    (19, "kcmp pidfd_getfd process_madvise"),       // SYS_PTRACE
    (20, "acct"),                                   // SYS_PACCT
    (
        SYS_ADMIN,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    (22, "reboot"), // SYS_BOOT
    (
        23,
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ), // SYS_NICE
    (25, "settimeofday stime clock_settime clock_settime64"), // SYS_TIME
    (26, "vhangup"), // SYS_TTY_CONFIG
    (34, "syslog"), // SYSLOG
    (38, "perf_event_open"), // PERFMON
    (39, "bpf"),    // BPF
];

const SYS_ADMIN: u8 = 21;

/// The capabilities that the policy depends on, bit N for number N. Sets that agree in these have the same policy.
pub fn capabilities_that_matter() -> u64 {
    let bits = BY_CAPABILITY.iter().map(|(number, _)| 1 << number);
    bits.fold(0, std::ops::BitOr::bitor)
}

/// Allowed arguments of personality(2): Linux, and Linux with 32-bit uname, each also with UNAME26, and the query.
const PERSONALITIES: &[u64] = &[0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Socket families below AF_ALG are allowed. AF_ALG, the kernel's cryptography, is an attack surface.
const AF_ALG: u64 = 38;

/// Higher families that are allowed: all but AF_VSOCK, which reaches the hypervisor and has no namespaces.
const LATER_FAMILIES: &[u64] = &[39, 41, 42, 43, 44, 45];

/// The flags of clone(2) that make namespaces: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACES: u64 = 0x7e02_0000;

const EPERM: Action = Action::Errno(1);
const ENOSYS: Action = Action::Errno(38);

/// The default policy of a host of architecture `native` for a container with `capabilities`, bit N for number N.
pub fn policy(native: Arch, capabilities: u64) -> Policy<'static> {
    let holds = |number: u8| capabilities >> number & 1 == 1;
    let arches = native.family();
    let mut rules = vec![
        allow(ALWAYS),
        // Since Linux 4.8 the filter runs again after a tracer has changed a call.
        allow("process_vm_readv process_vm_writev ptrace"),
        allow_when("socket", Comparison::Lt, AF_ALG),
    ];
    rules.extend(
        LATER_FAMILIES
            .iter()
            .map(|family| allow_when("socket", Comparison::Eq, *family)),
    );
    rules.extend(
        PERSONALITIES
            .iter()
            .map(|domain| allow_when("personality", Comparison::Eq, *domain)),
    );
    let native_calls = BY_ARCH.iter().filter(|(some, _)| some.contains(&native));
    rules.extend(native_calls.map(|(_, names)| allow(names)));
    rules.extend(
        BY_CAPABILITY
            .iter()
            .filter(|(number, _)| holds(*number))
            .map(|(_, names)| allow(names)),
    );
    if !holds(SYS_ADMIN) {
        rules.push(allow_when("clone", Comparison::MaskedEq(NAMESPACES), 0));
        // A filter cannot read its flags, which are behind a pointer. With ENOSYS every C library falls back to clone.
        rules.push(Rule {
            names: vec!["clone3"],
            action: ENOSYS,
            conditions: Vec::new(),
        });
    }
    Policy {
        default: EPERM,
        arches: arches.to_vec(),
        rules,
    }
}

fn allow(names: &'static str) -> Rule<'static> {
    Rule {
        names: names.split_ascii_whitespace().collect(),
        action: Action::Allow,
        conditions: Vec::new(),
    }
}

fn allow_when(name: &'static str, comparison: Comparison, value: u64) -> Rule<'static> {
    let condition = Condition {
        index: 0,
        comparison,
        value,
    };
    Rule {
        names: vec![name],
        action: Action::Allow,
        conditions: vec![condition],
    }
}
