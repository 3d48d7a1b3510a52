//! The io_uring engine and the memory it works on: the only place with unsafe code.
//!
//! ```text
//!   uring ── asks ──► ops ── submits ──► tokio-uring ── completion ──► ops ── resources back ──► uring
//!                      └ every operation owns its buffer and descriptors until its completion
//!   arena: the memory of all buffers, registered with the ring as one region
//!   cached: a look into the page cache
//!   ktls: sockets whose TLS records the kernel protects; of use to every engine, like `cached`
//! ```

pub(super) mod arena;
pub(super) mod cached;
pub mod ktls;
mod ops;
mod socket;
pub mod uring;

pub use socket::RingSocket;
