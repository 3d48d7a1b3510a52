//! Which paths are being changed at this moment, so that two changes do not meet.
//!
//! Leases are not in here: the driver knows those. A claim on a directory covers what is in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::Place;
use crate::lease::Fault;
use crate::wire::datastore_path::is_within;

/// All claims of one [`Files`](super::Files).
#[derive(Default)]
pub(super) struct Claims(Mutex<Vec<Place>>);

/// A right to change some paths; given back when dropped.
pub(super) struct Claim {
    claims: Arc<Claims>,
    places: Vec<Place>,
}

impl Claims {
    /// Claims all of `places`, or none.
    pub(super) fn claim(claims: &Arc<Claims>, places: &[&Place]) -> Result<Claim, Fault> {
        let mut taken = claims.lock();
        for place in places {
            if taken.iter().any(|other| meet(place, other)) {
                let reason = "another request is changing it".to_owned();
                return Err(Fault::FileLocked { file: place.to_string(), reason });
            }
        }
        let places: Vec<Place> = places.iter().map(|place| (*place).clone()).collect();
        taken.extend(places.iter().cloned());
        Ok(Claim { claims: claims.clone(), places })
    }

    #[cfg(test)]
    pub(super) fn are_free(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut taken = self.claims.lock();
        for place in &self.places {
            if let Some(at) = taken.iter().position(|other| other == place) {
                taken.swap_remove(at);
            }
        }
    }
}

fn meet(one: &Place, other: &Place) -> bool {
    one.datastore == other.datastore && (is_within(&one.path, &other.path) || is_within(&other.path, &one.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_keeps_others_from_the_path_what_is_above_and_what_is_below() {
        let place = |path: &str| Place { datastore: "ds".into(), path: path.into() };
        let claims = Arc::new(Claims::default());
        let claim = |path: &str| Claims::claim(&claims, &[&place(path)]);
        let held = claim("vm/disk").unwrap();
        for path in ["vm/disk", "vm", "vm/disk/x"] {
            assert!(matches!(claim(path), Err(Fault::FileLocked { .. })), "{path}");
        }
        let beside = claim("vm/disk2").unwrap();
        assert!(Claims::claim(&claims, &[&place("new"), &place("vm")]).is_err());
        assert!(claim("new").is_ok(), "a refused claim leaves nothing");
        drop((held, beside));
        assert!(claim("vm").is_ok());
        assert!(claims.are_free());
    }
}
