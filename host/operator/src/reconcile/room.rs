//! Room in memory for what passes hold: what components are told, and what they plan.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A pass that holds no more needs no room: there are only so many passes at a time.
const SMALL: usize = 4 << 20;

/// What all others hold together. It is as much as a component is told at most, too.
const ROOM: usize = 256 << 20;

/// Room is given by the KiB.
const UNIT: usize = 1 << 10;

/// Room for all passes that are large. Who has many of them waits for himself, and those who have small ones wait for
/// nobody.
#[derive(Clone)]
pub(crate) struct Room(Arc<Semaphore>);

/// What a pass has of the room. It is given back when this is dropped.
#[derive(Default)]
pub(crate) struct Share(Option<OwnedSemaphorePermit>);

/// There is no room now for so many bytes: wait for it with nothing in hand, and begin anew.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoRoom(pub(crate) usize);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM / UNIT)))
    }
}

/// How much room so many bytes take. What is larger than all of it takes all of it, and does not wait for ever.
fn units(bytes: usize) -> usize {
    if bytes <= SMALL {
        0
    } else {
        bytes.min(ROOM).div_ceil(UNIT)
    }
}

impl Room {
    /// Waits for room for so many bytes.
    pub(crate) async fn take(&self, bytes: usize) -> Share {
        let units = u32::try_from(units(bytes)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        Share(self.0.clone().acquire_many_owned(units).await.ok())
    }

    /// Makes `share` one for so many bytes at the least, where that is possible at once.
    ///
    /// # Errors
    ///
    /// When there is no room now for what is missing.
    pub(crate) fn extend(&self, share: &mut Share, bytes: usize) -> Result<(), NoRoom> {
        let missing = units(bytes).saturating_sub(share.units());
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        let more = self.0.clone().try_acquire_many_owned(missing);
        let more = more.map_err(|_| NoRoom(bytes))?;
        match &mut share.0 {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

impl Share {
    fn units(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// For how many bytes it is; none where they are few.
    pub(crate) fn bytes(&self) -> usize {
        self.units() * UNIT
    }

    /// Gives back what is more than so many bytes need.
    pub(crate) fn reduce(&mut self, bytes: usize) {
        let surplus = self.units().saturating_sub(units(bytes));
        drop(self.0.as_mut().and_then(|permit| permit.split(surplus)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_large_waits_for_what_is_large() {
        let room = Room::default();
        let first = room.take(ROOM - (8 << 20)).await;
        let second = room.take(8 << 20).await;
        assert!(timeout(SOON, room.take(SMALL + 1)).await.is_err());
        assert!(timeout(SOON, room.take(SMALL)).await.is_ok());
        drop(first);
        assert!(timeout(SOON, room.take(SMALL + 1)).await.is_ok());
        drop(second);
        assert!(timeout(SOON, room.take(2 * ROOM)).await.is_ok());
    }

    /// Of two that have something and want more, none would ever get it.
    #[tokio::test(start_paused = true)]
    async fn who_wants_more_waits_with_nothing_in_hand() {
        let room = Room::default();
        let (mut first, mut second) = (Share::default(), Share::default());
        assert_eq!(room.extend(&mut first, ROOM / 2), Ok(()));
        assert_eq!(room.extend(&mut second, ROOM / 2), Ok(()));
        assert_eq!(room.extend(&mut first, ROOM), Err(NoRoom(ROOM)));
        drop(first);
        let waits = room.take(ROOM);
        assert_eq!(room.extend(&mut second, SMALL), Ok(()));
        assert_eq!(second.bytes(), ROOM / 2);
        second.reduce(SMALL);
        assert_eq!(second.bytes(), 0);
        assert!(timeout(SOON, waits).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_overtakes_who_waits() {
        let room = Room::default();
        let first = room.take(ROOM / 2).await;
        let waiting = tokio::spawn({
            let room = room.clone();
            async move { room.take(ROOM).await }
        });
        tokio::task::yield_now().await;
        let mut other = Share::default();
        assert_eq!(room.extend(&mut other, 2 * SMALL), Err(NoRoom(2 * SMALL)));
        drop(first);
        assert!(timeout(SOON, waiting).await.is_ok());
        assert_eq!(room.extend(&mut other, 2 * SMALL), Ok(()));
    }
}
