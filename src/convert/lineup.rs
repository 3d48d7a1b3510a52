//! Ordered, bounded work on all cores: what every conversion runs on.
//!
//! One thread cuts the work and takes the results, in order; the others do it. At most a fixed number of pieces is between the two,
//! so a slow target slows the workers and memory stays what it was. With one thread everything happens on the caller's.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use super::{ConvertError, Watch};
use crate::limits::{CONVERT_PIECE_BYTES, CONVERT_WINDOW_BESIDES, CONVERT_WINDOW_PER_THREAD};
use crate::wire::vmdk::{Deflater, Inflater, Level};

/// What one worker owns and reuses.
pub(super) struct Bench {
    pub(super) inflater: Inflater,
    pub(super) deflater: Deflater,
    /// The piece of the disk at hand.
    pub(super) disk: Vec<u8>,
    /// Compressed bytes read for it.
    pub(super) packed: Vec<u8>,
}

/// How much is done at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lineup {
    pub(super) threads: usize,
    pub(super) level: Level,
}

/// The three parts of a conversion: what cuts it into jobs, what does one, and what takes the results in order.
pub(super) struct Line<N, W, T> {
    pub(super) next: N,
    pub(super) work: W,
    pub(super) take: T,
}

impl Bench {
    pub(super) fn new(level: Level) -> Bench {
        let disk = Vec::with_capacity(CONVERT_PIECE_BYTES);
        Bench { inflater: Inflater::new(), deflater: Deflater::new(level), disk, packed: Vec::new() }
    }
}

impl Lineup {
    /// Runs all jobs. The first error, in the order of the jobs, ends it.
    ///
    /// # Errors
    /// That of a part, or [`ConvertError::Interrupted`].
    pub(super) fn run<J: Send, M: Send>(
        self,
        watch: &Watch,
        line: &mut Line<
            impl FnMut() -> Result<Option<J>, ConvertError>,
            impl Fn(J, &mut Bench) -> Result<M, ConvertError> + Sync,
            impl FnMut(M) -> Result<(), ConvertError>,
        >,
    ) -> Result<(), ConvertError> {
        let Line { next, work, take } = line;
        if self.threads > 1 {
            return self.run_threads(watch, next, work, take);
        }
        let mut bench = Bench::new(self.level);
        while let Some(job) = next()? {
            take(work(job, &mut bench)?)?;
            watch.check()?;
        }
        Ok(())
    }

    fn run_threads<J: Send, M: Send>(
        self,
        watch: &Watch,
        next: &mut impl FnMut() -> Result<Option<J>, ConvertError>,
        work: &(impl Fn(J, &mut Bench) -> Result<M, ConvertError> + Sync),
        take: &mut impl FnMut(M) -> Result<(), ConvertError>,
    ) -> Result<(), ConvertError> {
        let (jobs, queue) = async_channel::unbounded::<(u64, J)>();
        let (answer, results) = mpsc::channel();
        std::thread::scope(|scope| {
            for number in 0..self.threads {
                let (queue, answer) = (queue.clone(), answer.clone());
                let body = move || serve(&queue, &answer, work, self.level);
                let started = std::thread::Builder::new().name(format!("codec-{number}")).spawn_scoped(scope, body);
                if let Err(error) = started {
                    jobs.close();
                    return Err(ConvertError::Threads(format!("a thread cannot be started: {error}")));
                }
            }
            drop(answer);
            let outcome = self.conduct(watch, next, take, &jobs, &results);
            // Nobody begins what is still queued.
            while queue.try_recv().is_ok() {}
            jobs.close();
            outcome
        })
    }

    fn conduct<J, M>(
        self,
        watch: &Watch,
        next: &mut impl FnMut() -> Result<Option<J>, ConvertError>,
        take: &mut impl FnMut(M) -> Result<(), ConvertError>,
        jobs: &async_channel::Sender<(u64, J)>,
        results: &mpsc::Receiver<(u64, Result<M, ConvertError>)>,
    ) -> Result<(), ConvertError> {
        let gone = || ConvertError::Threads("the codec threads have ended".to_owned());
        let window = self.threads * CONVERT_WINDOW_PER_THREAD + CONVERT_WINDOW_BESIDES;
        // Results that came before their turn; the front is the oldest job that has not been taken.
        let mut waiting: VecDeque<Option<Result<M, ConvertError>>> = VecDeque::with_capacity(window);
        let mut first_number = 0;
        // An error while cutting counts after all that was cut before it.
        let mut end: Option<Result<(), ConvertError>> = None;
        loop {
            watch.check()?;
            while end.is_none() && waiting.len() < window {
                match next() {
                    Ok(Some(job)) => {
                        let number = first_number + waiting.len() as u64;
                        waiting.push_back(None);
                        jobs.try_send((number, job)).map_err(|_| gone())?;
                    }
                    Ok(None) => end = Some(Ok(())),
                    Err(error) => end = Some(Err(error)),
                }
            }
            if waiting.is_empty() {
                return end.unwrap_or(Ok(()));
            }
            let (number, result) = results.recv().map_err(|_| gone())?;
            if let Some(slot) = waiting.get_mut((number - first_number) as usize) {
                *slot = Some(result);
            }
            while let Some(result) = waiting.front_mut().and_then(Option::take) {
                waiting.pop_front();
                first_number += 1;
                take(result?)?;
            }
        }
    }
}

fn serve<J, M>(
    queue: &async_channel::Receiver<(u64, J)>,
    answer: &mpsc::Sender<(u64, Result<M, ConvertError>)>,
    work: &impl Fn(J, &mut Bench) -> Result<M, ConvertError>,
    level: Level,
) {
    let mut bench = Bench::new(level);
    while let Ok((number, job)) = queue.recv_blocking() {
        // Without an answer the one who takes the results would wait for ever.
        let result = catch_unwind(AssertUnwindSafe(|| work(job, &mut bench)));
        let result = result.unwrap_or_else(|_| Err(ConvertError::Threads("a codec thread panicked".to_owned())));
        if answer.send((number, result)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(threads: usize, count: u32, fail_at: Option<u32>) -> (Result<(), ConvertError>, Vec<u32>) {
        let mut numbers = 0..count;
        let mut taken = Vec::new();
        let mut line = Line {
            next: || Ok(numbers.next()),
            work: |number: u32, _: &mut Bench| {
                // Later jobs tend to be done first.
                std::thread::sleep(std::time::Duration::from_micros(u64::from(300 * (4 - number % 5))));
                match fail_at == Some(number) {
                    true => Err(ConvertError::Request(format!("job {number}"))),
                    false => Ok(number),
                }
            },
            take: |number| {
                taken.push(number);
                Ok(())
            },
        };
        let result = Lineup { threads, level: Level::Fast }.run(&Watch::default(), &mut line);
        (result, taken)
    }

    #[test]
    fn results_come_in_order_on_any_number_of_threads() {
        for threads in [1, 2, 5] {
            let (result, taken) = run(threads, 200, None);
            assert!(result.is_ok());
            assert_eq!(taken, (0..200).collect::<Vec<_>>(), "{threads} threads");
        }
    }

    #[test]
    fn an_error_ends_the_line_after_everything_before_it() {
        for threads in [1, 2, 5] {
            let (result, taken) = run(threads, 200, Some(100));
            assert_eq!(result.unwrap_err().to_string(), "job 100");
            assert_eq!(taken, (0..100).collect::<Vec<_>>(), "{threads} threads");
        }
    }

    #[test]
    fn a_panic_is_an_error_and_no_hang() {
        let mut numbers = 0..50;
        let mut line = Line {
            next: || Ok(numbers.next()),
            work: |number: u32, _: &mut Bench| match number {
                7 => panic!("deliberate"),
                number => Ok(number),
            },
            take: |_| Ok(()),
        };
        let result = Lineup { threads: 2, level: Level::Fast }.run(&Watch::default(), &mut line);
        assert!(matches!(result, Err(ConvertError::Threads(_))));
    }

    #[test]
    fn a_stopped_line_says_so() {
        let watch = Watch::default();
        watch.stop();
        let mut line = Line { next: || Ok(Some(1)), work: |job: i32, _: &mut Bench| Ok(job), take: |_| Ok(()) };
        let result = Lineup { threads: 2, level: Level::Fast }.run(&watch, &mut line);
        assert!(matches!(result, Err(ConvertError::Interrupted)));
    }
}
