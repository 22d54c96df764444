//! Hints at what the user can do about errors of the libraries.

use std::io::ErrorKind;

use box_cache::{is_full, is_unwritable};
use box_run::Step;
use rustix::io::Errno;

/// Hints about errors of the cache.
pub fn of_cache(error: &box_cache::Error) -> Option<String> {
    use box_cache::Error;
    match error {
        Error::Io { source, .. } => of_io(source),
        Error::Reference { .. } => {
            Some("an image is named like alpine, alpine:3.20 or alpine@sha256:...".to_owned())
        }
        Error::Layout { .. } => Some("give another directory with --cache DIR".to_owned()),
        Error::Nameless { .. } => Some("name the image: box load --name IMAGE".to_owned()),
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
        Error::Transfer(error) => return of_transfer(error),
        Error::Registry(error) => return of_registry(error),
        Error::Io { source, .. } => return of_io(source),
        Error::NoPlatform { platforms, .. } => {
            let first = platforms.first()?;
            return Some(format!("to fetch another one: --platform {first}"));
        }
        Error::Unreachable { .. } => {
            "try another mirror: --mirror URL; what is cached still works: box images"
        }
        Error::Untrusted { .. } => "use it as it is: --verify prefer",
        Error::Refused { .. } => "the policy is in config.toml: see docs/security.md",
        Error::NotSigned { .. } => "accept its checksums alone: --verify prefer",
        Error::Offline { .. } | Error::OfflineFetch(_) => {
            "fetch it once without --offline and BOX_OFFLINE"
        }
        Error::NotLocked { reference, .. } => return Some(format!("add it: box lock {reference}")),
        Error::Layer { source, .. } => return of_chain(source.as_ref()),
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Hints about failed transfers.
fn of_transfer(error: &box_pull::TransferError) -> Option<String> {
    use box_pull::TransferError as Error;
    let hint = match error {
        Error::Io { source, .. } => return of_io(source),
        Error::Url { .. } => "a mirror is an http://, https:// or file:// URL",
        Error::Certificate { .. } | Error::Tls { .. } => {
            "name the authority's certificate: --ca-cert FILE"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Hints about the first I/O error among the causes.
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

/// Hints about errors of unpacking.
pub fn of_unpack(error: &box_unpack::Error) -> Option<String> {
    use box_unpack::Error;
    match error {
        Error::Io { source, .. } | Error::Write { source, .. } => of_io(source),
        Error::NotEmpty { .. } | Error::NotDirectory(_) => {
            Some("give a directory that is empty or does not exist".to_owned())
        }
        _ => None,
    }
}

/// Hints about errors of registries.
pub fn of_registry(error: &box_registry::Error) -> Option<String> {
    use box_registry::Error;
    let text = match error {
        Error::CredentialsRequired { host, .. } => format!("log in: box login {host}"),
        Error::WrongCredentials { host, .. } => format!("log in again: box login {host}"),
        Error::NotFound { host, .. } => {
            format!("check the name; if the repository is private, log in: box login {host}")
        }
        Error::Helper { .. } => {
            "the file of credentials names this program: install it, or remove its name from credHelpers or credsStore".to_owned()
        }
        _ => return None,
    };
    Some(text)
}

/// Hints about errors of containers.
pub fn of_containers(error: &box_containers::Error) -> Option<String> {
    use box_containers::Error;
    match error {
        Error::Run(error) => of_run(error),
        Error::Layers(error) => of_unpack(error),
        Error::Monitor { hint, .. } => hint.clone(),
        Error::NoSuchContainer { .. } => Some("list all containers: box ps -a".to_owned()),
        Error::Running { name, .. } => {
            Some(format!("stop it first, or use rm -f: box stop {name}"))
        }
        Error::TooManyLayers { .. } => Some("use a copy of the image: --storage copy".to_owned()),
        Error::NameTaken { name, .. } => Some(format!(
            "remove it with box rm {name}, or choose another name"
        )),
        _ => None,
    }
}

/// Hints about errors of the runtime.
fn of_run(error: &box_run::Error) -> Option<String> {
    use box_run::Error;
    match error {
        Error::Setup {
            step: Step::Rootfs,
            action,
            source,
        } if !action.starts_with("mount the overlay on ") => of_io(source),
        Error::Setup { step, source, .. } => of_step(*step, Errno::from_io_error(source)?),
        Error::Io { source, .. } => of_io(source),
        error => error.hint(),
    }
}

/// Hints about errors in a step of a container's set-up.
fn of_step(step: Step, errno: Errno) -> Option<String> {
    let text = match (step, errno) {
        (Step::Rootfs, Errno::INVAL) => {
            "the file system of the root directory may not support an overlay's upper directory (overlay on overlay, NFS): \
             use another one with --root DIR, or a copy of the image with --storage copy"
        }
        (Step::Rootfs, Errno::NODEV) => {
            "the kernel has no overlay file system: modprobe overlay, or use a copy of the image with --storage copy"
        }
        (Step::MountTarget, Errno::ISDIR | Errno::NOTDIR) => {
            "a file can only be mounted on a file, and a directory on a directory; the image has the other kind there"
        }
        (Step::Seal, Errno::PERM | Errno::NOSYS) => {
            "box executes a program from memory, but its environment does not permit execveat(2)"
        }
        (Step::Enter | Step::Announce | Step::Session, Errno::PERM | Errno::NOSYS) => {
            "the container's seccomp profile must allow clone, setsid, ioctl, read and write for a process to join"
        }
        (Step::Enter, Errno::AGAIN) => {
            "a joining process briefly counts as two; see --pids-limit and the limit nproc of the container"
        }
        (Step::Rlimit, Errno::PERM) => "raising a hard limit requires CAP_SYS_RESOURCE",
        (Step::Pivot, Errno::INVAL) => "on a host that runs from an initramfs, use --no-pivot",
        (Step::Mount | Step::Unshare | Step::Propagation, Errno::PERM) => {
            "box needs CAP_SYS_ADMIN; if it runs inside a container, make that one privileged"
        }
        (_, Errno::NOSYS) => "this kernel lacks the system call: Linux 5.12 or later is required",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Hints about I/O errors.
pub fn of_io(error: &std::io::Error) -> Option<String> {
    let hint = if is_full(error) {
        "free some space (box rm, box rmi), or use another directory with --root DIR or --cache DIR"
    } else if error.kind() == ErrorKind::ReadOnlyFilesystem {
        "use another directory with --root DIR or --cache DIR"
    } else if is_unwritable(error) {
        "run it as root, or use another directory with --root DIR or --cache DIR"
    } else {
        return None;
    };
    Some(hint.to_owned())
}
