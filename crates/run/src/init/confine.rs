//! What makes a process a container's: limits, privileges, filter, working directory. Shared by the first process and by those that
//! join later; nothing in here looks at the host. What gives up powers is left to the sealed program (see [`crate::sealed`]).

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

/// The first half: what does not take away the power to do the rest. In the child.
pub(crate) fn confine(plan: &Plan, missing: Missing) -> Result<(), Failed> {
    if let Some(personality) = plan.personality {
        process::set_personality(personality).map_err(Step::Personality.failed(0))?;
    }
    umask(Mode::from_raw_mode(plan.umask));
    enter_working_directory(&plan.cwd, missing)?;
    process::reset_signals().map_err(Step::Signals.failed(0))
}

/// A working directory that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Is made, for a container's first process.
    Make,
    /// Is an error, for one that joins.
    Refuse,
}

/// The second half: afterwards the process is what the command will be.
pub(crate) fn script(plan: &Plan, channel: i32) -> Result<Script, Error> {
    let mut script = Script::new(channel);
    // Nobody looks into the process on its way, whoever can see it; the exec of the command ends that.
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
    // Without no_new_privs a filter takes CAP_SYS_ADMIN, which the container's sets may not have: it comes before them.
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

/// Asks for SIGKILL when box dies, as a change of the user takes that away; it may have died meanwhile. prctl(2)
pub(crate) fn die_with_box(script: &mut Script) {
    let arguments = [libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize];
    script.call(libc::SYS_prctl, &arguments, Step::DieWithParent, 0);
    script.add(layout::EXIT_IF_ORPHANED, &[], Step::Handshake, 2);
}

/// The plan has refused [`NO_ID`]; were it to get here all the same, the command would keep box's own ids, credentials(7).
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

/// Changes to the working directory, and checks that it is in the container: a path such as
/// /proc/self/fd/7 could lead out through a descriptor of the host (CVE-2024-21626).
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
