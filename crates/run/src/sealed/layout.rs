//! The task that box writes for the sealed program, and the messages that the program sends. Compiled into both, so it uses no
//! library. Addresses are those in the program, which maps the task at [`BASE`].

/// Where the program maps its task: far above the program, and far below all mappings that the kernel places.
pub const BASE: usize = 0x1_0000_0000;

/// The head of a task.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Task {
    /// Address of the first [`Operation`].
    pub operations: usize,
    /// How many there are.
    pub count: usize,
    /// Address of the paths to try for the command: an array of addresses that ends with 0. The next two fields have the same form.
    pub candidates: usize,
    /// Its arguments.
    pub arguments: usize,
    /// Its environment.
    pub environment: usize,
    /// The descriptor of the channel to box.
    pub channel: usize,
}

/// A step of a task.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Operation {
    /// The number of a system call, or one of the constants below.
    pub number: u32,
    /// The `Step` that a failure is reported as.
    pub step: u16,
    /// The index of that step.
    pub index: u16,
    /// Its arguments.
    pub arguments: [usize; 6],
}

/// Shrinks the bounding set to the bits of the first argument.
pub const SHRINK_BOUNDING_SET: u32 = 0x1_0000;
/// Exits if box has died, which may have happened before the death signal was requested.
pub const EXIT_IF_ORPHANED: u32 = 0x1_0001;
/// Runs the hook at the address of the first argument.
pub const RUN_HOOK: u32 = 0x1_0002;
/// Continues in a child, while this process becomes the init process, which reaps orphans and forwards signals. The first argument
/// is the set of signals.
pub const BECOME_REAPER: u32 = 0x1_0003;
/// Continues in a sibling, in the pid namespace that was chosen for children, while this process exits.
pub const ENTER_PID_NAMESPACE: u32 = 0x1_0004;
/// Reports this process to box, and waits for the order to go on.
pub const ANNOUNCE: u32 = 0x1_0005;

/// A program to run and to wait for. box writes these fields one by one.
#[allow(dead_code)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Hook {
    /// Address of its path.
    pub path: usize,
    /// Its arguments.
    pub arguments: usize,
    /// Its environment.
    pub environment: usize,
    /// Address of the state that it reads.
    pub state: usize,
    /// Length of the state.
    pub length: usize,
    /// Seconds after which it is killed; 0 for none.
    pub limit: usize,
    /// The number of its point.
    pub point: usize,
}

/// Length of a message's head: kind (1), a byte (1), an index (2), an error number (4), the length of the rest (4).
pub const HEAD: usize = 12;
/// A step failed.
pub const FAILED: u8 = 1;
/// The command could not be executed; [`Facts`] follow.
pub const NOT_EXECUTED: u8 = 2;
/// The first kind of message about a hook. Each way to fail has its own kind.
pub const HOOK: u8 = 3;
/// It could not be executed.
pub const HOOK_NOT_EXECUTED: u8 = HOOK + 1;
/// Waiting for it failed.
pub const HOOK_NOT_SEEN: u8 = HOOK + 2;
/// Its status was not 0.
pub const HOOK_EXITED: u8 = HOOK + 3;
/// A signal ended it.
pub const HOOK_SIGNALED: u8 = HOOK + 4;
/// It exceeded its time limit.
pub const HOOK_TIMED_OUT: u8 = HOOK + 5;
/// A joining process is in the container's pid namespace.
pub const ARRIVED: u8 = 9;
/// The answer to that, `Order::Go`.
pub const GO: u8 = 2;

/// Facts about the file of a command that could not be executed. In a message, the first bytes of the file follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// st_mode of stat(2).
    pub mode: u32,
    /// [`EXISTS`] and others.
    pub flags: u32,
}

/// The file exists.
pub const EXISTS: u32 = 1;
/// It is on a mount with `noexec`.
pub const ON_NOEXEC: u32 = 2;
/// The container has musl's loader.
pub const HAS_MUSL: u32 = 4;
/// The container has glibc's loader.
pub const HAS_GLIBC: u32 = 8;
/// The file was read, and its first bytes follow.
pub const WAS_READ: u32 = 16;
/// The most bytes of the file that follow.
pub const MOST_READ: usize = 4096;
