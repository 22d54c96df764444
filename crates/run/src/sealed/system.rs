//! System calls by number, and their constants.

use core::arch::asm;

#[cfg(target_arch = "x86_64")]
pub mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16;
    pub const GETPID: usize = 39;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const FCNTL: usize = 72;
    pub const SETPGID: usize = 109;
    pub const STATFS: usize = 137;
    pub const PRCTL: usize = 157;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const NEWFSTATAT: usize = 262;
    pub const FACCESSAT: usize = 269;
    pub const PPOLL: usize = 271;
    pub const DUP3: usize = 292;
    pub const PIPE2: usize = 293;
}

#[cfg(target_arch = "aarch64")]
pub mod number {
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const CLOSE: usize = 57;
    pub const MMAP: usize = 222;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const IOCTL: usize = 29;
    pub const GETPID: usize = 172;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const WAIT4: usize = 260;
    pub const KILL: usize = 129;
    pub const FCNTL: usize = 25;
    pub const SETPGID: usize = 154;
    pub const STATFS: usize = 43;
    pub const PRCTL: usize = 167;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const EXIT_GROUP: usize = 94;
    pub const OPENAT: usize = 56;
    pub const NEWFSTATAT: usize = 79;
    pub const FACCESSAT: usize = 48;
    pub const PPOLL: usize = 73;
    pub const DUP3: usize = 24;
    pub const PIPE2: usize = 59;
}

/// Numbers that are the same on both architectures.
pub const PIDFD_OPEN: usize = 434;
pub const CLOSE_RANGE: usize = 436;

pub const ENOENT: isize = -2;
pub const EINTR: isize = -4;
pub const ENOEXEC: isize = -8;
pub const EACCES: isize = -13;
pub const ENOTDIR: isize = -20;
pub const EINVAL: isize = -22;
pub const ELIBBAD: isize = -80;
pub const SIGKILL: usize = 9;
pub const SIGCHLD: usize = 17;
pub const WNOHANG: usize = 1;
pub const CLOEXEC: usize = 0o2_000_000;
pub const AT_FDCWD: usize = -100isize as usize;
/// The size of the kernel's signal set, in bytes.
pub const SET_SIZE: usize = 8;
/// The exit status of box if a container could not be set up.
pub const NOT_SET_UP: usize = 125;

#[repr(C)]
pub struct Poll {
    pub file: i32,
    pub wanted: u16,
    pub found: u16,
}

pub fn wait(pid: usize, status: &mut i32, options: usize) -> isize {
    call(number::WAIT4, [pid, &raw mut *status as usize, options, 0])
}

/// Splits a status of wait(2): a signal in the low seven bits, or else an exit status in the next byte.
pub fn ended_by(status: i32) -> Result<i32, i32> {
    match status & 0x7f {
        0 => Ok(status >> 8 & 0xff),
        signal => Err(signal),
    }
}

pub fn exit(status: usize) -> ! {
    loop {
        call(number::EXIT_GROUP, [status, 0, 0, 0]);
    }
}

pub fn call(number: usize, [a, b, c, d]: [usize; 4]) -> isize {
    call6(number, [a, b, c, d, 0, 0])
}

pub fn call6(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    let result;
    // SAFETY: the callers pass pointers to values that live over the call, of the size that it writes.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, in("x5") f, options(nostack));
    }
    result
}

/// The compiler emits calls of memset, and no library provides it here.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(start: *mut u8, byte: i32, length: usize) -> *mut u8 {
    for at in 0..length {
        // SAFETY: the caller's range. Volatile, so that the compiler does not turn this loop into a call of itself.
        unsafe { start.add(at).write_volatile(byte as u8) };
    }
    start
}
