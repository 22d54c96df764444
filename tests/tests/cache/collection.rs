//! `box gc` and `box df`.

use std::fs;

use box_tests::Home;
use serde_json::json;

use crate::check;

#[test]
fn what_is_needed_stays_and_what_is_not_goes() {
    let home = Home::new();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    home.run(["pull", "-q", "alpine:3.18"]).succeeds();
    home.run(["run", "--name", "kept", "alpine:3.18", "true"])
        .succeeds();
    home.run(["rmi", "alpine:3.18"]).succeeds();
    let layers = check::names(&home.root().join("layers"));

    let dry = home
        .run(["gc", "--dry-run", "--format", "json"])
        .succeeds()
        .json();
    assert_eq!(dry["dry_run"], true);
    let kinds: Vec<_> = dry["deleted"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["kind"].clone())
        .collect();
    assert_eq!(
        kinds,
        [json!("blob"), json!("blob"), json!("blob")],
        "{dry}"
    );
    let df = home.run(["df", "--format", "json"]).succeeds().json();
    let reclaimable: u64 = df
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["reclaimable"].as_u64().unwrap())
        .sum();
    assert_eq!(dry["freed"], reclaimable, "df and gc disagree: {df}");

    let done = home.run(["gc", "--format", "json"]).succeeds().json();
    assert_eq!(
        (&done["freed"], &done["deleted"]),
        (&dry["freed"], &dry["deleted"])
    );
    assert_eq!(
        check::sound(&home.cache()),
        ["alpine:3.20".to_owned()].into()
    );
    assert_eq!(
        check::names(&home.root().join("layers")),
        layers,
        "the layer of a container was taken away"
    );
    home.run(["start", "-a", "kept"]).succeeds();
    home.run(["run", "--rm", "--offline", "alpine:3.20", "true"])
        .succeeds();

    home.run(["rm", "kept"]).succeeds();
    let text = home.run(["gc"]).succeeds();
    assert!(
        text.text().contains("layer") && text.text().contains("freed"),
        "{}",
        text.text()
    );
    assert_eq!(home.run(["gc", "-q"]).succeeds().text(), "0");
}

#[test]
fn an_empty_root_has_nothing_to_collect() {
    let home = Home::new();
    home.run(["gc", "--dry-run"]).succeeds();
    home.run(["df"]).succeeds();
    home.run(["verify"]).succeeds();
    assert!(!home.root().exists(), "looking made something");
    home.run(["gc"]).succeeds();
}

#[test]
fn the_budget_drops_images_that_no_container_needs() {
    let home = Home::new();
    for image in ["alpine:3.18", "alpine:3.20"] {
        home.run(["pull", "-q", image]).succeeds();
    }
    home.run(["run", "--name", "kept", "alpine:3.20", "true"])
        .succeeds();
    home.run(["run", "--rm", "alpine:3.18", "true"]).succeeds();
    let report = home
        .run(["gc", "--max-size", "1k", "--format", "json"])
        .succeeds()
        .json();
    assert_eq!(report["evicted"][0]["reference"], "alpine:3.18", "{report}");
    assert_eq!(report["evicted"].as_array().unwrap().len(), 1);
    assert_eq!(
        check::sound(&home.cache()),
        ["alpine:3.20".to_owned()].into()
    );
    home.run(["start", "-a", "kept"]).succeeds();
    home.run(["rm", "kept"]).succeeds();

    fs::create_dir_all(home.path().join("config")).unwrap();
    fs::write(
        home.path().join("config/config.toml"),
        "[cache]\nmax-size = \"10k\"\n",
    )
    .unwrap();
    let text = home.run(["gc"]).succeeds();
    assert!(
        text.text().contains("removed alpine:3.20"),
        "{}",
        text.text()
    );
    assert!(check::sound(&home.cache()).is_empty());
    home.run(["gc", "--max-size", "much"])
        .fails(&["--max-size", "much"]);
}

#[test]
fn df_says_what_the_file_system_says() {
    let home = Home::with_alpine();
    home.run([
        "run",
        "--name",
        "kept",
        "alpine",
        "sh",
        "-c",
        "dd if=/dev/zero of=/big bs=1M count=3",
    ])
    .succeeds();
    let rows = home.run(["df", "--format", "json"]).succeeds().json();
    let total: u64 = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["size"].as_u64().unwrap())
        .sum();
    let du = std::process::Command::new("du")
        .args(["-s", "--block-size=1"])
        .arg(home.root())
        .output()
        .unwrap();
    let du: u64 = String::from_utf8(du.stdout)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    // What is not told: some directories, and the files that are only locked.
    assert!(
        total <= du && du - total < 100_000,
        "df says {total}, du {du}:\n{rows}"
    );
    home.run(["rm", "kept"]).succeeds();
}
