//! Kills pulls of an image of five layers at any moment: nothing is published in halves, and the next pull goes on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use box_tests::registry::{Image, Layer, Registry, Scripted, digest};
use box_tests::server::Response;
use box_tests::{Home, Outcome};

/// How many processes are killed: `BOX_TEST_KILLS`, or as many as do not slow the suite down.
fn kills() -> u64 {
    let set = std::env::var("BOX_TEST_KILLS").ok();
    set.map_or(30, |text| text.parse().unwrap())
}

/// Moments without a pattern, up to a little more than a pull takes.
struct Moments(u64);

impl Moments {
    fn wait(&mut self) {
        self.0 = (self.0 * 48_271) % 2_147_483_647;
        std::thread::sleep(Duration::from_micros(self.0 % 250_000));
    }
}

/// Five layers: the files of a release that can run, and four of a megabyte or more.
fn image(version: u64) -> Image {
    let mut layers = vec![Layer::alpine()];
    for n in 1..=3 {
        layers.push(Layer::random(&format!("opt/data{n}"), n, 1_500_000));
    }
    layers.push(Layer::random("opt/version", version, 1_000_000));
    Image::new(&layers)
}

fn start(home: &Home, args: &[&str]) -> Child {
    let mut command = home.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Files of a folder; none if there is no such folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Every blob has the digest of its name, everything that is listed is there, and other programs read it.
#[track_caller]
fn is_sound(home: &Home) {
    for path in files(&home.cache().join("blobs/sha256")) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(digest(&fs::read(&path).unwrap()), format!("sha256:{name}"));
    }
    home.run(["verify"]).succeeds();
    let Ok(index) = fs::read(home.cache().join("index.json")) else {
        return;
    };
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    for entry in index["manifests"].as_array().unwrap() {
        let name = entry["annotations"]["org.opencontainers.image.ref.name"]
            .as_str()
            .unwrap();
        let layout = format!("oci:{}:{name}", home.cache().display());
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["inspect", &layout]);
        Outcome::of(skopeo, b"").succeeds();
    }
}

/// Pulls to the end, and runs it without the network.
#[track_caller]
fn is_complete(home: &Home, reference: &str) {
    home.run(["pull", reference]).succeeds();
    let count = home.run([
        "run",
        "--rm",
        "--offline",
        reference,
        "sh",
        "-c",
        "cat /opt/* | wc -c",
    ]);
    assert_eq!(count.succeeds().text().trim(), "5500000");
}

#[test]
fn kills_at_random_moments_leave_a_sound_cache() {
    let registry = Registry::new();
    registry.put("app", "one", &image(1));
    registry.put("app", "two", &image(2));
    let (one, two) = (registry.reference("app:one"), registry.reference("app:two"));
    let home = Home::new();
    let mut moments = Moments(11);
    let mut killed = 0;
    while killed < kills() {
        let round = killed / 3;
        let children = match round % 3 {
            0 => vec![
                start(&home, &["pull", &one]),
                start(&home, &["pull", &two]),
                start(&home, &["gc"]),
            ],
            1 => vec![
                start(&home, &["pull", &one]),
                start(&home, &["pull", &one]),
                start(&home, &["pull", &one]),
            ],
            _ => vec![
                start(&home, &["pull", "--jobs", "5", &two]),
                start(&home, &["rmi", &two, &one]),
                start(&home, &["pull", "--jobs", "1", &one]),
            ],
        };
        for mut child in children {
            moments.wait();
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
        }
        if round % 5 == 4 {
            is_sound(&home);
            home.run(["rmi", "-f", &one, &two]);
            home.run(["gc"]).succeeds();
        }
    }
    is_sound(&home);
    is_complete(&home, &one);
    is_complete(&home, &two);
    let left: BTreeSet<_> = files(&home.cache().join("partial")).into_iter().collect();
    assert!(left.is_empty(), "{left:?}");
    is_sound(&home);
    home.run(["gc"]).succeeds();
    is_sound(&home);
}

#[test]
fn what_arrived_before_a_kill_is_not_fetched_again() {
    let layers: Vec<_> = (0..5)
        .map(|n| Layer::random(&format!("f{n}"), n, 2_000_000))
        .collect();
    let image = Image::new(&layers);
    let sizes: Vec<_> = layers
        .iter()
        .map(|layer| (layer.digest(), layer.blob.clone()))
        .collect();
    let slow = Scripted::new(move |request, nth| {
        let (_, blob) = sizes
            .iter()
            .find(|(digest, _)| request.route().ends_with(digest))?;
        (request.method == "GET" && nth == 0)
            .then(|| Response::new(blob.clone()).throttled(1_000_000))
    })
    .with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    let reference = slow.reference("app:one");
    let mut child = start(&home, &["pull", &reference]);
    let on_disk = || -> u64 {
        let partial = files(&home.cache().join("partial"));
        partial
            .iter()
            .filter(|path| path.extension().is_none())
            .map(|path| path.metadata().map_or(0, |m| m.len()))
            .sum()
    };
    while on_disk() < 1_000_000 {
        assert!(child.try_wait().unwrap().is_none(), "the pull has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let images = home.run(["images", "--format", "json"]).succeeds();
    assert_eq!(images.text(), "[]");
    home.run(["pull", &reference]).succeeds();
    let ranges = slow
        .requests()
        .iter()
        .filter(|request| request.header("range").is_some())
        .count();
    assert!(ranges >= 1, "nothing was continued");
    is_sound(&home);
}
