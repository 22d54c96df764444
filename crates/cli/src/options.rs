//! Turns the text of options into values, or refuses it and says what is expected.

pub mod completion;
pub mod container;
pub mod device;
pub mod environment;
pub mod flag;
pub mod globals;
pub mod ids;
pub mod limits;
pub mod log;
pub mod moment;
pub mod namespaces;
mod reference;
pub mod signal;

use std::path::{Path, PathBuf};

use box_run::capabilities::Set;
use oci_spec::runtime::LinuxSeccomp;

pub use reference::{aliased, expansion, reference};

use crate::report::{Failure, cause};

/// The failure for a value that a flag does not accept.
pub fn refused(flag: &str, text: &str, why: &str) -> Failure {
    Failure::new(format!("{flag} {text}: {why}"))
}

/// A host name: at most 64 bytes, sethostname(2), of the characters that DNS allows, and underscores.
pub fn hostname(text: &str) -> Result<String, Failure> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if text.is_empty()
        || text.len() > 64
        || !text.chars().all(valid)
        || text.starts_with(['-', '.'])
    {
        return Err(refused(
            "--hostname",
            text,
            "expected 1 to 64 letters, digits, '-', '_' or '.'",
        ));
    }
    Ok(text.to_owned())
}

/// A NIS domain name: at most 64 bytes, setdomainname(2).
pub fn domainname(text: &str) -> Result<String, Failure> {
    if text.is_empty() || text.len() > 64 || text.contains(char::is_control) {
        let expected = "expected 1 to 64 bytes without control characters";
        return Err(refused("--domainname", text, expected));
    }
    Ok(text.to_owned())
}

/// A working directory in the container, which must be absolute.
pub fn absolute_inside(path: &Path) -> Result<PathBuf, Failure> {
    match path.is_absolute() {
        true => Ok(path.to_owned()),
        false => Err(refused(
            "--workdir",
            &path.to_string_lossy(),
            "expected an absolute path in the container",
        )),
    }
}

/// Octal permission bits.
pub fn umask(text: &str) -> Result<u32, Failure> {
    match u32::from_str_radix(text, 8) {
        Ok(mask) if mask <= 0o777 => Ok(mask),
        _ => Err(refused(
            "--umask",
            text,
            "expected an octal number up to 777",
        )),
    }
}

/// A size in bytes as docker reads it: a number, with or without a fraction, and one of b, k, m, g, t, which are powers of 1024.
pub fn bytes(flag: &str, text: &str) -> Result<u64, Failure> {
    let bad = || refused(flag, text, "expected a size such as 64m or 1.5g");
    let lower = text.trim().to_ascii_lowercase();
    let lower = lower
        .strip_suffix("ib")
        .or(lower.strip_suffix('b'))
        .unwrap_or(&lower);
    let (number, shift) = match lower.as_bytes().last() {
        Some(b'k') => (&lower[..lower.len() - 1], 10),
        Some(b'm') => (&lower[..lower.len() - 1], 20),
        Some(b'g') => (&lower[..lower.len() - 1], 30),
        Some(b't') => (&lower[..lower.len() - 1], 40),
        _ => (lower, 0),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(bad);
    }
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(bad());
    }
    let value = number.parse::<f64>().map_err(|_| bad())? * (1u64 << shift) as f64;
    match value < u64::MAX as f64 {
        true => Ok(value as u64),
        false => Err(bad()),
    }
}

/// A duration such as `30s`, `1.5m`, `1h30m` or plain seconds: the durations of Go, which docker accepts, without a sign, and days.
pub fn duration(flag: &str, text: &str) -> Result<std::time::Duration, Failure> {
    let bad = || {
        refused(
            flag,
            text,
            "expected a time such as 30s, 500ms, 5m or 1h30m",
        )
    };
    let (mut rest, mut seconds) = (text, 0.0);
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            // A number alone is in seconds.
            "" if number == text => 1.0,
            _ => return Err(bad()),
        };
        seconds += number.parse::<f64>().map_err(|_| bad())? * unit;
        rest = after;
        if rest.is_empty() {
            return std::time::Duration::try_from_secs_f64(seconds).map_err(|_| bad());
        }
    }
}

/// Reads a seccomp profile, in docker's JSON or that of the OCI runtime spec, for a container with these capabilities.
pub fn seccomp_profile(path: &Path, capabilities: Set) -> Result<LinuxSeccomp, Failure> {
    let failed = |why: String| {
        Failure::new(format!(
            "cannot read the seccomp profile {}: {why}",
            path.display()
        ))
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(cause(&error)))?;
    box_run::seccomp::read_profile(&text, capabilities)
        .map_err(|error| failed(Failure::from_error(&error).message().to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn sizes_as_docker_reads_them() {
        for (text, size) in [
            ("0", 0),
            ("17", 17),
            ("17b", 17),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("64MiB", 64 << 20),
            ("1.5g", 3 << 29),
            ("2K", 2048),
        ] {
            assert_eq!(bytes("-m", text).unwrap(), size, "{text}");
        }
        for text in [
            "",
            "m",
            "-1",
            "1x",
            "nan",
            "inf",
            "1e3",
            "99999999999t",
            "1 m m",
        ] {
            assert!(bytes("-m", text).is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(duration("-t", "1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("-t", "10").unwrap(), Duration::from_secs(10));
        assert_eq!(duration("-t", "500ms").unwrap(), Duration::from_millis(500));
        for (text, milliseconds) in [
            ("1h30m", 5_400_000),
            ("1h0m1.5s", 3_601_500),
            ("1m1ms", 60_001),
            ("1500us", 1),
            ("1500µs2000000ns", 3),
            ("1d12h", 129_600_000),
            ("0", 0),
            (".5s", 500),
        ] {
            assert_eq!(
                duration("-t", text).unwrap().as_millis(),
                milliseconds,
                "{text}"
            );
        }
        for text in [
            "", "s", "-1s", "1y", "1s1", "nan", "1h-1m", "1 h", "1hm", "h1", "1.2.3s", "1e3s",
            "1mm", "inf",
        ] {
            assert!(duration("-t", text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_and_masks() {
        assert_eq!(hostname("a-b.c").unwrap(), "a-b.c");
        for text in ["", "-a", "a b", "a\n", "é", &"a".repeat(65)] {
            assert!(hostname(text).is_err(), "{text}");
        }
        assert_eq!(umask("027").unwrap(), 0o27);
        assert!(umask("8").is_err() && umask("1000").is_err());
    }
}
