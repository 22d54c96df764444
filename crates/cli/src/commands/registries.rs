//! Registries: credentials, and what is in them.

pub mod inspect;
pub mod login;
pub mod logout;
pub mod manifest;
pub mod prompt;
pub mod push;
pub mod tags;
