//! Common deadline for several calls on a thread.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Runs `work` with the common deadline `end` for its calls of components on this thread. Each call gets its own
/// [`deadline`](crate::CallLimits::deadline) or the remaining time, whichever is less. If the common deadline ends a call, the
/// component did not cause the failure: see [`Failure::is_of_component`](crate::Failure::is_of_component). The earlier
/// deadline applies if such calls are nested.
pub fn until<T>(end: Instant, work: impl FnOnce() -> T) -> T {
    let outer = DEADLINE.get();
    let _restore = Restore(outer);
    DEADLINE.set(Some(outer.map_or(end, |outer| outer.min(end))));
    work()
}

/// Guard that restores the outer deadline when it is dropped, also during a panic.
struct Restore(Option<Instant>);

impl Drop for Restore {
    fn drop(&mut self) {
        DEADLINE.set(self.0);
    }
}

/// Returns the time that calls on this thread have left until the deadline set by [`until`], or `None` if none is set.
#[must_use]
pub fn left() -> Option<Duration> {
    DEADLINE
        .get()
        .map(|end| end.saturating_duration_since(Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_deadline_applies_until_its_scope_ends() {
        assert_eq!(left(), None);
        let hour = Duration::from_secs(3600);
        until(Instant::now() + hour, || {
            until(Instant::now() + 2 * hour, || {
                assert!(left().is_some_and(|left| left <= hour));
            });
            until(Instant::now(), || assert_eq!(left(), Some(Duration::ZERO)));
            assert!(left().is_some_and(|left| left > hour / 2));
        });
        assert_eq!(left(), None);
        let panics = || -> u8 { panic!("on purpose") };
        assert!(std::panic::catch_unwind(|| until(Instant::now(), panics)).is_err());
        assert_eq!(left(), None);
    }
}
