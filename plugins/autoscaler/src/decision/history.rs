//! What was wanted within a window, as little as needed of it.

use std::cmp::Ordering;

use super::Seconds;

/// How many numbers are remembered at most.
pub(crate) const CAPACITY: usize = 12;

/// A number of workers that was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Past {
    /// How many.
    pub(crate) replicas: u32,
    /// When they were last wanted.
    pub(crate) until: Seconds,
}

/// Adds a number to those on one side of what is `wanted` now (`Greater`: those above), and takes out those that no
/// longer matter: a number that left the window, one that is not on that side, and one that a later number goes beyond.
/// What is left goes from the number that is furthest from what is wanted now, which is the oldest, to the nearest.
///
/// Where there are too many, the two that follow each other soonest become one, as if the further one had been wanted
/// for a little longer.
pub(super) fn note(
    past: &mut Vec<Past>,
    side: Ordering,
    new: Option<Past>,
    wanted: u32,
    window_start: Seconds,
) {
    let matters = |past: &Past| past.until > window_start && past.replicas.cmp(&wanted) == side;
    past.retain(matters);
    let Some(new) = new.filter(matters) else {
        return;
    };
    past.retain(|past| past.replicas.cmp(&new.replicas) == side);
    past.push(new);
    while past.len() > CAPACITY {
        let soonest = (1..past.len())
            .min_by_key(|&at| past[at].until - past[at - 1].until)
            .unwrap_or(1);
        past[soonest - 1].until = past[soonest].until;
        past.remove(soonest);
    }
}

/// Takes out numbers that can't change a decision: of those that forbid any change the latest counts, which forbids it
/// longest; and none does where no change in this direction is wanted.
pub(super) fn forget(past: &mut Vec<Past>, forbids: impl Fn(u32) -> bool, change_wanted: bool) {
    if !change_wanted {
        past.clear();
    } else if let Some(latest) = past.iter().rposition(|past| forbids(past.replicas)) {
        past.drain(..latest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(replicas: u32, until: Seconds) -> Past {
        Past { replicas, until }
    }

    #[test]
    fn only_what_can_still_be_the_greatest_is_kept() {
        let mut past = vec![at(9, 10), at(7, 20), at(5, 30)];
        note(&mut past, Ordering::Greater, Some(at(7, 40)), 3, 0);
        assert_eq!(past, [at(9, 10), at(7, 40)]);
        note(&mut past, Ordering::Greater, None, 3, 10);
        assert_eq!(past, [at(7, 40)], "9 left the window");
        note(&mut past, Ordering::Greater, None, 7, 10);
        assert_eq!(past, [], "as many are wanted now");
    }

    #[test]
    fn the_smallest_alike() {
        let mut past = vec![at(1, 10), at(3, 20)];
        note(&mut past, Ordering::Less, Some(at(2, 30)), 9, 0);
        assert_eq!(past, [at(1, 10), at(2, 30)]);
        note(&mut past, Ordering::Less, Some(at(0, 40)), 9, 0);
        assert_eq!(past, [at(0, 40)]);
    }

    #[test]
    fn a_long_decline_stays_small_and_the_greatest_stays_in_it() {
        let mut past = Vec::new();
        for second in 0..1000 {
            let wanted = 999 - u32::try_from(second).expect("small");
            let before = Some(at(wanted + 1, second));
            note(&mut past, Ordering::Greater, before, wanted, second - 100_000);
            assert!(past.len() <= CAPACITY);
            assert_eq!(past[0].replicas, 1000);
            assert!(past.is_sorted_by(|a, b| a.until < b.until && a.replicas > b.replicas));
        }
    }

    #[test]
    fn of_those_that_forbid_a_change_the_latest_counts() {
        let higher = [at(12, 10), at(10, 20), at(8, 30)];
        for (current, change_wanted, expected) in [
            (10, true, &higher[1..]),
            (11, true, &higher[..]),
            (8, true, &higher[2..]),
            (10, false, &[]),
        ] {
            let mut past = higher.to_vec();
            forget(&mut past, |past| past >= current, change_wanted);
            assert_eq!(past, expected, "{current} {change_wanted}");
        }
    }
}
