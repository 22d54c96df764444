//! Filters on a real thread: filter and capabilities belong to one thread, so the others of the test go on.

use rustix::io::Errno;

use super::super::*;
use crate::sys::call;

/// Installs `filter` on a new thread and makes the calls there.
fn answers(filter: Filter, calls: &'static [(libc::c_long, [u64; 3])]) -> Vec<Result<i64, Errno>> {
    let thread = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        filter.install().unwrap();
        calls
            .iter()
            .map(|(number, args)| call(*number, *args))
            .collect()
    });
    thread.join().unwrap()
}

const NEW_USER_NAMESPACE: u64 = 0x1000_0000;

#[test]
fn the_default_filter_is_enforced() {
    let calls: &[(libc::c_long, [u64; 3])] = &[
        (libc::SYS_getppid, [0; 3]),
        (libc::SYS_unshare, [NEW_USER_NAMESPACE, 0, 0]),
        (libc::SYS_kexec_load, [0; 3]),
        (libc::SYS_bpf, [0; 3]),
        (libc::SYS_clone3, [0; 3]),
        (470, [0; 3]),
        (libc::SYS_socket, [38, 5, 0]),
        (libc::SYS_socket, [1 << 32 | 38, 5, 0]),
        (libc::SYS_socket, [40, 1, 0]),
        (libc::SYS_personality, [0xffff_ffff, 0, 0]),
        (libc::SYS_personality, [0x4_0000, 0, 0]),
        (libc::SYS_keyctl, [0; 3]),
    ];
    let answers = answers(Filter::default_for(Set::DEFAULT).unwrap(), calls);
    let errors: Vec<Option<Errno>> = answers.iter().map(|answer| answer.err()).collect();
    let (eperm, enosys) = (Some(Errno::PERM), Some(Errno::NOSYS));
    let expected = [
        None, eperm, eperm, eperm, enosys, enosys, eperm, eperm, eperm, None, eperm, eperm,
    ];
    assert_eq!(errors, expected);
}

#[test]
fn a_custom_profile_is_enforced() {
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["getppid"],"action":"SCMP_ACT_ERRNO","errnoRet":77},
        {"names":["getpgid"],"action":"SCMP_ACT_ERRNO","errnoRet":5,
         "args":[{"index":0,"value":1,"op":"SCMP_CMP_GE"}]}]}"#;
    let filter = Filter::compile(&read_profile(profile, Set::DEFAULT).unwrap()).unwrap();
    let calls: &[(libc::c_long, [u64; 3])] = &[
        (libc::SYS_getppid, [0; 3]),
        (libc::SYS_getpgid, [0; 3]),
        (libc::SYS_getpgid, [1, 0, 0]),
        (470, [0; 3]),
    ];
    let answers = answers(filter, calls);
    assert_eq!(answers[0], Err(Errno::from_raw_os_error(77)));
    assert!(answers[1].is_ok());
    assert_eq!(answers[2], Err(Errno::IO));
    assert_ne!(
        answers[3],
        Err(Errno::PERM),
        "an unknown call is the kernel's where the default lets calls pass"
    );
}
