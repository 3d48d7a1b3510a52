//! TLS on the data plane: handshake, then records by the kernel or by ourselves.
//!
//! Called by `channel` and `connection`. rustls negotiates and then hands over its secrets: its own record layer copies every
//! byte several times, which costs as much as the encryption itself.
//!
//! ```text
//!   handshake ──► secrets ──► kernel can do this suite ──► kernel: the connection is like a plain one, bytes are spliced
//!                        └──► it cannot ──► stream: ciphertext ◄─ session, records ─► storage buffers
//! ```

mod handshake;
mod kernel;
mod records;
mod session;
mod stream;
#[cfg(test)]
mod tests;

pub(super) use handshake::{Negotiated, shake_hands};
pub(super) use stream::RecordStream;
