//! Room in memory for what components are told at the same time.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::MOST_TOLD;

/// What takes no more needs no room: there are only so many passes at a time.
const SMALL: usize = 1 << 20;

/// Room is given by the KiB.
const UNIT: usize = 1 << 10;

/// As much as the largest observation takes, for all that are large together. Who has many of them waits for himself, and
/// those who have small ones wait for nobody.
pub(crate) struct Room(Semaphore);

impl Default for Room {
    fn default() -> Self {
        Self(Semaphore::new(MOST_TOLD / UNIT))
    }
}

impl Room {
    /// Whether so many bytes of JSON need no room.
    pub(crate) fn is_not_needed(bytes: usize) -> bool {
        bytes <= SMALL
    }

    /// Waits for room for so many bytes; it is given back with what is returned.
    pub(crate) async fn take(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let units = bytes.min(MOST_TOLD).div_ceil(UNIT);
        // The semaphore is never closed.
        self.0
            .acquire_many(u32::try_from(units).unwrap_or(u32::MAX))
            .await
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_large_waits_for_what_is_large() {
        let room = Room::default();
        let soon = Duration::from_secs(1);
        let first = room.take(MOST_TOLD - (8 << 20)).await;
        let second = room.take(8 << 20).await;
        assert!(first.is_some() && second.is_some());
        assert!(timeout(soon, room.take(2 << 20)).await.is_err());
        assert!(Room::is_not_needed(1 << 20) && !Room::is_not_needed(2 << 20));
        drop(first);
        assert!(timeout(soon, room.take(2 << 20)).await.is_ok());
        drop(second);
        // Larger than anything that is let through: it gets all there is, and does not wait for ever.
        assert!(timeout(soon, room.take(2 * MOST_TOLD)).await.is_ok());
    }
}
