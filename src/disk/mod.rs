//! Where bytes rest: targets (files and block devices), aligned buffers, and the engines that move bytes between targets,
//! sockets and pipes. Imports no other room. The only unsafe code of the program is under `ring`.
//!
//! ```text
//!   Space   names        Datastores (real directories and devices)      SimSpace (in memory)
//!             │ opens                    │ File                              │ SimFile
//!             ▼                          ▼                                   ▼
//!   Engine  bytes        Uring (io_uring)   Blocking (plain system calls)   Sim (seeded faults, crashes)
//!             │
//!             ▼
//!   Pool ── Buffer       one arena per engine; a buffer goes home when it is dropped, on whatever thread
//!
//!   Folders directories  the same two; lists, makes, renames, removes: for the control plane
//!   LocalFile, PartFile  files and devices by their path, without an engine: for the command line
//! ```
//!
//! One conformance suite (`tests/disk_conformance.rs`) runs over every engine: what holds for one holds for all.

pub mod blocking;
pub mod buffer;
pub mod datastores;
pub mod engine;
pub mod error;
pub mod file;
pub mod folders;
pub mod local;
pub mod pipe;
pub mod ring;
pub mod sim;
pub mod space;
mod zeros;

pub use blocking::Blocking;
pub use buffer::{Buffer, Pool};
pub use datastores::{Backing, Datastores};
pub use engine::{Attach, Engine, EngineKind, Receive};
pub use error::{Blame, DiskError};
pub use file::File;
pub use folders::{Entry, EntryKind, Folders, Listing, Volume};
pub use local::{LocalFile, LocalKind, PartFile};
pub use pipe::Pipe;
pub use ring::ktls::{ControlRecord, KernelSuites, KernelTls, TlsCipher, TlsKeys, TlsSecrets, TlsVersion};
pub use ring::uring::{Uring, run_uring};
pub use sim::{Faults, Sim, SimSocket, SimSpace};
pub use space::{Inspection, Place, Space, Want};
