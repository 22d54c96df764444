//! Everything as a user does it: every promise of the README, with the real binary and the real root filesystem.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod containers;
mod flags;
mod images;
mod instances;
mod interop;
mod offline;
mod others;
mod platforms;
mod pull;
mod readme;
mod scripts;
mod terminal;
mod unpack;
mod volumes;
mod words;
