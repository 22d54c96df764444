//! The user of a command: the container's passwd(5) and group(5), and how `-u` is resolved with them.
//!
//! A number is always an id, even if a name in these files looks the same: an image could name its root `1000`, and `USER 1000` would
//! run as root (CVE-2016-3697, CVE-2026-46680). 4294967295 is never an id: setresuid(2) takes it for "no change", and a command would
//! keep the ids of box (CVE-2024-40635).

mod container_file;

use std::os::fd::OwnedFd;

use box_run::namespaces::idmap::NO_ID;
use box_unpack::Layers;
use oci_spec::runtime::Mount;

use crate::Error;
use container_file::Lookup;

/// The user databases of a container, as text. Images are not trusted: lines that do not parse are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// `/etc/passwd`.
    pub passwd: String,
    /// `/etc/group`.
    pub group: String,
}

/// A resolved user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id in the container.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, sorted, without the primary one.
    pub groups: Vec<u32>,
    /// Home directory, `/` where passwd has none.
    pub home: String,
}

/// How much of a file is read: more than any real user database has.
const LONGEST: u64 = 4 << 20;

/// The most supplementary groups of a process, `NGROUPS_MAX` of limits.h.
const MOST_GROUPS: usize = 65_536;

impl Accounts {
    /// Reads the files that a container of these layers will have, with `mounts` over them ([`crate::spec::mounts`]). Anything but a
    /// regular file counts as missing.
    pub fn of_layers(layers: &Layers, mounts: &[Mount]) -> Result<Self, Error> {
        Self::read(&mut Lookup::in_layers(layers, mounts))
    }

    /// Reads the files of a running container with this root directory and these mounts.
    pub(crate) fn of_root(root: OwnedFd, mounts: &[Mount]) -> Result<Self, Error> {
        Self::read(&mut Lookup::in_root(root, mounts))
    }

    /// The same without groups.
    pub(crate) fn users_of_root(root: OwnedFd, mounts: &[Mount]) -> Result<Self, Error> {
        Ok(Self {
            passwd: read(&mut Lookup::in_root(root, mounts), "/etc/passwd")?,
            group: String::new(),
        })
    }

    fn read(lookup: &mut Lookup<'_>) -> Result<Self, Error> {
        Ok(Self {
            passwd: read(lookup, "/etc/passwd")?,
            group: read(lookup, "/etc/group")?,
        })
    }

    /// Resolves `USER[:GROUP]`; `extra` are `--group-add`. A name must exist, an id need not; if it does, its entry supplies group,
    /// supplementary groups and home.
    pub fn resolve(&self, text: &str, extra: &[String]) -> Result<Identity, Error> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let (uid, entry) = match Word::read("user", user)? {
            Word::Number(uid) => (uid, self.users().find(|entry| entry.uid == uid)),
            Word::Name(name) => match self.user(name)? {
                Some(entry) => (entry.uid, Some(entry)),
                None if name == "root" => (0, None),
                None => return Err(unknown("user", name, "passwd")),
            },
        };
        let mut gid = entry.map_or(0, |entry| entry.gid);
        let home = match entry {
            Some(entry) => entry.home,
            None if user == "root" => "/root",
            None => "",
        };
        let mut groups = vec![];
        match group.filter(|group| !group.is_empty()) {
            Some(group) => gid = self.group(group)?,
            None => groups.extend(entry.iter().flat_map(|user| {
                self.groups()
                    .filter(|group| group.members.split(',').any(|name| name == user.name))
                    .map(|group| group.gid)
            })),
        }
        for name in extra {
            groups.push(self.group(name)?);
        }
        groups.sort_unstable();
        groups.dedup();
        groups.retain(|&group| group != gid);
        if groups.len() > MOST_GROUPS {
            let reason = format!(
                "{} of them, at most {MOST_GROUPS} are possible",
                groups.len()
            );
            return Err(Error::spec(format!("the groups of {user}"), reason));
        }
        let home = if home.is_empty() { "/" } else { home };
        Ok(Identity {
            uid,
            gid,
            groups,
            home: home.to_owned(),
        })
    }

    /// The name of a user; `None` if the name looks like a number, and thus like another user.
    pub fn name_of(&self, uid: u32) -> Option<String> {
        self.users()
            .find(|entry| entry.uid == uid)
            .filter(|entry| !is_like_a_number(entry.name))
            .map(|entry| entry.name.to_owned())
    }

    /// The first entry with that name and valid ids.
    fn user(&self, name: &str) -> Result<Option<User<'_>>, Error> {
        match self.users().find(|entry| entry.name == name) {
            None if names(&self.passwd).any(|known| known == name) => {
                Err(without_ids("user", name, "passwd"))
            }
            found => Ok(found),
        }
    }

    fn group(&self, text: &str) -> Result<u32, Error> {
        let name = match Word::read("group", text)? {
            Word::Number(gid) => return Ok(gid),
            Word::Name(name) => name,
        };
        match self.groups().find(|group| group.name == name) {
            Some(group) => Ok(group.gid),
            None if names(&self.group).any(|known| known == name) => {
                Err(without_ids("group", name, "group"))
            }
            None if name == "root" => Ok(0),
            None => Err(unknown("group", name, "group")),
        }
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        lines(&self.passwd).filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let uid = id(fields.nth(1)?)?;
            let gid = id(fields.next()?)?;
            Some(User {
                name,
                uid,
                gid,
                home: fields.nth(1).unwrap_or(""),
            })
        })
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        lines(&self.group).filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let gid = id(fields.nth(1)?)?;
            Some(Group {
                name,
                gid,
                members: fields.next().unwrap_or(""),
            })
        })
    }
}

/// Refuses a text that is not a valid `USER[:GROUP]` in any container. Names are not looked up.
pub fn check(text: &str) -> Result<(), Error> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    Word::read("user", user)
        .and_then(|_| Word::read("group", group))
        .map(drop)
}

/// One part of `-u`.
enum Word<'a> {
    Number(u32),
    Name(&'a str),
}

impl<'a> Word<'a> {
    /// A text that another program could read as a number is never a name.
    fn read(kind: &'static str, text: &'a str) -> Result<Self, Error> {
        if !is_like_a_number(text) {
            return Ok(Self::Name(text));
        }
        let expected = || format!("{text} is no id, expected a number from 0 to {}", NO_ID - 1);
        id(text)
            .map(Self::Number)
            .ok_or_else(|| Error::spec(kind, expected()))
    }
}

#[derive(Clone, Copy)]
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Parses decimal digits other than [`NO_ID`].
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok())?;
    number.filter(|&id| id != NO_ID)
}

/// Whether a text has digits of any script, perhaps with signs and spaces around them, or is a number in another base.
fn is_like_a_number(text: &str) -> bool {
    let digits = text
        .trim()
        .trim_start_matches(['+', '-'])
        .trim_start()
        .to_ascii_lowercase();
    let based = ["0x", "0o", "0b"]
        .iter()
        .filter_map(|prefix| digits.strip_prefix(prefix))
        .any(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let plain = digits.starts_with(char::is_numeric)
        && digits
            .chars()
            .all(|letter| letter.is_numeric() || matches!(letter, '_' | '.' | ',' | ' '));
    based || plain
}

/// The lines without a zero byte, which ends a line for some readers and not for others.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.contains('\0'))
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    lines(text).filter_map(|line| line.split(':').next())
}

fn unknown(kind: &'static str, name: &str, file: &'static str) -> Error {
    let name = name.to_owned();
    Error::NoSuchUser { kind, name, file }
}

fn without_ids(kind: &str, name: &str, file: &str) -> Error {
    let reason = format!(
        "its entry in the container's /etc/{file} has no ids, expected numbers from 0 to {}",
        NO_ID - 1
    );
    Error::spec(format!("{kind} {name}"), reason)
}

fn read(lookup: &mut Lookup<'_>, path: &str) -> Result<String, Error> {
    let Some((mut bytes, whole)) = lookup.read(path, LONGEST)? else {
        return Ok(String::new());
    };
    if !whole {
        tracing::warn!(
            "the container's {path} is longer than {LONGEST} bytes: the rest is ignored"
        );
        // The last line may be cut in the middle of a number.
        let end = bytes.iter().rposition(|&byte| byte == b'\n');
        bytes.truncate(end.unwrap_or(0));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
