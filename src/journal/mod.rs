//! Where state survives: implementations of the journal that `lease` asks for.
//!
//! Built by `app` and handed to the lease driver. [`redb`] is the embedded default; it needs nothing but a file.

pub mod redb;

pub use redb::RedbJournal;
