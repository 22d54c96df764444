//! A running container is renamed, and box is killed meanwhile: the bundle and the state have different names for a
//! moment, and no command may treat the container as stopped.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use box_tests::{Home, Outcome};

use crate::{field, until};

/// The steps of a rename of a running container, in order; box can be killed after each of them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Done {
    Claimed,
    Noted,
    BundleMoved,
    StateMoved,
}

struct Renamed {
    home: Home,
    instances: PathBuf,
    run: PathBuf,
}

impl Renamed {
    /// `old`, a running container that is deleted at its end if `remove` is set, was to become `new`.
    fn until(last: Done, remove: bool) -> Self {
        let home = Home::with_alpine();
        let mut line = vec!["run", "-d", "--name", "old"];
        line.extend(remove.then_some("--rm"));
        line.extend(["alpine", "sleep", "1000"]);
        home.run(line).succeeds();
        let (instances, run) = (home.root().join("instances"), home.root().join("run"));
        let renamed = Self {
            home,
            instances,
            run,
        };
        let state = renamed.state("old");
        let note = format!("{}.{}.old", state["pid"], state["start_time"]);
        fs::create_dir(renamed.run.join("new")).unwrap();
        if last != Done::Claimed {
            symlink(note, renamed.instances.join("old/renamed-from")).unwrap();
        }
        if matches!(last, Done::BundleMoved | Done::StateMoved) {
            let bundle = |name: &str| renamed.instances.join(name);
            fs::rename(bundle("old"), bundle("new")).unwrap();
        }
        if last == Done::StateMoved {
            fs::rename(renamed.run.join("old"), renamed.run.join("new")).unwrap();
        }
        renamed
    }

    fn state(&self, name: &str) -> serde_json::Value {
        let text = fs::read(self.run.join(name).join("state.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// The container runs under this name, all commands show it, and there is no trace of another name.
    fn runs_as(&self, name: &str) {
        let listed = self.home.run(["ps", "--format", "name,status"]);
        assert_eq!(listed.succeeds().text(), format!("{name}\trunning"));
        self.home.run(["exec", name, "true"]).succeeds();
        // The next commands remove the claimed name.
        until(&self.home, "one state is left", || {
            self.home.run(["ps"]).succeeds();
            fs::read_dir(&self.run).unwrap().count() == 1
        });
        assert_eq!(self.home.instances(), [name]);
        assert!(
            fs::symlink_metadata(self.instances.join(name).join("renamed-from")).is_err(),
            "the note is still there"
        );
    }
}

#[test]
fn a_rename_that_was_cut_short_is_finished_or_undone() {
    for (last, name) in [
        (Done::Claimed, "old"),
        (Done::Noted, "old"),
        (Done::BundleMoved, "new"),
        (Done::StateMoved, "new"),
    ] {
        for remove in [false, true] {
            let renamed = Renamed::until(last, remove);
            renamed.runs_as(name);
            // The one that watches it knows the name, too.
            renamed.home.run(["stop", name]).succeeds();
            if remove {
                assert!(renamed.home.instances().is_empty());
            } else {
                assert_eq!(field(&renamed.home, name, "exit_status"), 143);
            }
        }
    }
}

/// The first command after the kill, whichever it is, finds one running container.
#[test]
fn whatever_is_done_first_to_a_half_renamed_container() {
    for remove in [false, true] {
        let first = |done: &[&str], name: &str, demand: &dyn Fn(Outcome)| {
            let renamed = Renamed::until(Done::BundleMoved, remove);
            demand(renamed.home.run(done));
            if !name.is_empty() {
                renamed.runs_as(name);
                renamed.home.run(["rm", "-f", name]).succeeds();
            }
            assert!(renamed.home.instances().is_empty());
        };
        let works = |outcome: Outcome| drop(outcome.succeeds());
        let runs = |outcome: Outcome| drop(outcome.fails(&["new is running"]));
        let taken = |outcome: Outcome| drop(outcome.fails(&["the name new is taken", "running"]));
        first(&["start", "new"], "new", &runs);
        first(&["rm", "new"], "new", &runs);
        first(&["rm", "-f", "new"], "", &works);
        first(&["run", "--name", "new", "alpine", "true"], "new", &taken);
        // The old name is free.
        let other = ["run", "--rm", "--name", "old", "alpine", "true"];
        first(&other, "new", &works);
        first(&["rename", "new", "newer"], "newer", &works);
        // Nothing but the sweep that each command ends with.
        first(&["images"], "new", &works);
    }
}

#[test]
fn a_half_renamed_container_that_ends_is_recorded() {
    for remove in [false, true] {
        let renamed = Renamed::until(Done::BundleMoved, remove);
        let pid = renamed.state("old")["pid"].as_i64().unwrap() as i32;
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        until(&renamed.home, "its state has gone", || {
            !renamed.run.join("old").exists() && !renamed.run.join("new").exists()
        });
        if remove {
            assert!(renamed.home.instances().is_empty());
        } else {
            assert_eq!(field(&renamed.home, "new", "exit_status"), 137);
        }
    }
}

#[test]
fn one_that_lost_its_monitor_half_renamed_is_lost() {
    let renamed = Renamed::until(Done::BundleMoved, false);
    let monitor = renamed.state("old")["monitor"].as_i64().unwrap() as i32;
    let monitor = rustix::process::Pid::from_raw(monitor).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    let home = &renamed.home;
    until(home, "it is known to be lost", || {
        field(home, "new", "status") == "lost"
    });
    home.run(["start", "new"]).succeeds();
    home.run(["rm", "-f", "new"]).succeeds();
}

#[test]
fn killed_at_any_point_of_a_rename_it_runs_under_one_name() {
    let home = Home::with_alpine();
    home.run(["run", "-d", "--name", "one", "alpine", "sleep", "1000"])
        .succeeds();
    let begun = std::time::Instant::now();
    home.run(["rename", "one", "two"]).succeeds();
    let whole = begun.elapsed();
    for step in 0..60 {
        let listed = home.run(["ps", "-a", "--format", "name,status"]).succeeds();
        let (name, status) = listed.text().split_once('\t').unwrap();
        assert_eq!(status, "running");
        assert_eq!(home.instances(), [name]);
        let other = if name == "one" { "two" } else { "one" };
        let mut renaming = home.command(["rename", name, other]).spawn().unwrap();
        // Most of the time goes by before the first directory is moved.
        std::thread::sleep(whole / 2 + whole * (step % 30) / 60 + Duration::from_micros(1));
        renaming.kill().unwrap();
        renaming.wait().unwrap();
    }
    let name = home.run(["ps", "-q"]).succeeds().text().to_owned();
    home.run(["exec", &name, "true"]).succeeds();
    home.run(["rm", "-f", &name]).succeeds();
    assert!(home.instances().is_empty());
}
