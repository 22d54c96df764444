//! The root file system of an instance: its layers, never written to, and over them a directory of its own.
//!
//! Most are mounted by the parent with the new interface, attached nowhere, while the child makes its network: on ext4 either takes
//! half a millisecond. What that interface cannot take the child mounts by one mount(2) with a string of options; paths that the
//! string cannot carry, and lists that are too long for it (one page), go by `/proc/self/fd/N`.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::Error;
use crate::mounts::c_string;

/// Options that do not depend on the instance. `index` and `metacopy` off and `redirect_dir=nofollow`: the upper
/// directory stays plain files that can be packed as a layer, and attributes in a hostile layer are not followed.
pub(crate) const FIXED: &str = "index=off,metacopy=off,redirect_dir=nofollow";

/// The longest string of options: one page with its terminating zero, mount(2).
const LONGEST: usize = 4095;

/// A checked overlay.
#[derive(Debug)]
pub(crate) struct Overlay {
    layers: Vec<PathBuf>,
    upper: PathBuf,
    work: PathBuf,
    volatile: bool,
    /// What the kernel is given.
    options: CString,
    /// What `options` names by number.
    opened: Vec<OwnedFd>,
}

impl Overlay {
    /// `layers` topmost last. A `volatile` one is not synced when it goes, for instances that go with it.
    pub fn new(
        layers: &[PathBuf],
        upper: PathBuf,
        work: PathBuf,
        volatile: bool,
    ) -> Result<Self, Error> {
        if layers.is_empty() {
            return Err(Error::spec("the image", "it has no layers"));
        }
        let options = options(layers, &upper, &work, volatile)?;
        Ok(Self {
            layers: layers.to_vec(),
            upper,
            work,
            volatile,
            options,
            opened: vec![],
        })
    }

    /// Opens the directories where their paths cannot be given as text. In the parent.
    pub fn open(&mut self) -> Result<(), Error> {
        let all = self.layers.iter().chain([&self.upper, &self.work]);
        let plain = |path: &PathBuf| {
            !path
                .as_os_str()
                .as_bytes()
                .iter()
                .any(|byte| b",:\\\"\n ".contains(byte))
        };
        if self.options.as_bytes().len() <= LONGEST && all.clone().all(plain) {
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &PathBuf| {
            rustix::fs::openat(CWD, path, flags, Mode::empty())
                .map_err(|errno| Error::io("open directory", path, errno))
        };
        let opened: Vec<OwnedFd> = all.map(open).collect::<Result<_, _>>()?;
        let names: Vec<_> = opened
            .iter()
            .map(|file| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
            .collect();
        let (layers, own) = names.split_at(self.layers.len());
        self.options = options(layers, &own[0], &own[1], self.volatile)?;
        self.opened = opened;
        if self.options.as_bytes().len() > LONGEST {
            return Err(Error::spec(
                "the image",
                format!(
                    "it has {} layers, more than an overlay can take",
                    layers.len()
                ),
            ));
        }
        Ok(())
    }

    /// Mounts it. In the child; allocates nothing.
    ///
    /// `nodev`: device nodes in a layer, or made by the command, open nowhere, on hosts without control groups too.
    pub fn mount(&self, target: &CStr) -> Result<(), Errno> {
        rustix::mount::mount(
            c"overlay",
            target,
            c"overlay",
            MountFlags::NODEV,
            self.options.as_c_str(),
        )
    }

    /// Whether [`Overlay::detached`] can be tried: each value has to fit into what fsconfig(2) takes, 256 bytes.
    pub fn can_be_detached(&self) -> bool {
        const MOST: usize = 255;
        let layers = self.layers.iter().map(|path| path.as_os_str().len() + 1);
        self.opened.is_empty()
            && layers.sum::<usize>() <= MOST
            && [&self.upper, &self.work]
                .iter()
                .all(|path| path.as_os_str().len() <= MOST)
    }

    /// Mounts it, attached nowhere: fsopen(2), fsmount(2). As [`Overlay::mount`] otherwise. `None` where this kernel does not take it
    /// in that way, and nothing was done.
    pub fn detached(&self) -> Result<Option<OwnedFd>, Errno> {
        let Ok(context) = self.context() else {
            return Ok(None);
        };
        // From here on the work directory is not what it was, and a second try would fail for that.
        fsconfig_create(context.as_fd())?;
        fsmount(
            context.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::MOUNT_ATTR_NODEV,
        )
        .map(Some)
    }

    fn context(&self) -> Result<OwnedFd, Errno> {
        let lower = lower(&self.layers);
        let own = [
            ("lowerdir", lower.as_slice()),
            ("upperdir", self.upper.as_os_str().as_bytes()),
            ("workdir", self.work.as_os_str().as_bytes()),
        ];
        let fixed = FIXED.split(',').filter_map(|option| option.split_once('='));
        let fixed = fixed.map(|(key, value)| (key, value.as_bytes()));
        let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(context.as_fd(), c"source", c"overlay")?;
        for (key, value) in own.into_iter().chain(fixed) {
            fsconfig_set_string(context.as_fd(), key, value)?;
        }
        if self.volatile {
            fsconfig_set_flag(context.as_fd(), c"volatile")?;
        }
        Ok(context)
    }

    /// The options, for people.
    pub fn describe(&self) -> String {
        self.options.to_string_lossy().into_owned()
    }
}

fn options(
    layers: &[PathBuf],
    upper: &Path,
    work: &Path,
    volatile: bool,
) -> Result<CString, Error> {
    let mut text = Vec::with_capacity(256);
    text.extend_from_slice(b"lowerdir=");
    text.append(&mut lower(layers));
    for (key, path) in [("upperdir", upper), ("workdir", work)] {
        text.push(b',');
        text.extend_from_slice(key.as_bytes());
        text.push(b'=');
        text.extend_from_slice(path.as_os_str().as_bytes());
    }
    text.push(b',');
    text.extend_from_slice(FIXED.as_bytes());
    if volatile {
        text.extend_from_slice(b",volatile");
    }
    c_string(&text)
}

/// The layers, topmost first.
fn lower(layers: &[PathBuf]) -> Vec<u8> {
    let names: Vec<&[u8]> = layers
        .iter()
        .rev()
        .map(|layer| layer.as_os_str().as_bytes())
        .collect();
    names.join(&b':')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn topmost_comes_first() {
        let layers = [PathBuf::from("/low"), PathBuf::from("/high")];
        let overlay = Overlay::new(&layers, "/u".into(), "/w".into(), true).unwrap();
        let expected = "lowerdir=/high:/low,upperdir=/u,workdir=/w,index=off,metacopy=off,redirect_dir=nofollow,volatile";
        assert_eq!(overlay.describe(), expected);
        assert!(Overlay::new(&[], "/u".into(), "/w".into(), true).is_err());
    }

    #[test]
    fn paths_that_options_cannot_carry_go_by_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a:b,c\\d e");
        for name in ["low", "upper", "work"] {
            std::fs::create_dir_all(odd.join(name)).unwrap();
        }
        let mut overlay = Overlay::new(
            &[odd.join("low")],
            odd.join("upper"),
            odd.join("work"),
            false,
        )
        .unwrap();
        overlay.open().unwrap();
        assert!(
            overlay.describe().starts_with("lowerdir=/proc/self/fd/"),
            "{}",
            overlay.describe()
        );
    }

    #[test]
    fn many_layers_fit_by_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let layer = dir.path().join("x".repeat(200));
        std::fs::create_dir(&layer).unwrap();
        let mut overlay =
            Overlay::new(&vec![layer.clone(); 127], layer.clone(), layer, false).unwrap();
        overlay.open().unwrap();
        assert!(overlay.options.as_bytes().len() <= LONGEST);
    }
}
