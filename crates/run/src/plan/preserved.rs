//! Descriptors that the command inherits from the caller.

use rustix::fs::{CWD, Mode, OFlags};

use crate::Error;

/// Checks that descriptors 3 to 2 + `count` are open and the caller's. Those of box are close-on-exec, so any other is the
/// caller's.
pub(super) fn check_preserved(count: u32) -> Result<(), Error> {
    for number in 3..3 + count {
        let path = format!("/proc/self/fd/{number}");
        let missing = || {
            Error::spec(
                "preserved descriptors",
                format!("{count} are requested, but descriptor {number} is not open"),
            )
        };
        let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"))
            .map_err(|_| missing())?;
        let flags = flags
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .map(str::trim);
        let flags = flags
            .and_then(|flags| u32::from_str_radix(flags, 8).ok())
            .ok_or_else(missing)?;
        if flags & libc::O_CLOEXEC as u32 != 0 {
            return Err(missing());
        }
        let directory = rustix::fs::openat(
            CWD,
            path.as_str(),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        if directory.is_ok() {
            return Err(Error::spec(
                "preserved descriptors",
                format!(
                    "descriptor {number} is a directory, which would lead out of the container"
                ),
            ));
        }
    }
    Ok(())
}
