//! Listings: formats, filters, names, clean-up.

use box_tests::Home;

use crate::with_web;

#[test]
fn formats_and_filters() {
    let home = with_web();
    home.run(["run", "--name", "done", "alpine", "sh", "-c", "exit 2"])
        .exits(2);
    assert_eq!(home.run(["ps", "-q"]).succeeds().text(), "web");
    assert_eq!(home.run(["ps", "-aq"]).succeeds().text(), "done\nweb");
    let fields = home
        .run(["ps", "-a", "--format", "name,image,status,exit_status"])
        .succeeds();
    assert_eq!(
        fields.text(),
        "done\talpine:latest\texited\t2\nweb\talpine:latest\trunning\t"
    );
    assert_eq!(
        home.run(["ps", "--filter", "status=exited", "-q"])
            .succeeds()
            .text(),
        "done"
    );
    assert_eq!(
        home.run(["ps", "-a", "--filter", "name=we", "-q"])
            .succeeds()
            .text(),
        "web"
    );
    assert_eq!(
        home.run(["ps", "-a", "--filter", "image=alpine", "-q"])
            .succeeds()
            .text(),
        "done\nweb"
    );
    assert_eq!(
        home.run(["ps", "-a", "--filter", "image=other", "-q"])
            .succeeds()
            .text(),
        ""
    );
    home.run(["ps", "--format", "name,size"])
        .fails(&["unknown field size"])
        .hints(&["name"]);
    home.run(["ps", "--format", "{{.Name}}"])
        .fails(&["name,image,status"]);
    home.run(["ps", "--filter", "x"]).fails(&["--filter x"]);
    let table = home.run(["ps", "-a"]).succeeds();
    assert!(
        table.text().starts_with("NAME") && table.text().contains("exited (2)"),
        "{}",
        table.text()
    );
    home.run(["rm", "-f", "web", "done"]).succeeds();
}

#[test]
fn the_processes_of_a_container() {
    let home = with_web();
    home.run(["exec", "-d", "-u", "guest", "web", "sleep", "777"])
        .succeeds();
    crate::until(&home, "it runs", || {
        home.run(["top", "web"])
            .succeeds()
            .text()
            .contains("sleep 777")
    });
    let rows = home
        .run(["top", "--format", "json", "web"])
        .succeeds()
        .json();
    let row = |command: &str| {
        rows.as_array()
            .unwrap()
            .iter()
            .find(|row| row["command"] == command)
            .unwrap()
            .clone()
    };
    assert_eq!(row("sleep 777")["user"], "guest");
    assert_eq!(rows[0]["container_pid"], 1);
    assert_eq!(rows[0]["pid"], crate::field(&home, "web", "pid"));
    home.run(["stop", "web"]).succeeds();
    home.run(["top", "web"]).fails(&["web is not running"]);
    home.run(["rm", "web"]).succeeds();
}

#[test]
fn renaming() {
    let home = with_web();
    home.run(["stop", "web"]).succeeds();
    home.run(["run", "--name", "taken", "alpine", "true"])
        .succeeds();
    home.run(["rename", "web", "taken"])
        .fails(&["the name taken is taken"]);
    home.run(["rename", "web", "../x"])
        .fails(&["not a valid container name"]);
    home.run(["rename", "web", "other"]).succeeds();
    assert_eq!(home.run(["ps", "-aq"]).succeeds().text(), "other\ntaken");
    home.run(["start", "other"]).succeeds();
    assert_eq!(crate::field(&home, "other", "status"), "running");
    home.run(["rm", "-f", "other", "taken"]).succeeds();
}

#[test]
fn renaming_what_runs() {
    let home = with_web();
    home.run(["rename", "web", "web"])
        .fails(&["the name web is taken"]);
    home.run(["rename", "web", "other"]).succeeds();
    assert_eq!(home.run(["ps", "-q"]).succeeds().text(), "other");
    home.run(["exec", "web", "true"])
        .fails(&["no container named web"]);
    home.run(["exec", "other", "touch", "/end"]).succeeds();
    // Its end is recorded under the new name, and nothing is left under the old one.
    assert_eq!(home.run(["wait", "other"]).succeeds().text(), "4");
    assert_eq!(crate::field(&home, "other", "exit_status"), 4);
    assert!(!home.root().join("run/web").exists() && !home.root().join("run/other").exists());
    assert_eq!(home.instances(), ["other"]);
    // One that goes with its command goes under any name.
    home.run([
        "run", "-d", "--rm", "--name", "web", "alpine", "sleep", "1000",
    ])
    .succeeds();
    home.run(["rename", "web", "third"]).succeeds();
    home.run(["stop", "third"]).succeeds();
    assert_eq!(home.instances(), ["other"]);
    home.run(["rm", "other"]).succeeds();
}

#[test]
fn pruning_takes_what_does_not_run() {
    let home = with_web();
    for name in ["one", "two"] {
        home.run(["run", "--name", name, "alpine", "true"])
            .succeeds();
    }
    assert_eq!(
        home.run(["prune", "--older-than", "1h"]).succeeds().text(),
        ""
    );
    assert_eq!(home.run(["prune", "-f"]).succeeds().text(), "one\ntwo");
    assert_eq!(home.run(["ps", "-aq"]).succeeds().text(), "web");
    home.run(["rm", "-f", "web"]).succeeds();
}

#[test]
fn shells_complete_names_and_references() {
    let home = with_web();
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            home.run(["completions", shell])
                .succeeds()
                .text()
                .contains("BOX_COMPLETE"),
            "{shell}"
        );
    }
    let complete = |words: &[&str]| {
        let mut command = home.command(["--", "box"].into_iter().chain(words.iter().copied()));
        command
            .env("BOX_COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        command
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .env("_CLAP_COMPLETE_SPACE", "true")
            .env("_CLAP_IFS", "\n");
        box_tests::Outcome::of(command, b"")
            .succeeds()
            .text()
            .to_owned()
    };
    assert_eq!(complete(&["stop", "we"]).trim(), "web");
    for verb in ["rmi", "run", "save", "unpack", "inspect"] {
        assert_eq!(complete(&[verb, "alp"]).trim(), "alpine:latest", "{verb}");
    }
    for verb in ["exec", "inspect", "commit", "update", "stats", "rename"] {
        assert_eq!(complete(&[verb, "we"]).trim(), "web", "{verb}");
    }
    assert!(complete(&["sto"]).contains("stop"));
    home.run(["rm", "-f", "web"]).succeeds();
}

#[test]
fn manual_pages_are_written() {
    let home = Home::new();
    home.run(["man", "pages"]).succeeds();
    for page in ["box.1", "box-run.1", "box-exec.1"] {
        let text = std::fs::read_to_string(home.path().join("pages").join(page)).unwrap();
        assert!(
            text.contains(".SH NAME") || text.contains(".SH SYNOPSIS"),
            "{page}"
        );
    }
}
