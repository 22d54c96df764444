//! What a person can do about a failure of a library.

use std::io::ErrorKind;

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
        Error::Transfer(error) => return of_transfer(error),
        Error::Io { source, .. } => return of_io(source),
        Error::UnknownName { .. } => {
            "try alpine; other root filesystems can be imported: box import FILE NAME"
        }
        Error::Unreachable { .. } => {
            "try another mirror: --mirror URL; what is cached still works: box images"
        }
        Error::Untrusted { .. } => "use it as it is: --verify prefer",
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

/// About failures of transfers.
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

/// About failures of containers that the engine has nothing to say to.
pub fn of_run(error: &box_run::Error) -> Option<String> {
    use box_run::Error;
    match error {
        Error::NoSuchInstance { .. } => Some("see what there is: box ps -a".to_owned()),
        Error::Io { source, .. } => of_io(source),
        _ => None,
    }
}

/// About failures of files.
pub fn of_io(error: &std::io::Error) -> Option<String> {
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space (box rm, box rmi), or keep things elsewhere with --root DIR or --cache DIR"
        }
        ErrorKind::PermissionDenied => {
            "run it as root, or keep things elsewhere with --root DIR or --cache DIR"
        }
        ErrorKind::ReadOnlyFilesystem => "keep things elsewhere with --root DIR or --cache DIR",
        _ => return None,
    };
    Some(hint.to_owned())
}
