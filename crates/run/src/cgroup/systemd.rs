//! The systemd cgroup driver, for specs that name a slice: systemd makes a delegated scope for the process that stays with the
//! container, and box makes the container's group inside it. systemd removes the scope when that process has ended. See
//! <https://systemd.io/CGROUP_DELEGATION> and org.freedesktop.systemd1(5).
//!
//! box calls systemd on its private socket, where root needs no message bus. Only one call is needed, in the D-Bus wire format; a
//! library for all of D-Bus would be larger than the rest of this crate.

mod message;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::directory::Directory;
use super::host;
use crate::Error;
use message::{Reply, Value};

/// Where systemd listens as the init process of the system.
const SOCKET: &str = "/run/systemd/private";

/// How long to wait for an answer, as D-Bus libraries do.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);

/// The container's group in its scope. The process that stays with it is in [`SUPERVISOR`], as a group with processes cannot pass
/// controllers on.
const CONTAINER: &str = "container";
const SUPERVISOR: &str = "supervisor";

/// A transient unit of systemd.
#[derive(Debug, PartialEq, Eq)]
pub struct Scope {
    slice: String,
    unit: String,
}

impl Scope {
    /// Reads `SLICE:PREFIX:NAME`, as runc defines it; `None` if the text is a path.
    pub fn parse(text: &str) -> Result<Option<Self>, Error> {
        let fields: Vec<&str> = text.split(':').collect();
        let [slice, prefix, name] = fields[..] else {
            return Ok(None);
        };
        if text.contains('/') {
            return Ok(None);
        }
        let bad = |reason: &str| {
            let reason = format!("{text:?}: {reason}");
            Err(Error::spec("linux.cgroupsPath", reason))
        };
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-\\@".contains(&byte);
        let slice = if slice.is_empty() {
            "system.slice"
        } else {
            slice
        };
        let parts = slice.strip_suffix(".slice").unwrap_or_default();
        if parts != "-" && (parts.split('-').any(str::is_empty) || !slice.bytes().all(known)) {
            return bad("expected the name of a slice, such as system.slice");
        }
        if name.is_empty() || !format!("{prefix}{name}").bytes().all(known) {
            return bad("expected SLICE:PREFIX:NAME of letters, digits and -_.@");
        }
        let unit = match prefix {
            "" => format!("{name}.scope"),
            _ => format!("{prefix}-{name}.scope"),
        };
        // UNIT_NAME_MAX of systemd.
        if unit.len() > 255 || slice.len() > 255 {
            return bad("a unit's name has at most 255 bytes");
        }
        Ok(Some(Self {
            slice: slice.to_owned(),
            unit,
        }))
    }

    /// The group for the container, below the hierarchy's root.
    pub fn group(&self) -> PathBuf {
        self.directory().join(CONTAINER)
    }

    /// systemd's group of the scope: `a-b.slice` is in `a.slice`, systemd.slice(5).
    fn directory(&self) -> PathBuf {
        let mut path = PathBuf::new();
        let parts = self.slice.strip_suffix(".slice").unwrap_or_default();
        if parts != "-" {
            for (end, _) in parts.match_indices('-') {
                path.push(format!("{}.slice", &parts[..end]));
            }
            path.push(&self.slice);
        }
        path.join(&self.unit)
    }

    /// Has systemd make the scope with the calling process in it, and moves the process to the supervisor's group.
    pub fn enter(&self, root: &Path) -> Result<(), Error> {
        self.ask().map_err(|reason| Error::Limit {
            limit: format!("a place in {}", self.slice),
            reason,
        })?;
        let directory = self.directory();
        self.wait_until_in(&directory)?;
        let supervisor = Directory::create("cgroup", root.join(&directory).join(SUPERVISOR))
            .map_err(|error| Error::io("create cgroup in", &root.join(&directory), error))?;
        supervisor.write("cgroup.procs", "0")
    }

    fn ask(&self) -> Result<(), String> {
        let failed = |error: std::io::Error| {
            let words = box_host::Reason(&error).to_string();
            format!("ask systemd for {} at {SOCKET}: {words}", self.unit)
        };
        let mut socket = UnixStream::connect(SOCKET).map_err(failed)?;
        socket
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .map_err(failed)?;
        socket
            .set_write_timeout(Some(ANSWER_TIMEOUT))
            .map_err(failed)?;
        greet(&mut socket).map_err(failed)?;
        let call = message::start_transient_unit(&self.unit, &self.properties());
        socket.write_all(&call).map_err(failed)?;
        loop {
            match message::read(&mut socket).map_err(failed)? {
                Reply::Done => return Ok(()),
                Reply::Refused(reason) => {
                    return Err(format!("systemd does not start {}: {reason}", self.unit));
                }
                Reply::Other => {}
            }
        }
    }

    fn properties(&self) -> [(&'static str, Value); 7] {
        [
            (
                "Description",
                Value::Text(format!("box container {}", self.unit)),
            ),
            ("Slice", Value::Text(self.slice.clone())),
            ("PIDs", Value::Numbers(vec![std::process::id()])),
            // Delegates all controllers and marks the group.
            ("Delegate", Value::Flag(true)),
            // The container's own limit applies.
            ("TasksMax", Value::Long(u64::MAX)),
            ("DefaultDependencies", Value::Flag(false)),
            // Removed when it ends, even if it fails.
            ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
        ]
    }

    /// systemd answers when the job is queued, and moves the process later.
    fn wait_until_in(&self, directory: &Path) -> Result<(), Error> {
        for wait in [
            0, 1, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000, 8000,
        ] {
            sleep(Duration::from_millis(wait));
            let own = host::own_group("")
                .map_err(|error| Error::io("read", Path::new("/proc/self/cgroup"), error))?;
            if own.as_deref() == Some(directory) {
                return Ok(());
            }
        }
        Err(Error::Limit {
            limit: format!("a place in {}", self.slice),
            reason: format!("systemd has not moved box to {}", directory.display()),
        })
    }
}

/// The D-Bus handshake, as the user of the socket's credentials.
fn greet(socket: &mut UnixStream) -> std::io::Result<()> {
    let user = rustix::process::geteuid().as_raw().to_string();
    let hex: String = user.bytes().map(|byte| format!("{byte:02x}")).collect();
    socket.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") && line.len() < 4096 {
        socket.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    if !line.starts_with(b"OK ") {
        let said = String::from_utf8_lossy(&line).trim().to_owned();
        return Err(std::io::Error::other(format!("it answers {said:?}")));
    }
    socket.write_all(b"BEGIN\r\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn scopes_are_told_from_paths_and_found_in_their_slices() {
        for path in ["/box/name", "box-name", "/a:b:c", "a:b"] {
            assert_eq!(Scope::parse(path).unwrap(), None, "{path}");
        }
        for (text, group) in [
            (
                "system.slice:box:web-1",
                "system.slice/box-web-1.scope/container",
            ),
            (":box:web", "system.slice/box-web.scope/container"),
            ("-.slice::web", "web.scope/container"),
            (
                "a-b-c.slice:box:web",
                "a.slice/a-b.slice/a-b-c.slice/box-web.scope/container",
            ),
        ] {
            let scope = Scope::parse(text).unwrap().unwrap();
            assert_eq!(scope.group(), Path::new(group), "{text}");
        }
        let long = format!("a.slice:box:{}", "n".repeat(250));
        for bad in [
            "a:b:c",
            ".slice:b:c",
            "-a.slice:b:c",
            "a--b.slice:b:c",
            "a.slice:b:",
            "a b.slice:b:c",
            "a.slice:b:\n",
            &long,
        ] {
            let error = Scope::parse(bad).unwrap_err().to_string();
            assert!(error.contains("linux.cgroupsPath"), "{bad}: {error}");
        }
    }
}
