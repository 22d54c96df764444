//! The program that replaces box in a process of a container before any file of the container is executed.
//!
//! A command can be a script with `#!/proc/self/exe`, a program with a loader of that name, or a link to it. The kernel resolves
//! these in the process that calls execve(2): if that ran box, the host's binary of box would be executed, and the container could
//! write to it afterwards (CVE-2019-5736). No check of paths finds all such ways. So box does all the work that needs box, and then
//! executes a program of a few kilobytes from sealed memory, made for this one start. A list of system calls, its task, has it give
//! up privileges, install the filter and execute the command. The filter is installed after this exec, so a profile need not allow
//! execveat. If the options ask for an init process, the program stays as PID 1.

mod execve;
pub(crate) mod layout;

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create, openat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::channel::{Channel, Step};
use crate::sys::mount;
use crate::sys::process::{self, Strings};
pub(crate) use execve::Command;
pub use execve::DEFAULT_PATH;
use layout::{BASE, Operation, Task};

/// Compiled by build.rs from `sealed/program.rs`.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sealed"));

/// The program's name in a process list and in /proc.
const NAME: &CStr = c"box-init";

/// A task that is being written.
pub(crate) struct Script {
    bytes: Vec<u8>,
    operations: Vec<Operation>,
    channel: i32,
}

/// The program and its task, ready for one process.
#[derive(Debug)]
pub(crate) struct Sealed {
    program: OwnedFd,
    task: OwnedFd,
}

impl Script {
    /// A task for a process whose channel to box will be descriptor `channel`.
    pub fn new(channel: i32) -> Self {
        Self {
            bytes: vec![0; size_of::<Task>()],
            operations: Vec::with_capacity(64),
            channel,
        }
    }

    /// Adds a system call.
    pub fn call(&mut self, number: libc::c_long, arguments: &[usize], step: Step, index: usize) {
        self.add(number as u32, arguments, step, index);
    }

    /// Adds a system call, or one of the operations in [`layout`].
    pub fn add(&mut self, number: u32, arguments: &[usize], step: Step, index: usize) {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        self.operations.push(Operation {
            number,
            step: step as u16,
            index: index as u16,
            arguments: all,
        });
    }

    /// Adds bytes to the task and returns their address in the program.
    pub fn place(&mut self, bytes: &[u8]) -> usize {
        // Aligned for any type.
        let start = self.bytes.len().next_multiple_of(size_of::<usize>());
        self.bytes.resize(start, 0);
        self.bytes.extend_from_slice(bytes);
        BASE + start
    }

    /// Adds numbers of the size of an address.
    pub fn place_numbers(&mut self, numbers: &[usize]) -> usize {
        let bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect();
        self.place(&bytes)
    }

    /// Adds strings, and returns the address of an array of their addresses, which ends with a null pointer.
    pub fn place_strings(&mut self, strings: &[CString]) -> usize {
        let mut addresses: Vec<usize> = Vec::with_capacity(strings.len() + 1);
        for string in strings {
            addresses.push(self.place(string.as_bytes_with_nul()));
        }
        addresses.push(0);
        self.place_numbers(&addresses)
    }

    /// Completes the task: it ends with the execution of the command.
    pub fn execute(mut self, command: &Command) -> Result<Sealed, Errno> {
        let candidates = self.place_strings(&command.candidates);
        let arguments = self.place_strings(command.arguments.as_slice());
        let environment = self.place_strings(command.environment.as_slice());
        let mut operations = Vec::with_capacity(self.operations.len() * size_of::<Operation>());
        for operation in &self.operations {
            operations.extend_from_slice(&operation.number.to_ne_bytes());
            operations.extend_from_slice(&operation.step.to_ne_bytes());
            operations.extend_from_slice(&operation.index.to_ne_bytes());
            for argument in operation.arguments {
                operations.extend_from_slice(&argument.to_ne_bytes());
            }
        }
        let count = self.operations.len();
        let operations = self.place(&operations);
        let task = [
            operations,
            count,
            candidates,
            arguments,
            environment,
            self.channel as usize,
        ];
        let head = task.iter().flat_map(|number| number.to_ne_bytes());
        for (place, byte) in self.bytes.iter_mut().zip(head) {
            *place = byte;
        }
        let task = memfd_create(c"box-task", MemfdFlags::CLOEXEC)?;
        write_all(task.as_fd(), &self.bytes)?;
        Ok(Sealed {
            program: program()?,
            task,
        })
    }
}

impl Sealed {
    /// The descriptors, to be sent to the process that will execute the program.
    pub fn files(&self) -> [BorrowedFd<'_>; 2] {
        [self.program.as_fd(), self.task.as_fd()]
    }

    /// Takes the descriptors that were received.
    pub fn received(program: OwnedFd, task: OwnedFd) -> Self {
        Self { program, task }
    }

    /// In the child: moves the channel to descriptor `number` and closes all higher ones but the program and its task.
    pub fn keep(self, line: &mut Option<Channel>, number: i32) -> Result<Self, Errno> {
        let program = above(self.program, number)?;
        let task = above(self.task, number)?;
        if let Some(channel) = line.take() {
            *line = Some(channel.move_to(number)?);
        }
        let (one, other) = (program.as_raw_fd() as u32, task.as_raw_fd() as u32);
        let (low, high) = (one.min(other), one.max(other));
        let ranges = [
            (number as u32 + 1, low - 1),
            (low + 1, high - 1),
            (high + 1, u32::MAX),
        ];
        for (first, last) in ranges {
            if first <= last {
                process::close_range(first, last)?;
            }
        }
        Ok(Self { program, task })
    }

    /// In the child: executes the program. The task already has the number of `channel`. Returns only on failure.
    pub fn take_over(&self, channel: BorrowedFd<'_>) -> Errno {
        let length = match rustix::fs::fstat(&self.task) {
            Ok(found) => found.st_size,
            Err(errno) => return errno,
        };
        let task = self.task.as_raw_fd();
        for file in [channel.as_raw_fd(), task] {
            if let Err(errno) = process::keep_over_exec(file) {
                return errno;
            }
        }
        let words = [task.to_string(), length.to_string()];
        let Ok(words) = words
            .map(CString::new)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
        else {
            return Errno::INVAL;
        };
        let words = [NAME.to_owned()].into_iter().chain(words).collect();
        let (arguments, environment) = (Strings::new(words), Strings::new(vec![]));
        process::execveat(self.program.as_fd(), &arguments, &environment)
    }
}

/// The descriptor, or a copy of it with a number above `number`.
fn above(file: OwnedFd, number: i32) -> Result<OwnedFd, Errno> {
    if file.as_raw_fd() > number {
        return Ok(file);
    }
    rustix::io::fcntl_dupfd_cloexec(&file, number + 1)
}

/// The program as a new file in memory that no process can write to. memfd_create(2)
fn program() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create(NAME, flags | MemfdFlags::EXEC) {
        // Kernels before 6.3 lack this flag, and every file in memory is executable.
        Err(Errno::INVAL) => memfd_create(NAME, flags)?,
        // The sysctl vm.memfd_noexec is 2.
        Err(Errno::ACCESS) => return on_a_read_only_mount(),
        made => made?,
    };
    write_all(file.as_fd(), PROGRAM)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals)?;
    Ok(file)
}

/// Where files in memory may not be executed: a detached file system that holds only the program and is read-only, which is as
/// safe.
fn on_a_read_only_mount() -> Result<OwnedFd, Errno> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let mounted = fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&mounted, NAME, flags, Mode::from_raw_mode(0o777))?;
    // Independent of the umask.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o777))?;
    write_all(file.as_fd(), PROGRAM)?;
    drop(file);
    let read_only = mount::Attributes {
        set: libc::MOUNT_ATTR_RDONLY,
        ..mount::Attributes::default()
    };
    mount::set_attributes(mounted.as_fd(), &read_only, false)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(&mounted, NAME, flags, Mode::empty())
}

fn write_all(file: BorrowedFd<'_>, mut rest: &[u8]) -> Result<(), Errno> {
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(file, rest)?..];
    }
    Ok(())
}

/// The signals that an init process forwards: all but those that a fault of a process causes.
pub(crate) fn forwarded() -> u64 {
    let own = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGSYS,
        libc::SIGABRT,
    ];
    own.into_iter()
        .fold(u64::MAX, |mask, signal| mask & !(1 << (signal - 1)))
}
