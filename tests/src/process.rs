//! Facts about a running process, from the kernel.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::behind;

/// Starts the command as a child of a shell that has closed all but the standard descriptors, so that it begins with the
/// smallest descriptor table: the size of a child's table depends on its parent's open descriptors. Returns the shell, which
/// ends with the command, and the command's pid.
///
/// # Panics
///
/// If the kernel still gives it a large table, which would hide the delay that these tests look for.
#[track_caller]
pub fn with_few_descriptors(command: &Command) -> (Child, u32) {
    let script = r#"for fd in /proc/self/fd/*; do
            fd=${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-"
        done
        grep FDSize /proc/self/status; "$@" >/dev/null 2>&1 & echo $!; wait"#;
    let mut command = behind(&format!("exec bash -c '{script}' bash \"$@\""), command);
    let mut shell = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell starts");
    let output = shell.stdout.take().expect("its output is a pipe");
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let mut number = || {
        let line = lines.next().expect("the shell writes two lines");
        let number = line.rsplit(char::is_whitespace).next();
        number
            .and_then(|number| number.parse().ok())
            .expect("a number")
    };
    let (room, pid) = (number(), number());
    assert!(
        room <= 64,
        "the table has room for {room} from the beginning"
    );
    (shell, pid)
}

/// A number from a process's `/proc/PID/status`.
#[track_caller]
pub fn status(pid: u32, name: &str) -> u64 {
    let path = format!("/proc/{pid}/status");
    let status =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {path}: {error}"));
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value
        .and_then(|value| value.trim().parse().ok())
        .expect("a number of that name")
}
