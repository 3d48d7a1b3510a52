//! The codec workers: threads that inflate, deflate and hash, so that data threads only move bytes.
//!
//! Started once by `app`, shared by all data threads. A job borrows the [`Bench`] of the worker that runs it, whose codecs and
//! scratch memory are reused. The queues have no bound of their own: every job owns a reserved buffer, so the budget bounds the
//! jobs; and a bounded queue would let a stream that waits for its client hold up others by not polling its place in line.
//!
//! There are two queues. Long jobs (a piece to inflate or deflate) are many, and a stream does something else meanwhile; a brief
//! one (the digest of the next piece) holds up its stream, and behind a window of long ones it would hold it up until the workers
//! had nothing left to do. Workers take from the two in turns, so neither starves the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crossbeam_queue::SegQueue;
use tokio::sync::oneshot;

use super::error::TransferError;
use crate::wire::vmdk::{Deflater, Inflater, Level};

/// Handle to the workers. The threads end when the last handle is gone.
#[derive(Clone)]
pub struct Crew {
    queues: Arc<Queues>,
    /// One call for every job that was put into a queue.
    calls: async_channel::Sender<()>,
}

#[derive(Default)]
struct Queues {
    long: SegQueue<Job>,
    brief: SegQueue<Job>,
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
        let queues = Arc::new(Queues::default());
        let (calls, called) = async_channel::unbounded();
        for number in 0..threads {
            let (queues, called) = (queues.clone(), called.clone());
            thread::Builder::new().name(format!("codec-{number}")).spawn(move || work(&queues, &called, level))?;
        }
        Ok(Crew { queues, calls })
    }

    /// Runs `job` on a worker and returns what it returns.
    ///
    /// # Errors
    /// [`TransferError::CrewGone`] when the job panicked or the workers have ended.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Bench) -> T + Send + 'static,
    ) -> Result<T, TransferError> {
        self.queue(&self.queues.long, job).await
    }

    /// Like [`run`](Self::run), for a job of well under a millisecond that its stream waits for: it does not wait behind the long
    /// ones.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_brief<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Bench) -> T + Send + 'static,
    ) -> Result<T, TransferError> {
        self.queue(&self.queues.brief, job).await
    }

    async fn queue<T: Send + 'static>(
        &self,
        queue: &SegQueue<Job>,
        job: impl FnOnce(&mut Bench) -> T + Send + 'static,
    ) -> Result<T, TransferError> {
        let (answer, result) = oneshot::channel();
        let boxed: Job = Box::new(move |bench| {
            // A receiver that went away has lost interest; there is nobody to tell.
            let _ = answer.send(job(bench));
        });
        queue.push(boxed);
        self.calls.try_send(()).map_err(|_| TransferError::CrewGone)?;
        result.await.map_err(|_| TransferError::CrewGone)
    }
}

impl Queues {
    /// A job; `brief_first` says from which queue if both have one. To be called once for each call that was received, so there is
    /// one, although another worker may take it while this one looks at the other queue.
    fn take(&self, brief_first: bool) -> Job {
        let (first, second) = if brief_first { (&self.brief, &self.long) } else { (&self.long, &self.brief) };
        loop {
            if let Some(job) = first.pop().or_else(|| second.pop()) {
                return job;
            }
            std::hint::spin_loop();
        }
    }
}

fn work(queues: &Queues, called: &async_channel::Receiver<()>, level: Level) {
    let mut bench = Bench { inflater: Inflater::new(), deflater: Deflater::new(level), scratch: Vec::new() };
    let mut brief_first = true;
    while called.recv_blocking().is_ok() {
        let job = queues.take(brief_first);
        brief_first = !brief_first;
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
        let long = futures_util::future::join_all((0..100u32).map(|n| crew.run(move |_| n * 2)));
        let brief = futures_util::future::join_all((0..100u32).map(|n| crew.run_brief(move |_| n * 3)));
        let (long, brief) = futures_util::future::join(long, brief).await;
        for (n, (long, brief)) in long.into_iter().zip(brief).enumerate() {
            assert_eq!((long.unwrap(), brief.unwrap()), (n as u32 * 2, n as u32 * 3));
        }
    }

    #[tokio::test]
    async fn neither_queue_waits_until_the_other_is_empty() {
        let crew = Crew::start(1, Level::Fast).unwrap();
        let order = Arc::new(SegQueue::new());
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let held = crew.run(move |_| gate.recv().is_ok());
        let note = |kind| {
            let order = order.clone();
            move |_: &mut Bench| order.push(kind)
        };
        let long = futures_util::future::join_all((0..3).map(|_| crew.run(note("long"))));
        let brief = futures_util::future::join_all((0..3).map(|_| crew.run_brief(note("brief"))));
        // Queued while the worker is held, released when all are.
        let release = async { open.send(()).is_ok() };
        let _ = futures_util::join!(held, long, brief, release);
        let taken: Vec<&str> = std::iter::from_fn(|| order.pop()).collect();
        assert!(taken[..4].contains(&"long") && taken[..4].contains(&"brief"), "{taken:?}");
    }
}
