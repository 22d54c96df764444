//! Finds things that box must not leave behind.

use std::path::Path;

/// Descriptions of the mounts and processes that still refer to a directory.
pub fn of(dir: &Path) -> Vec<String> {
    let mut found = mounts(dir);
    found.extend(processes(dir));
    found
}

/// Mount points below the directory, in the mount namespace of the test.
pub fn mounts(dir: &Path) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let dir = dir.to_string_lossy();
    table
        .lines()
        .filter(|line| line.contains(&*dir))
        .map(|line| format!("mount: {line}"))
        .collect()
}

/// Processes that have the directory in their command line, their environment or the mounts of their namespace. The
/// test itself and its threads do not count.
pub fn processes(dir: &Path) -> Vec<String> {
    let needle = dir.to_string_lossy();
    let needle = needle.as_bytes();
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").expect("/proc is mounted");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            ["cmdline", "environ", "mountinfo"].iter().any(|file| {
                // A process may end between the listing and the look at it.
                let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                bytes.windows(needle.len()).any(|window| window == needle)
            })
        })
        .filter(|pid| !is_zombie(*pid))
        .map(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!(
                "process {pid}: {}",
                String::from_utf8_lossy(&line).replace('\0', " ")
            )
        })
        .collect()
}

/// Control groups of containers with this name, in all hierarchies. No other test should use the name.
pub fn cgroups(name: &str) -> Vec<String> {
    let prefix = format!("box-{name}-");
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
    let mut tops: Vec<_> = hierarchies.flatten().map(|entry| entry.path()).collect();
    tops.push("/sys/fs/cgroup".into());
    tops.iter()
        .filter_map(|top| std::fs::read_dir(top).ok())
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| format!("cgroup: {}", entry.path().display()))
        .collect()
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the command's name in brackets, which may hold anything.
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}
