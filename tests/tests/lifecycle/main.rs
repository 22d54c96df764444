//! Background containers and the commands that manage them.
#![allow(clippy::unwrap_used)]

mod attributes;
mod background;
mod copies;
mod crowd;
mod exec;
mod files;
mod help;
mod hooks;
mod listing;
mod logs;
mod rename;
mod truth;

use box_tests::Home;

/// A home with a background container: `web`, a shell that waits for the file `/end` and handles TERM.
pub fn with_web() -> Home {
    let home = Home::with_alpine();
    let script = "trap 'echo heard; exit 3' TERM; echo begun; while ! [ -e /end ]; do sleep 0.05; done; exit 4";
    let started = home.run(["run", "-d", "--name", "web", "alpine", "sh", "-c", script]);
    assert_eq!(started.succeeds().text(), "web");
    until(&home, "the shell has begun", || {
        home.run(["logs", "web"])
            .succeeds()
            .text()
            .contains("begun")
    });
    home
}

/// Waits for something that comes by itself.
#[track_caller]
pub fn until(home: &Home, what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{what}: never in a minute; {:?}", home.run(["ps", "-a"]));
}

/// A field of a container's row in the listing.
pub fn field(home: &Home, name: &str, field: &str) -> serde_json::Value {
    let rows = home.run(["ps", "-a", "--format", "json"]).succeeds().json();
    let row = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == name);
    row.unwrap_or_else(|| panic!("{name} is not listed: {rows}"))[field].clone()
}
