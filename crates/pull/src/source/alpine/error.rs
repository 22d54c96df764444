//! Failures to find an Alpine release.

use std::fmt;

use box_transfer::{Attempts, Printable};

/// Why Alpine has no image for a reference.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AlpineError {
    /// The tag is none of Alpine's.
    #[error(
        "cannot pull {reference}: `{tag}` is not an Alpine tag, expected latest, edge, a branch (3.20), a release (3.20.3) or \
         the date of an edge snapshot (20240807)"
    )]
    UnknownTag {
        /// The reference requested.
        reference: String,
        /// Its tag.
        tag: Printable,
    },
    /// Alpine is not built for this platform.
    #[error("cannot pull {reference}: Alpine is not built for {platform}")]
    UnknownPlatform {
        /// The reference requested.
        reference: String,
        /// The platform requested.
        platform: String,
    },
    /// The mirrors answer, and have no such branch, architecture or version.
    #[error("cannot find {reference} ({arch}): {missing}; {alternatives} [tried: {attempts}]")]
    NotFound {
        /// The reference requested.
        reference: String,
        /// Alpine's name of the architecture requested.
        arch: &'static str,
        /// Which part of it is missing: `no branch v3.99`, `no version 3.20.9`, ...
        missing: String,
        /// What exists instead.
        alternatives: Box<Alternatives>,
        /// Where it was looked for.
        attempts: Attempts,
    },
}

/// What a mirror has instead of what it does not have.
#[derive(Debug)]
pub enum Alternatives {
    /// These names exist.
    Listed {
        /// What they name: `branches`, `versions of v3.20`, ...
        what: String,
        /// The names, oldest first.
        names: Vec<String>,
    },
    /// The mirror lists nothing, and only this is known.
    Only(String),
    /// Nothing is known.
    Unknown,
}

impl fmt::Display for Alternatives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed { what, names } => write!(f, "{what}: {}", names.join(", ")),
            Self::Only(text) => f.write_str(text),
            Self::Unknown => f.write_str("the mirror does not list what it has"),
        }
    }
}
