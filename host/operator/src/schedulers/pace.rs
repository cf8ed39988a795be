//! A bound on how often something is done.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets one through at a time, with a time between them.
#[derive(Debug)]
pub(super) struct Pace {
    apart: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// One each `apart`.
    pub(super) fn new(apart: Duration) -> Self {
        Self {
            apart,
            next: Mutex::new(None),
        }
    }

    /// Waits for one's turn.
    pub(super) async fn turn(&self) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = next.map_or(now, |next| next.max(now));
            *next = Some(turn + self.apart);
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_come_apart_and_are_not_saved_up() {
        let (pace, start) = (Pace::new(Duration::from_millis(10)), Instant::now());
        pace.turn().await;
        pace.turn().await;
        assert_eq!(start.elapsed(), Duration::from_millis(10));
        tokio::time::advance(Duration::from_secs(1)).await;
        let start = Instant::now();
        for _ in 0..3 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::from_millis(20));
    }
}
