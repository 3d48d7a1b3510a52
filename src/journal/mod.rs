//! Where state survives: implementations of the journal that `lease` asks for and of the store that `inventory` asks for.
//!
//! Built by `app` and handed to the lease driver and the inventory. [`redb`] is the embedded default; it needs nothing but a file.

mod frame;
pub mod redb;

pub use redb::{RedbJournal, RedbMachines};
