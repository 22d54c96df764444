//! What box is told.

use crate::layout::{self, Facts, HEAD, Task};
use crate::system::{call, number};

/// A message that is put together: zeroes at first, and used once at a time.
pub static mut MESSAGE: [u8; HEAD + size_of::<Facts>() + layout::MOST_READ] =
    [0; HEAD + size_of::<Facts>() + layout::MOST_READ];

/// Sends a message with `length` bytes after its head, which are there. If box is gone there is nobody to report.
pub fn report(task: &Task, kind: u8, second: u8, index: u16, number: isize, length: usize) {
    let head = [
        u32::from(kind) | u32::from(second) << 8 | u32::from(index) << 16,
        number as u32,
        length as u32,
    ];
    let message = &raw mut MESSAGE as usize;
    // SAFETY: nobody else uses the message, which is longer than a head.
    unsafe { (message as *mut [u32; 3]).write_unaligned(head) };
    call(number::WRITE, [task.channel, message, HEAD + length, 0]);
}
