//! `box cp`.

use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use box_containers::copy::{Copied, CopyOptions, Tree, copy, write_archive};
use box_containers::{Container, Ids};
use box_unpack::{Limits, unpack_archive};

use crate::interrupt::Interrupts;
use crate::report::{Failure, cause, warn};
use crate::settings::{Settings, require_root};

/// Copies files between a container, running or stopped, and the host. The container's side is NAME:PATH, and - on the other side
/// is a tar archive on stdin or stdout. As with cp, SOURCE is copied into DESTINATION if that is a directory, and SOURCE/. means
/// the content of SOURCE. A device or pipe of the host as DESTINATION is written to; no device, pipe or socket is replaced.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box cp README.md web:/srv\n  box cp web:/etc/passwd .\n  box cp web:/etc - | tar t"
)]
pub struct Args {
    /// File or directory to copy
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Target of the copy
    #[arg(value_name = "DESTINATION")]
    destination: String,
    /// Preserve owners, extended attributes and device nodes
    #[arg(short, long)]
    archive: bool,
    /// Follow SOURCE if it is a symbolic link
    #[arg(short = 'L', long)]
    follow_link: bool,
}

/// One side of a copy.
enum Side<'a> {
    Container(&'a str, &'a Path),
    Host(&'a Path),
    Stream,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    require_root("accessing a container's files")?;
    allow_many_files();
    let copied = match (side(&args.source), side(&args.destination)) {
        (Side::Container(name, path), Side::Host(host)) => {
            let (tree, options) = args.open(settings, name, false)?;
            // Writing to a device or pipe may take for ever, and there is nothing to undo.
            let hold = !std::fs::metadata(host).is_ok_and(|it| is_open_ended(it.file_type()));
            transfer((&tree, path), (&Tree::host(), host), &options, hold)?
        }
        (Side::Container(name, path), Side::Stream) => {
            let mut stdout = std::io::stdout().lock();
            if stdout.is_terminal() {
                return Err(Failure::new("cannot write an archive to a terminal")
                    .hint("redirect stdout to a file or to tar"));
            }
            let (tree, options) = args.open(settings, name, false)?;
            let copied = write_archive(&tree, path, &options, &mut stdout)?;
            stdout.flush().map_err(|error| {
                Failure::new(format!("cannot write to stdout: {}", cause(&error)))
            })?;
            copied
        }
        (Side::Host(host), Side::Container(name, path)) => {
            let (tree, options) = args.open(settings, name, true)?;
            transfer((&Tree::host(), host), (&tree, path), &options, true)?
        }
        (Side::Stream, Side::Container(name, path)) => args.unpack(settings, name, path)?,
        (Side::Container(..), Side::Container(..)) => {
            return Err(Failure::new("cannot copy from one container to another")
                .hint("copy to the host first"));
        }
        _ => {
            let why = "cannot copy: neither side is in a container";
            return Err(
                Failure::new(why).hint("a file in a container is named like web:/etc/passwd")
            );
        }
    };
    warn_of_omissions(&copied);
    Ok(0)
}

/// Copies, and undoes an incomplete copy if a signal interrupts it.
fn transfer(
    (from, source): (&Tree, &Path),
    (to, destination): (&Tree, &Path),
    options: &CopyOptions,
    hold: bool,
) -> Result<Copied, Failure> {
    let held =
        |error: std::io::Error| Failure::new(format!("cannot block signals: {}", cause(&error)));
    let interrupts = hold.then(Interrupts::hold).transpose().map_err(held)?;
    let stop = || interrupts.as_ref().is_some_and(Interrupts::is_pending);
    let copied = copy(from, source, to, destination, options, &stop);
    // A pending signal ends box here.
    interrupts
        .map_or(Ok(()), Interrupts::finish)
        .map_err(held)?;
    copied.map_err(|error| failure(error, options.inward))
}

/// The hints about full and read-only disks differ from those elsewhere: here the target of the copy is meant.
fn failure(error: box_containers::Error, inward: bool) -> Failure {
    let box_containers::Error::Run(box_run::Error::Io { source, .. }) = &error else {
        return error.into();
    };
    let hint = match source.kind() {
        ErrorKind::ReadOnlyFilesystem if inward => {
            "the container cannot write there either (--read-only, or a volume with ro): copy to a writable volume"
        }
        ErrorKind::ReadOnlyFilesystem => "copy to another directory",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space at the destination",
        ErrorKind::PermissionDenied => return Failure::from_error(&error),
        _ => return error.into(),
    };
    Failure::from_error(&error).hint(hint)
}

/// Warns about files that were not copied.
fn warn_of_omissions(copied: &Copied) {
    if copied.skipped > 0 {
        warn(format!(
            "{} sockets and devices were skipped",
            copied.skipped
        ));
    }
    if copied.vanished > 0 {
        warn(format!(
            "{} files vanished before they could be copied",
            copied.vanished
        ));
    }
    for why in &copied.unavailable {
        warn(format!("skipped: {why}"));
    }
}

/// Raises the limit of open files: each directory on the way down is open while its files are copied.
fn allow_many_files() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    // If that is not permitted, copying a deep tree fails with its own error.
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap_or_default();
}

fn is_open_ended(kind: std::fs::FileType) -> bool {
    kind.is_fifo() || kind.is_char_device()
}

/// `NAME:PATH` is in a container, unless there is a slash before the colon, as in `./a:b`.
fn side(text: &str) -> Side<'_> {
    match text.split_once(':') {
        _ if text == "-" => Side::Stream,
        Some((name, path)) if !name.is_empty() && !name.contains('/') => {
            Side::Container(name, Path::new(path))
        }
        _ => Side::Host(Path::new(text)),
    }
}

impl Args {
    fn open(
        &self,
        settings: &Settings,
        name: &str,
        inward: bool,
    ) -> Result<(Tree, CopyOptions), Failure> {
        let container = settings.containers().get(name)?;
        let ids = container.ids()?;
        let options = self.options(ids, inward);
        let view = container.view()?;
        let tree = view.tree()?;
        // Stays mounted and locked until this process exits.
        std::mem::forget(view);
        Ok((tree, options))
    }

    /// Without -a, copies belong to the container's root in the container, and to the caller on the host.
    fn options(&self, ids: Ids, inward: bool) -> CopyOptions {
        let caller = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let owner = if inward {
            (ids.outside(0), ids.outside(0))
        } else {
            caller
        };
        CopyOptions {
            archive: self.archive,
            follow: self.follow_link,
            owner,
            ids,
            inward,
        }
    }

    /// Unpacks an archive beside the container's files first, because its content is not trusted, and copies the result.
    fn unpack(&self, settings: &Settings, name: &str, path: &Path) -> Result<Copied, Failure> {
        let container = settings.containers().get(name)?;
        let held =
            |error: std::io::Error| Failure::new(format!("cannot read stdin: {}", cause(&error)));
        let interrupts = Interrupts::hold().map_err(held)?;
        let stdin = std::io::stdin();
        let waits_on = stdin.as_fd().try_clone_to_owned().map_err(held)?;
        let archive = interrupts
            .watch(stdin.lock(), Some(waits_on))
            .map_err(held)?;
        let aside = aside(&container)?;
        let unpacked = unpack_archive(archive, &aside, &Limits::default());
        let copied = unpacked.map_err(Failure::from).and_then(|_| {
            let (tree, options) = self.open(settings, name, true)?;
            // The directory must exist: the archive only names files below it.
            tree.directory(path)?;
            let options = CopyOptions {
                archive: true,
                ..options
            };
            let stop = || interrupts.is_pending();
            copy(
                &Tree::host(),
                &aside.join("."),
                &tree,
                path,
                &options,
                &stop,
            )
            .map_err(|error| failure(error, true))
        });
        std::fs::remove_dir_all(&aside).map_err(|error| {
            Failure::new(format!(
                "cannot remove {}: {}",
                aside.display(),
                cause(&error)
            ))
        })?;
        interrupts.finish().map_err(held)?;
        copied
    }
}

/// Prefix of the directories of unpacked archives; the process id follows.
const ASIDE: &str = "copied-";

/// Creates a directory beside the container's files, and removes those of killed processes.
fn aside(container: &Container) -> Result<PathBuf, Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::new(format!(
            "cannot create directory {}: {}",
            path.display(),
            cause(&error)
        ))
    };
    let dir = container.dir();
    for entry in std::fs::read_dir(dir).map_err(|error| failed(dir, error))? {
        let entry = entry.map_err(|error| failed(dir, error))?;
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(ASIDE));
        let process = process.and_then(|process| process.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            std::fs::remove_dir_all(entry.path()).map_err(|error| failed(&entry.path(), error))?;
        }
    }
    let aside = dir.join(format!("{ASIDE}{}", std::process::id()));
    // A directory with our own process id was left by an earlier process.
    std::fs::remove_dir_all(&aside).or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(failed(&aside, error)),
    })?;
    std::fs::create_dir(&aside).map_err(|error| failed(&aside, error))?;
    Ok(aside)
}
