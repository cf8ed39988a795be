//! Limit on the bytes of all messages that are read and decoded at the same time.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Bytes that a message takes from a budget at a time. The first chunk is free, so a reply about some seventy workers never
/// waits for larger replies.
pub(crate) const CHUNK: usize = 64 << 10;

/// A limit on the bytes of all messages that are read and decoded at the same time. Clones share the limit.
///
/// A message takes bytes from the budget as they arrive, not as it announces them. If none are left for its owner, the message
/// waits, within the deadline of its call. The messages of one owner together never have more than what is still free: one
/// owner alone can have half of the budget, and four owners a fifth each. So there is always something left for another owner.
///
/// At most one message of each owner waits at a time. Further messages of that owner that would have to wait fail instead:
/// waiting messages would keep their bytes from each other until all of their deadlines had passed.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
    owner: Arc<str>,
}

#[derive(Debug)]
struct Shared {
    chunks: Mutex<Chunks>,
    released: Notify,
}

#[derive(Debug)]
struct Chunks {
    free: usize,
    /// The number of chunks that each owner has. Owners without chunks are absent.
    held: HashMap<Arc<str>, usize>,
    /// Owners with a message that is waiting, or that waited and has not ended yet.
    waiting: HashSet<Arc<str>>,
}

impl Budget {
    /// Returns a budget of this many bytes.
    pub fn new(bytes: u64) -> Self {
        let chunks = Chunks {
            free: usize::try_from(bytes / CHUNK as u64).unwrap_or(usize::MAX),
            held: HashMap::new(),
            waiting: HashSet::new(),
        };
        Self {
            shared: Arc::new(Shared {
                chunks: Mutex::new(chunks),
                released: Notify::new(),
            }),
            owner: Arc::default(),
        }
    }

    /// Returns the same budget, for messages of `owner`.
    #[must_use]
    pub fn of(&self, owner: &str) -> Self {
        Self {
            shared: self.shared.clone(),
            owner: owner.into(),
        }
    }

    /// Returns the share of a new message, which has no chunks yet.
    pub(crate) fn share(&self) -> Share {
        Share {
            budget: Some(self.clone()),
            chunks: 0,
            is_waiting: false,
            waiting_slot: None,
        }
    }

    /// Takes a chunk and returns true, if one is left for the owner.
    fn take(&self) -> bool {
        let mut chunks = self.shared.chunks.lock();
        let held = chunks.held.get(&self.owner).copied().unwrap_or(0);
        let left = chunks.free.saturating_sub(1);
        let is_fair = held < left;
        if is_fair {
            chunks.free = left;
            chunks.held.insert(self.owner.clone(), held + 1);
        }
        is_fair
    }

    /// Claims the waiting slot of the owner for a message.
    ///
    /// # Errors
    ///
    /// Returns an error if another message of the owner has the slot.
    fn claim_waiting_slot(&self) -> Result<WaitingSlot, BudgetExhausted> {
        let is_first = self.shared.chunks.lock().waiting.insert(self.owner.clone());
        is_first.then(|| WaitingSlot(self.clone())).ok_or(BudgetExhausted)
    }

    fn release(&self, count: usize) {
        let mut chunks = self.shared.chunks.lock();
        chunks.free += count;
        if let Some(held) = chunks.held.get_mut(&self.owner) {
            *held -= count;
            if *held == 0 {
                chunks.held.remove(&self.owner);
            }
        }
        drop(chunks);
        self.shared.released.notify_waiters();
    }
}

/// The budget has no chunk left for a message, and another message of the same owner is already waiting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BudgetExhausted;

/// The right to wait, which at most one message of each owner has. Dropping it frees the slot.
#[derive(Debug)]
struct WaitingSlot(Budget);

impl Drop for WaitingSlot {
    fn drop(&mut self) {
        self.0.shared.chunks.lock().waiting.remove(&self.0.owner);
    }
}

/// The chunks that one message has taken from a budget. Dropping the share releases them.
#[derive(Debug, Default)]
pub(crate) struct Share {
    budget: Option<Budget>,
    chunks: usize,
    is_waiting: bool,
    /// Set once the message has waited, until it ends. Without it, other messages would take the chunks that this one needs next.
    waiting_slot: Option<WaitingSlot>,
}

impl Share {
    /// Waits until the share covers this many bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if no chunk is left and another message of the same owner is already waiting.
    pub(crate) async fn cover(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        let Some(budget) = &self.budget else {
            return Ok(());
        };
        self.is_waiting = false;
        let wanted = bytes.div_ceil(CHUNK).saturating_sub(1);
        while self.chunks < wanted {
            let mut released = pin!(budget.shared.released.notified());
            // Register before the check, so that no release in between is missed.
            released.as_mut().enable();
            if budget.take() {
                self.chunks += 1;
            } else {
                if self.waiting_slot.is_none() {
                    self.waiting_slot = Some(budget.claim_waiting_slot()?);
                }
                self.is_waiting = true;
                released.await;
                self.is_waiting = false;
            }
        }
        Ok(())
    }

    /// Returns whether the message is waiting for chunks, or was when its future was dropped.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget
            && self.chunks > 0
        {
            budget.release(self.chunks);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::options::Options;

    /// Returns whether the share can cover this many bytes without a release by another message.
    async fn has(share: &mut Share, bytes: usize) -> bool {
        let covered = tokio::time::timeout(Duration::from_secs(1), share.cover(bytes)).await;
        covered == Ok(Ok(()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_share_releases_its_chunks() {
        let budget = Budget::new(6 * CHUNK as u64);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(has(&mut first, 4 * CHUNK).await);
        assert!(has(&mut second, CHUNK).await, "the first chunk is free");
        assert!(!has(&mut second, CHUNK + 1).await);
        assert!(second.is_waiting() && !first.is_waiting());
        drop(first);
        assert!(has(&mut second, 4 * CHUNK).await);
        assert!(!second.is_waiting());
        assert!(
            !has(&mut second, 5 * CHUNK).await,
            "half is left for other owners"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_message_continues_after_a_release() {
        let budget = Budget::new(6 * CHUNK as u64);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(has(&mut first, 4 * CHUNK).await);
        let waiting = tokio::spawn(async move { second.cover(4 * CHUNK).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        let waited = tokio::time::timeout(Duration::from_secs(1), waiting).await;
        assert!(matches!(waited, Ok(Ok(Ok(())))));
    }

    /// Messages that arrive at the same moment must not all wait for each other's chunks.
    #[tokio::test(start_paused = true)]
    async fn only_one_message_of_each_owner_waits() {
        let budget = Budget::new(20 * CHUNK as u64);
        let of_owner = budget.of("a");
        let mut shares: Vec<_> = (0..5).map(|_| of_owner.share()).collect();
        for share in &mut shares {
            assert!(has(share, 3 * CHUNK).await);
        }
        assert!(!has(&mut shares[0], 4 * CHUNK).await);
        assert!(shares[0].is_waiting());
        let given_up = shares[1].cover(4 * CHUNK).await;
        assert_eq!(given_up, Err(BudgetExhausted));
        let mut other = budget.of("b").share();
        assert!(has(&mut other, 3 * CHUNK).await, "other owners are not affected");
        drop(shares.split_off(1));
        assert!(has(&mut shares[0], 6 * CHUNK).await);
        assert!(!has(&mut shares[0], 20 * CHUNK).await);
        drop(shares);
        let mut next = of_owner.share();
        assert!(!has(&mut next, 20 * CHUNK).await);
        assert!(next.is_waiting(), "the waiting slot is free again");
    }

    /// Owners that always take as much as they can leave memory for another owner. One owner alone has enough for the largest
    /// message.
    #[tokio::test(start_paused = true)]
    async fn greedy_owners_leave_memory_for_other_owners() {
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
        // The size of a reply about 10,000 workers.
        assert!(has(&mut options.budget.of("other").share(), 10 << 20).await);
    }

    #[tokio::test]
    async fn a_share_without_a_budget_never_waits() {
        assert_eq!(Share::default().cover(usize::MAX / 2).await, Ok(()));
    }
}
