//! Limits of containers on the real control groups of this machine. The same tests run on v1 and hybrid hosts and, in a
//! virtual machine (scripts/vm-test), on v2.
#![allow(clippy::unwrap_used)]

mod blockio;
mod cpu;
mod devices;
mod flags;
mod hosts;
mod memory;
mod processes;

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use box_tests::{Home, Outcome};

/// Whether this host has only cgroup v2.
fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Groups whose names begin with `box-` and the name of this container.
fn groups(name: &str) -> Vec<PathBuf> {
    let roots = std::fs::read_dir("/sys/fs/cgroup")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let roots = roots
        .chain([PathBuf::from("/sys/fs/cgroup")])
        .filter(|root| root.is_dir());
    let entries = roots.flat_map(|root| std::fs::read_dir(root).unwrap().flatten());
    let prefix = format!("box-{name}-");
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect()
}

/// A name that no other test uses at this time.
fn name(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

/// Reads a file of the container's own group, by its name on v1 (with its controller) and on v2.
fn group_file(home: &Home, flags: &[&str], v1: &str, v2: &str) -> String {
    let path = format!("/sys/fs/cgroup/{}", if is_unified() { v2 } else { v1 });
    let mut args = vec!["run", "--rm", "--net", "none"];
    args.extend(flags);
    args.extend(["alpine", "cat", &path]);
    home.run(args).succeeds().text().to_owned()
}

/// A background container, ended when the value is dropped.
struct Background<'a> {
    home: &'a Home,
    name: String,
    child: Child,
}

impl<'a> Background<'a> {
    fn start(home: &'a Home, name: &str, flags: &[&str], script: &str) -> Self {
        let mut args = vec!["run", "--name", name];
        args.extend(flags);
        args.extend(["alpine", "sh", "-c", script]);
        let child = home
            .command(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn();
        let started = Background {
            home,
            name: name.to_owned(),
            child: child.unwrap(),
        };
        started.until("it runs", || started.status() == "running");
        started
    }

    fn status(&self) -> String {
        let rows = self
            .home
            .run(["ps", "-a", "--format", "json"])
            .succeeds()
            .json();
        let row = rows
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["name"] == *self.name);
        row.map_or(String::new(), |row| {
            row["status"].as_str().unwrap().to_owned()
        })
    }

    fn stats(&self) -> serde_json::Value {
        self.home
            .run(["stats", "--no-stream", "--format", "json", &self.name])
            .succeeds()
            .json()[0]
            .clone()
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..1200 {
            if holds() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{}: waited in vain until {what}", self.name);
    }
}

impl Drop for Background<'_> {
    fn drop(&mut self) {
        let removed = Outcome::of(self.home.command(["rm", "-f", &self.name]), b"");
        self.child.wait().unwrap();
        if !std::thread::panicking() {
            removed.succeeds();
            assert!(groups(&self.name).is_empty());
        }
    }
}
