//! The threads on which requests are read, decided and answered.
//!
//! They are a share of those that may block, and a place counts as taken until the work has really ended, whoever waits for it:
//! requests that nobody waits for any more take no thread from anybody else.

use std::sync::Arc;

use dask_operator_runtime::until;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// Threads for each processor.
const AT_ONCE: usize = 2;

/// How many threads requests take at most on a machine with so many processors.
#[must_use]
pub fn threads(cores: usize) -> usize {
    AT_ONCE * cores
}

/// When a request must be done.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When components and the API server must have said what they have to say.
    pub end: Instant,
    /// When the answer must be there.
    pub deadline: Instant,
}

/// Why there is no answer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Unanswered {
    /// Others were first.
    #[error("there are too many requests at once: try again")]
    Busy,
    /// It took too long.
    #[error("the components have not answered in time")]
    Late,
    /// A defect.
    #[error("the webhook failed: {0}")]
    Failed(String),
}

/// Places for work that blocks.
#[derive(Debug)]
pub struct Desk {
    places: Arc<Semaphore>,
}

impl Desk {
    /// So many.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// Does `work` when it is its turn, which must be before `begin`. What it asks components ends with `times.end`.
    ///
    /// # Errors
    ///
    /// When there is no answer in time, or it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        begin: Instant,
        times: Times,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        // The semaphore is never closed.
        let Ok(Ok(place)) = timeout_at(begin, self.places.clone().acquire_owned()).await else {
            return Err(Unanswered::Busy);
        };
        let work = spawn_blocking(move || {
            let _place = place;
            until(times.end.into_std(), work)
        });
        match timeout_at(times.deadline, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(Unanswered::Failed(error.to_string())),
            Err(_) => Err(Unanswered::Late),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn within(milliseconds: u64) -> Times {
        let deadline = Instant::now() + Duration::from_millis(milliseconds);
        Times {
            end: deadline,
            deadline,
        }
    }

    async fn run<T: Send + 'static>(
        desk: &Desk,
        milliseconds: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let times = within(milliseconds);
        desk.run(times.end, times, work).await
    }

    #[tokio::test]
    async fn a_place_is_taken_until_the_work_has_ended() {
        let desk = Desk::new(1);
        let (go_on, wait) = mpsc::channel::<()>();
        let late = run(&desk, 50, move || wait.recv().unwrap_or_default()).await;
        assert_eq!(late, Err(Unanswered::Late));
        assert_eq!(run(&desk, 50, || ()).await, Err(Unanswered::Busy));
        drop(go_on);
        assert_eq!(run(&desk, 60_000, || 1).await, Ok(1));
        let panics = || -> u8 { panic!("on purpose") };
        let failed = run(&desk, 60_000, panics).await;
        assert!(matches!(failed, Err(Unanswered::Failed(_))), "{failed:?}");
        assert_eq!(run(&desk, 60_000, || 2).await, Ok(2));
    }
}
