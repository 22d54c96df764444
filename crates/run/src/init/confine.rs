//! Confines a process: limits, privileges, filter, working directory. Shared by the first process and those that join later. The
//! sealed program (see [`crate::sealed`]) gives up the privileges.

use std::ffi::CStr;

use rustix::fs::{Mode, mkdir};
use rustix::io::Errno;
use rustix::process::umask;

use crate::Error;
use crate::channel::{Failed, Step};
use crate::namespaces::idmap::NO_ID;
use crate::plan::Plan;
use crate::sealed::{Script, layout};
use crate::sys::process;

/// The first half: everything that takes away no privilege. In the child.
pub(crate) fn confine(plan: &Plan, missing: Missing) -> Result<(), Failed> {
    if let Some(personality) = plan.personality {
        process::set_personality(personality).map_err(Step::Personality.failed(0))?;
    }
    umask(Mode::from_raw_mode(plan.umask));
    enter_working_directory(&plan.cwd, missing)?;
    process::reset_signals().map_err(Step::Signals.failed(0))
}

/// What to do about a working directory that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Make it, for a container's first process.
    Make,
    /// Fail, for a process that joins.
    Refuse,
}

/// The second half, as a task of the sealed program: afterwards the process has exactly the command's privileges.
pub(crate) fn script(plan: &Plan, channel: i32) -> Result<Script, Error> {
    let mut script = Script::new(channel);
    // No process may inspect this one until it executes the command.
    let undumpable = [libc::PR_SET_DUMPABLE as usize, 0];
    script.call(libc::SYS_prctl, &undumpable, Step::DieWithParent, 1);
    for (index, &(number, soft, hard)) in plan.rlimits.iter().enumerate() {
        let limit = script.place_numbers(&[soft as usize, hard as usize]);
        let arguments = [0, number as usize, limit, 0];
        script.call(libc::SYS_prlimit64, &arguments, Step::Rlimit, index);
    }
    if plan.no_new_privileges {
        let arguments = [libc::PR_SET_NO_NEW_PRIVS as usize, 1];
        script.call(libc::SYS_prctl, &arguments, Step::NoNewPrivileges, 0);
    }
    plan.capabilities.before_user_change(&mut script);
    // Without no_new_privs, installing a filter takes CAP_SYS_ADMIN, which the container's sets may lack, so the filter comes
    // first.
    if let (Some(filter), false) = (&plan.seccomp, plan.no_new_privileges) {
        filter.install_by(&mut script);
    }
    become_user(plan, &mut script)?;
    plan.capabilities.after_user_change(&mut script);
    if let (Some(filter), true) = (&plan.seccomp, plan.no_new_privileges) {
        filter.install_by(&mut script);
    }
    Ok(script)
}

/// Requests SIGKILL at box's death once more, as a change of the user cancels that, and exits if box has died meanwhile. prctl(2)
pub(crate) fn die_with_box(script: &mut Script) {
    let arguments = [libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize];
    script.call(libc::SYS_prctl, &arguments, Step::DieWithParent, 0);
    script.add(layout::EXIT_IF_ORPHANED, &[], Step::Handshake, 2);
}

/// The plan refuses [`NO_ID`]. It is checked again here, as the command would keep box's own ids, credentials(7).
fn become_user(plan: &Plan, script: &mut Script) -> Result<(), Error> {
    let mut ids = plan.groups.iter().map(|group| group.as_raw());
    if [plan.uid, plan.gid].contains(&NO_ID) || ids.any(|group| group == NO_ID) {
        return Err(Error::system("change to the command's user", Errno::INVAL));
    }
    let (uid, gid) = (plan.uid as usize, plan.gid as usize);
    let groups = plan.groups.iter();
    let groups: Vec<u8> = groups
        .flat_map(|group| group.as_raw().to_ne_bytes())
        .collect();
    let groups = [plan.groups.len(), script.place(&groups)];
    script.call(libc::SYS_setgroups, &groups, Step::Groups, 0);
    script.call(libc::SYS_setresgid, &[gid; 3], Step::User, 0);
    script.call(libc::SYS_setresuid, &[uid; 3], Step::User, 1);
    Ok(())
}

/// Changes to the working directory and checks that it is inside the container: a path such as /proc/self/fd/7 could lead out
/// through a descriptor of the host (CVE-2024-21626).
fn enter_working_directory(path: &CStr, missing: Missing) -> Result<(), Failed> {
    let enter = || rustix::process::chdir(path);
    match enter() {
        Err(Errno::NOENT) if missing == Missing::Make => {
            make_directories(path)
                .and_then(|()| enter())
                .map_err(Step::WorkingDirectory.failed(0))?;
        }
        other => other.map_err(Step::WorkingDirectory.failed(0))?,
    }
    // For a directory that cannot be reached from the root, getcwd(3) returns "(unreachable)" or an error.
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
