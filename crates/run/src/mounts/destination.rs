//! The path in the container that something is mounted on, as the spec gives it.

use std::path::{Component, Path, PathBuf};

use crate::Error;

/// Removes `.`, `..` and double slashes from an absolute path.
pub(crate) fn normal(path: &Path) -> Result<PathBuf, Error> {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    if !path.is_absolute() || out == Path::new("/") {
        return Err(Error::spec(
            "mounts",
            format!("{} is not an absolute path below /", path.display()),
        ));
    }
    Ok(out)
}

/// Whether a mount on this path would hide a part of procfs that programs trust.
pub(super) fn fakes_proc(destination: &Path) -> bool {
    destination.strip_prefix("/proc").is_ok_and(|below| {
        !below.as_os_str().is_empty() && !MAY_COVER.iter().any(|name| below == Path::new(name))
    })
}

/// The files below /proc that programs such as lxcfs replace; the same list as in runc.
const MAY_COVER: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "net/dev",
    "sys/kernel/ns_last_pid",
];
