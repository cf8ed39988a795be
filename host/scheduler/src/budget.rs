//! How many bytes may be on their way through the decoder at the same time, of all messages together.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What a message takes of a budget at a time. Its first piece is free: an answer about some seventy workers never waits for
/// larger ones.
pub(crate) const PIECE: usize = 64 << 10;

/// The bytes that all messages may have together while they are read and decoded. Clones share it.
///
/// A message takes of it as its bytes arrive, not as it announces them, and waits where there is none left for its owner:
/// within the time that its call has. Messages of one owner have no more together than they leave free: one owner alone
/// half of all, four of them a fifth each. So there is something left for who comes next.
///
/// Of one owner, one message waits at a time, and those that would wait beside it are given up: they would keep what they have
/// from each other until the time of all is over.
#[derive(Debug, Clone)]
pub struct Budget {
    all: Arc<All>,
    owner: Arc<str>,
}

#[derive(Debug)]
struct All {
    pieces: Mutex<Pieces>,
    given_back: Notify,
}

#[derive(Debug)]
struct Pieces {
    free: usize,
    /// Those of each owner that has some.
    held: HashMap<Arc<str>, usize>,
    /// The owners of whose messages one waits, or has waited and goes on.
    waiting: HashSet<Arc<str>>,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Self {
        let pieces = Pieces {
            free: usize::try_from(bytes / PIECE as u64).unwrap_or(usize::MAX),
            held: HashMap::new(),
            waiting: HashSet::new(),
        };
        Self {
            all: Arc::new(All {
                pieces: Mutex::new(pieces),
                given_back: Notify::new(),
            }),
            owner: Arc::default(),
        }
    }

    /// The same budget, for messages of `owner`.
    #[must_use]
    pub fn of(&self, owner: &str) -> Self {
        Self {
            all: self.all.clone(),
            owner: owner.into(),
        }
    }

    /// What a message has of it: nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share {
            budget: Some(self.clone()),
            pieces: 0,
            waits: false,
            place: None,
        }
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.all.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a piece, if there is one for the owner.
    fn take(&self) -> bool {
        let mut pieces = self.pieces();
        let held = pieces.held.get(&self.owner).copied().unwrap_or(0);
        let left = pieces.free.saturating_sub(1);
        let is_fair = held < left;
        if is_fair {
            pieces.free = left;
            pieces.held.insert(self.owner.clone(), held + 1);
        }
        is_fair
    }

    /// Makes a message the one of its owner that waits.
    fn place(&self) -> Result<Place, NoneLeft> {
        let is_first = self.pieces().waiting.insert(self.owner.clone());
        is_first.then(|| Place(self.clone())).ok_or(NoneLeft)
    }

    fn give_back(&self, count: usize) {
        let mut pieces = self.pieces();
        pieces.free += count;
        if let Some(held) = pieces.held.get_mut(&self.owner) {
            *held -= count;
            if *held == 0 {
                pieces.held.remove(&self.owner);
            }
        }
        drop(pieces);
        self.all.given_back.notify_waiters();
    }
}

/// Nothing is left of the budget for a message, and another one of its owner waits already.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoneLeft;

/// The place of the message that waits for its owner.
#[derive(Debug)]
struct Place(Budget);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.pieces().waiting.remove(&self.0.owner);
    }
}

/// What one message has taken of a budget. It is given back when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Share {
    budget: Option<Budget>,
    pieces: usize,
    waits: bool,
    /// Once it has waited, until it ends: others would take what it waits for next.
    place: Option<Place>,
}

impl Share {
    /// Waits until so many bytes are this message's.
    ///
    /// # Errors
    ///
    /// When there are not, and another message of its owner waits already.
    pub(crate) async fn cover(&mut self, bytes: usize) -> Result<(), NoneLeft> {
        let Some(budget) = &self.budget else {
            return Ok(());
        };
        self.waits = false;
        let wanted = bytes.div_ceil(PIECE).saturating_sub(1);
        while self.pieces < wanted {
            let mut given_back = pin!(budget.all.given_back.notified());
            // Before it is looked: nothing that is given back meanwhile is missed.
            given_back.as_mut().enable();
            if budget.take() {
                self.pieces += 1;
            } else {
                if self.place.is_none() {
                    self.place = Some(budget.place()?);
                }
                self.waits = true;
                given_back.await;
                self.waits = false;
            }
        }
        Ok(())
    }

    /// Returns whether it was given up while it waited for others.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget
            && self.pieces > 0
        {
            budget.give_back(self.pieces);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::options::Options;

    /// Whether that many bytes are to be had now.
    async fn has(share: &mut Share, bytes: usize) -> bool {
        let covered = tokio::time::timeout(Duration::from_secs(1), share.cover(bytes)).await;
        covered == Ok(Ok(()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_is_given_back() {
        let budget = Budget::new(6 * PIECE as u64);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(has(&mut first, 4 * PIECE).await);
        assert!(has(&mut second, PIECE).await, "the first piece is free");
        assert!(!has(&mut second, PIECE + 1).await);
        assert!(second.waits() && !first.waits());
        drop(first);
        assert!(has(&mut second, 4 * PIECE).await);
        assert!(!second.waits());
        assert!(!has(&mut second, 5 * PIECE).await, "half is for others");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_when_something_is_given_back() {
        let budget = Budget::new(6 * PIECE as u64);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(has(&mut first, 4 * PIECE).await);
        let waiting = tokio::spawn(async move { second.cover(4 * PIECE).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        let waited = tokio::time::timeout(Duration::from_secs(1), waiting).await;
        assert!(matches!(waited, Ok(Ok(Ok(())))));
    }

    /// Messages that come at the same moment must not all wait for what the others have.
    #[tokio::test(start_paused = true)]
    async fn of_one_owner_one_message_waits() {
        let budget = Budget::new(20 * PIECE as u64);
        let of_owner = budget.of("a");
        let mut shares: Vec<_> = (0..5).map(|_| of_owner.share()).collect();
        for share in &mut shares {
            assert!(has(share, 3 * PIECE).await);
        }
        assert!(!has(&mut shares[0], 4 * PIECE).await);
        assert!(shares[0].waits());
        let given_up = shares[1].cover(4 * PIECE).await;
        assert_eq!(given_up, Err(NoneLeft));
        let mut other = budget.of("b").share();
        assert!(has(&mut other, 3 * PIECE).await, "others have what is theirs");
        drop(shares.split_off(1));
        assert!(has(&mut shares[0], 6 * PIECE).await);
        assert!(!has(&mut shares[0], 20 * PIECE).await);
        drop(shares);
        let mut next = of_owner.share();
        assert!(!has(&mut next, 20 * PIECE).await);
        assert!(next.waits(), "its place is free again");
    }

    /// Some who always take what they can leave something for the next, and one alone has enough for the largest message.
    #[tokio::test(start_paused = true)]
    async fn nobody_is_kept_out() {
        let options = Options::default();
        let owners: Vec<_> = (0..4)
            .map(|owner| options.budget.of(&format!("greedy-{owner}")))
            .collect();
        let most = usize::try_from(options.max_message).unwrap_or(usize::MAX);
        let mut alone = owners[0].share();
        assert!(has(&mut alone, most).await);
        drop(alone);
        let mut shares: Vec<_> = owners.iter().map(Budget::share).collect();
        for _ in 0..3 {
            for (share, owner) in shares.iter_mut().zip(&owners) {
                *share = owner.share();
                assert!(!has(share, 2 * most).await);
            }
        }
        // What is said of 10,000 workers.
        assert!(has(&mut options.budget.of("other").share(), 10 << 20).await);
    }

    #[tokio::test]
    async fn without_a_budget_nobody_waits() {
        assert_eq!(Share::default().cover(usize::MAX / 2).await, Ok(()));
    }
}
