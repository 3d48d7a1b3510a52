//! The byte path over storage that fails to order: real leases, real transfers, simulated disks and sockets.
//!
//! What is proved: an upload that was acknowledged survives a power cut byte for byte; one that was not leaves nothing
//! readable; whoever is at fault decides whether the lease lives on; memory always comes back. Accidents come from seeds, which a
//! failing test prints; inflating and hashing run on threads of their own, so a seed fixes the accidents, not every
//! interleaving. `DISKFERRY_LONG=1` runs five times as many histories.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say where and stop")]

#[path = "transfer_faults/bad_input.rs"]
mod bad_input;
#[path = "transfer_faults/harbour.rs"]
mod harbour;
#[path = "transfer_faults/histories.rs"]
mod histories;
#[path = "transfer_faults/http.rs"]
mod http;
#[path = "transfer_faults/line.rs"]
mod line;
#[path = "transfer_faults/memory.rs"]
mod memory;
#[path = "transfer_faults/payload.rs"]
mod payload;
#[path = "transfer_faults/power_cuts.rs"]
mod power_cuts;
#[path = "transfer_faults/resume.rs"]
mod resume;
#[path = "transfer_faults/round_trips.rs"]
mod round_trips;
#[path = "transfer_faults/watched.rs"]
mod watched;
