//! `--log-driver` and `--log-opt`.

use box_containers::logs::{Driver, LogOptions, MaxSize};

use crate::options::refused;
use crate::report::Failure;

/// Drivers of docker and podman that box does not have.
const OTHERS: [&str; 12] = [
    "json-file",
    "local",
    "journald",
    "syslog",
    "fluentd",
    "gelf",
    "awslogs",
    "splunk",
    "gcplogs",
    "etwlogs",
    "logentries",
    "passthrough-tty",
];

/// Reads both flags.
pub fn read(driver: Option<&str>, options: &[String]) -> Result<LogOptions, Failure> {
    let driver = match driver {
        None | Some("k8s-file") => Driver::K8sFile,
        Some("none") => Driver::None,
        Some("passthrough") => Driver::Passthrough,
        Some(other) if OTHERS.contains(&other) => {
            let why = "box has no such driver; k8s-file writes the format of podman and Kubernetes, \
                       none discards the output, passthrough uses box's own stdout and stderr";
            return Err(refused("--log-driver", other, why).hint(
                "omit it; other tools can read the log file, and box inspect shows its path",
            ));
        }
        Some(other) => {
            let expected = "expected k8s-file, none or passthrough";
            return Err(refused("--log-driver", other, expected));
        }
    };
    let mut settings = LogOptions {
        driver,
        ..LogOptions::default()
    };
    for option in options {
        if driver != Driver::K8sFile {
            let why = "only the log driver k8s-file, which is the default, has options";
            return Err(refused("--log-opt", option, why));
        }
        let bad = |why: &str| refused("--log-opt", option, why);
        match option.split_once('=') {
            Some(("max-size", size)) => {
                settings.max_size = max_size(size).ok_or_else(|| {
                    bad("expected a size of at least 1k such as 10m, or -1 for no limit")
                })?;
            }
            Some(("max-file", count)) => {
                settings.max_files = count
                    .parse()
                    .ok()
                    .filter(|count| (1..=LogOptions::MOST_FILES).contains(count))
                    .ok_or_else(|| bad("expected a number of files from 1 to 1000"))?;
            }
            Some(("path", _)) => {
                let why = "the log is always in the container's own directory";
                return Err(bad(why).hint("box inspect shows its path: log_path"));
            }
            _ => return Err(bad("expected max-size=SIZE or max-file=N")),
        }
    }
    Ok(settings)
}

/// A size as docker and podman read it in this option: unlike elsewhere, k, m and g are powers of 1000. With an `i`, as in `MiB`, they
/// are powers of 1024.
fn max_size(text: &str) -> Option<MaxSize> {
    if text == "-1" {
        return Some(MaxSize::Unlimited);
    }
    let lower = text.to_ascii_lowercase();
    let at = lower.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = at.map_or((&*lower, ""), |at| lower.split_at(at));
    let power = match unit.chars().next() {
        None | Some('b') => 0,
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some(_) => return None,
    };
    let base: f64 = match unit.get(1..).unwrap_or_default() {
        "" => 1000.0,
        "b" if power > 0 => 1000.0,
        "ib" if power > 0 => 1024.0,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * base.powi(power);
    // The minimum is 1k, in either sense.
    (bytes >= 1000.0 && bytes < u64::MAX as f64)
        .then_some(MaxSize::Bytes((bytes as u64).max(LogOptions::SMALLEST)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_as_docker_reads_them_for_logs() {
        for (text, bytes) in [
            ("10m", 10_000_000),
            ("10MB", 10_000_000),
            ("10MiB", 10 << 20),
            ("1.5k", 1_500),
            ("1k", 1_024),
            ("2g", 2_000_000_000),
            ("4096", 4_096),
            ("4096b", 4_096),
        ] {
            assert_eq!(max_size(text), Some(MaxSize::Bytes(bytes)), "{text}");
        }
        assert_eq!(max_size("-1"), Some(MaxSize::Unlimited));
        for text in [
            "", "0", "999", "m", "-2", "10x", "10mm", "1e9", "nan", "10 m", "10mib5", "é", "1é",
        ] {
            assert_eq!(max_size(text), None, "{text}");
        }
    }

    #[test]
    fn drivers_and_options() {
        let read = |driver, options: &[&str]| {
            let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
            read(driver, &options)
        };
        assert_eq!(read(None, &[]).unwrap(), LogOptions::default());
        assert_eq!(
            read(Some("k8s-file"), &["max-size=1m", "max-file=3"]).unwrap(),
            LogOptions {
                driver: Driver::K8sFile,
                max_size: MaxSize::Bytes(1_000_000),
                max_files: 3
            }
        );
        assert_eq!(read(Some("none"), &[]).unwrap().driver, Driver::None);
        for (driver, options) in [
            (Some("json-file"), &[][..]),
            (Some("journald"), &[]),
            (Some("nonesuch"), &[]),
            (Some(""), &[]),
            (Some("none"), &["max-size=1m"]),
            (None, &["max-size"]),
            (None, &["max-file=0"]),
            (None, &["path=/x"]),
            (None, &["tag=x"]),
        ] {
            assert!(read(driver, options).is_err(), "{driver:?} {options:?}");
        }
    }
}
