//! The commands, one file each, in folders by topic. A command builds values, calls the libraries in the order in which the data
//! flows, and prints.

pub mod cache;
pub mod containers;
pub mod images;
pub mod inside;
pub mod inspect;
pub mod program;
pub mod registries;
