//! Harness of the end-to-end tests: the real binary, on the real kernel, with the real root filesystem.
//!
//! A test creates a [`Home`], which is a private `BOX_ROOT` with a mirror to pull from, and runs box in it. When the home
//! is dropped it checks that neither a mount nor a process was left behind; [`leftovers::cgroups`] looks for control groups.

pub mod binary;
pub mod home;
pub mod leftovers;
pub mod mirror;
pub mod outcome;
pub mod process;
pub mod registry;
pub mod server;
pub mod signer;
pub mod terminal;

pub use home::Home;
pub use mirror::Mirror;
pub use outcome::{Outcome, behind};
pub use terminal::Terminal;

/// Fails the test without root, which its containers need.
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test starts containers and must run as root: use scripts/test"
    );
}
