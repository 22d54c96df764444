//! seccomp(2).

use rustix::io::Errno;

/// Installs a filter on the calling thread. Allocates nothing. See <https://man7.org/linux/man-pages/man2/seccomp.2.html>.
pub fn seccomp_filter(program: &[libc::sock_filter], flags: u32) -> Result<(), Errno> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    let len = libc::c_ushort::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: `program` points at `len` instructions and outlives the call, which only reads them (seccomp(2)).
    let status = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    super::result(status).map(drop)
}

/// Makes any system call by number, to test a filter. Only for calls that touch no memory.
pub fn call(number: libc::c_long, args: [u64; 3]) -> Result<libc::c_long, Errno> {
    // SAFETY: the tests pass plain numbers and null pointers, which the kernel checks (syscall(2)).
    super::result(unsafe { libc::syscall(number, args[0], args[1], args[2]) })
}
