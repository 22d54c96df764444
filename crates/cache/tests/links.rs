//! A cache in which somebody else planted links: nothing outside of it is written to, made, renamed or deleted.
#![allow(clippy::unwrap_used, missing_docs)]

mod fixture;

use std::collections::BTreeMap;
use std::fs::{self, FileTimes};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use box_cache::{
    BoxError, Cache, Claim, DiffId, Digest, Error, Expected, Expiry, Image, LayerTrees, Needs,
    NoProgress, Origin, PartialKey, Platform, Policy, Reclaim,
};
use fixture::{commit, publish};

const LAYER: &[u8] = b"the layer that is fetched";

/// No layer trees at all.
struct None;

impl LayerTrees for None {
    fn needs(&self) -> Result<Needs, BoxError> {
        Ok(Needs::default())
    }
    fn list(&self) -> Result<Vec<DiffId>, BoxError> {
        Ok(Vec::new())
    }
    fn bytes(&self, _: &DiffId) -> Result<u64, BoxError> {
        Ok(0)
    }
    fn detach(&self, _: &DiffId) -> Result<Option<Reclaim>, BoxError> {
        Ok(Option::None)
    }
    fn leftovers(&self) -> Result<u64, BoxError> {
        Ok(0)
    }
    fn sweep(&self) -> Result<u64, BoxError> {
        Ok(0)
    }
}

/// A cache with an image, and a place outside that holds what the cache's directories hold by name, all of it old.
struct Scene {
    _scratch: tempfile::TempDir,
    cache: Cache,
    image: Image,
    outside: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::open(scratch.path().join("cache")).unwrap();
        let image = publish(&cache, "a:1", Platform::host(), commit(&cache, b"old"), "u");
        let outside = scratch.path().join("outside");
        for directory in ["sha256", "inner"] {
            fs::create_dir_all(outside.join(directory)).unwrap();
        }
        let digest = Digest::of(b"unneeded").hex();
        for name in [
            "index",
            "tmp-1-1",
            "sha256/tmp",
            "inner/file",
            &digest,
            &format!("sha256/{digest}"),
            &format!("sha256-{digest}"),
        ] {
            let path = outside.join(name);
            fs::write(&path, "precious").unwrap();
            let file = fs::File::open(path).unwrap();
            let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
            file.set_times(old).unwrap();
        }
        Scene {
            _scratch: scratch,
            cache,
            image,
            outside,
        }
    }

    /// Puts a link in the place of a file or directory of the cache.
    fn plant(&self, place: &Path, target: &Path) {
        match fs::symlink_metadata(place) {
            Ok(metadata) if metadata.is_dir() => {
                fs::rename(place, place.with_extension("away")).unwrap();
            }
            Ok(_) => fs::remove_file(place).unwrap(),
            Err(_) => fs::create_dir_all(place.parent().unwrap()).unwrap(),
        }
        symlink(target, place).unwrap();
    }

    /// Everything that writes to a cache, whether it works or not. What it answered.
    fn use_all(&self) -> Vec<Error> {
        let cache = &self.cache;
        let mut errors = Vec::new();
        let mut note = |result: Result<(), Error>| errors.extend(result.err());
        note(Cache::open(cache.directory()).map(drop));
        note(fetch(cache));
        note(cache.touch(&self.image));
        note(cache.note_lock_file(Path::new("/nowhere/box.lock")));
        note(cache.forget_lock_file(Path::new("/nowhere/box.lock")));
        note(
            cache
                .find(&self.image.reference, &Platform::host())
                .map(drop),
        );
        note(cache.audit(&[], &NoProgress).map(drop));
        note(cache.expire_downloads(&Expiry::default()).map(drop));
        note(cache.remove(&self.image.reference, Option::None).map(drop));
        note(publish_again(cache, &self.image));
        let policy = Policy {
            max_size: Some(0),
            ..Policy::default()
        };
        // Its failures are told one by one.
        let _ = cache.collect(&policy, &None);
        errors
    }
}

/// Fetches a layer, in two tries.
fn fetch(cache: &Cache) -> Result<(), Error> {
    let key = PartialKey::Digest(Digest::of(LAYER));
    let (first, rest) = LAYER.split_at(5);
    for bytes in [first, rest] {
        let claim = cache.partial(&key, &mut |_| ControlFlow::Break(()))?;
        let Claim::Partial(mut partial) = claim else {
            return Ok(());
        };
        partial.set_origin(Origin::default())?;
        partial.append(bytes)?;
        if partial.length() == LAYER.len() as u64 {
            partial.commit(cache, &cache.hold()?, &Expected::default())?;
        }
    }
    Ok(())
}

fn publish_again(cache: &Cache, image: &Image) -> Result<(), Error> {
    let hold = cache.hold()?;
    cache.store_blob(&hold, &b"more"[..], "more", &Digest::of(b"more"), 4)?;
    let new = box_cache::NewImage {
        reference: "b:1".parse().unwrap(),
        platform: Platform::host(),
        layers: image.layers.clone(),
        config: image.config.clone(),
        provenance: image.provenance.clone(),
    };
    cache.publish(&hold, new).map(drop)
}

/// Names below a directory with mode, times, number of names and content.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, (u32, i64, u64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut todo = vec![directory.to_path_buf()];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = fs::read(&path).unwrap_or_default();
        if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        let seen = (metadata.mode(), metadata.mtime(), metadata.nlink(), content);
        all.insert(path, seen);
    }
    all
}

#[test]
fn links_in_the_place_of_directories_lead_nowhere() {
    for name in [
        "blobs",
        "blobs/sha256",
        "partial",
        "locks",
        "used",
        "lookup",
        "pins",
        "quarantine",
    ] {
        let scene = Scene::new();
        let before = snapshot(&scene.outside);
        scene.plant(&scene.cache.directory().join(name), &scene.outside);
        let errors = scene.use_all();
        assert_eq!(snapshot(&scene.outside), before, "with {name}");
        // Answers from the index are worth no failure, and nothing goes to the quarantine here.
        let told = errors
            .iter()
            .any(|error| error.to_string().contains("symbolic link"));
        assert_eq!(
            told,
            !matches!(name, "lookup" | "quarantine"),
            "with {name}: {errors:?}"
        );
    }
}

#[test]
fn links_in_the_place_of_directories_are_refused_at_once() {
    for name in ["blobs", "blobs/sha256", "partial", "locks", "used"] {
        let scene = Scene::new();
        // Where it leads does not matter.
        let place = scene.cache.directory().join(name);
        scene.plant(&place, &place.with_extension("away"));
        let error = Cache::open(scene.cache.directory()).unwrap_err();
        assert!(
            error.to_string().contains("symbolic link"),
            "with {name}: {error}"
        );
    }
}

#[test]
fn links_in_the_place_of_files_lead_nowhere() {
    let digest = Digest::of(LAYER).hex();
    let note = Digest::of(b"/nowhere/box.lock").hex();
    let used = Scene::new().image.manifest_digest.hex();
    for name in [
        "locks/index".to_owned(),
        "locks/gc".to_owned(),
        format!("partial/sha256-{digest}"),
        format!("partial/sha256-{digest}.json"),
        format!("used/{used}"),
        format!("pins/{note}"),
        "index.json".to_owned(),
        "oci-layout".to_owned(),
        format!("blobs/sha256/{digest}"),
        format!("blobs/sha256/{}", Digest::of(b"more").hex()),
    ] {
        for target in ["index", "new"] {
            let scene = Scene::new();
            let before = snapshot(&scene.outside);
            let target = scene.outside.join(target);
            scene.plant(&scene.cache.directory().join(&name), &target);
            scene.use_all();
            assert_eq!(
                snapshot(&scene.outside),
                before,
                "with {name} -> {target:?}"
            );
        }
    }
}

#[test]
fn another_name_of_a_file_is_no_download() {
    let digest = Digest::of(LAYER).hex();
    let note = Digest::of(b"/nowhere/box.lock").hex();
    for (name, refused) in [
        (format!("partial/sha256-{digest}"), true),
        (format!("partial/sha256-{digest}.json"), false),
        (format!("pins/{note}"), false),
    ] {
        let scene = Scene::new();
        let victim = scene.outside.join("index");
        let place = scene.cache.directory().join(&name);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::hard_link(&victim, &place).unwrap();
        let errors = scene.use_all();
        let metadata = fs::metadata(&victim).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o644, "with {name}");
        assert_eq!(fs::read(&victim).unwrap(), b"precious", "with {name}");
        let told = errors.iter().any(|error| {
            error
                .to_string()
                .contains("not a regular file with one name")
        });
        assert_eq!(told, refused, "with {name}: {errors:?}");
    }
}

#[test]
fn directories_that_are_swapped_all_the_time_lead_nowhere() {
    let scene = Scene::new();
    let before = snapshot(&scene.outside);
    let places = ["partial", "used", "lookup", "pins", "blobs/sha256"];
    let links: Vec<PathBuf> = places
        .iter()
        .map(|name| scene.cache.directory().join(name))
        .inspect(|place| fs::create_dir_all(place).unwrap())
        .map(|place| {
            let link = place.with_extension("link");
            symlink(&scene.outside, &link).unwrap();
            link
        })
        .collect();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for link in &links {
                    let place = link.with_extension("");
                    let flags = RenameFlags::EXCHANGE;
                    renameat_with(CWD, link, CWD, &place, flags).unwrap();
                    std::thread::yield_now();
                }
            }
        });
        for _ in 0..300 {
            scene.use_all();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(snapshot(&scene.outside), before);
}
