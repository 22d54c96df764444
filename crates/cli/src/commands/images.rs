//! Images: fetching, creating, listing and exporting them.

pub mod commit;
pub mod history;
pub mod import;
pub mod list;
pub mod list_remote;
pub mod load;
pub mod lock;
pub mod outdated;
pub mod pull;
pub mod rmi;
pub mod save;
pub mod tag;
pub mod unpack;
