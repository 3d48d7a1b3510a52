//! Slows down whoever guesses passwords: after a few wrong ones each further try of the same address waits longer, right or wrong.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{LOGIN_ADDRESSES, LOGIN_FAILURES, LOGIN_MEMORY_MS, LOGIN_WAIT_MAX_MS, LOGIN_WAIT_MS};

/// Wrong passwords by address.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<IpAddr, Record>>);

#[derive(Debug, Clone, Copy)]
struct Record {
    failures: u32,
    last: Instant,
    /// When the next try may be judged; tries that come together queue up.
    free_at: Instant,
}

impl Throttle {
    /// How long a try of that address has to wait before it is judged.
    pub fn wait(&self, address: IpAddr, now: Instant) -> Duration {
        let mut records = self.lock();
        let Some(record) = records.get_mut(&address) else { return Duration::ZERO };
        if now.duration_since(record.last) > Duration::from_millis(LOGIN_MEMORY_MS) {
            records.remove(&address);
            return Duration::ZERO;
        }
        let pause = pause(record.failures);
        let begin = record.free_at.max(now);
        if !pause.is_zero() {
            record.free_at = begin + pause;
        }
        // A flood of tries waits in line, but nobody for ever.
        (begin + pause).duration_since(now).min(Duration::from_millis(2 * LOGIN_WAIT_MAX_MS))
    }

    /// Notes a wrong password.
    pub fn failed(&self, address: IpAddr, now: Instant) {
        let mut records = self.lock();
        if records.len() >= LOGIN_ADDRESSES && !records.contains_key(&address) {
            let oldest = records.iter().min_by_key(|(_, record)| record.last).map(|(address, _)| *address);
            oldest.map(|oldest| records.remove(&oldest));
        }
        let record = records.entry(address).or_insert(Record { failures: 0, last: now, free_at: now });
        record.failures = record.failures.saturating_add(1);
        record.last = now;
    }

    /// Forgets the wrong passwords of an address that knew the right one.
    pub fn succeeded(&self, address: IpAddr) {
        self.lock().remove(&address);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause(failures: u32) -> Duration {
    match failures.checked_sub(LOGIN_FAILURES) {
        None => Duration::ZERO,
        Some(excess) => {
            let doubled = LOGIN_WAIT_MS.saturating_mul(1_u64.checked_shl(excess).unwrap_or(u64::MAX));
            Duration::from_millis(doubled.min(LOGIN_WAIT_MAX_MS))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_becomes_slow_and_is_forgiven() {
        let (throttle, address, start) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]), Instant::now());
        for _ in 0..LOGIN_FAILURES {
            assert_eq!(throttle.wait(address, start), Duration::ZERO);
            throttle.failed(address, start);
        }
        let first = Duration::from_millis(LOGIN_WAIT_MS);
        assert_eq!(throttle.wait(address, start), first);
        assert_eq!(throttle.wait(address, start), 2 * first, "two tries at once wait one after the other");
        assert_eq!(throttle.wait(IpAddr::from([10, 0, 0, 2]), start), Duration::ZERO);
        for _ in 0..100 {
            throttle.failed(address, start);
        }
        assert!(throttle.wait(address, start) <= Duration::from_millis(2 * LOGIN_WAIT_MAX_MS));
        let later = start + Duration::from_millis(LOGIN_MEMORY_MS + 1);
        assert_eq!(throttle.wait(address, later), Duration::ZERO);
        throttle.failed(address, later);
        throttle.succeeded(address);
        assert_eq!(throttle.wait(address, later), Duration::ZERO);
    }

    #[test]
    fn memory_is_bounded() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..(LOGIN_ADDRESSES as u32 + 10) {
            throttle.failed(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(throttle.lock().len(), LOGIN_ADDRESSES);
    }
}
