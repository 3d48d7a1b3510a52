//! diskferry moves virtual disks in and out of VMware hosts.
//!
//! The library is split into rooms (top-level modules). Which room may import which is fixed in the design and
//! enforced by `tests/tidy.rs`:
//!
//! ```text
//!   app ──► every room          wiring, command line, configuration
//!   edge ──► transfer, lease, library, inventory, wire      everything that speaks to a client
//!   upstream ──► lease, transfer, wire                       being a client ourselves
//!   transfer ──► lease, disk, wire                           one stream under one Grant
//!   journal ──► lease, library, inventory                    where state survives
//!   convert ──► disk, wire                                 disks from file to file, without a lease
//!   inventory ──► lease, wire                              machines and vApps as vSphere clients see them
//!   lease, disk, wire ──► nothing
//! ```

pub mod app;
pub mod convert;
pub mod disk;
pub mod edge;
pub mod inventory;
pub mod journal;
pub mod lease;
pub mod limits;
pub mod transfer;
pub mod upstream;
pub mod wire;
