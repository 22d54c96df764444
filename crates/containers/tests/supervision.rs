//! A single-threaded process that runs a container in the foreground, as box does: signals, its death, its terminal. Without the test
//! harness, whose threads would get the signals.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use box_containers::{Containers, RunOptions, launch};
use support::{Engine, groups, layers, shell};

const ROOT: &str = "BOX_TEST_ROOT";
const SCRIPT: &str = "BOX_TEST_SCRIPT";

fn main() -> ExitCode {
    if let (Some(root), Ok(script)) = (std::env::var_os(ROOT), std::env::var(SCRIPT)) {
        return supervise(root.as_ref(), &script).into();
    }
    let tests: [(&str, fn()); 7] = [
        (
            "signals_end_a_pid_1_without_handlers",
            signals_end_a_pid_1_without_handlers,
        ),
        ("signals_reach_a_handler", signals_reach_a_handler),
        (
            "killed_it_takes_the_container_along",
            killed_it_takes_the_container_along,
        ),
        (
            "killed_at_any_point_of_a_start_nothing_stays",
            killed_at_any_point_of_a_start_nothing_stays,
        ),
        (
            "standard_streams_pass_unchanged",
            standard_streams_pass_unchanged,
        ),
        (
            "a_terminal_is_interactive_and_restored",
            a_terminal_is_interactive_and_restored,
        ),
        ("control_c_ends_a_deaf_pid_1", control_c_ends_a_deaf_pid_1),
    ];
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    for (name, test) in tests {
        if asked.is_empty() || asked.iter().any(|word| name.contains(word)) {
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

/// The process under test: `sh -c SCRIPT` in a container, with a terminal if it has one.
fn supervise(root: &std::path::Path, script: &str) -> u8 {
    let mut asked = shell(script);
    asked.terminal = rustix::termios::isatty(rustix::stdio::stdin());
    let layers = layers(root);
    asked.accounts = box_containers::accounts::Accounts::of_layers(
        &layers,
        &box_containers::spec::mounts(&asked),
    )
    .unwrap();
    let containers = Containers::open(
        root.join("instances"),
        root.join("run"),
        root.join("layers"),
    );
    let container = containers
        .create(box_containers::NewContainer {
            name: Some(name(root)),
            image: "test".to_owned(),
            manifest: None,
            layers,
            storage: Some(box_containers::Storage::Overlay),
            spec: box_containers::spec::build(&Default::default(), &asked).unwrap(),
            cgroup_parent: None,
            etc: box_containers::EtcFiles::default(),
            remove: true,
            options: RunOptions::from(box_run::Options {
                pids_by_default: true,
                ..box_run::Options::default()
            }),
        })
        .unwrap();
    let plan = container.plan().unwrap();
    launch(container, plan).unwrap().wait().unwrap().code
}

/// A name that no other test on this machine uses.
fn name(root: &std::path::Path) -> String {
    let name = root.file_name().unwrap().to_string_lossy().replace('.', "");
    format!("watched-{name}")
}

fn start(engine: &Engine, script: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(ROOT, engine.path(""))
        .env(SCRIPT, script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// Reads the first line, which says that the command runs.
fn wait_for_line(child: &mut Child) -> String {
    let mut line = vec![];
    let mut byte = [0u8];
    while child.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// Waits until nothing of the container is left.
fn assert_gone(engine: &Engine) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mark = engine.path("").into_os_string().into_string().unwrap();
    loop {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let busy = processes_of(&mark);
        if !mounts.contains(&mark) && busy.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left over: {busy:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes whose root is an overlay of this test.
fn processes_of(mark: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let own = std::process::id().to_string();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()) && *pid != own)
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))
                .is_ok_and(|mounts| mounts.contains(mark))
        })
        .collect()
}

/// The shell consumes a signal that arrives before it has executed the sleep, so the signal is sent again, but not so soon that it
/// reaches a box that is cleaning up.
fn send_until_it_ends(
    child: &mut Child,
    sent: rustix::process::Signal,
) -> std::process::ExitStatus {
    for _ in 0..10 {
        signal(child, sent);
        let again = Instant::now() + Duration::from_secs(2);
        while Instant::now() < again {
            std::thread::sleep(Duration::from_millis(20));
            if let Some(ended) = child.try_wait().unwrap() {
                return ended;
            }
        }
    }
    panic!("{sent:?} does not end it");
}

fn signals_end_a_pid_1_without_handlers() {
    use rustix::process::Signal;
    for (sent, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let engine = Engine::new();
        let mut child = start(&engine, "echo up; exec sleep 1000").spawn().unwrap();
        assert_eq!(wait_for_line(&mut child), "up");
        let ended = send_until_it_ends(&mut child, sent);
        assert_eq!(ended.code(), Some(code));
        assert!(
            engine.left().is_empty() && groups(&name(&engine.path(""))).is_empty(),
            "{:?}",
            engine.left()
        );
    }
}

fn signals_reach_a_handler() {
    let engine = Engine::new();
    let mut child = start(
        &engine,
        "trap 'echo caught; exit 9' TERM; echo up; while :; do sleep 0.1; done",
    )
    .spawn()
    .unwrap();
    assert_eq!(wait_for_line(&mut child), "up");
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(wait_for_line(&mut child), "caught");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

fn killed_it_takes_the_container_along() {
    let engine = Engine::new();
    let mut child = start(&engine, "echo up; sleep 1000 & exec sleep 1000")
        .spawn()
        .unwrap();
    assert_eq!(wait_for_line(&mut child), "up");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_gone(&engine);
    // Its name is free again, and the next container with that name removes what it left on disk.
    assert_eq!(start(&engine, "exit 6").status().unwrap().code(), Some(6));
    assert!(
        engine.left().is_empty() && groups(&name(&engine.path(""))).is_empty(),
        "{:?} {:?}",
        engine.left(),
        groups(&name(&engine.path("")))
    );
}

fn killed_at_any_point_of_a_start_nothing_stays() {
    let engine = Engine::new();
    let begun = Instant::now();
    assert_eq!(start(&engine, "exit 0").status().unwrap().code(), Some(0));
    let whole = begun.elapsed();
    for step in 0..60u32 {
        let mut child = start(&engine, "exec sleep 1000").spawn().unwrap();
        std::thread::sleep(whole * step / 50);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_gone(&engine);
    }
    assert_eq!(start(&engine, "exit 0").status().unwrap().code(), Some(0));
    assert!(
        engine.left().is_empty() && groups(&name(&engine.path(""))).is_empty(),
        "{:?} {:?}",
        engine.left(),
        groups(&name(&engine.path("")))
    );
}

fn standard_streams_pass_unchanged() {
    let engine = Engine::new();
    let mut child = start(&engine, "cat; echo problem >&2")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes: Vec<u8> = (0..=255u8).cycle().take(300_000).collect();
    let mut input = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || input.write_all(&sent).unwrap());
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(
        out.stdout == bytes,
        "standard output differs from standard input"
    );
    assert_eq!(out.stderr, b"problem\n");
}

/// A terminal with the process under test on it.
struct Terminal {
    master: std::fs::File,
    child: Child,
    seen: String,
}

impl Terminal {
    fn start(engine: &Engine, script: &str) -> Self {
        use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let size = rustix::termios::Winsize {
            ws_row: 33,
            ws_col: 99,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&master, size).unwrap();
        let terminal = ioctl_tiocgptpeer(&master, flags).unwrap();
        let stdio = || Stdio::from(terminal.try_clone().unwrap());
        let mut command = start(engine, script);
        command
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .process_group(0);
        let child = command.spawn().unwrap();
        Self {
            master: master.into(),
            child,
            seen: String::new(),
        }
    }

    fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    fn wait_for(&mut self, text: &str) {
        let mut buffer = [0u8; 1024];
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let length = self.master.read(&mut buffer).unwrap_or(0);
            assert!(length > 0, "{text:?} is not in {:?}", self.seen);
            self.seen += &String::from_utf8_lossy(&buffer[..length]);
        }
    }

    fn is_raw(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.master)
            .unwrap()
            .local_modes;
        !modes.contains(rustix::termios::LocalModes::ICANON)
    }
}

fn a_terminal_is_interactive_and_restored() {
    let engine = Engine::new();
    let mut terminal = Terminal::start(
        &engine,
        "stty size; echo ready; read word; echo got $word; stty size; sleep 1000; exit 3",
    );
    terminal.wait_for("33 99\r\nready");
    assert!(terminal.is_raw());
    let size = rustix::termios::Winsize {
        ws_row: 20,
        ws_col: 50,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&terminal.master, size).unwrap();
    // The kernel signals the foreground job of a controlling terminal, which this terminal is not.
    signal(&terminal.child, rustix::process::Signal::WINCH);
    std::thread::sleep(Duration::from_millis(50));
    terminal.send("hello\r");
    terminal.wait_for("got hello\r\n");
    terminal.wait_for("20 50");
    // Control-C goes to the job in the container, sleep, and the shell goes on.
    terminal.send("\x03");
    terminal.child.wait().unwrap();
    assert!(!terminal.is_raw());
}

fn control_c_ends_a_deaf_pid_1() {
    let engine = Engine::new();
    let mut terminal = Terminal::start(&engine, "echo ready; exec sleep 1000");
    terminal.wait_for("ready");
    // The shell may consume it until the exec is complete.
    let children = format!("/proc/{}/task/{0}/children", terminal.child.id());
    let running = || {
        let pids = std::fs::read_to_string(&children).unwrap_or_default();
        let first = pids.split(' ').next().unwrap_or_default();
        std::fs::read_to_string(format!("/proc/{first}/comm")).unwrap_or_default()
    };
    while running().trim() != "sleep" {
        std::thread::sleep(Duration::from_millis(1));
    }
    terminal.send("\x03");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(130));
    assert!(!terminal.is_raw());
    assert!(engine.left().is_empty());
}
