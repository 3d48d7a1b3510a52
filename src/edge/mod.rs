//! Everything that speaks to a client: listeners, TLS, the data plane's HTTP, the admin API, and [`rescue`], the one place
//! that turns errors into wire answers.
//!
//! ```text
//!   admin (control runtime)  ──►  lease driver
//!   soap  (control runtime)  ──►  lease driver, inventory
//!   folder (control runtime) ──►  transfer::files, which asks the lease driver
//!   nfc   (data threads)     ──►  lease driver (Grant)  ──►  transfer
//! ```
//!
//! Built and wired by `app`. Guarantees: no secret (ticket, bearer token) is ever logged or echoed; every request is answered or its
//! connection is closed; nothing of a client's is trusted before it was bounded.

pub mod admin;
pub mod folder;
pub mod nfc;
pub mod rescue;
pub mod soap;
pub mod tls;
pub mod users;
