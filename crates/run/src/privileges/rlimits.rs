//! Resource limits of a process, see getrlimit(2).

use std::str::FromStr;

use oci_spec::runtime::{PosixRlimit, PosixRlimitType};

use crate::Error;

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// Which one.
    pub kind: PosixRlimitType,
    /// The limit that is enforced; `u64::MAX` is unlimited.
    pub soft: u64,
    /// The limit that the process may raise it to; `u64::MAX` is unlimited.
    pub hard: u64,
}

/// Names as in docker, and the kernel's numbers (asm-generic/resource.h).
const KINDS: [(&str, PosixRlimitType, u32); 16] = [
    ("cpu", PosixRlimitType::RlimitCpu, 0),
    ("fsize", PosixRlimitType::RlimitFsize, 1),
    ("data", PosixRlimitType::RlimitData, 2),
    ("stack", PosixRlimitType::RlimitStack, 3),
    ("core", PosixRlimitType::RlimitCore, 4),
    ("rss", PosixRlimitType::RlimitRss, 5),
    ("nproc", PosixRlimitType::RlimitNproc, 6),
    ("nofile", PosixRlimitType::RlimitNofile, 7),
    ("memlock", PosixRlimitType::RlimitMemlock, 8),
    ("as", PosixRlimitType::RlimitAs, 9),
    ("locks", PosixRlimitType::RlimitLocks, 10),
    ("sigpending", PosixRlimitType::RlimitSigpending, 11),
    ("msgqueue", PosixRlimitType::RlimitMsgqueue, 12),
    ("nice", PosixRlimitType::RlimitNice, 13),
    ("rtprio", PosixRlimitType::RlimitRtprio, 14),
    ("rttime", PosixRlimitType::RlimitRttime, 15),
];

impl FromStr for Rlimit {
    type Err = Error;

    /// `NAME=SOFT[:HARD]`; a value is a number, `unlimited` or `-1`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |reason: &str| Error::spec("resource limit", format!("{text:?}: {reason}"));
        let (name, values) = text
            .split_once('=')
            .ok_or_else(|| bad("expected NAME=SOFT[:HARD]"))?;
        let kind = KINDS
            .iter()
            .find(|(known, ..)| *known == name)
            .map(|(_, kind, _)| *kind)
            .ok_or_else(|| {
                let known: Vec<_> = KINDS.iter().map(|(name, ..)| *name).collect();
                bad(&format!(
                    "unknown limit, expected one of {}",
                    known.join(", ")
                ))
            })?;
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let value = |text: &str| match text {
            "unlimited" | "-1" => Ok(u64::MAX),
            number => number
                .parse()
                .map_err(|_| bad("a limit is a number or `unlimited`")),
        };
        let limit = Self {
            kind,
            soft: value(soft)?,
            hard: value(hard)?,
        };
        if limit.soft > limit.hard {
            return Err(bad("the soft limit is above the hard one"));
        }
        Ok(limit)
    }
}

/// Refuses a spec that sets one limit twice, runtime-spec config.md.
pub(crate) fn check_once(limits: &[PosixRlimit]) -> Result<(), Error> {
    for (index, limit) in limits.iter().enumerate() {
        if limits[..index]
            .iter()
            .any(|other| other.typ() == limit.typ())
        {
            let reason = format!("{} is set twice", name(limit.typ()));
            return Err(Error::spec("process.rlimits", reason));
        }
    }
    Ok(())
}

/// The kernel's number of a limit.
pub(crate) fn number(kind: PosixRlimitType) -> u32 {
    KINDS
        .iter()
        .find(|(_, known, _)| *known == kind)
        .map(|(_, _, number)| *number)
        .expect("every kind is in the table")
}

/// The name for users.
pub(crate) fn name(kind: PosixRlimitType) -> &'static str {
    KINDS
        .iter()
        .find(|(_, known, _)| *known == kind)
        .map(|(name, ..)| *name)
        .expect("every kind is in the table")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_one_and_two_values() {
        let limit: Rlimit = "nofile=1024".parse().unwrap();
        assert_eq!(
            (number(limit.kind), limit.soft, limit.hard),
            (7, 1024, 1024)
        );
        let limit: Rlimit = "core=0:unlimited".parse().unwrap();
        assert_eq!(
            (number(limit.kind), limit.soft, limit.hard),
            (4, 0, u64::MAX)
        );
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        for text in [
            "nofile",
            "files=1",
            "nofile=a",
            "nofile=2:1",
            "=1",
            "nofile=",
        ] {
            assert!(text.parse::<Rlimit>().is_err(), "{text}");
        }
    }
}
