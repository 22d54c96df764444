//! What makes a process a container's: limits, privileges, filter, working directory, and the exec. Shared by the first
//! process and by those that join later; nothing in here looks at the host.

use std::ffi::CStr;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, mkdir, open, statx};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, umask};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::channel::{Failed, Message, Step};
use crate::diagnosis::{Finding, Text, examine};
use crate::plan::{Command, Plan};
use crate::sys::process;
use crate::user::NO_ID;

/// Applies everything of `process` in the spec but its command. Afterwards the process is what the command will be.
pub(crate) fn confine(plan: &Plan) -> Result<(), Failed> {
    for (index, &(number, soft, hard)) in plan.rlimits.iter().enumerate() {
        process::set_rlimit(number, soft, hard).map_err(Step::Rlimit.failed(index))?;
    }
    if let Some(personality) = plan.personality {
        process::set_personality(personality).map_err(Step::Personality.failed(0))?;
    }
    umask(Mode::from_raw_mode(plan.umask));
    enter_working_directory(&plan.cwd)?;
    if plan.no_new_privileges {
        set_no_new_privs(true).map_err(Step::NoNewPrivileges.failed(0))?;
    }
    plan.capabilities
        .before_user_change()
        .map_err(Step::BoundingSet.failed(0))?;
    // Without no_new_privs a filter takes CAP_SYS_ADMIN, which the container's sets may not have: it comes before them.
    if let (Some(filter), false) = (&plan.seccomp, plan.no_new_privileges) {
        filter.install().map_err(Step::Seccomp.failed(0))?;
    }
    become_user(plan)?;
    plan.capabilities
        .after_user_change()
        .map_err(Step::Capabilities.failed(0))?;
    process::reset_signals().map_err(Step::Signals.failed(0))?;
    if let (Some(filter), true) = (&plan.seccomp, plan.no_new_privileges) {
        filter.install().map_err(Step::Seccomp.failed(0))?;
    }
    Ok(())
}

/// The plan has refused [`NO_ID`]; were it to get here all the same, the command would keep box's own ids, credentials(7).
fn become_user(plan: &Plan) -> Result<(), Failed> {
    if [plan.uid, plan.gid].contains(&NO_ID)
        || plan.groups.iter().any(|group| group.as_raw() == NO_ID)
    {
        return Err(Step::User.failed(2)(Errno::INVAL));
    }
    let (uid, gid) = (Uid::from_raw(plan.uid), Gid::from_raw(plan.gid));
    set_thread_groups(&plan.groups).map_err(Step::Groups.failed(0))?;
    set_thread_res_gid(gid, gid, gid).map_err(Step::User.failed(0))?;
    set_thread_res_uid(uid, uid, uid).map_err(Step::User.failed(1))
}

/// Changes to the working directory, making it if it is missing, and checks that it is in the container: a path such as
/// /proc/self/fd/7 could lead out through a descriptor of the host (CVE-2024-21626).
fn enter_working_directory(path: &CStr) -> Result<(), Failed> {
    let enter = || rustix::process::chdir(path);
    match enter() {
        Err(Errno::NOENT) => {
            make_directories(path)
                .and_then(|()| enter())
                .map_err(Step::WorkingDirectory.failed(0))?;
        }
        other => other.map_err(Step::WorkingDirectory.failed(0))?,
    }
    // Where the directory cannot be reached from the root, the kernel says "(unreachable)" or nothing, getcwd(3).
    let found = rustix::process::getcwd(Vec::with_capacity(256)).map_err(|_| Errno::NOENT);
    match found {
        Ok(found) if found.to_bytes().starts_with(b"/") => Ok(()),
        _ => Err(Step::WorkingDirectoryOutside.failed(0)(Errno::NOENT)),
    }
}

fn make_directories(path: &CStr) -> Result<(), Errno> {
    let bytes = path.to_bytes();
    let ends = bytes
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at);
    for end in ends.chain([bytes.len()]) {
        match mkdir(&bytes[..end], Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Tries the candidates in order. Returns only if none could be executed, with the reason.
pub(crate) fn execute(command: &Command) -> Message {
    let own = own_program();
    let mut refused: Option<(usize, Errno)> = None;
    for (index, path) in command.candidates.iter().enumerate() {
        if leads_to(path, own) {
            return Message::Failed(Step::OwnProgram.failed(index)(Errno::PERM));
        }
        match process::execve(path, &command.arguments, &command.environment) {
            Errno::NOENT | Errno::NOTDIR
                if rustix::fs::access(path.as_c_str(), rustix::fs::Access::EXISTS).is_err() => {}
            // As shells do: the search goes on, and this is the answer if nothing better is found.
            Errno::ACCESS if command.candidates.len() > 1 => {
                refused = refused.or(Some((index, Errno::ACCESS)))
            }
            errno => return not_executed(command, index, errno),
        }
    }
    match refused {
        Some((index, errno)) => not_executed(command, index, errno),
        None => Message::NotExecuted {
            index: 0,
            errno: Errno::NOENT.raw_os_error(),
            finding: Finding::Missing as u8,
            text: vec![],
        },
    }
}

fn not_executed(command: &Command, index: usize, errno: Errno) -> Message {
    let mut text = Text::new();
    let finding = examine(&command.candidates[index], errno, &mut text);
    Message::NotExecuted {
        index: index as u16,
        errno: errno.raw_os_error(),
        finding: finding as u8,
        text: text.as_bytes().to_vec(),
    }
}

/// What makes a file the host's own box program: device, inode, and the mount it is reached through. The same file bound
/// into the container is another mount, and harmless.
type Identity = (u32, u32, u64, u64);

/// The program this process was started from. Were it executed as the command, by a link to /proc/self/exe, another
/// process of the container could open it through /proc and write to it once it has ended (CVE-2019-5736).
fn own_program() -> Option<Identity> {
    identity(c"/proc/self/exe")
}

/// Whether executing `path` would execute `program`: it is that file, or a script whose interpreter is, as deep as the
/// kernel follows, execve(2).
fn leads_to(path: &CStr, program: Option<Identity>) -> bool {
    let Some(program) = program else { return false };
    let mut head = [0u8; 256];
    let mut name = [0u8; 256];
    for depth in 0..6 {
        let path = if depth == 0 {
            path
        } else {
            CStr::from_bytes_until_nul(&name).unwrap_or_default()
        };
        if identity(path) == Some(program) {
            return true;
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let read = open(path, flags, Mode::empty())
            .and_then(|file| rustix::io::read(&file, &mut head[..255]));
        let Some(line) = read
            .ok()
            .and_then(|length| head[..length].strip_prefix(b"#!"))
        else {
            return false;
        };
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or(line);
        let Some(interpreter) = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .find(|word| !word.is_empty())
        else {
            return false;
        };
        name[..interpreter.len()].copy_from_slice(interpreter);
        name[interpreter.len()] = 0;
    }
    false
}

fn identity(path: &CStr) -> Option<Identity> {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    let found = statx(CWD, path, AtFlags::empty(), wanted).ok()?;
    Some((
        found.stx_dev_major,
        found.stx_dev_minor,
        found.stx_ino,
        found.stx_mnt_id,
    ))
}
