//! Registries on the loopback interface, and images to put into them.
//!
//! - [`Registry`] is Debian's docker-registry: open, behind a password, behind TLS, or behind a [`TokenServer`].
//! - [`Scripted`] is a registry in the test process that behaves well, except where a test tells it not to.
//! - An [`Image`] is made in memory, also a wrong one, and put into either, or written as an OCI image layout.

mod image;
mod layer;
mod real;
mod scripted;
mod store;
mod token_server;

pub use image::Image;
pub use layer::{Layer, archive, digest};
pub use real::{PASSWORD, Registry, USER};
pub use scripted::Scripted;
pub use store::{Store, document, failure};
pub use token_server::TokenServer;
