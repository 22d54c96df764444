//! How to pull.

use std::num::NonZeroUsize;
use std::sync::Arc;

use box_cache::Platform;
use box_transfer::{ClientOptions, Retry};

use crate::mirror::Mirror;
use crate::pins::Pins;
use crate::signature::{Keyring, VerifyPolicy};
use crate::source::alpine::DEFAULT_MIRROR;
use crate::trust::Policy;

/// Largest file that is fetched by default, in bytes.
pub const DEFAULT_MAX_SIZE: u64 = 64 << 30;

/// How many layers are fetched at a time by default.
pub const DEFAULT_JOBS: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not 0");

/// How to pull. Nothing is read from the environment or from configuration files here.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// The machine that the image is for.
    pub platform: Platform,
    /// Mirrors, in the order in which they are tried.
    pub mirrors: Vec<Mirror>,
    /// When a signature is required.
    pub verify: VerifyPolicy,
    /// OpenPGP keys that are trusted to sign.
    pub keyring: Keyring,
    /// Who must have signed images of registries.
    pub policy: Policy,
    /// How to speak to servers.
    pub http: ClientOptions,
    /// How often to try.
    pub retry: Retry,
    /// Open no socket and read no mirror: use the cache only.
    pub offline: bool,
    /// What references stand for by a lock file, if there is one.
    pub pins: Option<Pins>,
    /// Fail if the lock file does not name the image.
    pub locked: bool,
    /// Largest file fetched, in bytes.
    pub max_size: u64,
    /// How to speak to registries.
    pub registry: Arc<box_registry::Options>,
    /// How many layers are fetched at a time.
    pub jobs: NonZeroUsize,
}

impl PullOptions {
    /// The defaults for a platform: Alpine's own mirror and key.
    pub fn new(platform: Platform) -> Self {
        let mirror = DEFAULT_MIRROR.parse();
        Self {
            platform,
            mirrors: vec![mirror.expect("the default mirror is a valid URL")],
            verify: VerifyPolicy::default(),
            keyring: Keyring::alpine(),
            policy: Policy::default(),
            http: ClientOptions::default(),
            retry: Retry::default(),
            offline: false,
            pins: None,
            locked: false,
            max_size: DEFAULT_MAX_SIZE,
            registry: Arc::default(),
            jobs: DEFAULT_JOBS,
        }
    }
}
