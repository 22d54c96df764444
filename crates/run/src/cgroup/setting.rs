//! Limits of a spec as files and values of either kind of hierarchy. Only [`apply`] makes system calls.

mod legacy;
mod list;
mod unified;

use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use super::directory::Directory;
use super::request::Request;
use crate::Error;
use box_host::Reason;
pub use legacy::settings as legacy;
pub use list::{Need, Setting};
pub use unified::settings as unified;

/// Converts a v2 weight, 1 to 10000, to v1 shares, in proportion as the kernel does: the defaults are 100 and 1024.
pub fn shares_of_weight(weight: u64) -> u64 {
    (weight * 1024).div_ceil(100).max(2)
}

/// Sets a limit in `directory`.
pub fn apply(directory: &Directory, setting: &Setting) -> Result<(), Error> {
    let mut failure = (String::new(), Errno::NOENT);
    for (file, value) in &setting.ways {
        match directory.set(file, value) {
            Ok(()) => return Ok(()),
            Err(Errno::NOENT) if !failure.0.is_empty() => {}
            Err(errno) => failure = (file.clone(), errno),
        }
        if failure.1 != Errno::NOENT {
            break;
        }
    }
    let (file, errno) = failure;
    if file.is_empty() {
        return Err(setting.unsupported("this kind of cgroup hierarchy has no file for it"));
    }
    let path = directory.path().join(file);
    let value = setting.ways.last().map_or("", |(_, value)| value);
    let words = match errno {
        Errno::BUSY => "the container already uses more than that".to_owned(),
        Errno::INVAL | Errno::RANGE => format!("the kernel does not accept the value {value:?}"),
        _ => Reason(&errno.into()).to_string(),
    };
    Err(setting.unsupported(&format!(
        "{} controller, {}: {words}",
        setting.controller,
        path.display()
    )))
}

/// Refuses requested limits where none can be set.
pub fn refuse_all(request: &Request, reason: &str) -> Result<(), Error> {
    if request.confine_devices {
        return Err(Error::Limit {
            limit: "access to devices".to_owned(),
            reason: reason.to_owned(),
        });
    }
    let mut settings = legacy(request.resources);
    soften(&mut settings, request);
    refuse_settings(&settings, reason)
}

/// The same for an update of limits.
pub fn refuse_resources(resources: &LinuxResources, reason: &str) -> Result<(), Error> {
    refuse_settings(&legacy(resources), reason)
}

/// Marks the pids limit as a default if the request says so.
pub fn soften(settings: &mut [Setting], request: &Request) {
    for setting in settings
        .iter_mut()
        .filter(|setting| request.pids_by_default && setting.controller == "pids")
    {
        setting.need = Need::Default;
    }
}

fn refuse_settings(settings: &[Setting], reason: &str) -> Result<(), Error> {
    settings
        .iter()
        .find(|setting| setting.need == Need::Asked)
        .map_or(Ok(()), |setting| Err(setting.unsupported(reason)))
}

#[cfg(test)]
mod tests;
