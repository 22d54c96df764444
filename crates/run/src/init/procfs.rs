//! Reads and writes the host's procfs, while the root is still the host's. In the child.

use std::ffi::CStr;

use rustix::fs::{CWD, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

use crate::hooks::Point;
use crate::plan::Plan;

/// This process' pid on the host, for hooks, as the host's procfs has it.
pub(super) fn host_pid(plan: &Plan) -> Result<i32, Errno> {
    if !plan.hooks.any(Point::CreateContainer) {
        return Ok(0);
    }
    let link = readlinkat(CWD, c"/proc/self", vec![])?;
    link.to_str()
        .ok()
        .and_then(|pid| pid.parse().ok())
        .ok_or(Errno::INVAL)
}

pub(super) fn write_file(path: &CStr, text: &[u8]) -> Result<(), Errno> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text).map(drop)
}
