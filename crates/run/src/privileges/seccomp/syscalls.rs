//! The kernel's system calls by name.

use std::collections::BTreeMap;

use super::policy::Arch;

/// Name and numbers of every system call, one line each.
const TEXT: &str = include_str!("syscalls.tbl");

/// The numbers of all known system calls.
pub struct Table(BTreeMap<&'static str, [Option<u32>; 5]>);

impl Table {
    /// Reads the built-in table. That takes about 30 microseconds, so it is done once for each filter.
    pub fn load() -> Self {
        let lines = TEXT.lines().filter(|line| !line.starts_with('#'));
        Self(
            lines
                .filter_map(|line| {
                    let mut columns = line.split_ascii_whitespace();
                    let name = columns.next()?;
                    let mut numbers = [None; 5];
                    for (number, column) in numbers.iter_mut().zip(columns) {
                        *number = column.parse().ok();
                    }
                    Some((name, numbers))
                })
                .collect(),
        )
    }

    /// The number of the call `name` on `arch`; `None` if it has no such call.
    pub fn number(&self, name: &str, arch: Arch) -> Option<u32> {
        let numbers = self.0.get(name)?;
        match arch {
            Arch::X86_64 => numbers[0],
            Arch::X86 => numbers[1],
            Arch::X32 => numbers[2].map(|number| number | 0x4000_0000),
            Arch::Aarch64 => numbers[3],
            Arch::Arm => numbers[4],
        }
    }

    /// The names of all.
    #[cfg(test)]
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    /// Whether any architecture has it.
    #[cfg(test)]
    pub fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
