//! Names of leases and tasks, and the tickets that open device URLs.
//!
//! Ids are random and public. A ticket is derived from the lease id with a secret that stays outside the journal, so a stolen
//! journal opens nothing and the same lease has the same device URLs after a restart. Only the SHA-256 of a ticket is kept.

use std::collections::HashMap;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::fault::Fault;

/// Reference of a lease, `lease-` and 16 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(String);

/// Reference of a task, `task-` and 16 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl LeaseId {
    /// A new random id; fails only when the system has no randomness.
    pub fn random() -> Result<Self, Fault> {
        Ok(Self(format!("lease-{}", random_hex()?)))
    }

    /// The id as clients write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TaskId {
    /// A new random id; fails only when the system has no randomness.
    pub fn random() -> Result<Self, Fault> {
        Ok(Self(format!("task-{}", random_hex()?)))
    }

    /// The id as clients write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Takes what a client wrote; whether such a lease exists is found out by asking.
impl From<&str> for LeaseId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Takes what a client wrote; whether such a task exists is found out by asking.
impl From<&str> for TaskId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Key from which every ticket is derived. The caller keeps it across restarts, apart from the journal.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new random secret; fails only when the system has no randomness.
    pub fn random() -> Result<Self, Fault> {
        let mut bytes = [0; 32];
        fill_random(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// A secret that was kept from an earlier run.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to keep for the next run.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The ticket of a lease: HMAC-SHA256 of its id, 64 lower-case hex digits.
    pub(super) fn ticket(&self, lease: &LeaseId) -> String {
        // HMAC pads a short key with zeros to its block size; doing it here makes the constructor infallible.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(lease.0.as_bytes());
        hex(&mac.finalize().into_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Which lease a ticket opens. Knows hashes only, so neither a dump of it nor the time a lookup takes reveals a ticket.
#[derive(Debug, Default)]
pub(super) struct Tickets(HashMap<[u8; 32], LeaseId>);

impl Tickets {
    pub(super) fn insert(&mut self, secret: &Secret, lease: &LeaseId) {
        self.0.insert(hash(&secret.ticket(lease)), lease.clone());
    }

    pub(super) fn remove(&mut self, secret: &Secret, lease: &LeaseId) {
        self.0.remove(&hash(&secret.ticket(lease)));
    }

    pub(super) fn find(&self, ticket: &str) -> Option<&LeaseId> {
        self.0.get(&hash(ticket))
    }
}

fn hash(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket.as_bytes()).into()
}

fn random_hex() -> Result<String, Fault> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(hex(&bytes))
}

fn fill_random(bytes: &mut [u8]) -> Result<(), Fault> {
    getrandom::fill(bytes).map_err(|error| Fault::SystemError { reason: format!("no randomness: {error}") })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_hmac_sha256_of_the_id() {
        // printf 'lease-1' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707..07 (32 bytes)
        let secret = Secret::from_bytes([7; 32]);
        assert_eq!(secret.ticket(&"lease-1".into()), TICKET_OF_LEASE_1);
    }

    #[test]
    fn only_the_exact_ticket_opens() {
        let secret = Secret::from_bytes([7; 32]);
        let lease = LeaseId::from("lease-1");
        let ticket = secret.ticket(&lease);
        let mut tickets = Tickets::default();
        tickets.insert(&secret, &lease);
        assert_eq!(tickets.find(&ticket), Some(&lease));
        assert_eq!(tickets.find(&ticket.to_uppercase()), None);
        assert_eq!(tickets.find(&ticket[..63]), None);
        assert_eq!(tickets.find(""), None);
        tickets.remove(&secret, &lease);
        assert_eq!(tickets.find(&ticket), None);
    }

    #[test]
    fn debug_reveals_neither_secret_nor_ticket() {
        let secret = Secret::from_bytes([7; 32]);
        let mut tickets = Tickets::default();
        tickets.insert(&secret, &"lease-1".into());
        let text = format!("{secret:?} {tickets:?}");
        assert!(!text.contains(TICKET_OF_LEASE_1) && !text.contains("7, 7"));
    }

    #[test]
    fn ids_are_distinct() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| LeaseId::random().unwrap()).collect();
        assert_eq!(ids.len(), 1000);
    }

    const TICKET_OF_LEASE_1: &str = "45177772f9f5838aeecb8408eb2e5cfb5bb651e759714a01cfbef35a5eff2a05";
}
