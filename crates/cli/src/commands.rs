//! One command, one file, in folders by what the command is about. Each builds values, calls the libraries in the order of the data,
//! and prints.

pub mod cache;
pub mod containers;
pub mod images;
pub mod inside;
pub mod inspect;
pub mod program;
