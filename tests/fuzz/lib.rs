//! What the fuzz targets share: the modules under test, a reference reader, and streams made of few bytes.
//!
//! ```text
//!  input ─┬─ begins with "KDMV": a stream as it is
//!         ╰─ anything else: a recipe ─► recipe::stream, then damage
//!                                              │
//!                 wire::vmdk  ◄────────────────┴───────────►  reference::read
//!                 under test, forward        must agree       through footer and tables, another inflate
//! ```

#[path = "../../src/limits.rs"]
pub mod limits;
#[path = "."]
pub mod wire {
    //! The part of the room that is fuzzed.
    #[path = "../../src/wire/vmdk/mod.rs"]
    pub mod vmdk;
}
pub mod bites;
pub mod reading;
pub mod recipe;
pub mod reference;
