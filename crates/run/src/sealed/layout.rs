//! What box writes for the sealed program, and what that says to box. Shared by both: no library, plain numbers; addresses are those of
//! the program's memory, where the task lies at [`BASE`].

/// Where the program maps its task: far above itself, and far below all that the kernel places by itself.
pub const BASE: usize = 0x1_0000_0000;

/// The first thing of a task.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Task {
    /// Address of the first [`Operation`].
    pub operations: usize,
    /// How many there are.
    pub count: usize,
    /// Address of the paths to try for the command: an array of addresses that ends with 0, like the next two.
    pub candidates: usize,
    /// Its arguments.
    pub arguments: usize,
    /// Its environment.
    pub environment: usize,
    /// The descriptor of the line to box.
    pub channel: usize,
}

/// One thing to do.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Operation {
    /// A system call of the machine, or one of the constants below.
    pub number: u32,
    /// The `Step` of which a failure is told.
    pub step: u16,
    /// Which one of several.
    pub index: u16,
    /// Its arguments.
    pub arguments: [usize; 6],
}

/// Shrinks the bounding set to the bits of the first argument.
pub const SHRINK_BOUNDING_SET: u32 = 0x1_0000;
/// Ends the process if box is gone: it may have died before the death signal was asked for.
pub const EXIT_IF_ORPHANED: u32 = 0x1_0001;
/// Runs the hook at the address of the first argument.
pub const RUN_HOOK: u32 = 0x1_0002;
/// Goes on in a child, and becomes what reaps and passes signals on (`--init`). The first argument is the set of signals.
pub const BECOME_REAPER: u32 = 0x1_0003;
/// Goes on in a child of the caller's parent, in the pid namespace that was chosen for children, and ends.
pub const ENTER_PID_NAMESPACE: u32 = 0x1_0004;
/// Says that it is there, and waits for box to let it go on.
pub const ANNOUNCE: u32 = 0x1_0005;

/// A program to be run and waited for. box writes it number by number.
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
    /// Address of what it reads.
    pub state: usize,
    /// How long that is.
    pub length: usize,
    /// Seconds after which it is killed; 0 for none.
    pub limit: usize,
    /// The number of its point.
    pub point: usize,
}

/// Bytes of a message before what follows: kind, a byte, an index (2), an error number (4), a length (2), nothing (2).
pub const HEAD: usize = 12;
/// A step failed.
pub const FAILED: u8 = 1;
/// The command could not be executed; [`Facts`] follow.
pub const NOT_EXECUTED: u8 = 2;
/// The first kind of message that is about a hook; there is one for each way to fail.
pub const HOOK: u8 = 3;
/// It could not be executed.
pub const HOOK_NOT_EXECUTED: u8 = HOOK + 1;
/// Its end could not be seen.
pub const HOOK_NOT_SEEN: u8 = HOOK + 2;
/// Its status was not 0.
pub const HOOK_EXITED: u8 = HOOK + 3;
/// A signal ended it.
pub const HOOK_SIGNALED: u8 = HOOK + 4;
/// It took too long.
pub const HOOK_TIMED_OUT: u8 = HOOK + 5;
/// A process is in the container's pid namespace.
pub const ARRIVED: u8 = 9;
/// What it is answered: `Order::Go`.
pub const GO: u8 = 2;

/// What the file of a command looks like that could not be executed. After it in the message: its first bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// st_mode of stat(2).
    pub mode: u32,
    /// [`EXISTS`] and others.
    pub flags: u32,
}

/// There is such a file.
pub const EXISTS: u32 = 1;
/// On a mount with `noexec`.
pub const ON_NOEXEC: u32 = 2;
/// The container has musl's loader where distributions put it.
pub const HAS_MUSL: u32 = 4;
/// And that of glibc.
pub const HAS_GLIBC: u32 = 8;
/// The first bytes are those of the file.
pub const WAS_READ: u32 = 16;
/// The most bytes of the file.
pub const MOST_READ: usize = 4096;
