//! PID 1 of a container with `--init`, see `reaper.rs`. A program by itself, without the standard library, that build.rs
//! compiles: `box-init PID`. The signals that it passes on are those that are blocked when it is started.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 14;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const KILL: usize = 62;
    pub const WAIT4: usize = 61;
    pub const CLOSE_RANGE: usize = 436;
    pub const EXIT_GROUP: usize = 231;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const KILL: usize = 129;
    pub const WAIT4: usize = 260;
    pub const CLOSE_RANGE: usize = 436;
    pub const EXIT_GROUP: usize = 94;
}

// The kernel enters with argc, argv and the environment on the stack, and nothing else.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym main
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x0, sp",
    "bl {main}",
    "brk #1",
    main = sym main
);

const SIGCHLD: usize = 17;
const WNOHANG: usize = 1;
/// Of the kernel's signal set.
const SET_SIZE: usize = 8;

extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: argc and the pointers of argv as execve(2) leaves them; the words end with a zero byte.
    let command = unsafe { (*stack > 1).then(|| parse(*stack.add(2) as *const u8)) };
    let Some(command) = command else { exit(125) };
    // Those of the command: it holds them itself.
    call(number::CLOSE_RANGE, [0, u32::MAX as usize, 0, 0]);
    let mut signals = 0u64;
    let old = &raw mut signals as usize;
    call(number::RT_SIGPROCMASK, [0, 0, old, SET_SIZE]);
    let set = &raw const signals as usize;
    loop {
        let signal = call(number::RT_SIGTIMEDWAIT, [set, 0, 0, SET_SIZE]);
        if signal <= 0 {
            continue;
        }
        if signal as usize != SIGCHLD {
            call(number::KILL, [command, signal as usize, 0, 0]);
            continue;
        }
        reap(command);
    }
}

/// Reaps all that have ended; if the command has, its end is ours, and the kernel ends what is left in the pid namespace.
fn reap(command: usize) {
    loop {
        let mut status = 0i32;
        let place = &raw mut status as usize;
        let pid = call(number::WAIT4, [usize::MAX, place, WNOHANG, 0]);
        if pid <= 0 {
            return;
        }
        if pid as usize == command {
            // wait(2): the signal in the low seven bits, else the exit status in the next byte.
            let signal = (status & 0x7f) as usize;
            exit(if signal == 0 {
                (status >> 8 & 0xff) as usize
            } else {
                128 + signal
            })
        }
    }
}

/// The number that the word says.
unsafe fn parse(mut word: *const u8) -> usize {
    let mut number = 0;
    // SAFETY: the caller's word ends with a zero byte, which is no digit.
    unsafe {
        while (*word).is_ascii_digit() {
            number = number * 10 + usize::from(*word - b'0');
            word = word.add(1);
        }
    }
    number
}

fn exit(status: usize) -> ! {
    loop {
        call(number::EXIT_GROUP, [status, 0, 0, 0]);
    }
}

fn call(number: usize, [a, b, c, d]: [usize; 4]) -> isize {
    let result;
    // SAFETY: the callers pass pointers to values that live over the call, of the size that it writes.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
            options(nostack));
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(125)
}
