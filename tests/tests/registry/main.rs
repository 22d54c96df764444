//! Images of registries: settings, credentials, pull, push and trust, with a real registry and with one that misbehaves.

#![allow(clippy::unwrap_used)]

mod corners;
mod harness;
mod kills;
mod login;
mod pull;
mod push;
mod settings;
mod trust;
