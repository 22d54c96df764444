//! Room for descriptors.

use std::os::fd::AsFd;

/// Room enough for two trees being written, with the directories that each keeps open, and for what else a process has open.
/// Kernels grow a table of descriptors to this size from any that is smaller.
const ROOM: i32 = 256;

/// Makes room for the descriptors of the trees to be written. To be called before any other thread is started.
///
/// The kernel starts a process with room for 64 descriptors. Where threads share the table, growing it waits until no
/// processor can still be reading the old one (`expand_fdtable` in the kernel's fs/file.c): some ten milliseconds, in which
/// whoever opened the file sleeps. With one thread it only takes memory.
pub fn reserve_descriptors() {
    // Any open descriptor does; the table stays large when the copy is closed. Where it cannot be had, unpacking only takes
    // longer.
    drop(rustix::io::fcntl_dupfd_cloexec(
        rustix::stdio::stdin().as_fd(),
        ROOM - 1,
    ));
}
