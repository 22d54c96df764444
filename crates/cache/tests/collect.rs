//! Collection, budget, expiry and audit of the cache.
#![allow(clippy::unwrap_used, missing_docs)]

mod fixture;

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use box_cache::{
    BoxError, Cache, Claim, DiffId, Digest, Expiry, GarbageKind, LayerTrees, Needs, NoProgress,
    Origin, PartialKey, Platform, Policy, Reclaim, Reference, disk_usage,
};
use fixture::{commit, find, publish};

/// Layer trees as plain directories.
struct Layers {
    directory: PathBuf,
    needs: Needs,
}

impl Layers {
    fn new(cache: &Cache) -> Layers {
        let directory = cache.directory().join("../layers");
        fs::create_dir_all(&directory).unwrap();
        Layers {
            directory,
            needs: Needs::default(),
        }
    }

    fn make(&self, layer: &DiffId) {
        fs::create_dir(self.directory.join(layer.0.hex())).unwrap();
        fs::write(self.directory.join(layer.0.hex()).join("file"), [1; 5000]).unwrap();
    }
}

impl LayerTrees for Layers {
    fn needs(&self) -> Result<Needs, BoxError> {
        Ok(self.needs.clone())
    }
    fn list(&self) -> Result<Vec<DiffId>, BoxError> {
        let names = fs::read_dir(&self.directory)?
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        Ok(names
            .filter_map(|name| Digest::from_sha256_hex(&name).ok())
            .map(DiffId)
            .collect())
    }
    fn bytes(&self, layer: &DiffId) -> Result<u64, BoxError> {
        Ok(disk_usage(&self.directory.join(layer.0.hex()))?)
    }
    fn detach(&self, layer: &DiffId) -> Result<Option<Reclaim>, BoxError> {
        let to = self.directory.join(format!("doomed-{}", layer.0.hex()));
        fs::rename(self.directory.join(layer.0.hex()), &to)?;
        Ok(Some(Box::new(move || {
            let bytes = disk_usage(&to)?;
            fs::remove_dir_all(to)?;
            Ok(bytes)
        })))
    }
    fn leftovers(&self) -> Result<u64, BoxError> {
        Ok(0)
    }
    fn sweep(&self) -> Result<u64, BoxError> {
        Ok(0)
    }
}

fn cache() -> (tempfile::TempDir, Cache) {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path().join("cache")).unwrap();
    (scratch, cache)
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn age(path: &std::path::Path, seconds: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_times(FileTimes::new().set_modified(time))
        .unwrap();
}

#[test]
fn only_what_nothing_needs_is_deleted() {
    let (_scratch, cache) = cache();
    let mut layers = Layers::new(&cache);
    let kept = publish(
        &cache,
        "kept",
        Platform::host(),
        commit(&cache, &[1; 9000]),
        "u",
    );
    let gone = publish(
        &cache,
        "gone",
        Platform::host(),
        commit(&cache, &[2; 9000]),
        "u",
    );
    let (in_image, in_instance, unneeded) = (
        kept.layers[0].diff_id,
        DiffId(Digest::of(b"i")),
        DiffId(Digest::of(b"u")),
    );
    [in_image, in_instance, unneeded]
        .iter()
        .for_each(|layer| layers.make(layer));
    layers.needs.layers.insert(in_instance);
    cache.remove(&gone.reference, None).unwrap();
    fs::write(cache.layout().partial().join("tmp-1-1"), [0; 5000]).unwrap();
    fs::write(cache.layout().blobs().join("not-a-blob"), b"x").unwrap();

    let dry = Policy {
        dry_run: true,
        ..Policy::default()
    };
    let before = disk_usage(cache.directory()).unwrap() + disk_usage(&layers.directory).unwrap();
    let would = cache.collect(&dry, &layers).unwrap();
    assert_eq!(
        disk_usage(cache.directory()).unwrap() + disk_usage(&layers.directory).unwrap(),
        before
    );
    let done = cache.collect(&Policy::default(), &layers).unwrap();
    assert!(done.failures.is_empty(), "{:?}", done.failures);
    let sorted = |mut garbage: Vec<box_cache::Garbage>| {
        garbage.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        garbage
    };
    assert_eq!(done.freed(), would.freed());
    assert_eq!(sorted(done.garbage), sorted(would.garbage));

    let blobs: BTreeSet<String> = [&gone.manifest_digest, &gone.layers[0].digest]
        .map(Digest::to_string)
        .into();
    for digest in &blobs {
        assert!(cache.has_blob(&digest.parse().unwrap()).unwrap().is_none());
    }
    assert!(
        find(&cache, "kept").is_some() && cache.has_blob(&kept.layers[0].digest).unwrap().is_some()
    );
    assert_eq!(
        BTreeSet::from_iter(layers.list().unwrap()),
        BTreeSet::from([in_image, in_instance])
    );
    assert!(!cache.layout().partial().join("tmp-1-1").exists());
    assert!(cache.layout().blobs().join("not-a-blob").exists());
    assert!(
        !cache
            .layout()
            .used()
            .join(gone.manifest_digest.hex())
            .exists()
    );
    assert!(
        cache
            .collect(&Policy::default(), &layers)
            .unwrap()
            .garbage
            .is_empty()
    );
}

#[test]
fn blobs_of_foreign_images_and_of_held_manifests_stay() {
    let (_scratch, cache) = cache();
    let mut layers = Layers::new(&cache);
    let held = publish(
        &cache,
        "held",
        Platform::host(),
        commit(&cache, b"held"),
        "u",
    );
    cache.remove(&held.reference, None).unwrap();
    layers.needs.manifests.insert(held.manifest_digest);
    // A list of two images, as other tools write for several platforms, without a name.
    let inner = publish(
        &cache,
        "inner",
        Platform::host(),
        commit(&cache, b"inner"),
        "u",
    );
    let list = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": inner.manifest_digest,
        "size": cache.has_blob(&inner.manifest_digest).unwrap().unwrap(),
    }]})
    .to_string();
    let layer = commit(&cache, list.as_bytes());
    cache.remove(&inner.reference, None).unwrap();
    let index = cache.layout().index();
    let mut document: serde_json::Value =
        serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    document["manifests"].as_array_mut().unwrap().push(serde_json::json!({
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": layer.digest, "size": layer.size
    }));
    fs::write(&index, document.to_string()).unwrap();

    let done = cache.collect(&Policy::default(), &layers).unwrap();
    assert!(done.garbage.is_empty(), "{:?}", done.garbage);
}

#[test]
fn a_broken_index_stops_the_collector() {
    let (_scratch, cache) = cache();
    let layers = Layers::new(&cache);
    let image = publish(&cache, "a", Platform::host(), commit(&cache, b"a"), "u");
    fs::write(
        cache.layout().index(),
        b"{\"schemaVersion\": 2, \"manifests\": [",
    )
    .unwrap();
    assert!(cache.collect(&Policy::default(), &layers).is_err());
    assert!(cache.has_blob(&image.layers[0].digest).unwrap().is_some());
}

#[test]
fn the_budget_drops_the_least_recently_used_that_nobody_needs() {
    let (_scratch, cache) = cache();
    let mut layers = Layers::new(&cache);
    let mut images = Vec::new();
    for (number, name) in ["held", "oldest", "old", "new"].into_iter().enumerate() {
        let mut layer = commit(&cache, &vec![u8::try_from(number).unwrap(); 100_000]);
        layer.diff_id = DiffId(Digest::of(name.as_bytes()));
        layers.make(&layer.diff_id);
        let image = publish(&cache, name, Platform::host(), layer, "u");
        age(
            &cache.layout().used().join(image.manifest_digest.hex()),
            4000 - number as u64 * 1000,
        );
        images.push(image);
    }
    layers.needs.layers.insert(images[0].layers[0].diff_id);
    cache.touch(&images[1]).unwrap();
    let total = cache.survey().unwrap().blob_bytes()
        + 4 * layers.bytes(&images[0].layers[0].diff_id).unwrap();

    let policy = Policy {
        max_size: Some(total),
        ..Policy::default()
    };
    assert!(cache.collect(&policy, &layers).unwrap().evicted.is_empty());
    let policy = Policy {
        max_size: Some(total - 1),
        ..Policy::default()
    };
    let done = cache.collect(&policy, &layers).unwrap();
    assert_eq!(
        done.evicted
            .iter()
            .map(|evicted| evicted.reference.key())
            .collect::<Vec<_>>(),
        ["old:latest"]
    );
    assert!(
        done.garbage
            .iter()
            .any(|garbage| garbage.kind == GarbageKind::Tree)
    );
    assert!(find(&cache, "old").is_none() && find(&cache, "oldest").is_some());

    let policy = Policy {
        max_size: Some(0),
        ..Policy::default()
    };
    cache.collect(&policy, &layers).unwrap();
    let names: Vec<String> = cache
        .images()
        .unwrap()
        .iter()
        .map(|image| image.reference.key())
        .collect();
    assert_eq!(names, ["held:latest"]);
}

#[test]
fn the_collector_waits_for_who_is_publishing() {
    let (_scratch, cache) = cache();
    let hold = cache.hold().unwrap();
    let layer = commit(&cache, b"not published yet");
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            cache
                .collect(&Policy::default(), &Layers::new(&cache))
                .unwrap()
        });
        let image = publish(&cache, "a", Platform::host(), layer, "u");
        drop(hold);
        assert!(collector.join().unwrap().garbage.is_empty());
        assert!(
            find(&cache, "a").is_some()
                && cache.has_blob(&image.layers[0].digest).unwrap().is_some()
        );
    });
}

fn leave_download(cache: &Cache, name: &str, bytes: &[u8]) -> PathBuf {
    let key = PartialKey::Digest(Digest::of(name.as_bytes()));
    let Claim::Partial(mut partial) = cache
        .partial(&key, &mut |_| ControlFlow::Break(()))
        .unwrap()
    else {
        panic!()
    };
    partial.append(bytes).unwrap();
    partial
        .set_origin(Origin {
            url: name.to_owned(),
            ..Origin::default()
        })
        .unwrap();
    cache
        .layout()
        .partial()
        .join(format!("sha256-{}", Digest::of(name.as_bytes()).hex()))
}

#[test]
fn broken_off_downloads_expire_by_age_and_by_size() {
    let (_scratch, cache) = cache();
    let old = leave_download(&cache, "old", b"1");
    age(&old, 8 * 24 * 3600);
    let young = leave_download(&cache, "young", b"2");
    assert_eq!(cache.expire_downloads(&Expiry::default()).unwrap().len(), 1);
    assert!(!old.exists() && !old.with_extension("json").exists());
    assert!(young.exists() && young.with_extension("json").exists());

    let big = leave_download(&cache, "big", &[0; 100_000]);
    age(&young, 60);
    let expiry = Expiry {
        bytes: 110_000,
        ..Expiry::default()
    };
    cache.expire_downloads(&expiry).unwrap();
    assert!(big.exists() && !young.exists(), "the oldest goes first");

    let key = PartialKey::Digest(Digest::of(b"big"));
    let claimed = cache
        .partial(&key, &mut |_| ControlFlow::Break(()))
        .unwrap();
    cache
        .expire_downloads(&Expiry {
            age: Duration::ZERO,
            bytes: 0,
        })
        .unwrap();
    assert!(big.exists(), "a download that a process is at was deleted");
    drop(claimed);
    cache
        .expire_downloads(&Expiry {
            age: Duration::ZERO,
            bytes: 0,
        })
        .unwrap();
    assert_eq!(fs::read_dir(cache.layout().partial()).unwrap().count(), 0);
}

#[test]
fn damage_is_found_set_aside_and_repaired_by_fetching_again() {
    let (_scratch, cache) = cache();
    let image = publish(
        &cache,
        "a:1",
        Platform::host(),
        commit(&cache, b"the layer"),
        "u",
    );
    publish(
        &cache,
        "b:1",
        Platform::host(),
        commit(&cache, b"another"),
        "u",
    );
    let whole = cache.audit(&[], &NoProgress).unwrap();
    assert_eq!((whole.blobs, whole.damaged.len()), (5, 0));

    let blob = cache.layout().blob(&image.layers[0].digest);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, b"the loser").unwrap();
    assert!(
        cache
            .audit(&[reference("b:1")], &NoProgress)
            .unwrap()
            .damaged
            .is_empty()
    );
    let audit = cache
        .audit(&[reference("a:1"), reference("c:1")], &NoProgress)
        .unwrap();
    assert_eq!(audit.unknown, [reference("c:1")]);
    assert_eq!(audit.damaged.len(), 1);
    let damaged = &audit.damaged[0];
    assert_eq!(damaged.digest, image.layers[0].digest);
    assert_eq!(damaged.images, [(reference("a:1"), Some(Platform::host()))]);
    assert_eq!(
        fs::read(damaged.quarantined.as_ref().unwrap()).unwrap(),
        b"the loser"
    );
    assert!(!blob.exists());

    let again = cache.audit(&[], &NoProgress).unwrap();
    assert!(
        again.damaged.len() == 1 && again.damaged[0].quarantined.is_none(),
        "a missing blob is damage too"
    );
    commit(&cache, b"the layer");
    assert!(cache.audit(&[], &NoProgress).unwrap().damaged.is_empty());
    let done = cache
        .collect(&Policy::default(), &Layers::new(&cache))
        .unwrap();
    assert_eq!(
        done.garbage
            .iter()
            .map(|garbage| garbage.kind)
            .collect::<Vec<_>>(),
        [GarbageKind::Quarantined]
    );
}
