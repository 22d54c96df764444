//! Kept containers: `box ps`, `box start`, `box rm`.

use box_tests::Home;

#[test]
fn a_kept_container_keeps_its_files() {
    let home = Home::with_alpine();
    home.run([
        "run",
        "alpine",
        "sh",
        "-c",
        "echo run >> /root/log; cat /root/log",
    ])
    .exits(0);
    let names = home.run(["ps", "-a", "-q"]).succeeds();
    let name = names.text();
    assert!(!name.is_empty() && !name.contains('\n'), "{name}");
    let again = home.run(["start", "-a", name]).succeeds();
    assert_eq!(again.text(), "run\nrun");
    assert_eq!(home.run(["rm", name]).succeeds().text(), name);
    assert_eq!(home.run(["ps", "-a", "-q"]).succeeds().text(), "");
    assert!(home.instances().is_empty());
    home.run(["start", name]).fails(&[name]);
    home.run(["rm", name]).fails(&[name]);
    home.run(["rm", "-f", name]).succeeds();
}

#[test]
fn the_command_of_a_start_has_its_own_status_and_the_same_settings() {
    let home = Home::with_alpine();
    home.run([
        "run",
        "--name",
        "seven",
        "-e",
        "A=b",
        "-w",
        "/tmp",
        "--hostname",
        "h",
        "alpine",
        "sh",
        "-c",
        "echo $A $PWD $(hostname); exit 7",
    ])
    .exits(7);
    assert_eq!(
        home.run(["start", "-a", "seven"]).exits(7).text(),
        "b /tmp h"
    );
    let row = &home.run(["ps", "-a", "--format", "json"]).succeeds().json()[0];
    assert_eq!(row["name"], "seven");
    assert_eq!(row["status"], "exited");
    assert_eq!(row["exit_status"], 7);
    assert_eq!(row["image"], "alpine:latest");
    assert_eq!(row["command"][0], "sh");
    let fields: Vec<&String> = row.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "command",
            "created",
            "digest",
            "exit_status",
            "finished",
            "id",
            "image",
            "name",
            "pid",
            "reason",
            "started",
            "status"
        ]
    );
    let inspected = &home.run(["inspect", "seven"]).succeeds().json()[0];
    assert_eq!(inspected["kind"], "container");
    assert_eq!(inspected["spec"]["process"]["cwd"], "/tmp");
    home.run(["rm", "seven"]).succeeds();
}

#[test]
fn names_are_given_once() {
    let home = Home::with_alpine();
    home.run(["run", "--name", "mine", "alpine", "true"])
        .succeeds();
    home.run(["run", "--name", "mine", "alpine", "true"])
        .fails(&["mine", "alpine:latest"])
        .hints(&["box rm mine"]);
    home.run(["run", "--name", "no/such", "alpine", "true"])
        .fails(&["no/such"]);
    home.run(["run", "--name", "..", "alpine", "true"])
        .fails(&[".."]);
    home.run(["rm", "mine"]).succeeds();
}

#[test]
fn a_running_container_is_listed_and_not_removed() {
    let home = Home::with_alpine();
    let mut child = home
        .command([
            "run",
            "--rm",
            "--name",
            "busy",
            "alpine",
            "sh",
            "-c",
            "echo up; cat; exit 3",
        ])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    // Kept to the end: cat would not outlive the reader of its output.
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "up\n");
    // The command may speak before box has written down that it runs.
    let deadline = std::time::Instant::now() + box_tests::outcome::PATIENCE;
    let row = loop {
        assert!(std::time::Instant::now() < deadline, "it is never listed");
        let rows = home.run(["ps", "--format", "json"]).succeeds().json();
        if let Some(row) = rows.as_array().unwrap().first() {
            break row.clone();
        }
    };
    assert_eq!(row["status"], "running");
    let pid = row["pid"].as_u64().unwrap();
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(comm.trim(), "sh");
    home.run(["rm", "busy"]).fails(&["busy", "running"]);
    home.run(["start", "busy"]).fails(&["busy"]);
    home.run(["run", "--name", "busy", "alpine", "true"])
        .fails(&["busy", "running"]);
    drop(child.stdin.take());
    let status = box_tests::outcome::wait(&mut child, "box run");
    assert_eq!(status.code(), Some(3));
    assert_eq!(home.run(["ps", "-a", "-q"]).succeeds().text(), "");
}

#[test]
fn rm_f_ends_a_running_container() {
    let home = Home::with_alpine();
    let mut child = home
        .command([
            "run",
            "--name",
            "busy",
            "alpine",
            "sh",
            "-c",
            "echo up; exec sleep 1000",
        ])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    home.run(["rm", "-f", "busy"]).succeeds();
    let status = box_tests::outcome::wait(&mut child, "box run");
    assert_eq!(box_tests::outcome::code(status), 137);
    assert!(home.instances().is_empty());
}
