//! A place to unpack hostile archives in: a directory to unpack to, with things around it that must stay as they are.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use box_unpack::{Error, LayerStore, Limits, unpack_archive};

use super::snapshot;

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To a directory that is not there.
    NewDirectory,
    /// To one that is there, and empty.
    EmptyDirectory,
    /// To a layer.
    Layer,
}

pub const WAYS: [Way; 3] = [Way::NewDirectory, Way::EmptyDirectory, Way::Layer];

pub struct Arena {
    dir: tempfile::TempDir,
    way: Way,
    before: BTreeMap<Vec<u8>, String>,
}

impl Arena {
    pub fn new(way: Way) -> Arena {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        fs::set_permissions(outside.join("secret"), Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(outside.join("directory")).unwrap();
        fs::write(outside.join("directory/file"), "file").unwrap();
        symlink("secret", outside.join("link")).unwrap();
        let area = dir.path().join("area");
        fs::create_dir(&area).unwrap();
        match way {
            Way::NewDirectory => {}
            Way::EmptyDirectory => {
                fs::create_dir(area.join("target")).unwrap();
                fs::set_permissions(area.join("target"), Permissions::from_mode(0o710)).unwrap();
                std::os::unix::fs::chown(area.join("target"), Some(12), Some(34)).unwrap();
            }
            Way::Layer => {
                // The store's own directories, so that nothing of it is new.
                fs::create_dir_all(area.join("layers/.staging")).unwrap();
                fs::create_dir_all(area.join("layers/.locks")).unwrap();
            }
        }
        let before = snapshot(dir.path());
        Arena { dir, way, before }
    }

    /// The directory that archives try to reach.
    pub fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// Unpacks; gives where to.
    pub fn unpack(&self, archive: &[u8], limits: &Limits) -> Result<PathBuf, Error> {
        let area = self.dir.path().join("area");
        match self.way {
            Way::NewDirectory | Way::EmptyDirectory => {
                let target = area.join("target");
                unpack_archive(archive, &target, limits).map(|_| target)
            }
            Way::Layer => {
                let mut writer = LayerStore::open(area.join("layers")).writer(limits.clone())?;
                // In uneven pieces, as from a network.
                for piece in archive.chunks(100_001) {
                    writer.push(piece)?;
                }
                writer.finish()?.publish()
            }
        }
    }

    /// Everything, the place unpacked to included, is as it was before. Directories' times in the place of the layers
    /// may have changed, as trees were made there and removed.
    pub fn assert_untouched(&self, case: &str) {
        self.compare(case, |_| false);
    }

    /// Everything but the unpacked tree is as it was before.
    pub fn assert_surroundings_untouched(&self, case: &str, unpacked: &Path) {
        let unpacked = unpacked
            .strip_prefix(self.dir.path())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        self.compare(case, |path| path.starts_with(unpacked.as_bytes()));
    }

    fn compare(&self, case: &str, ignored: impl Fn(&[u8]) -> bool) {
        let after = snapshot(self.dir.path());
        for path in self.before.keys().chain(after.keys()) {
            if ignored(path) {
                continue;
            }
            let shown = String::from_utf8_lossy(path).into_owned();
            let (before, now) = (self.before.get(path), after.get(path));
            // Where new trees are made and renamed, the directory itself gets a new time.
            if shown == "area" || shown.starts_with("area/layers") {
                assert_eq!(
                    before.is_some(),
                    now.is_some(),
                    "{case}, {:?}: {shown} came or went",
                    self.way
                );
                continue;
            }
            assert_eq!(before, now, "{case}, {:?}: {shown} changed", self.way);
        }
    }
}
