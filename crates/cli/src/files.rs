//! Files of the user: which are trusted, and how they are written.

pub mod destination;
pub mod ownership;
