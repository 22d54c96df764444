//! Paths of members: relative, and made of plain components.

use std::fmt;

use super::Problem;
use crate::error::Quoted;
use crate::limits::{LimitKind, Limits};

/// The longest file name on Linux (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// A path below the tree's root: components joined by single `/`, none of them empty, `.` or `..`, without NUL. Empty for the root
/// itself. Symbolic links on the path are resolved by the tree.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct EntryPath(Vec<u8>);

impl EntryPath {
    /// Checks a name from an archive. A leading `/` is dropped, as `tar` does. `..` is refused anywhere. `field` names it in errors.
    pub fn parse(raw: &[u8], field: &'static str, limits: &Limits) -> Result<EntryPath, Problem> {
        if raw.is_empty() {
            return Err(Problem::EmptyName);
        }
        check_length(raw, limits)?;
        if raw.contains(&0) {
            return Err(Problem::Nul { field });
        }
        let mut path = Vec::with_capacity(raw.len());
        let mut depth = 0;
        for component in raw.split(|&b| b == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => {
                    return Err(Problem::ParentComponent {
                        field,
                        path: raw.to_vec(),
                    });
                }
                _ if component.len() > NAME_MAX => {
                    return Err(Problem::ComponentLength {
                        field,
                        length: component.len(),
                    });
                }
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
            depth += 1;
        }
        if depth > limits.depth {
            return Err(Problem::Limit {
                limit: LimitKind::Depth,
                value: depth,
                allowed: limits.depth,
            });
        }
        Ok(EntryPath(path))
    }

    /// Whether this is the tree's root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of the path; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory's path (empty for the root) and the last component. None for the root.
    pub fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(EntryPath::split_bytes(&self.0))
    }

    /// The directory's path and the last component of a path other than the root's.
    pub(crate) fn split_bytes(path: &[u8]) -> (&[u8], &[u8]) {
        match path.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (b"", path),
        }
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Quoted(&self.0).fmt(f)
    }
}

/// Refuses names and link targets that are longer than the limit.
pub(super) fn check_length(raw: &[u8], limits: &Limits) -> Result<(), Problem> {
    let length = raw.len() as u64;
    if length > limits.path {
        return Err(Problem::Limit {
            limit: LimitKind::Path,
            value: length,
            allowed: limits.path,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(raw: &str) -> Result<EntryPath, Problem> {
        EntryPath::parse(raw.as_bytes(), "name", &Limits::default())
    }

    #[test]
    fn names_are_made_relative_and_plain() {
        for (raw, path) in [
            ("a", "a"),
            ("/a", "a"),
            ("//a//b/", "a/b"),
            ("./a/./b/.", "a/b"),
            (".", ""),
            ("./", ""),
            ("/", ""),
            ("..a/b..", "..a/b.."),
            ("a\nb", "a\nb"),
        ] {
            assert_eq!(parse(raw).unwrap().as_bytes(), path.as_bytes(), "{raw}");
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        for raw in ["", "..", "../a", "a/..", "a/../b", "/..", "a\0b"] {
            assert!(parse(raw).is_err(), "{raw}");
        }
        assert!(parse(&"x".repeat(256)).is_err());
        assert!(parse(&"x".repeat(255)).is_ok());
        assert!(parse(&"x/".repeat(1025)).is_err());
        assert!(parse(&"x/".repeat(3000)).is_err());
    }

    #[test]
    fn split_gives_directory_and_name() {
        assert_eq!(
            parse("a/b/c").unwrap().split().unwrap(),
            (&b"a/b"[..], &b"c"[..])
        );
        assert_eq!(parse("a").unwrap().split().unwrap(), (&b""[..], &b"a"[..]));
        assert!(parse(".").unwrap().split().is_none());
    }
}
