//! What a person can do about a failure of a library.

use std::io::ErrorKind;

use box_cache::{is_full, is_unwritable};
use box_run::Step;
use rustix::io::Errno;

/// About failures of the cache.
pub fn of_cache(error: &box_cache::Error) -> Option<String> {
    use box_cache::Error;
    match error {
        Error::Io { source, .. } => of_io(source),
        Error::Reference { .. } => {
            Some("an image is named like alpine, alpine:3.20 or alpine@sha256:...".to_owned())
        }
        Error::Layout { .. } => Some("give another directory with --cache DIR".to_owned()),
        Error::Nameless { .. } => Some("give it a name: box load --name IMAGE".to_owned()),
        Error::DamagedImage { reference, .. } => {
            Some(format!("fetch it again: box pull {reference}"))
        }
        _ => None,
    }
}

/// About failures of pulling.
pub fn of_pull(error: &box_pull::Error) -> Option<String> {
    use box_pull::Error;
    let hint = match error {
        Error::Cache(error) => return of_cache(error),
        Error::Io { source, .. } => return of_io(source),
        Error::Url { .. } => "a mirror is an http://, https:// or file:// URL",
        Error::UnknownName { .. } => {
            "try alpine; other root filesystems can be imported: box import FILE NAME"
        }
        Error::Unreachable { .. } => {
            "try another mirror: --mirror URL; what is cached still works: box images"
        }
        Error::Unvouched { .. } => "use it as it is: --verify prefer",
        Error::NotSigned { .. } => "take it with its checksums alone: --verify prefer",
        Error::Certificate { .. } | Error::Tls { .. } => {
            "name the authority's certificate: --ca-cert FILE"
        }
        Error::Offline { .. } => "fetch it once without --offline and BOX_OFFLINE",
        Error::NotLocked { reference, .. } => return Some(format!("add it: box lock {reference}")),
        Error::Layer { source, .. } => return of_chain(source.as_ref()),
        _ => return None,
    };
    Some(hint.to_owned())
}

/// About the first failure of files among the causes.
fn of_chain(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(hint) = error.downcast_ref::<std::io::Error>().and_then(of_io) {
            return Some(hint);
        }
        if let Some(hint) = error
            .downcast_ref::<box_unpack::Error>()
            .and_then(of_unpack)
        {
            return Some(hint);
        }
        next = error.source();
    }
    None
}

/// About failures of unpacking.
pub fn of_unpack(error: &box_unpack::Error) -> Option<String> {
    use box_unpack::Error;
    match error {
        Error::Io { source, .. } | Error::Write { source, .. } => of_io(source),
        Error::NotEmpty { .. } | Error::NotDirectory(_) => {
            Some("name a directory that is empty, or one that is not there yet".to_owned())
        }
        _ => None,
    }
}

/// About failures with containers.
pub fn of_containers(error: &box_containers::Error) -> Option<String> {
    use box_containers::Error;
    match error {
        Error::Run(error) => of_run(error),
        Error::Told { hint, .. } => hint.clone(),
        Error::NoSuchInstance { .. } => Some("see what there is: box ps -a".to_owned()),
        Error::Running { name, .. } => {
            Some(format!("stop it first, or use rm -f: box stop {name}"))
        }
        Error::TooManyLayers { .. } => {
            Some("give the container a copy of its files: --storage copy".to_owned())
        }
        Error::NameTaken { name, .. } => Some(format!(
            "remove it with box rm {name}, or choose another name"
        )),
        _ => None,
    }
}

/// About failures of the runtime.
fn of_run(error: &box_run::Error) -> Option<String> {
    use box_run::Error;
    match error {
        Error::Setup { step, source, .. } => of_step(*step, Errno::from_io_error(source)?),
        Error::Io { source, .. } => of_io(source),
        error => error.hint(),
    }
}

/// About a step of a container's set-up.
fn of_step(step: Step, errno: Errno) -> Option<String> {
    let text = match (step, errno) {
        (Step::Rootfs, Errno::INVAL) => {
            "the file system of the instances may not be able to hold an overlay's upper directory (overlay on overlay, NFS): \
             put --root on another one, or give the container a copy with --storage copy"
        }
        (Step::Rootfs, Errno::NODEV) => {
            "the kernel has no overlay file system: modprobe overlay, or give the container a copy with --storage copy"
        }
        (Step::MountTarget, Errno::ISDIR | Errno::NOTDIR) => {
            "a file is mounted on a file, a directory on a directory; the image has the other one there"
        }
        (Step::Seal, Errno::PERM | Errno::NOSYS) => {
            "box executes a program from memory; what it runs in does not allow execveat"
        }
        (Step::Enter | Step::Announce | Step::Session, Errno::PERM | Errno::NOSYS) => {
            "the container's seccomp profile does not allow what a process needs to join: clone, setsid, ioctl, read and write"
        }
        (Step::Enter, Errno::AGAIN) => {
            "a process that joins needs room for two, for a moment; see --pids-limit and the limit nproc of the container"
        }
        (Step::Rlimit, Errno::PERM) => "raising a hard limit needs CAP_SYS_RESOURCE",
        (Step::Pivot, Errno::INVAL) => "on a host whose root is the initramfs use --no-pivot",
        (Step::Mount | Step::Unshare | Step::Propagation, Errno::PERM) => {
            "box needs CAP_SYS_ADMIN; inside another container run that one privileged"
        }
        (_, Errno::NOSYS) => "this kernel lacks the system call: Linux 5.12 or later is needed",
        _ => return None,
    };
    Some(text.to_owned())
}

/// About failures of files.
pub fn of_io(error: &std::io::Error) -> Option<String> {
    let hint = if is_full(error) {
        "free some space (box rm, box rmi), or keep things elsewhere with --root DIR or --cache DIR"
    } else if error.kind() == ErrorKind::ReadOnlyFilesystem {
        "keep things elsewhere with --root DIR or --cache DIR"
    } else if is_unwritable(error) {
        "run it as root, or keep things elsewhere with --root DIR or --cache DIR"
    } else {
        return None;
    };
    Some(hint.to_owned())
}
