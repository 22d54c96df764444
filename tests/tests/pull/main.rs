//! `box pull` and related commands with faulty and malicious servers: a fetch must not be deceived and must not
//! lose data.

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
