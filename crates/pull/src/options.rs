//! Everything that a pull may be told.

use box_cache::Platform;

use crate::http::HttpOptions;
use crate::mirror::Mirror;
use crate::pins::Pins;
use crate::retry::Retry;
use crate::signature::{Keyring, VerifyPolicy};

/// Where Alpine is fetched from where nobody says otherwise.
pub const DEFAULT_MIRROR: &str = "https://dl-cdn.alpinelinux.org/alpine";

/// Largest file that is fetched where nobody says otherwise, in bytes.
pub const DEFAULT_MAX_SIZE: u64 = 64 << 30;

/// How to pull. Nothing is read from the environment or from configuration files here.
#[derive(Clone, Debug)]
pub struct Options {
    /// For which machine.
    pub platform: Platform,
    /// Mirrors, in the order in which they are tried.
    pub mirrors: Vec<Mirror>,
    /// When a signature is needed.
    pub verify: VerifyPolicy,
    /// Keys that are trusted to sign.
    pub keyring: Keyring,
    /// How to speak to servers.
    pub http: HttpOptions,
    /// How often to try.
    pub retry: Retry,
    /// Open no socket and read no mirror: only what is cached counts.
    pub offline: bool,
    /// What references stand for, where a lock file says so.
    pub pins: Option<Pins>,
    /// Fail where the lock file does not name the image.
    pub locked: bool,
    /// Largest file fetched, in bytes.
    pub max_size: u64,
}

impl Options {
    /// The defaults for a platform: Alpine's own mirror and key.
    pub fn new(platform: Platform) -> Self {
        let mirror = DEFAULT_MIRROR.parse();
        Self {
            platform,
            mirrors: vec![mirror.expect("the default mirror is a valid URL")],
            verify: VerifyPolicy::default(),
            keyring: Keyring::alpine(),
            http: HttpOptions::default(),
            retry: Retry::default(),
            offline: false,
            pins: None,
            locked: false,
            max_size: DEFAULT_MAX_SIZE,
        }
    }
}
