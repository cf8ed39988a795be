//! The demand on one group. The scheduler counts workers, which are processes. A group counts pods.

/// Numbers from a Dask scheduler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Number of workers that the scheduler could use, in all groups together (`adaptive_target`).
    pub(crate) desired: u32,
    /// Number of registered workers of other groups. Workers that are still starting are not part of the scheduler's number,
    /// so they are not subtracted from it. Otherwise, a group whose workers never start would keep this one small.
    pub(crate) others: u32,
    /// Number of other registered workers: those of this group, and those with an unknown group.
    pub(crate) registered: u32,
    /// Number of pods of these workers.
    pub(crate) pods: u32,
    /// Number of workers in each pod of the group, at least 1.
    pub(crate) per_pod: u32,
    /// Number of these pods with a worker that is busy and not leaving.
    pub(crate) busy: u32,
}

impl Demand {
    /// Returns the wanted number of pods, and whether it is only wanted because pods are starting.
    ///
    /// `adaptive_target` has two kinds of results. If it is greater than the number of registered workers, it is the number of
    /// workers that the work could use. Otherwise, it is the number of registered workers without idle ones. The latter does
    /// not include workers that are starting, and includes workers that are leaving.
    pub(super) fn of_group(&self, current: u32, may_be_starting: bool) -> (u32, bool) {
        let without_others = self.desired.saturating_sub(self.others);
        // Idle workers of other groups do not make the busy ones of this group superfluous: the scheduler moves work first if
        // it can.
        let mut wanted = without_others.div_ceil(self.per_pod.max(1)).max(self.busy);
        if self.desired <= self.others.saturating_add(self.registered) {
            // There is no reason for more workers. Otherwise, leaving workers would be replaced while they are busy.
            wanted = wanted.min(current);
        }
        let starting = may_be_starting && self.pods < current && self.desired > 0 && wanted < current;
        (if starting { current } else { wanted }, starting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computes_the_demand_on_a_group() {
        // desired, others, registered, busy, current, may be starting; wanted, starting
        let cases = [
            ("more work", (7, 0, 3, 3, 3, false), (7, false)),
            ("other groups have some", (7, 2, 3, 3, 3, false), (5, false)),
            ("other groups have enough", (7, 9, 3, 0, 3, false), (0, false)),
            (
                "others are idle, these are busy",
                (4, 4, 4, 4, 4, false),
                (4, false),
            ),
            ("nothing to do", (0, 4, 3, 0, 3, true), (0, false)),
            ("idle ones", (3, 0, 10, 3, 10, true), (3, false)),
            ("7 of 10 start", (3, 0, 3, 3, 10, true), (10, true)),
            (
                "7 of 10 start, one of the others is idle",
                (2, 0, 3, 2, 10, true),
                (10, true),
            ),
            (
                "7 of 10 start, 5 would do for what has begun",
                (5, 0, 3, 3, 10, true),
                (10, true),
            ),
            (
                "7 of 10 start, more could be used",
                (12, 0, 3, 3, 10, true),
                (12, false),
            ),
            ("7 of 10 start, nothing to do", (0, 0, 3, 0, 10, true), (0, false)),
            ("7 of 10 never start", (3, 0, 3, 3, 10, false), (3, false)),
            ("none has started", (1, 0, 0, 0, 10, true), (10, true)),
            ("8 of 10 are leaving, busy", (10, 0, 10, 2, 2, true), (2, false)),
            (
                "8 of 10 are leaving, much work came",
                (20, 0, 10, 2, 2, true),
                (20, false),
            ),
        ];
        for (what, (desired, others, registered, busy, current, starting), expected) in cases {
            let demand = Demand {
                desired,
                others,
                registered,
                pods: registered,
                per_pod: 1,
                busy,
            };
            assert_eq!(demand.of_group(current, starting), expected, "{what}");
        }
    }

    #[test]
    fn computes_the_demand_on_a_group_with_several_workers_in_each_pod() {
        // desired, registered, pods, busy, current; wanted
        let cases = [
            ("more work", (40, 8, 2, 2, 2), 10),
            ("a part of a pod", (9, 8, 2, 2, 2), 3),
            ("one worker of each pod is busy", (2, 8, 2, 2, 2), 2),
            ("one pod is idle", (3, 8, 2, 1, 2), 1),
            ("nothing to do", (0, 8, 2, 0, 2), 0),
        ];
        for (what, (desired, registered, pods, busy, current), expected) in cases {
            let demand = Demand {
                desired,
                others: 0,
                registered,
                pods,
                per_pod: 4,
                busy,
            };
            assert_eq!(demand.of_group(current, false).0, expected, "{what}");
        }
    }
}
