//! What a salvage could not read.

use std::sync::{Arc, Mutex, PoisonError};

/// A range of the disk that reads as zeros in the target because the source could not be read there.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// Where on the disk; absent when only the place in the source is known, and then the length is that in the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset_bytes: Option<u64>,
    /// How much.
    pub length_bytes: u64,
    /// Why, with the place in the source.
    pub reason: String,
}

/// The list, filled by all workers.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses(Arc<Mutex<Vec<Loss>>>);

impl Losses {
    pub(super) fn add(&self, offset_bytes: u64, length_bytes: u64, reason: String) {
        self.push(Loss { offset_bytes: Some(offset_bytes), length_bytes, reason });
    }

    pub(super) fn push(&self, loss: Loss) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(loss);
    }

    /// All of them, in the order of the disk, neighbours with the same reason as one.
    pub(super) fn list(&self) -> Vec<Loss> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort_by_key(|loss| (loss.offset_bytes, loss.length_bytes));
        all.dedup_by(|next, previous| {
            let joins = previous.offset_bytes.is_some_and(|at| Some(at + previous.length_bytes) == next.offset_bytes)
                && previous.reason == next.reason;
            if joins {
                previous.length_bytes += next.length_bytes;
            }
            joins
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_one_loss() {
        let losses = Losses::default();
        for at in [8192, 0, 4096, 65_536] {
            losses.add(at, 4096, "unreadable".to_owned());
        }
        let list = losses.list();
        assert_eq!(
            list.iter().map(|loss| (loss.offset_bytes, loss.length_bytes)).collect::<Vec<_>>(),
            [(Some(0), 12_288), (Some(65_536), 4096)]
        );
    }
}
