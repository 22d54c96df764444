//! Messages to box.

use crate::layout::{self, Facts, HEAD, Task};
use crate::system::{call, number};

/// The message being written, zeroes at first. The program has one thread.
pub static mut MESSAGE: [u8; HEAD + size_of::<Facts>() + layout::MOST_READ] =
    [0; HEAD + size_of::<Facts>() + layout::MOST_READ];

/// Sends the message with a head and the `length` bytes after it, which the caller has written. A failure is ignored: without box
/// there is no one to report to.
pub fn report(task: &Task, kind: u8, second: u8, index: u16, number: isize, length: usize) {
    let head = [
        u32::from(kind) | u32::from(second) << 8 | u32::from(index) << 16,
        number as u32,
        length as u32,
    ];
    let message = &raw mut MESSAGE as usize;
    // SAFETY: the program has one thread, and no reference to the message lives, which is longer than a head.
    unsafe { (message as *mut [u32; 3]).write_unaligned(head) };
    call(number::WRITE, [task.channel, message, HEAD + length, 0]);
}
