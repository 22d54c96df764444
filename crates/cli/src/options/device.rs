//! `--device SRC[:DST[:rwm]]`.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use crate::options::refused;
use crate::report::{Failure, cause};

/// The node to create in the container, and the rule of the device cgroup that allows its use.
pub fn read(text: &str) -> Result<(LinuxDevice, LinuxDeviceCgroup), Failure> {
    let (source, destination, access) = split(text)?;
    let metadata = std::fs::metadata(source)
        .map_err(|error| Failure::new(format!("--device {source}: {}", cause(&error))))?;
    let kind = metadata.file_type();
    let kind = match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => LinuxDeviceType::C,
        (_, true) => LinuxDeviceType::B,
        _ => return Err(refused("--device", text, "it is not a device")),
    };
    let number = metadata.rdev();
    let (major, minor) = (
        i64::from(rustix::fs::major(number)),
        i64::from(rustix::fs::minor(number)),
    );
    let node = LinuxDeviceBuilder::default()
        .path(destination)
        .typ(kind)
        .major(major)
        .minor(minor)
        .file_mode(metadata.mode() & 0o7777)
        .uid(metadata.uid())
        .gid(metadata.gid())
        .build();
    let rule = LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(kind)
        .major(major)
        .minor(minor)
        .access(access)
        .build();
    match (node, rule) {
        (Ok(node), Ok(rule)) => Ok((node, rule)),
        (Err(error), _) | (_, Err(error)) => Err(refused("--device", text, &error.to_string())),
    }
}

fn split(text: &str) -> Result<(&str, &str, &str), Failure> {
    let bad = || {
        refused(
            "--device",
            text,
            "expected SRC[:DST[:rwm]] with absolute paths",
        )
    };
    let mut parts = text.splitn(3, ':');
    let source = parts.next().unwrap_or_default();
    let (destination, access) = match (parts.next(), parts.next()) {
        (None, _) => (source, "rwm"),
        // Docker also accepts `SRC:r`.
        (Some(access), None) if is_access(access) => (source, access),
        (Some(destination), None) => (destination, "rwm"),
        (Some(destination), Some(access)) => (destination, access),
    };
    let absolute = Path::new(source).is_absolute() && Path::new(destination).is_absolute();
    match absolute && is_access(access) {
        true => Ok((source, destination, access)),
        false => Err(bad()),
    }
}

fn is_access(text: &str) -> bool {
    !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b"rwm".contains(&b))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_to_three_parts() {
        assert_eq!(split("/dev/a").unwrap(), ("/dev/a", "/dev/a", "rwm"));
        assert_eq!(split("/dev/a:r").unwrap(), ("/dev/a", "/dev/a", "r"));
        assert_eq!(split("/dev/a:/dev/b").unwrap(), ("/dev/a", "/dev/b", "rwm"));
        assert_eq!(
            split("/dev/a:/dev/b:rw").unwrap(),
            ("/dev/a", "/dev/b", "rw")
        );
        for text in [
            "",
            "a",
            "/dev/a:",
            "/dev/a:b",
            "/dev/a:/dev/b:x",
            "/dev/a:/dev/b:rw:",
        ] {
            assert!(split(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_of_the_host() {
        let (node, rule) = read("/dev/null:/dev/nothing:rw").unwrap();
        assert_eq!(
            (node.path().to_str(), node.major(), node.minor()),
            (Some("/dev/nothing"), 1, 3)
        );
        assert_eq!(rule.access().as_deref(), Some("rw"));
        assert!(read("/etc/passwd").is_err());
        assert!(read("/dev/nonexistent").is_err());
    }
}
