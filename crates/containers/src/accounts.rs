//! Who the command runs as: the texts of the container's passwd(5) and group(5), and what `-u` means by them.
//!
//! A number is an id, whatever names these files have: an image could call its root `1000`, and `USER 1000` would run as root
//! (CVE-2016-3697, CVE-2026-46680). 4294967295 is no id, wherever it stands: setresuid(2) takes it for "leave as is", and a
//! command would keep box's own (CVE-2024-40635).

mod lookup;

use std::os::fd::OwnedFd;

use box_run::namespaces::idmap::NO_ID;
use box_unpack::Layers;
use oci_spec::runtime::Mount;

use crate::Error;
use lookup::Lookup;

/// The user databases of a container, as text. An image is hostile: lines that do not parse are passed over.
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

/// More than any real user database; what is beyond is not read.
const LONGEST: u64 = 4 << 20;

/// How many supplementary groups a process can have, `NGROUPS_MAX` of limits.h.
const MOST_GROUPS: usize = 65_536;

impl Accounts {
    /// As a container will see them that is made of these layers, with `mounts` over them ([`crate::spec::mounts`]). What is no regular
    /// file counts as missing.
    pub fn of_layers(layers: &Layers, mounts: &[Mount]) -> Result<Self, Error> {
        Self::read(&mut Lookup::in_layers(layers, mounts))
    }

    /// As a running container has them now, whose root directory is given, and whose spec mounts these.
    pub(crate) fn of_root(root: OwnedFd, mounts: &[Mount]) -> Result<Self, Error> {
        Self::read(&mut Lookup::in_root(root, mounts))
    }

    /// The same without its groups.
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

    /// What `USER[:GROUP]` means; `extra` are `--group-add`. A user by number need not exist, one by name must. One by number that
    /// exists has its group, groups and home.
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

    /// The name of a user; none if it has one that would be taken for another number.
    pub fn name_of(&self, uid: u32) -> Option<String> {
        self.users()
            .find(|entry| entry.uid == uid)
            .filter(|entry| !is_like_a_number(entry.name))
            .map(|entry| entry.name.to_owned())
    }

    /// The first entry of that name whose ids are ids.
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

/// Refuses what can be no `USER[:GROUP]` in any container. Names are not looked up.
pub fn check(text: &str) -> Result<(), Error> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    Word::read("user", user)
        .and_then(|_| Word::read("group", group))
        .map(drop)
}

/// What a word of `-u` is.
enum Word<'a> {
    Number(u32),
    Name(&'a str),
}

impl<'a> Word<'a> {
    /// What other programs could read as a number is never a name.
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

/// Decimal digits, and not [`NO_ID`].
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok())?;
    number.filter(|&id| id != NO_ID)
}

/// Digits of any script, perhaps with signs and spaces before and after them, or a number of another base.
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

/// A zero byte ends a line for some readers and not for others.
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
            "the container's {path} is longer than {LONGEST} bytes: what is beyond is not read"
        );
        // Half a line could say half a number.
        let end = bytes.iter().rposition(|&byte| byte == b'\n');
        bytes.truncate(end.unwrap_or(0));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\n# no\nbad\nweb:x:1000:1001:Web:/srv/web:/bin/sh\nx:x:-1:0::/:\n12:x:77:78::/h:\n\
                     web:x:0:0::/:\nplus:x:+5:0::/:\nnone:x:4294967295:0::/:\nnogroup:x:8:4294967295::/:\nnul\0:x:9:9::/:\n\
                     big:x:4294967296:0::/:\n1000:x:0:0:root:/root:\n+7:x:0:0::/:\n0x7:x:0:0::/:\n"
                .into(),
            group: "root:x:0:root\nbin:x:1:root,web\nweb:x:1001:\nwheel:x:10:web,other\n50:x:0:\nnone:x:4294967295:web\n"
                .into(),
        }
    }

    fn resolve(text: &str) -> (u32, u32, Vec<u32>, String) {
        let found = accounts().resolve(text, &[]).unwrap();
        (found.uid, found.gid, found.groups, found.home)
    }

    #[test]
    fn by_name_and_number() {
        assert_eq!(resolve(""), (0, 0, vec![1], "/root".into()));
        // The first entry of a name counts.
        assert_eq!(resolve("web"), (1000, 1001, vec![1, 10], "/srv/web".into()));
        assert_eq!(
            resolve("1000"),
            (1000, 1001, vec![1, 10], "/srv/web".into())
        );
        assert_eq!(resolve("web:wheel"), (1000, 10, vec![], "/srv/web".into()));
        assert_eq!(resolve("5:6"), (5, 6, vec![], "/".into()));
        assert_eq!(resolve("5"), (5, 0, vec![], "/".into()));
    }

    #[test]
    fn a_number_is_an_id() {
        assert_eq!(resolve("12"), (12, 0, vec![], "/".into()));
        assert_eq!(resolve("77"), (77, 78, vec![], "/h".into()));
        assert_eq!(resolve("5:50").1, 50);
        assert_eq!(resolve("007:0050"), (7, 50, vec![], "/".into()));
        let added = accounts().resolve("5:5", &["50".into()]).unwrap();
        assert_eq!(added.groups, [50]);
        for text in [
            "+7",
            "-7",
            " 7",
            "7 ",
            "0x7",
            "0X7",
            "7.0",
            "7_0",
            "\u{967}",
            "4294967295",
            "4294967296",
            "99999999999999999999",
        ] {
            for text in [text.to_owned(), format!("5:{text}")] {
                let refused = accounts().resolve(&text, &[]).unwrap_err().to_string();
                assert!(refused.contains("is no id"), "{text}: {refused}");
            }
            assert!(accounts().resolve("5", &[text.into()]).is_err(), "{text}");
        }
        // It would look like another user than it is.
        let root = Accounts {
            passwd: "1000:x:0:0::/:\n".into(),
            group: String::new(),
        };
        assert_eq!(root.name_of(0), None);
        assert_eq!(accounts().name_of(0).unwrap(), "root");
    }

    #[test]
    fn names_without_ids() {
        for text in ["none", "nogroup", "plus", "x", "big", "bad", "web:none"] {
            let refused = accounts().resolve(text, &[]).unwrap_err().to_string();
            assert!(refused.contains("has no ids"), "{text}: {refused}");
        }
        assert_eq!(resolve("8"), (8, 0, vec![], "/".into()));
    }

    #[test]
    fn unknown_names() {
        for text in ["nobody", "web:nobody", "nul", "nul\0", "# no", "+", "-"] {
            assert!(accounts().resolve(text, &[]).is_err(), "{text}");
        }
        assert_eq!(
            Accounts::default().resolve("root:root", &[]).unwrap().uid,
            0
        );
    }

    #[test]
    fn group_add() {
        let found = accounts()
            .resolve("5:5", &["wheel".into(), "99".into(), "5".into()])
            .unwrap();
        assert_eq!(found.groups, [10, 99]);
        let many = (0..=MOST_GROUPS + 1).map(|group| format!("g:x:{group}:web\n"));
        let many = Accounts {
            group: many.collect(),
            ..accounts()
        };
        let refused = many.resolve("web", &[]).map(|found| found.uid);
        assert!(refused.is_err_and(|error| error.to_string().contains("at most 65536")));
    }
}
