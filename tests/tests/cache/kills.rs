//! SIGKILL at random moments of everything that writes to the cache.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use box_tests::Home;

use crate::check;

/// The number of processes that the signal must have killed.
const KILLS: usize = 200;

/// A small random number generator, so that a failure can be repeated with its seed.
struct Random(u64);

impl Random {
    /// A number below `end` (xorshift64, Marsaglia 2003).
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn spawn(home: &Home, arguments: &[&str]) -> Child {
    let mut command = home.command(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Empties the cache, so that the next pull starts anew.
fn empty(home: &Home) {
    for image in ["alpine:3.20", "alpine:3.18"] {
        home.run(["rmi", "-f", image]).succeeds();
    }
    home.run(["gc"]).succeeds();
}

#[test]
fn a_kill_at_any_moment_leaves_a_sound_cache() {
    let seed = u64::from(std::process::id()) | 1 << 40;
    let mut random = Random(seed);
    let home = Home::new();
    let begun = Instant::now();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    let longest = u64::try_from(begun.elapsed().as_micros()).unwrap() * 3 / 2;
    let verbs: [&[&str]; 5] = [
        &["pull", "-q", "alpine:3.20"],
        &["pull", "-q", "alpine:3.18"],
        &["pull", "-q", "alpine:3.20", "--arch", "aarch64"],
        &["gc"],
        &["rmi", "-f", "alpine:3.18"],
    ];
    let (mut kills, mut rounds) = (0, 0);
    while kills < KILLS {
        rounds += 1;
        assert!(
            rounds < 20 * KILLS,
            "only {kills} of {rounds} rounds were killed"
        );
        if rounds % 3 == 1 {
            empty(&home);
        }
        // One pull at least, and whatever else comes along.
        let first = usize::try_from(random.below(3)).unwrap();
        let others = (0..random.below(3))
            .map(|_| usize::try_from(random.below(5)).unwrap())
            .collect::<Vec<_>>();
        let mut children: Vec<Child> = std::iter::once(first)
            .chain(others)
            .map(|verb| spawn(&home, verbs[verb]))
            .collect();
        thread::sleep(Duration::from_micros(random.below(longest)));
        for child in &mut children {
            child.kill().unwrap();
        }
        for mut child in children {
            kills += usize::from(child.wait().unwrap().signal() == Some(9));
        }
        check::sound(&home.cache());
    }
    // The next command just works, and nothing remains.
    for image in ["alpine:3.20", "alpine:3.18"] {
        home.run(["run", "--rm", image, "true"]).succeeds();
    }
    home.run(["verify"]).succeeds();
    empty(&home);
    home.run(["rmi", "-f", "alpine:3.20", "--arch", "aarch64"])
        .succeeds();
    home.run(["gc"]).succeeds();
    assert!(check::sound(&home.cache()).is_empty());
    assert!(check::names(&home.cache().join("blobs/sha256")).is_empty());
    let layers = check::names(&home.root().join("layers"));
    assert!(
        layers.iter().all(|name| name.starts_with('.')),
        "{layers:?}"
    );
    for directory in [
        home.cache().join("partial"),
        home.root().join("layers/.staging"),
    ] {
        let left = check::names(&directory);
        // A download may wait for somebody to continue it.
        assert!(
            left.iter().all(|name| name.starts_with("sha256-")),
            "seed {seed}: {left:?} in {}",
            directory.display()
        );
    }
}
