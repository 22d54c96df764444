//! The program that replaces box in a process of a container, see `sealed.rs`. build.rs compiles it by itself, without the standard
//! library. Called as `box-init DESCRIPTOR LENGTH`, it maps its task from the descriptor, performs it, and executes the command, or
//! stays as the init process.
//!
//! It holds no secrets and has no privileges of its own: the container may execute it again, by a link or an interpreter line.
#![no_std]
#![no_main]

mod command;
mod hook;
mod layout;
mod message;
mod reaper;
mod system;

use core::arch::global_asm;

use layout::{HEAD, Hook, Operation, Task};
use message::report;
use system::{EINTR, EINVAL, NOT_SET_UP, Poll, SET_SIZE, SIGCHLD, call, call6, exit, number};

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

extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: argc and the pointers of argv as execve(2) leaves them; the words end with a zero byte.
    let words = unsafe {
        (*stack == 3).then(|| {
            let word = |at| parse(*stack.add(at) as *const u8);
            (word(2), word(3))
        })
    };
    let Some((file, length)) = words else { alone() };
    const READ_ONLY: usize = 1;
    const PRIVATE_AND_THERE: usize = 2 | 0x10_0000;
    let base = layout::BASE;
    let mapped = call6(
        number::MMAP,
        [base, length, READ_ONLY, PRIVATE_AND_THERE, file, 0],
    );
    if mapped != base as isize || length < size_of::<Task>() {
        alone()
    }
    call(number::CLOSE, [file, 0, 0, 0]);
    // SAFETY: mapped, and written by box. A container that starts this program with another file only harms its own process.
    let task = unsafe { &*(base as *const Task) };
    // Done before the filter is installed. When the command is executed, box reads end of file.
    const SET_FLAGS: usize = 2;
    call(number::FCNTL, [task.channel, SET_FLAGS, 1, 0]);
    for at in 0..task.count {
        // SAFETY: as above.
        let operation = unsafe { *(task.operations as *const Operation).add(at) };
        perform(task, &operation);
    }
    command::execute(task)
}

/// The container executed this program itself, through /proc/self/exe.
fn alone() -> ! {
    let text = c"box-init: this executes a container's command, and is none itself\n";
    let text = text.to_bytes();
    call(number::WRITE, [2, text.as_ptr() as usize, text.len(), 0]);
    exit(126)
}

fn perform(task: &Task, operation: &Operation) {
    let [first, ..] = operation.arguments;
    let result = match operation.number {
        layout::SHRINK_BOUNDING_SET => shrink_bounding_set(first),
        layout::EXIT_IF_ORPHANED => live_with_box(task.channel),
        // SAFETY: the address of a hook in the task.
        layout::RUN_HOOK => hook::run(task, operation, unsafe { &*(first as *const Hook) }),
        layout::BECOME_REAPER => reaper::split(first),
        layout::ENTER_PID_NAMESPACE => enter_pid_namespace(),
        layout::ANNOUNCE => meet(task.channel),
        number => call6(number as usize, operation.arguments),
    };
    if result < 0 {
        let step = operation.step as u8;
        report(task, layout::FAILED, step, operation.index, -result, 0);
        exit(NOT_SET_UP)
    }
}

/// Drops all capabilities that are not in the set. After the kernel's last one, prctl(2) fails with EINVAL.
fn shrink_bounding_set(kept: usize) -> isize {
    const CAPBSET_DROP: usize = 24;
    for number in 0..64 {
        if kept >> number & 1 == 1 {
            continue;
        }
        match call(number::PRCTL, [CAPBSET_DROP, number, 0, 0]) {
            EINVAL if number > 0 => break,
            result if result < 0 => return result,
            _ => {}
        }
    }
    0
}

/// Exits if box has died, which closes its end of the channel. poll(2)
fn live_with_box(channel: usize) -> isize {
    const HANGUP: u16 = 0x10;
    let mut poll = Poll {
        file: channel as i32,
        wanted: 0,
        found: 0,
    };
    let now = [0usize; 2];
    let result = call6(
        number::PPOLL,
        [
            &raw mut poll as usize,
            1,
            &raw const now as usize,
            0,
            SET_SIZE,
            0,
        ],
    );
    if poll.found & HANGUP != 0 {
        exit(NOT_SET_UP)
    }
    result
}

/// Continues in the child. The parent exits, as it is not in the namespace.
fn enter_pid_namespace() -> isize {
    // A sibling, so that box can wait for it.
    const CLONE_PARENT: usize = 0x8000;
    match call6(number::CLONE, [CLONE_PARENT | SIGCHLD, 0, 0, 0, 0, 0]) {
        pid if pid > 0 => exit(0),
        result => result,
    }
}

/// The kernel adds the sender to the message. box answers, unless it has died.
fn meet(channel: usize) -> isize {
    let mut message = [0u32; HEAD / 4];
    message[0] = u32::from(layout::ARRIVED);
    let sent = call(
        number::WRITE,
        [channel, &raw const message as usize, HEAD, 0],
    );
    if sent < 0 {
        return sent;
    }
    let mut answer = 0u8;
    loop {
        match call(number::READ, [channel, &raw mut answer as usize, 1, 0]) {
            EINTR => {}
            1 if answer == layout::GO => return 0,
            _ => exit(NOT_SET_UP),
        }
    }
}

/// Parses a decimal number.
unsafe fn parse(mut word: *const u8) -> usize {
    let mut number = 0usize;
    // SAFETY: the caller's word ends with a zero byte, which is no digit.
    unsafe {
        while (*word).is_ascii_digit() {
            number = number
                .wrapping_mul(10)
                .wrapping_add(usize::from(*word - b'0'));
            word = word.add(1);
        }
    }
    number
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(NOT_SET_UP)
}
