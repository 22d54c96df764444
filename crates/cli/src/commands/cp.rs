//! `box cp`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use box_run::copy::{Copied, Options, Tree, copy, write_archive};
use box_run::{Ids, Instance};
use box_unpack::{Limits, unpack_archive};

use crate::containers;
use crate::report::{Failure, cause, warn};
use crate::settings::{Settings, require_root};

/// Copies files between a container, running or not, and the host. The container's side is NAME:PATH; - on the other side
/// is a tar archive on stdin or stdout. As with cp, a directory as DESTINATION gets SOURCE under its own name; SOURCE/. means
/// what SOURCE holds.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box cp README.md web:/srv\n  box cp web:/etc/passwd .\n  box cp web:/etc - | tar t"
)]
pub struct Args {
    /// What to copy
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to
    #[arg(value_name = "DESTINATION")]
    destination: String,
    /// Keep owners, extended attributes and device nodes
    #[arg(short, long)]
    archive: bool,
    /// Follow SOURCE where it is a symbolic link
    #[arg(short = 'L', long)]
    follow_link: bool,
}

/// One side.
enum Side<'a> {
    Container(&'a str, &'a Path),
    Host(&'a Path),
    Stream,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    require_root("looking into a container")?;
    let copied = match (side(&args.source), side(&args.destination)) {
        (Side::Container(name, path), Side::Host(host)) => {
            let (tree, options) = args.open(settings, name, false)?;
            copy(&tree, path, &Tree::host(), host, &options)?
        }
        (Side::Container(name, path), Side::Stream) => {
            let mut stdout = std::io::stdout().lock();
            if stdout.is_terminal() {
                return Err(Failure::new("an archive is not for a terminal")
                    .hint("send stdout to a file or to tar"));
            }
            let (tree, options) = args.open(settings, name, false)?;
            write_archive(&tree, path, &options, &mut stdout)?;
            stdout
                .flush()
                .map_err(|error| Failure::new(format!("write to stdout: {}", cause(&error))))?;
            return Ok(0);
        }
        (Side::Host(host), Side::Container(name, path)) => {
            let (tree, options) = args.open(settings, name, true)?;
            copy(&Tree::host(), host, &tree, path, &options)?
        }
        (Side::Stream, Side::Container(name, path)) => args.unpack(settings, name, path)?,
        (Side::Container(..), Side::Container(..)) => {
            return Err(Failure::new("one side must be the host's")
                .hint("copy to the host, and from there"));
        }
        _ => {
            let why = "neither side is a container's";
            return Err(
                Failure::new(why).hint("a file in a container is named like web:/etc/passwd")
            );
        }
    };
    if copied.skipped > 0 {
        warn(format!(
            "{} sockets and devices were left out",
            copied.skipped
        ));
    }
    Ok(0)
}

/// `NAME:PATH` is in a container, unless a slash stands before the colon, as in `./a:b`.
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
    ) -> Result<(Tree, Options), Failure> {
        let instance = containers::open(settings).get(name)?;
        let ids = instance.ids()?;
        let options = self.options(ids, inward);
        let view = instance.view()?;
        let tree = view.tree()?;
        // Mounted and locked until this process ends.
        std::mem::forget(view);
        Ok((tree, options))
    }

    /// Without -a, copies belong to the container's root there, and to the caller here.
    fn options(&self, ids: Ids, inward: bool) -> Options {
        let caller = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let owner = if inward {
            (ids.outside(0), ids.outside(0))
        } else {
            caller
        };
        Options {
            archive: self.archive,
            follow: self.follow_link,
            owner,
            ids,
            inward,
        }
    }

    /// Unpacks beside the container's files first: the archive may be anything.
    fn unpack(&self, settings: &Settings, name: &str, path: &Path) -> Result<Copied, Failure> {
        let instance = containers::open(settings).get(name)?;
        let aside = aside(&instance)?;
        let unpacked = unpack_archive(std::io::stdin().lock(), &aside, &Limits::default());
        let copied = unpacked.map_err(Failure::from).and_then(|_| {
            let (tree, options) = self.open(settings, name, true)?;
            // It must be there: an archive has names of its own.
            tree.directory(path)?;
            let options = Options {
                archive: true,
                ..options
            };
            Ok(copy(
                &Tree::host(),
                &aside.join("."),
                &tree,
                path,
                &options,
            )?)
        });
        std::fs::remove_dir_all(&aside).map_err(|error| {
            Failure::new(format!("remove {}: {}", aside.display(), cause(&error)))
        })?;
        copied
    }
}

fn aside(instance: &Instance) -> Result<PathBuf, Failure> {
    let aside = instance
        .dir()
        .join(format!("copied-{}", std::process::id()));
    std::fs::create_dir(&aside).map_err(|error| {
        Failure::new(format!(
            "create directory {}: {}",
            aside.display(),
            cause(&error)
        ))
    })?;
    Ok(aside)
}
