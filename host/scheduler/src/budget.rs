//! How many bytes may be on their way through the decoder at the same time, of all messages together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a message takes of a budget at a time. Its first piece is free: an answer about some seventy workers never waits for
/// larger ones.
pub(crate) const PIECE: usize = 64 << 10;

/// The bytes that all messages may have together while they are read and decoded. Clones share it.
///
/// A message takes of it as its bytes arrive, not as it announces them, and waits where there is none left: within the time
/// that its call has.
#[derive(Debug, Clone)]
pub struct Budget {
    /// From the smallest part to the whole.
    levels: Vec<Arc<Semaphore>>,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Self {
        Self {
            levels: vec![level(bytes)],
        }
    }

    /// A part of this budget: whoever shares it has no more than so many bytes together, however much is left of the whole.
    #[must_use]
    pub fn part(&self, bytes: u64) -> Self {
        let mut levels = vec![level(bytes)];
        levels.extend(self.levels.iter().cloned());
        Self { levels }
    }

    /// What a message has of it: nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share {
            levels: self.levels.clone(),
            held: Vec::new(),
            pieces: 0,
        }
    }
}

fn level(bytes: u64) -> Arc<Semaphore> {
    let pieces = usize::try_from(bytes / PIECE as u64).unwrap_or(usize::MAX);
    Arc::new(Semaphore::new(pieces.clamp(1, Semaphore::MAX_PERMITS)))
}

/// What one message has taken of a budget. It is given back when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Share {
    levels: Vec<Arc<Semaphore>>,
    /// One for each level.
    held: Vec<OwnedSemaphorePermit>,
    pieces: usize,
}

impl Share {
    /// Waits until so many bytes are this message's.
    pub(crate) async fn cover(&mut self, bytes: usize) {
        if self.levels.is_empty() {
            return;
        }
        let wanted = bytes.div_ceil(PIECE).saturating_sub(1);
        while self.pieces < wanted {
            for (at, level) in self.levels.iter().enumerate() {
                // A semaphore of a budget is never closed.
                let Ok(piece) = level.clone().acquire_owned().await else {
                    continue;
                };
                match self.held.get_mut(at) {
                    Some(held) => held.merge(piece),
                    None => self.held.push(piece),
                }
            }
            self.pieces += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whether that many bytes are to be had now.
    async fn has(share: &mut Share, bytes: usize) -> bool {
        tokio::time::timeout(Duration::from_secs(1), share.cover(bytes))
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_is_given_back() {
        let budget = Budget::new(2 * PIECE as u64);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(has(&mut first, 3 * PIECE).await);
        assert!(has(&mut second, PIECE).await, "the first piece is free");
        assert!(!has(&mut second, PIECE + 1).await);
        drop(first);
        assert!(has(&mut second, 3 * PIECE).await);
        assert!(!has(&mut second, 4 * PIECE).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_used_up_a_part_leaves_the_rest_to_others() {
        let budget = Budget::new(3 * PIECE as u64);
        let (greedy, other) = (budget.part(2 * PIECE as u64), budget.part(2 * PIECE as u64));
        let mut shares = [greedy.share(), greedy.share(), other.share()];
        assert!(has(&mut shares[0], 3 * PIECE).await);
        assert!(!has(&mut shares[1], 2 * PIECE).await);
        assert!(has(&mut shares[2], 2 * PIECE).await);
        assert!(!has(&mut shares[2], 3 * PIECE).await, "the whole is used up");
    }

    #[tokio::test]
    async fn without_a_budget_nobody_waits() {
        Share::default().cover(usize::MAX / 2).await;
    }
}
