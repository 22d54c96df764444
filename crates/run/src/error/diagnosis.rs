//! Why a command could not be executed. The sealed program looks at the file in the container, and box concludes from that
//! ([`examine`]).

use std::path::PathBuf;

use rustix::io::Errno;

use crate::sealed::layout::{self, Facts};

/// A command that cannot be executed. The exit statuses are those of shells: 127 for not found, 126 for not executable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecFailure {
    /// There is no such file, in PATH or at the given path.
    #[error("{command}: {}", if command.contains('/') { "no such file in the container" } else { "command not found in the container's PATH" })]
    NotFound {
        /// The command, as given.
        command: String,
    },
    /// The file exists but cannot be executed.
    #[error("{}: {reason}", path.display())]
    NotExecutable {
        /// The file in the container.
        path: PathBuf,
        /// Why not.
        reason: String,
        /// Advice for the user.
        hint: Option<String>,
    },
}

impl ExecFailure {
    /// The exit status that box reports: 126 or 127.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
        }
    }

    /// Advice for the user, if there is any.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => None,
            Self::NotExecutable { hint, .. } => hint.clone(),
        }
    }

    /// Makes an error of a finding about the file `path`, for which execve(2) failed with `errno`.
    pub(crate) fn new(path: PathBuf, errno: i32, finding: Finding, text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let plain = || box_host::Reason(&std::io::Error::from_raw_os_error(errno)).to_string();
        let (reason, hint) = match finding {
            Finding::Missing => {
                return Self::NotFound {
                    command: path.to_string_lossy().into_owned(),
                };
            }
            Finding::Unknown => (plain(), None),
            Finding::Directory => ("it is a directory".to_owned(), None),
            Finding::NoExecuteBit => {
                let hint = format!(
                    "make it executable (chmod +x), or pass it to its interpreter: sh {}",
                    path.display()
                );
                ("it has no execute permission".to_owned(), Some(hint))
            }
            Finding::NoExecMount => {
                let hint = "its mount has the option noexec; mount it with exec".to_owned();
                ("its file system is mounted noexec".to_owned(), Some(hint))
            }
            Finding::ScriptInterpreter => {
                let hint = match text.strip_suffix('\r') {
                    Some(_) => "its first line ends with a carriage return; save the file with Unix line endings".to_owned(),
                    None => format!("install {text} in the image, or change the first line of the file"),
                };
                (
                    format!(
                        "its interpreter {:?} (first line) does not exist in the container",
                        text.trim_end_matches('\r')
                    ),
                    Some(hint),
                )
            }
            Finding::ElfInterpreter => elf_interpreter(&text),
            Finding::Machine => machine(&text),
            Finding::NotAProgram => {
                let hint = format!(
                    "a script needs a first line such as #!/bin/sh; or run it as: sh {}",
                    path.display()
                );
                (
                    "it is neither a program for this machine nor a script with a #! line"
                        .to_owned(),
                    Some(hint),
                )
            }
            Finding::Empty => ("it is an empty file".to_owned(), None),
        };
        Self::NotExecutable { path, reason, hint }
    }
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing more than the error number.
    Unknown,
    /// There is no such file.
    Missing,
    /// It is a directory.
    Directory,
    /// It has no execute permission for anyone.
    NoExecuteBit,
    /// It is on a mount with noexec.
    NoExecMount,
    /// The interpreter of its `#!` line is missing; the text is its path.
    ScriptInterpreter,
    /// The interpreter of its program header is missing; the text is its path, a zero byte, and the image's C library, `musl` or
    /// `glibc`.
    ElfInterpreter,
    /// It is for another machine; the text is the number of its ELF machine and its class, in decimal.
    Machine,
    /// It is neither ELF nor a script.
    NotAProgram,
    /// It is empty.
    Empty,
}

fn elf_interpreter(text: &str) -> (String, Option<String>) {
    let (interpreter, libc) = text.split_once('\0').unwrap_or((text, ""));
    let built_for = if interpreter.contains("ld-musl") {
        "musl"
    } else {
        "glibc"
    };
    let reason = match libc {
        "" => format!("its loader {interpreter} does not exist in the container"),
        libc if libc == built_for => {
            format!(
                "its loader {interpreter} does not exist in the container, which has another loader for {libc}"
            )
        }
        libc => {
            format!("it is built for {built_for} (loader {interpreter}), but this image has {libc}")
        }
    };
    let hint = match (built_for, libc) {
        ("glibc", "musl") => {
            "use a statically linked or musl build, an image with glibc, or try apk add gcompat"
        }
        ("musl", "glibc") => {
            "use a statically linked or glibc build, or an image with musl such as alpine"
        }
        _ => "use a statically linked build, or install the loader in the image",
    };
    (reason, Some(hint.to_owned()))
}

fn machine(text: &str) -> (String, Option<String>) {
    let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or(0u16));
    let (machine, class) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let name = match (machine, class) {
        (3, _) => "x86",
        (62, 1) => "x32",
        (62, _) => "x86_64",
        (40, _) => "arm",
        (183, _) => "aarch64",
        (243, 1) => "riscv32",
        (243, _) => "riscv64",
        (21, _) => "ppc64le",
        (22, _) => "s390x",
        (258, _) => "loongarch64",
        (8, _) => "mips",
        _ => "an unknown machine",
    };
    let host = std::env::consts::ARCH;
    let reason = format!("it is built for {name}, but this machine is {host}");
    let hint = format!(
        "use the image for {host}, or register an emulator for {name} with binfmt_misc (qemu-user-static)"
    );
    (reason, Some(hint))
}

/// Concludes why execve(2) refused a file with `errno`, from the facts that the sealed program reported. Writes the interpreter or
/// machine that the finding is about to `text`.
pub(crate) fn examine(facts: &Facts, head: &[u8], errno: Errno, text: &mut Text) -> Finding {
    let has = |flag: u32| facts.flags & flag != 0;
    if !has(layout::EXISTS) {
        return if errno == Errno::NOENT {
            Finding::Missing
        } else {
            Finding::Unknown
        };
    }
    if rustix::fs::FileType::from_raw_mode(facts.mode) == rustix::fs::FileType::Directory {
        return Finding::Directory;
    }
    if errno == Errno::ACCESS {
        return match (facts.mode & 0o111, has(layout::ON_NOEXEC)) {
            (0, _) => Finding::NoExecuteBit,
            (_, true) => Finding::NoExecMount,
            _ => Finding::Unknown,
        };
    }
    let of_content = matches!(
        errno,
        Errno::NOENT | Errno::NOEXEC | Errno::LIBBAD | Errno::INVAL
    );
    if !of_content || !has(layout::WAS_READ) {
        return Finding::Unknown;
    }
    let library: &[u8] = match (has(layout::HAS_MUSL), has(layout::HAS_GLIBC)) {
        (true, _) => b"musl",
        (false, true) => b"glibc",
        (false, false) => b"",
    };
    judge(head, library, errno, text)
}

fn judge(head: &[u8], library: &[u8], errno: Errno, text: &mut Text) -> Finding {
    if head.is_empty() {
        return Finding::Empty;
    }
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or(line)
            .trim_ascii_start();
        let name = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .next()
            .unwrap_or(line);
        text.push(name);
        return if errno == Errno::NOENT {
            Finding::ScriptInterpreter
        } else {
            Finding::Unknown
        };
    }
    if !head.starts_with(b"\x7fELF") || head.len() < 64 {
        return if errno == Errno::NOEXEC {
            Finding::NotAProgram
        } else {
            Finding::Unknown
        };
    }
    if errno == Errno::NOENT {
        if let Some(interpreter) = interpreter(head) {
            text.push(interpreter);
            text.push(b"\0");
            text.push(library);
            return Finding::ElfInterpreter;
        }
        return Finding::Unknown;
    }
    let machine = u16::from_le_bytes([head[18], head[19]]);
    text.push_number(machine);
    text.push(b" ");
    text.push_number(head[4].into());
    Finding::Machine
}

/// PT_INTERP of a little-endian ELF file, elf(5). In nearly every file the table and the string are near the beginning.
fn interpreter(head: &[u8]) -> Option<&[u8]> {
    const PT_INTERP: u32 = 3;
    let wide = head[4] == 2;
    let number = |at: usize, size: usize| {
        let bytes = head.get(at..at.checked_add(size)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0u64, |value, byte| value << 8 | u64::from(*byte)),
        )
    };
    let (table, size, count) = match wide {
        true => (number(32, 8)?, number(54, 2)?, number(56, 2)?),
        false => (number(28, 4)?, number(42, 2)?, number(44, 2)?),
    };
    for index in 0..count {
        let entry = usize::try_from(table.checked_add(index.checked_mul(size)?)?).ok()?;
        if number(entry, 4)? != u64::from(PT_INTERP) {
            continue;
        }
        let (offset, length) = match wide {
            true => (
                number(entry.checked_add(8)?, 8)?,
                number(entry.checked_add(32)?, 8)?,
            ),
            false => (
                number(entry.checked_add(4)?, 4)?,
                number(entry.checked_add(16)?, 4)?,
            ),
        };
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        return head.get(start..end)?.split(|byte| *byte == 0).next();
    }
    None
}

/// A short text that is written without allocating. Excess bytes are cut off.
pub(crate) struct Text {
    bytes: [u8; 200],
    length: usize,
}

impl Text {
    /// An empty text.
    pub fn new() -> Self {
        Self {
            bytes: [0; 200],
            length: 0,
        }
    }

    /// The bytes written so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(self.bytes.len() - self.length);
        self.bytes[self.length..self.length + count].copy_from_slice(&bytes[..count]);
        self.length += count;
    }

    fn push_number(&mut self, number: u16) {
        let mut divisor = 10_000;
        while divisor > 1 && number < divisor {
            divisor /= 10;
        }
        while divisor > 0 {
            self.push(&[b'0' + (number / divisor % 10) as u8]);
            divisor /= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(head: &[u8], errno: Errno) -> String {
        let mut text = Text::new();
        let finding = judge(head, b"", errno, &mut text);
        ExecFailure::new("/x".into(), errno.raw_os_error(), finding, text.as_bytes()).to_string()
    }

    /// The head of an ELF file with one program header, PT_INTERP.
    fn elf(machine: u16, interpreter: &[u8]) -> Vec<u8> {
        let mut head = vec![0u8; 120];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18..20].copy_from_slice(&machine.to_le_bytes());
        head[32] = 64;
        head[54] = 56;
        head[56] = 1;
        head[64] = 3;
        head[72] = 120;
        head[96] = interpreter.len() as u8;
        head.extend_from_slice(interpreter);
        head
    }

    #[test]
    fn scripts() {
        let text = found(b"#! /usr/bin/nope -x\nfoo", Errno::NOENT);
        assert_eq!(
            text,
            "/x: its interpreter \"/usr/bin/nope\" (first line) does not exist in the container"
        );
        assert!(found(b"#!/bin/sh\r\n", Errno::NOENT).contains("\"/bin/sh\""));
        assert!(found(b"echo hi\n", Errno::NOEXEC).contains("neither a program"));
    }

    #[test]
    fn programs() {
        assert!(
            found(&elf(62, b"/lib/no-such-loader\0"), Errno::NOENT).contains("/lib/no-such-loader")
        );
        assert!(found(&elf(183, b""), Errno::NOEXEC).contains("built for aarch64"));
        // The image's library is not the one asked for.
        let (reason, hint) = elf_interpreter("/lib64/ld-linux-x86-64.so.2\0musl");
        assert_eq!(
            reason,
            "it is built for glibc (loader /lib64/ld-linux-x86-64.so.2), but this image has musl"
        );
        assert!(hint.is_some_and(|hint| hint.contains("gcompat")));
    }

    #[test]
    fn hostile_headers_do_not_panic() {
        let good = elf(62, b"/lib/x\0");
        for place in 0..good.len() {
            for value in [0, 1, 127, 255] {
                let mut head = good.clone();
                head[place] = value;
                found(&head, Errno::NOENT);
                found(&head[..place], Errno::NOENT);
            }
        }
        assert!(interpreter(&[0xff; 64]).is_none());
    }
}
