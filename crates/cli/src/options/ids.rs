//! `--userns auto`: a range of user and group ids that nobody on this host has.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use box_containers::Instances;
use box_containers::overrides::UserNamespace;
use box_host::subordinate;
use oci_spec::runtime::{LinuxIdMapping, Spec};

use crate::report::Failure;

/// How many ids a container gets.
const SIZE: u32 = 1 << 16;

/// Where ranges are looked for: above what login.defs(5) gives to users, below what 32-bit programs take for negative.
const ROOM: Range<u32> = 0x0008_0000..0x6fff_0000;

/// A range that neither a container, a user nor /etc/subuid and /etc/subgid have. Where the search begins is different each time,
/// so that two commands at once hardly find the same.
pub fn unused(instances: &Instances) -> Result<UserNamespace, Failure> {
    let mut taken = Vec::new();
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = read(file);
        let entries = subordinate::entries(&text);
        taken.extend(entries.map(|entry| entry.first..entry.first.saturating_add(entry.count)));
    }
    for file in ["/etc/passwd", "/etc/group"] {
        taken.extend(accounts(&read(file)));
    }
    for instance in instances.list()? {
        // One with a damaged bundle does not run.
        if let Ok(spec) = instance.spec() {
            taken.extend(mapped(&spec));
        }
    }
    let seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    pick(&taken, seed.wrapping_add(std::process::id() << 12))
        .map(|first| UserNamespace::Range { first, size: SIZE })
        .ok_or_else(|| Failure::new("--userns auto: no range of 65536 ids is unused on this host"))
}

/// Hosts may lack each of the files.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The third field of passwd(5) and group(5).
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

/// The first id of a free place: the first one from place number `seed` on, around the end.
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
    fn what_is_in_use_is_left_alone() {
        let start = ROOM.start;
        assert_eq!(pick(&[], 0), Some(start));
        assert_eq!(pick(&[start..start + 1], 0), Some(start + SIZE));
        assert_eq!(
            pick(&[start - 5..start + SIZE + 1], 0),
            Some(start + 2 * SIZE)
        );
        // Around the end.
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
