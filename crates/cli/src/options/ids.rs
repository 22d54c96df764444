//! `--userns auto`: a range of user and group ids that is unused on this host.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use box_containers::Containers;
use box_containers::overrides::UserNamespace;
use box_host::subordinate;
use oci_spec::runtime::{LinuxIdMapping, Spec};

use crate::report::Failure;

/// Number of ids of a container.
const SIZE: u32 = 1 << 16;

/// The ids to search: above those that login.defs(5) assigns to users, below those that 32-bit programs read as negative.
const ROOM: Range<u32> = 0x0008_0000..0x6fff_0000;

/// Finds a range that is used neither by a container, nor by an account, nor in /etc/subuid and /etc/subgid. The search starts at a
/// different place each time, so that two commands at the same time hardly ever find the same range.
pub fn unused(containers: &Containers) -> Result<UserNamespace, Failure> {
    let mut taken = Vec::new();
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = read(file);
        let entries = subordinate::entries(&text);
        taken.extend(entries.map(|entry| entry.first..entry.first.saturating_add(entry.count)));
    }
    for file in ["/etc/passwd", "/etc/group"] {
        taken.extend(accounts(&read(file)));
    }
    for container in containers.list()? {
        // A container with a damaged bundle is not running.
        if let Ok(spec) = container.spec() {
            taken.extend(mapped(&spec));
        }
    }
    let seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    pick(&taken, seed.wrapping_add(std::process::id() << 12))
        .map(|first| UserNamespace::Range { first, size: SIZE })
        .ok_or_else(|| {
            Failure::new("--userns auto: there is no unused range of 65536 ids on this host")
        })
}

/// The content of a file. Any of the files may be missing on a host.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The ids in the third field of passwd(5) and group(5).
fn accounts(text: &str) -> impl Iterator<Item = Range<u32>> {
    text.lines().filter_map(|line| {
        let id: u32 = line.split(':').nth(2)?.parse().ok()?;
        Some(id..id.saturating_add(1))
    })
}

fn mapped(spec: &Spec) -> Vec<Range<u32>> {
    let Some(linux) = spec.linux() else {
        return Vec::new();
    };
    let range = |map: &LinuxIdMapping| map.host_id()..map.host_id().saturating_add(map.size());
    let all = [linux.uid_mappings(), linux.gid_mappings()];
    all.into_iter().flatten().flatten().map(range).collect()
}

/// The first id of an unused range: the first one from range number `seed` on, wrapping around at the end.
fn pick(taken: &[Range<u32>], seed: u32) -> Option<u32> {
    let places = (ROOM.end - ROOM.start) / SIZE;
    (0..places)
        .map(|step| ROOM.start + (seed % places + step) % places * SIZE)
        .find(|first| {
            taken
                .iter()
                .all(|range| range.end <= *first || range.start >= first + SIZE)
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init)]
    use super::*;

    #[test]
    fn ranges_in_use_are_skipped() {
        let start = ROOM.start;
        assert_eq!(pick(&[], 0), Some(start));
        assert_eq!(pick(&[start..start + 1], 0), Some(start + SIZE));
        assert_eq!(
            pick(&[start - 5..start + SIZE + 1], 0),
            Some(start + 2 * SIZE)
        );
        // Wraps around at the end.
        let places = (ROOM.end - ROOM.start) / SIZE;
        let last = ROOM.end - SIZE;
        assert_eq!(pick(&[], places - 1), Some(last));
        assert_eq!(pick(&[last + 7..last + 8], places - 1), Some(start));
        assert_eq!(pick(&[0..u32::MAX], 9), None);
    }

    #[test]
    fn accounts_are_read() {
        let found: Vec<_> = accounts("root:x:0:0:::\nodd:x:600000:7::\n:::\n").collect();
        assert_eq!(found, [0..1, 600_000..600_001]);
    }
}
