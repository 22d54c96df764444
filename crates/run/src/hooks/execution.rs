//! Runs one hook on the host, and waits for it.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};

use super::failure::HookEnd;

/// Runs it with the state on its standard input, and kills it when its time limit is over.
pub(super) fn run(hook: &Hook, state: &[u8]) -> Result<(), HookEnd> {
    let mut command = Command::new(hook.path());
    let args = hook.args().as_deref().unwrap_or(&[]);
    if let Some(name) = args.first() {
        command.arg0(name);
    }
    command
        .args(args.iter().skip(1))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    command.envs(
        hook.env()
            .iter()
            .flatten()
            .filter_map(|entry| entry.split_once('=')),
    );
    let mut child = command
        .spawn()
        .map_err(|error| HookEnd::NotExecuted(number(&error)))?;
    let input = child.stdin.take();
    // A hook need not read its state. The state is shorter than a pipe's buffer, so writing does not block.
    if let Some(mut input) = input {
        let _ = input.write_all(state);
    }
    if let Some(limit) = hook
        .timeout()
        .and_then(|seconds| u64::try_from(seconds).ok())
        && !ended_within(&child, Duration::from_secs(limit)).map_err(HookEnd::NotSeen)?
    {
        child.kill().and_then(|()| child.wait()).map_err(not_seen)?;
        return Err(HookEnd::TimedOut);
    }
    let status = child.wait().map_err(not_seen)?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(HookEnd::Exited(code)),
        (None, signal) => Err(HookEnd::Signaled(signal.unwrap_or_default())),
    }
}

fn not_seen(error: std::io::Error) -> HookEnd {
    HookEnd::NotSeen(number(&error))
}

fn number(error: &std::io::Error) -> Errno {
    // The only error without a number is a string with a zero byte.
    Errno::from_io_error(error).unwrap_or(Errno::INVAL)
}

fn ended_within(child: &Child, limit: Duration) -> Result<bool, Errno> {
    let pidfd = pidfd_open(rustix::process::Pid::from_child(child), PidfdFlags::empty())?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(
            &mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)],
            Some(&left),
        ) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
