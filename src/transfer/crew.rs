//! The codec workers: threads that inflate, deflate and hash, so that data threads only move bytes.
//!
//! Started once by `app`, shared by all data threads. A job borrows the [`Bench`] of the worker that runs it, whose codecs and
//! scratch memory are reused. The queue has no bound of its own: every job owns a reserved buffer, so the budget bounds the
//! jobs; and a bounded queue would let a stream that waits for its client hold up others by not polling its place in line.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use tokio::sync::oneshot;

use super::error::TransferError;
use crate::wire::vmdk::{Deflater, Inflater, Level};

/// Handle to the workers. The threads end when the last handle is gone.
#[derive(Clone)]
pub struct Crew {
    jobs: async_channel::Sender<Job>,
}

/// What one worker owns and every job may use.
pub struct Bench {
    /// Inflates grains.
    pub inflater: Inflater,
    /// Deflates grains at the level the crew was started with.
    pub deflater: Deflater,
    /// Scratch for grains larger than one pooled buffer.
    pub scratch: Vec<u8>,
}

type Job = Box<dyn FnOnce(&mut Bench) + Send>;

impl Crew {
    /// Starts `threads` workers (at least one) that deflate at `level`.
    ///
    /// # Errors
    /// The operating system's, when a thread cannot be made.
    pub fn start(threads: usize, level: Level) -> std::io::Result<Crew> {
        let threads = threads.max(1);
        let (jobs, queue) = async_channel::unbounded::<Job>();
        for number in 0..threads {
            let queue = queue.clone();
            thread::Builder::new().name(format!("codec-{number}")).spawn(move || work(&queue, level))?;
        }
        Ok(Crew { jobs })
    }

    /// Runs `job` on a worker and returns what it returns.
    ///
    /// # Errors
    /// [`TransferError::CrewGone`] when the job panicked or the workers have ended.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Bench) -> T + Send + 'static,
    ) -> Result<T, TransferError> {
        let (answer, result) = oneshot::channel();
        let boxed: Job = Box::new(move |bench| {
            // A receiver that went away has lost interest; there is nobody to tell.
            let _ = answer.send(job(bench));
        });
        self.jobs.try_send(boxed).map_err(|_| TransferError::CrewGone)?;
        result.await.map_err(|_| TransferError::CrewGone)
    }
}

fn work(queue: &async_channel::Receiver<Job>, level: Level) {
    let mut bench = Bench { inflater: Inflater::new(), deflater: Deflater::new(level), scratch: Vec::new() };
    while let Ok(job) = queue.recv_blocking() {
        // A panicking job fails its own stream (its answer is dropped) and must not take the worker with it.
        if catch_unwind(AssertUnwindSafe(|| job(&mut bench))).is_err() {
            tracing::error!("a codec job panicked; its stream fails");
            bench = Bench { inflater: Inflater::new(), deflater: Deflater::new(level), scratch: Vec::new() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_job_fails_alone() {
        let crew = Crew::start(1, Level::Fast).unwrap();
        assert!(crew.run(|_| -> u8 { panic!("deliberate") }).await.is_err());
        assert_eq!(crew.run(|_| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn jobs_of_many_callers_all_come_back() {
        let crew = Crew::start(2, Level::Fast).unwrap();
        let answers = futures_util::future::join_all((0..100u32).map(|n| crew.run(move |_| n * 2))).await;
        for (n, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.unwrap(), n as u32 * 2);
        }
    }
}
