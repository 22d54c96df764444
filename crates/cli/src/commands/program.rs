//! box itself: its version, its manual pages, its completions.

pub mod completions;
pub mod man;
pub mod version;
