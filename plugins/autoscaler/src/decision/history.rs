//! History of wanted numbers within a window, reduced to what can affect decisions.

use std::cmp::Ordering;

use super::Seconds;

/// Maximum number of entries.
pub(crate) const CAPACITY: usize = 12;

/// A number of workers that was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Past {
    /// The number of workers.
    pub(crate) replicas: u32,
    /// The time at which it was last wanted.
    pub(crate) until: Seconds,
}

/// Adds a number to the entries on one side of the number that is `wanted` now (`Greater`: those above), and removes entries
/// that no longer matter: those that left the window, those that are not on that side, and those that a later entry exceeds.
/// The remaining entries are sorted from the furthest from the wanted number, which is the oldest, to the nearest.
///
/// If there are too many entries, the two with the shortest time between them become one, as if the further one had been
/// wanted a little longer.
pub(super) fn record(
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
        let closest = (1..past.len())
            .min_by_key(|&at| past[at].until - past[at - 1].until)
            .unwrap_or(1);
        past[closest - 1].until = past[closest].until;
        past.remove(closest);
    }
}

/// Removes entries that can't change a decision. Of the entries that forbid any change, only the latest matters, because it
/// forbids it longest. Without a wanted change in this direction, no entry matters.
pub(super) fn prune(past: &mut Vec<Past>, forbids: impl Fn(u32) -> bool, change_wanted: bool) {
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
    fn keeps_only_entries_that_can_become_the_greatest() {
        let mut past = vec![at(9, 10), at(7, 20), at(5, 30)];
        record(&mut past, Ordering::Greater, Some(at(7, 40)), 3, 0);
        assert_eq!(past, [at(9, 10), at(7, 40)]);
        record(&mut past, Ordering::Greater, None, 3, 10);
        assert_eq!(past, [at(7, 40)], "9 left the window");
        record(&mut past, Ordering::Greater, None, 7, 10);
        assert_eq!(past, [], "as many are wanted now");
    }

    #[test]
    fn keeps_only_entries_that_can_become_the_smallest() {
        let mut past = vec![at(1, 10), at(3, 20)];
        record(&mut past, Ordering::Less, Some(at(2, 30)), 9, 0);
        assert_eq!(past, [at(1, 10), at(2, 30)]);
        record(&mut past, Ordering::Less, Some(at(0, 40)), 9, 0);
        assert_eq!(past, [at(0, 40)]);
    }

    #[test]
    fn a_long_decline_keeps_few_entries_and_the_greatest() {
        let mut past = Vec::new();
        for second in 0..1000 {
            let wanted = 999 - u32::try_from(second).expect("small");
            let before = Some(at(wanted + 1, second));
            record(&mut past, Ordering::Greater, before, wanted, second - 100_000);
            assert!(past.len() <= CAPACITY);
            assert_eq!(past[0].replicas, 1000);
            assert!(past.is_sorted_by(|a, b| a.until < b.until && a.replicas > b.replicas));
        }
    }

    #[test]
    fn keeps_the_latest_entry_that_forbids_a_change() {
        let higher = [at(12, 10), at(10, 20), at(8, 30)];
        for (current, change_wanted, expected) in [
            (10, true, &higher[1..]),
            (11, true, &higher[..]),
            (8, true, &higher[2..]),
            (10, false, &[]),
        ] {
            let mut past = higher.to_vec();
            prune(&mut past, |past| past >= current, change_wanted);
            assert_eq!(past, expected, "{current} {change_wanted}");
        }
    }
}
