//! The dock of one data thread: everything a transfer needs that is not its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::budget::Budget;
use super::crew::Crew;
use super::error::TransferError;
use super::metrics::TransferMetrics;
use super::pace::Pacer;
use crate::disk::{DiskError, Engine, Place, Space};
use crate::limits::{MANY_STREAMS, PIPE_BYTES, SHORT_TURN_BYTES};

/// Engine, names, workers, memory and counters of one data thread. Cheap to clone.
pub struct Dock<E: Engine> {
    /// Moves bytes.
    pub engine: E,
    /// Opens, publishes and removes objects.
    pub space: Arc<E::Space>,
    /// Inflates, deflates and hashes.
    pub crew: Crew,
    /// Hands out memory.
    pub budget: Budget,
    /// Counts.
    pub metrics: TransferMetrics,
    /// Limits rates.
    pub pace: Pacer,
    /// Spliced downloads under way on this data thread.
    downloads: Arc<AtomicUsize>,
}

/// A spliced download under way, for as long as it is counted.
pub(super) struct UnderWay(Arc<AtomicUsize>);

impl<E: Engine> Clone for Dock<E> {
    fn clone(&self) -> Self {
        Dock {
            engine: self.engine.clone(),
            space: self.space.clone(),
            crew: self.crew.clone(),
            budget: self.budget.clone(),
            metrics: self.metrics.clone(),
            pace: self.pace.clone(),
            downloads: self.downloads.clone(),
        }
    }
}

impl<E: Engine> Dock<E> {
    /// A dock over `engine`, without rate limits; its budget covers the engine's pool.
    pub fn new(engine: E, space: Arc<E::Space>, crew: Crew, metrics: TransferMetrics) -> Self {
        let budget = Budget::new(engine.pool().clone(), metrics.inflight_bytes.clone());
        Dock { engine, space, crew, budget, metrics, pace: Pacer::default(), downloads: Arc::default() }
    }

    /// The same dock under the limits of `pace`, which all data threads share.
    pub fn paced(self, pace: Pacer) -> Self {
        Dock { pace, ..self }
    }

    /// Counts a spliced download.
    pub(super) fn under_way(&self) -> UnderWay {
        self.downloads.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.downloads.clone())
    }

    /// Runs an operation on names off the data thread: it may wait for a disk.
    pub(super) async fn names<T: Send + 'static>(
        &self,
        place: &Place,
        operation: impl FnOnce(&E::Space, &Place) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, TransferError> {
        let space = self.space.clone();
        let owned = place.clone();
        let result = tokio::task::spawn_blocking(move || operation(&space, &owned)).await;
        result.map_err(|_| TransferError::CrewGone)?.map_err(|error| storage(place, error))
    }
}

impl UnderWay {
    /// What one of so many downloads may put on its socket before it is the next one's turn.
    pub(super) fn turn_bytes(&self) -> usize {
        match self.0.load(Ordering::Relaxed) < MANY_STREAMS {
            true => PIPE_BYTES,
            false => SHORT_TURN_BYTES,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A storage error with the object it happened to.
pub(super) fn storage(place: &Place, error: DiskError) -> TransferError {
    TransferError::Storage { object: place.to_string(), error }
}

/// Opens an object for reading and adopts it.
pub(super) async fn open_source<E: Engine>(
    dock: &Dock<E>,
    place: &Place,
    direct: bool,
) -> Result<E::File, TransferError>
where
    <E::Space as Space>::Opened: Send,
{
    let opened = dock.names(place, move |space, place| space.open(place, crate::disk::Want { direct })).await?;
    dock.engine.adopt(opened).map_err(|error| storage(place, error))
}
