//! The box command line.
fn main() {}
