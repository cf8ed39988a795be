//! Room in memory for what passes hold: what components are told, and what they plan.
//!
//! A pass for which there is no room does not wait for it: it ends, so that another one is gone over in its place, and comes
//! again soon. It is noted what it wanted, so that who comes later and wants less is not first for ever. First is who has least
//! in its namespace, and of these who came first.
//!
//! While policies are asked about a plan, others have its room: that may take seconds, and the plan is no more than text then.
//! A pass that finds none afterwards begins anew, and keeps what it has the next time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::routes::ParentKey;

/// A pass that holds no more needs no room: there are only so many passes at a time.
const SMALL: usize = 4 << 20;

/// What all others hold together. It is as much as a component is told at most, too.
const ROOM: usize = 256 << 20;

/// After so long, who found no room comes again.
pub(crate) const AGAIN: Duration = Duration::from_secs(1);

/// Who has not come again for so long holds nobody up: it has to wait for other things.
const AWAY: Duration = Duration::from_secs(3);

/// Who has not come again for so long has lost its place.
const GONE: Duration = Duration::from_secs(30);

/// Room for all passes that are large. Those that have little need none, and wait for nobody.
#[derive(Clone, Default)]
pub(crate) struct Room(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    /// Bytes that the passes of each namespace have.
    by_namespace: HashMap<Box<str>, usize>,
    /// Who found no room. Who came first is first.
    waiting: Vec<Waiter>,
}

/// A resource whose pass found no room.
struct Waiter {
    key: ParentKey,
    /// What it wants.
    bytes: usize,
    /// When it last came.
    seen: Instant,
}

/// What a pass has of the room. It is given back when this is dropped.
pub(crate) struct Share {
    room: Room,
    key: ParentKey,
    bytes: usize,
    /// Whether it found no room when it came before.
    comes_again: bool,
}

/// There is no room now: begin anew later, with nothing in hand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// How much room so many bytes take. What is larger than all of it takes all of it, and does not wait for ever.
fn counted(bytes: usize) -> usize {
    if bytes <= SMALL { 0 } else { bytes.min(ROOM) }
}

impl Room {
    /// The share of a pass that begins: nothing, or what it found no room for when it came before.
    ///
    /// # Errors
    ///
    /// When there is still no room for that.
    pub(crate) fn begin(&self, key: &ParentKey) -> Result<Share, NoRoom> {
        let wanted = self.lock().place(key).map(|(_, bytes)| bytes);
        let mut share = Share {
            room: self.clone(),
            key: key.clone(),
            bytes: 0,
            comes_again: wanted.is_some(),
        };
        share.extend(wanted.unwrap_or(0))?;
        Ok(share)
    }

    /// Forgets a resource that wants nothing any more.
    pub(crate) fn forget(&self, key: &ParentKey) {
        self.lock().waiting.retain(|waiter| waiter.key != *key);
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing is left half changed: no call in between can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Where a resource stands among those that found no room, and what it wants.
    fn place(&self, key: &ParentKey) -> Option<(usize, usize)> {
        let mut waiting = self.waiting.iter().enumerate();
        waiting.find_map(|(place, waiter)| (waiter.key == *key).then_some((place, waiter.bytes)))
    }

    /// Gives who has so much what it wants, or notes that it waits for that.
    fn extend(&mut self, key: &ParentKey, has: usize, wanted: usize) -> Result<(), NoRoom> {
        let now = Instant::now();
        self.waiting
            .retain(|waiter| waiter.key == *key || now.duration_since(waiter.seen) < GONE);
        let place = self.place(key).map(|(place, _)| place);
        let all: usize = self.by_namespace.values().sum();
        if all + wanted - has <= ROOM && self.is_first(key, place, now) {
            if let Some(place) = place {
                self.waiting.remove(place);
            }
            *self.by_namespace.entry(key.namespace.clone()).or_default() += wanted - has;
            return Ok(());
        }
        let waiter = Waiter {
            key: key.clone(),
            // What it has to hold may grow until it comes again.
            bytes: (wanted + wanted / 4).min(ROOM),
            seen: now,
        };
        match place {
            Some(place) => self.waiting[place] = waiter,
            None => self.waiting.push(waiter),
        }
        Err(NoRoom)
    }

    /// Whether it is this one's turn.
    fn is_first(&self, key: &ParentKey, place: Option<usize>, now: Instant) -> bool {
        let has = |key: &ParentKey| self.by_namespace.get(&key.namespace).copied().unwrap_or(0);
        let own = (has(key), place.unwrap_or(usize::MAX));
        let mut others = self.waiting.iter().enumerate();
        others
            .all(|(place, waiter)| own <= (has(&waiter.key), place) || now.duration_since(waiter.seen) > AWAY)
    }

    fn give_back(&mut self, namespace: &str, bytes: usize) {
        if let Some(has) = self.by_namespace.get_mut(namespace) {
            *has = has.saturating_sub(bytes);
            if *has == 0 {
                self.by_namespace.remove(namespace);
            }
        }
    }
}

impl Share {
    /// Makes it one for so many bytes at the least.
    ///
    /// # Errors
    ///
    /// When there is no room now for what is missing.
    pub(crate) fn extend(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let wanted = counted(bytes);
        if wanted > self.bytes {
            self.room.lock().extend(&self.key, self.bytes, wanted)?;
            self.bytes = wanted;
        }
        Ok(())
    }

    /// For how many bytes it is; none where they are few.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back for a while what is more than so many bytes need. Who comes again because it found no room keeps all: it
    /// might find none once more, again and again.
    pub(crate) fn lend(&mut self, bytes: usize) {
        if !self.comes_again {
            self.reduce(bytes);
        }
    }

    /// Gives back what is more than so many bytes need.
    pub(crate) fn reduce(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(counted(bytes));
        if surplus > 0 {
            self.room.lock().give_back(&self.key.namespace, surplus);
            self.bytes -= surplus;
        }
    }
}

impl Drop for Share {
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

    /// A pass over a resource that takes so many MiB; none where there is no room.
    fn pass(room: &Room, namespace: &str, name: &str, mebibytes: usize) -> Option<Share> {
        let mut share = room.begin(&key(namespace, name)).ok()?;
        share.extend(mebibytes << 20).ok().map(|()| share)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_large_finds_no_room_beside_what_is_large() {
        let room = Room::default();
        let first = pass(&room, "a", "1", 248);
        let second = pass(&room, "b", "1", 8);
        assert!(first.is_some() && second.is_some());
        assert!(pass(&room, "c", "1", 5).is_none());
        assert!(pass(&room, "c", "2", 4).is_some(), "it is small");
        drop(first);
        assert!(pass(&room, "c", "1", 5).is_some());
        drop(second);
        assert!(pass(&room, "d", "1", 512).is_some(), "nobody waits for ever");
    }

    /// Of two that have something and want more, none would ever get it.
    #[tokio::test(start_paused = true)]
    async fn who_wants_more_begins_anew_with_nothing_in_hand() {
        let room = Room::default();
        let mut first = pass(&room, "a", "1", 128);
        let mut second = pass(&room, "b", "1", 128);
        let (Some(wants), Some(has)) = (&mut first, &mut second) else {
            panic!("there is room");
        };
        assert_eq!(wants.extend(ROOM), Err(NoRoom));
        assert_eq!(has.extend(SMALL), Ok(()));
        assert_eq!(has.bytes(), 128 << 20);
        drop(first);
        assert!(room.begin(&key("a", "1")).is_err());
        has.reduce(SMALL);
        assert_eq!(has.bytes(), 0);
        let again = room.begin(&key("a", "1"));
        assert_eq!(again.map(|share| share.bytes()), Ok(ROOM));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_overtakes_who_has_come_first() {
        let room = Room::default();
        let first = pass(&room, "a", "1", 128);
        assert!(pass(&room, "b", "1", 256).is_none());
        assert!(pass(&room, "c", "1", 8).is_none());
        drop(first);
        assert!(pass(&room, "c", "1", 8).is_none());
        assert!(room.begin(&key("b", "1")).is_ok());
        assert!(pass(&room, "c", "1", 8).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_least_is_first() {
        let room = Room::default();
        let first = pass(&room, "a", "1", 200);
        assert!(pass(&room, "a", "2", 100).is_none());
        let second = pass(&room, "b", "1", 50);
        assert!(second.is_some());
        assert!(pass(&room, "a", "3", 5).is_none(), "it came after the other one");
        drop((first, second));
        assert!(pass(&room, "a", "2", 100).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_with_many_is_not_always_first() {
        let room = Room::default();
        let all_of_one = || {
            let shares = (0..12).filter_map(|number| pass(&room, "a", &number.to_string(), 110));
            shares.collect::<Vec<_>>()
        };
        let mut held = all_of_one();
        assert_eq!(held.len(), 2);
        assert!(pass(&room, "b", "1", 40).is_none());
        held.pop();
        assert!(all_of_one().is_empty());
        assert!(pass(&room, "b", "1", 40).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lent_is_for_others_and_is_lost_once_only() {
        let room = Room::default();
        let Some(mut first) = pass(&room, "a", "1", 200) else {
            panic!("there is room");
        };
        first.lend(20 << 20);
        assert_eq!(first.bytes(), 20 << 20);
        let other = pass(&room, "b", "1", 100);
        assert!(other.is_some());
        assert_eq!(first.extend(200 << 20), Err(NoRoom));
        drop((first, other));
        let again = room.begin(&key("a", "1")).map(|mut share| {
            share.lend(20 << 20);
            share.bytes()
        });
        assert_eq!(again, Ok(250 << 20), "it may have grown");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_come_again_holds_nobody_up_and_is_forgotten() {
        let room = Room::default();
        let _first = pass(&room, "a", "1", 128);
        assert!(pass(&room, "b", "1", 256).is_none());
        assert!(pass(&room, "c", "1", 8).is_none());
        tokio::time::advance(AWAY + Duration::from_millis(1)).await;
        assert!(pass(&room, "c", "1", 8).is_some());
        assert!(
            pass(&room, "b", "1", 256).is_none(),
            "it is first again when it comes"
        );
        assert!(pass(&room, "c", "1", 8).is_none());
        tokio::time::advance(GONE).await;
        assert!(pass(&room, "c", "1", 8).is_some());
        assert!(pass(&room, "b", "1", 256).is_none());
        room.forget(&key("b", "1"));
        assert!(pass(&room, "c", "1", 8).is_some());
    }
}
