//! Room for open files: in the process's table of descriptors, and under its limit.

use std::os::fd::AsFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough for two trees being written, with the directories that each keeps open, and for the other files of a process. Kernels
/// grow any smaller table of descriptors to this size.
const ROOM: i32 = 256;

/// Grows the process's table of descriptors for the trees to be written. Call this before any other thread is started.
///
/// The kernel starts a process with room for 64 descriptors. Where threads share the table, growing it waits until no
/// processor can still be reading the old one (`expand_fdtable` in the kernel's fs/file.c): some ten milliseconds, in which
/// the thread that opened the file sleeps. With one thread it only takes memory.
pub fn reserve_descriptors() {
    // Any open descriptor does; the table stays large when the copy is closed. Without the room, unpacking only takes longer.
    drop(rustix::io::fcntl_dupfd_cloexec(
        rustix::stdio::stdin().as_fd(),
        ROOM - 1,
    ));
}

/// The limit on open files, raised as far as this process may, and restored when dropped. An overlay may have more layers than the
/// usual limit has descriptors.
#[derive(Debug)]
pub struct RaisedLimit(Rlimit);

impl RaisedLimit {
    /// Raises the limit. If it cannot be raised, opening too many files will fail and say so.
    pub fn raise() -> RaisedLimit {
        let before = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: before.maximum,
            maximum: before.maximum,
        };
        let _ = setrlimit(Resource::Nofile, raised);
        RaisedLimit(before)
    }
}

impl Drop for RaisedLimit {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::Nofile, self.0);
    }
}
