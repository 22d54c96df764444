//! `box pull` and its kin against servers and people that do everything wrong: a fetch that nobody can fool and nothing
//! can break.

#![allow(clippy::unwrap_used)]

mod faults;
mod imports;
mod kills;
mod large;
mod many;
mod pins;
mod policy;
mod reach;
mod release;
mod resume;
mod trust;
