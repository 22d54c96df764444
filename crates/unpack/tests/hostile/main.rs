//! Archives made to harm: each is refused with an error that says what and where, and changes nothing.
#![allow(clippy::unwrap_used)]

mod extensions;
mod paths;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod values;

use std::path::Path;

use box_unpack::Limits;
use support::arena::{Arena, Way};
use support::require_root;

type Make = Box<dyn Fn(&Path) -> Vec<u8>>;

/// A case: its name, what the error must say, and the archive, made knowing where the outside is.
struct Case {
    name: &'static str,
    says: &'static str,
    archive: Make,
}

fn case(
    name: &'static str,
    says: &'static str,
    archive: impl Fn(&Path) -> Vec<u8> + 'static,
) -> Case {
    Case {
        name,
        says,
        archive: Box::new(archive),
    }
}

/// A case whose archive does not depend on the outside.
fn fixed(name: &'static str, says: &'static str, archive: Vec<u8>) -> Case {
    case(name, says, move |_| archive.clone())
}

fn bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().to_vec()
}

/// Small limits, so that reaching them costs little.
fn limits() -> Limits {
    let mut limits = Limits::default();
    for setting in ["bytes=64M", "entries=1000", "header=64K", "window=1M"] {
        limits.set(setting.parse().unwrap());
    }
    limits
}

fn assert_refused(cases: Vec<Case>, ways: &[Way]) {
    require_root();
    for Case {
        name,
        says,
        archive,
    } in cases
    {
        for &way in ways {
            let arena = Arena::new(way);
            let archive = archive(&arena.outside());
            let error = match arena.unpack(&archive, &limits()) {
                Ok(_) => panic!("{name}, {way:?}: unpacked"),
                Err(error) => error.to_string(),
            };
            assert!(error.contains(says), "{name}, {way:?}: {error}");
            assert!(
                error.contains(" at byte "),
                "{name}, {way:?}: no offset in: {error}"
            );
            assert!(
                !error.contains("os error") && !error.contains('\n'),
                "{name}: {error}"
            );
            arena.assert_untouched(name);
        }
    }
}
