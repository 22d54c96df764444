//! Who the command runs as: the texts of the image's passwd(5) and group(5), and what `-u` means by them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::Error;

/// The user databases of an image, as text. An image is hostile: lines that do not parse are passed over.
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

impl Accounts {
    /// Reads both files from the topmost of `layers` (topmost last) that has them. Symbolic links are resolved inside
    /// their layer; anything that is not a regular file counts as missing.
    pub fn read<P: AsRef<Path>>(layers: &[P]) -> Result<Self, Error> {
        let file = |name: &str| -> Result<String, Error> {
            for layer in layers.iter().rev() {
                if let Some(text) = read_below(layer.as_ref(), name)? {
                    return Ok(text);
                }
            }
            Ok(String::new())
        };
        Ok(Self {
            passwd: file("etc/passwd")?,
            group: file("etc/group")?,
        })
    }

    /// What `USER[:GROUP]` means; `extra` are `--group-add`. A user by number need not exist, one by name must.
    pub fn resolve(&self, text: &str, extra: &[String]) -> Result<Identity, Error> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let number = id("user", user)?;
        let entry = self
            .users()
            .find(|entry| entry.name == user)
            .or_else(|| self.users().find(|entry| Some(entry.uid) == number));
        let (uid, mut gid, home) = match (entry, number) {
            (Some(entry), _) => (entry.uid, entry.gid, entry.home),
            (None, Some(number)) => (number, 0, "/"),
            (None, None) if user == "root" => (0, 0, "/root"),
            (None, None) => {
                return Err(Error::NoSuchUser {
                    kind: "user",
                    name: user.to_owned(),
                    file: "passwd",
                });
            }
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
        let home = if home.is_empty() { "/" } else { home };
        Ok(Identity {
            uid,
            gid,
            groups,
            home: home.to_owned(),
        })
    }

    /// The name of a user.
    pub fn name_of(&self, uid: u32) -> Option<String> {
        self.users()
            .find(|entry| entry.uid == uid)
            .map(|entry| entry.name.to_owned())
    }

    fn group(&self, name: &str) -> Result<u32, Error> {
        match self
            .groups()
            .find(|group| group.name == name)
            .map(|group| group.gid)
            .or(id("group", name)?)
        {
            Some(gid) => Ok(gid),
            None if name == "root" => Ok(0),
            None => Err(Error::NoSuchUser {
                kind: "group",
                name: name.to_owned(),
                file: "group",
            }),
        }
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(User {
                name,
                uid,
                gid,
                home: fields.nth(1).unwrap_or(""),
            })
        })
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let gid = fields.nth(1)?.parse().ok()?;
            Some(Group {
                name,
                gid,
                members: fields.next().unwrap_or(""),
            })
        })
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

/// A number is an id, unless it is one that the kernel reserves for "no id".
fn id(kind: &'static str, text: &str) -> Result<Option<u32>, Error> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(number) if number != u32::MAX => Ok(Some(number)),
        _ => Err(Error::spec(
            kind,
            format!("{text} is out of range, expected 0 to {}", u32::MAX - 1),
        )),
    }
}

fn read_below(layer: &Path, name: &str) -> Result<Option<String>, Error> {
    let io = |errno: Errno| Error::io("read", &layer.join(name), errno);
    let directory = rustix::fs::openat(
        CWD,
        layer,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| Error::io("open layer", layer, errno))?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(&directory, name, flags, Mode::empty(), resolve) {
        Ok(file) => file,
        // A missing file, a whiteout (a device node, refused by the mount or by the kernel), a loop, a socket.
        Err(
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::NODEV | Errno::ACCESS,
        ) => return Ok(None),
        Err(errno) => return Err(io(errno)),
    };
    let kind = rustix::fs::fstat(&file).map_err(io)?;
    if rustix::fs::FileType::from_raw_mode(kind.st_mode) != rustix::fs::FileType::RegularFile {
        return Ok(None);
    }
    let size = u64::try_from(kind.st_size).unwrap_or(0).min(LONGEST);
    // One more than there is, so that the end is found by the same read.
    let mut bytes = Vec::with_capacity(size as usize + 1);
    File::from(file)
        .take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io("read", &layer.join(name), error))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The places in which an instance's user databases are looked for, topmost last.
pub fn places(layers: &[PathBuf], upper: PathBuf) -> Vec<PathBuf> {
    layers.iter().cloned().chain([upper]).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\n# no\nbad\nweb:x:1000:1001:Web:/srv/web:/bin/sh\nx:x:-1:0::/:\n12:x:77:78::/h:\n"
                .into(),
            group: "root:x:0:root\nbin:x:1:root,web\nweb:x:1001:\nwheel:x:10:web,other\n".into(),
        }
    }

    fn resolve(text: &str) -> (u32, u32, Vec<u32>, String) {
        let found = accounts().resolve(text, &[]).unwrap();
        (found.uid, found.gid, found.groups, found.home)
    }

    #[test]
    fn by_name_and_number() {
        assert_eq!(resolve(""), (0, 0, vec![1], "/root".into()));
        assert_eq!(resolve("web"), (1000, 1001, vec![1, 10], "/srv/web".into()));
        assert_eq!(
            resolve("1000"),
            (1000, 1001, vec![1, 10], "/srv/web".into())
        );
        assert_eq!(resolve("web:wheel"), (1000, 10, vec![], "/srv/web".into()));
        assert_eq!(resolve("5:6"), (5, 6, vec![], "/".into()));
        assert_eq!(resolve("5"), (5, 0, vec![], "/".into()));
        // A name made of digits is found as a name first, as passwd(5) allows it.
        assert_eq!(resolve("12").0, 77);
    }

    #[test]
    fn unknown_names() {
        for text in [
            "nobody",
            "web:nobody",
            "-1",
            "4294967295",
            "99999999999",
            "web:4294967295",
        ] {
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
    }

    #[test]
    fn topmost_layer_wins_and_links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let (low, high) = (dir.path().join("low"), dir.path().join("high"));
        std::fs::create_dir_all(low.join("etc")).unwrap();
        std::fs::create_dir_all(high.join("etc")).unwrap();
        std::fs::write(low.join("etc/passwd"), "low").unwrap();
        std::fs::write(low.join("etc/group"), "low").unwrap();
        std::fs::write(high.join("etc/real"), "high").unwrap();
        std::os::unix::fs::symlink("/etc/real", high.join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("../../../../../../../../etc/group", high.join("etc/group"))
            .unwrap();
        let accounts = Accounts::read(&[low, high]).unwrap();
        assert_eq!(
            (accounts.passwd.as_str(), accounts.group.as_str()),
            ("high", "low")
        );
    }
}
