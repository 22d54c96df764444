//! Images made ready to be used: found in the cache or fetched, verified, and unpacked into layer trees.

pub mod decoded;
pub mod fetch;
pub mod layers;
pub mod named;
pub mod platforms;
pub mod remote;
pub mod shipment;
pub mod signing;
pub mod supply;
pub mod trees;
pub mod trust;
