//! Registries: credentials, and what is in them.

pub mod login;
pub mod logout;
mod prompt;
