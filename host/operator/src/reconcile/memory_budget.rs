//! Memory budget for large reconciles: for the observations that components receive, and their plans. Pure.
//!
//! A reconcile that does not fit into the budget does not wait: it ends, so that another resource is reconciled
//! instead, and is requeued soon. Its demand is recorded, so that later reconciles with a smaller demand do not
//! overtake it forever. The waiting reconcile whose namespace has reserved the least goes first, and of several with
//! the same reservation the one that came first.
//!
//! While policies review a plan, its memory is lent to other reconciles: a review may take seconds, and the plan is
//! only text in this time. If the memory is not available afterwards, the reconcile starts over, and keeps its memory
//! during the review the next time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::key::ParentKey;
use crate::threads::Weight;

/// Limit up to which a reconcile needs no reservation: the number of concurrent reconciles is limited.
const UNCOUNTED: usize = 4 << 20;

/// Budget for all other reconciles together. A component receives at most the same amount.
const BUDGET: usize = 256 << 20;

/// Delay until a reconcile that did not fit is requeued.
pub(crate) const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Time after which a waiter that has not come back no longer blocks others: it waits for something else.
const STALE_AFTER: Duration = Duration::from_secs(3);

/// Time after which a waiter that has not come back loses its position.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// Memory budget of all large reconciles. Small ones need no reservation and do not wait.
#[derive(Clone, Default)]
pub(crate) struct MemoryBudget(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Bytes that are reserved, by namespace.
    by_namespace: HashMap<Box<str>, usize>,
    /// Resources that did not fit, in the order of their first attempts.
    waiting: Vec<Waiter>,
}

/// A resource whose reconcile did not fit into the budget.
struct Waiter {
    key: ParentKey,
    /// Requested bytes.
    bytes: usize,
    /// Time of the last attempt.
    seen: Instant,
}

/// Reservation of a reconcile. It is released on drop.
pub(crate) struct Reservation {
    budget: MemoryBudget,
    key: ParentKey,
    bytes: usize,
    /// True if the previous attempt did not fit.
    is_retry: bool,
}

/// The budget is used up. The caller must release everything and start over later.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OverBudget;

/// Returns the bytes to reserve for a demand. A demand above the budget reserves the whole budget, so that it does not
/// wait forever.
fn reserved(bytes: usize) -> usize {
    if bytes <= UNCOUNTED { 0 } else { bytes.min(BUDGET) }
}

impl MemoryBudget {
    /// Returns the reservation of a starting reconcile: empty, or the demand of the previous attempt that did not fit.
    ///
    /// # Errors
    ///
    /// Returns an error if that demand still does not fit.
    pub(crate) fn begin(&self, key: &ParentKey) -> Result<Reservation, OverBudget> {
        let wanted = self.0.lock().position(key).map(|(_, bytes)| bytes);
        let mut reservation = Reservation {
            budget: self.clone(),
            key: key.clone(),
            bytes: 0,
            is_retry: wanted.is_some(),
        };
        reservation.extend(wanted.unwrap_or(0))?;
        Ok(reservation)
    }

    /// Removes a waiting resource that has no demand any more.
    pub(crate) fn forget(&self, key: &ParentKey) {
        self.0.lock().waiting.retain(|waiter| waiter.key != *key);
    }
}

impl State {
    /// Returns the position of a resource among the waiters, and its demand.
    fn position(&self, key: &ParentKey) -> Option<(usize, usize)> {
        let mut waiting = self.waiting.iter().enumerate();
        waiting.find_map(|(position, waiter)| (waiter.key == *key).then_some((position, waiter.bytes)))
    }

    /// Extends the reservation of `key` from `has` to `wanted` bytes, or records that the resource waits for that.
    fn extend(&mut self, key: &ParentKey, has: usize, wanted: usize) -> Result<(), OverBudget> {
        let now = Instant::now();
        self.waiting
            .retain(|waiter| waiter.key == *key || now.duration_since(waiter.seen) < FORGOTTEN_AFTER);
        let position = self.position(key).map(|(position, _)| position);
        let all: usize = self.by_namespace.values().sum();
        if all + wanted - has <= BUDGET && self.is_next(key, position, now) {
            if let Some(position) = position {
                self.waiting.remove(position);
            }
            *self.by_namespace.entry(key.namespace.clone()).or_default() += wanted - has;
            return Ok(());
        }
        let waiter = Waiter {
            key: key.clone(),
            // The demand may grow until the next attempt.
            bytes: (wanted + wanted / 4).min(BUDGET),
            seen: now,
        };
        match position {
            Some(position) => self.waiting[position] = waiter,
            None => self.waiting.push(waiter),
        }
        Err(OverBudget)
    }

    /// Returns whether no other waiter goes before `key`.
    fn is_next(&self, key: &ParentKey, position: Option<usize>, now: Instant) -> bool {
        let has = |key: &ParentKey| self.by_namespace.get(&key.namespace).copied().unwrap_or(0);
        let own = (has(key), position.unwrap_or(usize::MAX));
        let mut others = self.waiting.iter().enumerate();
        others.all(|(position, waiter)| {
            own <= (has(&waiter.key), position) || now.duration_since(waiter.seen) > STALE_AFTER
        })
    }

    fn release(&mut self, namespace: &str, bytes: usize) {
        if let Some(has) = self.by_namespace.get_mut(namespace) {
            *has = has.saturating_sub(bytes);
            if *has == 0 {
                self.by_namespace.remove(namespace);
            }
        }
    }
}

impl Reservation {
    /// Extends the reservation to at least this number of bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if the difference does not fit.
    pub(crate) fn extend(&mut self, bytes: usize) -> Result<(), OverBudget> {
        let wanted = reserved(bytes);
        if wanted > self.bytes {
            self.budget.0.lock().extend(&self.key, self.bytes, wanted)?;
            self.bytes = wanted;
        }
        Ok(())
    }

    /// Returns the reserved bytes; 0 if the demand is small.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the weight of work on a resource with this JSON.
    pub(crate) fn weight(&self, json: &str) -> Weight {
        if self.bytes > 0 {
            Weight::Heavy
        } else {
            Weight::of(json.len())
        }
    }

    /// Releases for a while all that exceeds the need of `bytes`. A reconcile whose previous attempt did not fit keeps
    /// its reservation, because it could fail in the same way again and again.
    pub(crate) fn lend(&mut self, bytes: usize) {
        if !self.is_retry {
            self.reduce(bytes);
        }
    }

    /// Releases all that exceeds the need of `bytes`.
    pub(crate) fn reduce(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(reserved(bytes));
        if surplus > 0 {
            self.budget.0.lock().release(&self.key.namespace, surplus);
            self.bytes -= surplus;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.reduce(0);
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_core::parent::DaskKind;

    use super::*;

    fn key(namespace: &str, name: &str) -> ParentKey {
        ParentKey::new(DaskKind::Cluster, namespace, name)
    }

    /// Starts a reconcile that needs this number of MiB. Returns `None` if it does not fit.
    fn reserve(budget: &MemoryBudget, namespace: &str, name: &str, mebibytes: usize) -> Option<Reservation> {
        let mut reservation = budget.begin(&key(namespace, name)).ok()?;
        reservation.extend(mebibytes << 20).ok().map(|()| reservation)
    }

    #[tokio::test(start_paused = true)]
    async fn large_reconciles_share_the_budget() {
        let budget = MemoryBudget::default();
        let first = reserve(&budget, "a", "1", 248);
        let second = reserve(&budget, "b", "1", 8);
        assert!(first.is_some() && second.is_some());
        assert!(reserve(&budget, "c", "1", 5).is_none());
        assert!(reserve(&budget, "c", "2", 4).is_some(), "it is small");
        drop(first);
        assert!(reserve(&budget, "c", "1", 5).is_some());
        drop(second);
        assert!(
            reserve(&budget, "d", "1", 512).is_some(),
            "a demand above the budget does not wait forever"
        );
    }

    /// Two reconciles that both keep their reservations and wait for more would never get it.
    #[tokio::test(start_paused = true)]
    async fn a_reconcile_that_needs_more_starts_over_without_a_reservation() {
        let budget = MemoryBudget::default();
        let mut first = reserve(&budget, "a", "1", 128);
        let mut second = reserve(&budget, "b", "1", 128);
        let (Some(wants), Some(has)) = (&mut first, &mut second) else {
            panic!("the budget has room");
        };
        assert_eq!(wants.extend(BUDGET), Err(OverBudget));
        assert_eq!(has.extend(UNCOUNTED), Ok(()));
        assert_eq!(has.bytes(), 128 << 20);
        drop(first);
        assert!(budget.begin(&key("a", "1")).is_err());
        has.reduce(UNCOUNTED);
        assert_eq!(has.bytes(), 0);
        let again = budget.begin(&key("a", "1"));
        assert_eq!(again.map(|reservation| reservation.bytes()), Ok(BUDGET));
    }

    #[tokio::test(start_paused = true)]
    async fn smaller_demands_do_not_overtake_earlier_ones() {
        let budget = MemoryBudget::default();
        let first = reserve(&budget, "a", "1", 128);
        assert!(reserve(&budget, "b", "1", 256).is_none());
        assert!(reserve(&budget, "c", "1", 8).is_none());
        drop(first);
        assert!(reserve(&budget, "c", "1", 8).is_none());
        assert!(budget.begin(&key("b", "1")).is_ok());
        assert!(reserve(&budget, "c", "1", 8).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_namespace_with_the_smallest_reservation_goes_first() {
        let budget = MemoryBudget::default();
        let first = reserve(&budget, "a", "1", 200);
        assert!(reserve(&budget, "a", "2", 100).is_none());
        let second = reserve(&budget, "b", "1", 50);
        assert!(second.is_some());
        assert!(
            reserve(&budget, "a", "3", 5).is_none(),
            "it was requested after the other one"
        );
        drop((first, second));
        assert!(reserve(&budget, "a", "2", 100).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_with_many_reconciles_does_not_starve_others() {
        let budget = MemoryBudget::default();
        let all_of_one = || {
            let reservations = (0..12).filter_map(|number| reserve(&budget, "a", &number.to_string(), 110));
            reservations.collect::<Vec<_>>()
        };
        let mut held = all_of_one();
        assert_eq!(held.len(), 2);
        assert!(reserve(&budget, "b", "1", 40).is_none());
        held.pop();
        assert!(all_of_one().is_empty());
        assert!(reserve(&budget, "b", "1", 40).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn lent_memory_is_lost_at_most_once() {
        let budget = MemoryBudget::default();
        let Some(mut first) = reserve(&budget, "a", "1", 200) else {
            panic!("the budget has room");
        };
        first.lend(20 << 20);
        assert_eq!(first.bytes(), 20 << 20);
        let other = reserve(&budget, "b", "1", 100);
        assert!(other.is_some());
        assert_eq!(first.extend(200 << 20), Err(OverBudget));
        drop((first, other));
        let again = budget.begin(&key("a", "1")).map(|mut reservation| {
            reservation.lend(20 << 20);
            reservation.bytes()
        });
        assert_eq!(again, Ok(250 << 20), "the demand may have grown");
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_does_not_come_back_is_skipped_and_forgotten() {
        let budget = MemoryBudget::default();
        let _first = reserve(&budget, "a", "1", 128);
        assert!(reserve(&budget, "b", "1", 256).is_none());
        assert!(reserve(&budget, "c", "1", 8).is_none());
        tokio::time::advance(STALE_AFTER + Duration::from_millis(1)).await;
        assert!(reserve(&budget, "c", "1", 8).is_some());
        assert!(
            reserve(&budget, "b", "1", 256).is_none(),
            "it goes first again when it comes back"
        );
        assert!(reserve(&budget, "c", "1", 8).is_none());
        tokio::time::advance(FORGOTTEN_AFTER).await;
        assert!(reserve(&budget, "c", "1", 8).is_some());
        assert!(reserve(&budget, "b", "1", 256).is_none());
        budget.forget(&key("b", "1"));
        assert!(reserve(&budget, "c", "1", 8).is_some());
    }
}
