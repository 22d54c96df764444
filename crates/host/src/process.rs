//! What `/proc` reports about a process: its `stat` and `status` files, and the id of this boot.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::Error;

/// Some fields of /proc/PID/stat, proc_pid_stat(5). Times are in clock ticks, sysconf(_SC_CLK_TCK).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The name of the program, at most 15 bytes.
    pub name: String,
    /// One letter, such as `R` or `Z`.
    pub state: char,
    /// The parent's pid.
    pub parent: i32,
    /// The session.
    pub session: i32,
    /// User and system time of the process itself.
    pub own_time: [u64; 2],
    /// User and system time of the children that it waited for.
    pub children_time: [u64; 2],
    /// Time from boot to its start. With the pid, and the id of the boot, it names a process for good.
    pub start_time: u64,
}

impl Stat {
    /// Reads the file of a process.
    pub fn of(pid: i32) -> Result<Self, Error> {
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        let failed = |errno: rustix::io::Errno| Error::io(&path, errno);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(CWD, &path, flags, Mode::empty()).map_err(failed)?;
        // 52 numbers of at most 20 digits, and the name.
        let mut bytes = [0u8; 2048];
        let length = rustix::io::read(&file, &mut bytes[..]).map_err(failed)?;
        Self::parse(&String::from_utf8_lossy(&bytes[..length])).ok_or(Error::Format {
            path,
            reason: "it is not in the form of proc_pid_stat(5)",
        })
    }

    /// From the text of the file. The name, field 2, may hold spaces and parentheses, so counting starts after the last one.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // As the manual page numbers them: the first one after the name is field 3.
        let field = |number: usize| fields.get(number - 3);
        let count = |number: usize| field(number)?.parse().ok();
        Some(Self {
            name: name.to_owned(),
            state: field(3)?.chars().next()?,
            parent: field(4)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            own_time: [count(14)?, count(15)?],
            children_time: [count(16)?, count(17)?],
            start_time: count(22)?,
        })
    }
}

/// A set of signals in a process' status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalSet {
    /// Signals that are held back, or read from a signalfd.
    Blocked,
    /// Signals that do nothing.
    Ignored,
    /// Signals that have a handler.
    Caught,
}

/// The text of /proc/PID/status, proc_pid_status(5).
#[derive(Clone, Debug)]
pub struct Status(String);

impl Status {
    /// Reads the file of a process.
    pub fn of(pid: i32) -> Result<Self, Error> {
        let path = PathBuf::from(format!("/proc/{pid}/status"));
        std::fs::read(&path)
            .map(|bytes| Self::new(String::from_utf8_lossy(&bytes)))
            .map_err(|error| Error::io(&path, error))
    }

    /// The text of such a file.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The value of a field, without the space around it.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    }

    /// Whether a signal is in that set. A field that is missing is an empty set.
    pub fn has_signal(&self, set: SignalSet, signal: i32) -> bool {
        let name = match set {
            SignalSet::Blocked => "SigBlk",
            SignalSet::Ignored => "SigIgn",
            SignalSet::Caught => "SigCgt",
        };
        let mask = self
            .field(name)
            .and_then(|mask| u64::from_str_radix(mask, 16).ok())
            .unwrap_or(0);
        let bit = u32::try_from(signal - 1).ok();
        bit.and_then(|bit| mask.checked_shr(bit))
            .is_some_and(|mask| mask & 1 == 1)
    }

    /// Its pid in the innermost pid namespace that it is in.
    pub fn innermost_pid(&self) -> Option<i32> {
        let pids = self.field("NSpid")?;
        pids.split_ascii_whitespace().next_back()?.parse().ok()
    }

    /// The effective user id, as the reader's user namespace has it.
    pub fn effective_uid(&self) -> Option<u32> {
        let ids = self.field("Uid")?;
        ids.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    /// How much of it is in memory, in bytes; a zombie and a kernel thread have no such field.
    pub fn resident_bytes(&self) -> Option<u64> {
        let size = self.field("VmRSS")?.split(' ').next()?;
        Some(size.parse::<u64>().ok()? * 1024)
    }
}

/// The id of this boot, random(4). Pids and start times are unique within it.
pub fn boot_id() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_are_counted_after_a_hostile_name() {
        let text = "7 (a) R 1 (b)) S 1 7 8 0 -1 4194304 1 2 3 4 11 12 13 14 20 0 1 0 5 6 7";
        let expected = Stat {
            name: "a) R 1 (b)".to_owned(),
            state: 'S',
            parent: 1,
            session: 8,
            own_time: [11, 12],
            children_time: [13, 14],
            start_time: 5,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        for broken in [
            "",
            "7 (a",
            "7 (a) S 1",
            "7 a) S 1 7 8 0 -1 0 1 2 3 4 1 2 3 4 5 6 7 8 9",
        ] {
            assert_eq!(Stat::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_status_is_read_by_field() {
        let text = "Name:\tx\nUid:\t1000\t1001\t1000\t1000\nNSpid:\t812\t1\nVmRSS:\t    12 kB\n\
            SigBlk:\t0000000000000001\nSigIgn:\t8000000000000000\nSigCgt:\tnone\n";
        let status = Status::new(text);
        assert_eq!(status.field("Name"), Some("x"));
        assert_eq!(status.field("Nam"), None);
        assert_eq!(status.innermost_pid(), Some(1));
        assert_eq!(status.effective_uid(), Some(1001));
        assert_eq!(status.resident_bytes(), Some(12_288));
        let has = |set, signal| status.has_signal(set, signal);
        assert!(has(SignalSet::Blocked, 1) && !has(SignalSet::Blocked, 2));
        assert!(has(SignalSet::Ignored, 64) && !has(SignalSet::Ignored, 63));
        assert!(
            !has(SignalSet::Caught, 1)
                && !has(SignalSet::Blocked, 0)
                && !has(SignalSet::Blocked, 65)
        );
        assert_eq!(Status::new("").innermost_pid(), None);
    }

    #[test]
    fn this_process_and_one_that_is_not_there() {
        let own = std::process::id() as i32;
        let stat = Stat::of(own).unwrap();
        assert!(stat.start_time > 0);
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
        assert_eq!(Some(stat.parent), parent);
        let status = Status::of(own).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(status.effective_uid(), Some(uid));
        assert_eq!(boot_id().unwrap().len(), 36);
        let error = Stat::of(i32::MAX).unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot read /proc/2147483647/stat: no such file or directory"
        );
    }
}
