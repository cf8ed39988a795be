//! The time that several calls have together.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static END: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Runs `work`, whose calls of components on this thread all end by `end`: each gets its own
/// [`deadline`](crate::Limits::deadline) or what is left, whichever is less. A call that ends because of that is no fault
/// of its component: see [`Failure::is_of_component`](crate::Failure::is_of_component).
pub fn until<T>(end: Instant, work: impl FnOnce() -> T) -> T {
    let former = END.get();
    let _former = Former(former);
    END.set(Some(former.map_or(end, |former| former.min(end))));
    work()
}

/// Puts the former end back, after a panic too.
struct Former(Option<Instant>);

impl Drop for Former {
    fn drop(&mut self) {
        END.set(self.0);
    }
}

/// What calls on this thread have left of the time that [`until`] gives them; none where it gives none.
#[must_use]
pub fn left() -> Option<Duration> {
    END.get().map(|end| end.saturating_duration_since(Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_end_counts_and_no_longer_than_it_shall() {
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
