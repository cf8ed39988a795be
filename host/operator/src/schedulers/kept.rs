//! How much is kept of what schedulers answer.

use std::collections::HashMap;

use super::ClusterKey;

/// Answers of at most so many bytes are always kept, those about some 300 workers.
const FREE: usize = 64 << 10;

/// The most bytes of all others together; 100,000 workers take some 25 MiB. Those of one namespace have no more than they leave
/// free: one alone has half, four have a fifth each. So there is something left for who comes next.
const MOST: usize = 64 << 20;

/// The bytes of answers that are kept, by cluster, where they are not few.
#[derive(Debug, Default)]
pub(super) struct Kept(HashMap<ClusterKey, usize>);

impl Kept {
    /// Counts so many bytes of what the scheduler of `cluster` answered, in place of its last answer. Returns whether there
    /// is room for them; where there is none, nothing is counted any more.
    pub(super) fn keep(&mut self, cluster: &ClusterKey, bytes: usize) -> bool {
        self.forget(cluster);
        if bytes <= FREE {
            return true;
        }
        let all: usize = self.0.values().sum();
        let in_namespace = |(other, bytes): (&ClusterKey, &usize)| {
            if other.namespace == cluster.namespace {
                *bytes
            } else {
                0
            }
        };
        let here: usize = self.0.iter().map(in_namespace).sum();
        let has_room = here + bytes <= MOST.saturating_sub(all + bytes);
        if has_room {
            self.0.insert(cluster.clone(), bytes);
        }
        has_room
    }

    /// Nothing is kept any more of the scheduler of `cluster`.
    pub(super) fn forget(&mut self, cluster: &ClusterKey) {
        self.0.remove(cluster);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(namespace: usize, name: &str) -> ClusterKey {
        ClusterKey::new(&format!("n{namespace}"), name)
    }

    #[test]
    fn a_namespace_has_as_much_as_it_leaves() {
        let mut kept = Kept::default();
        assert!(!kept.keep(&cluster(0, "a"), MOST / 2 + 1));
        assert!(kept.keep(&cluster(0, "a"), MOST / 4));
        assert!(kept.keep(&cluster(0, "b"), MOST / 4));
        assert!(
            !kept.keep(&cluster(0, "c"), FREE + 1),
            "the namespace has its half"
        );
        assert!(kept.keep(&cluster(0, "c"), FREE));
        assert!(kept.keep(&cluster(1, "a"), MOST / 4));
        assert!(
            kept.keep(&cluster(1, "a"), FREE + 1),
            "an answer takes the place of the last"
        );
        assert!(kept.keep(&cluster(2, "a"), MOST / 5));
        kept.forget(&cluster(0, "a"));
        kept.forget(&cluster(2, "a"));
        assert!(kept.keep(&cluster(1, "a"), MOST / 3));
    }

    /// Fake schedulers in some namespaces take the room that there is, again and again.
    #[test]
    fn nobody_is_kept_out() {
        let mut kept = Kept::default();
        for _ in 0..20 {
            for namespace in 0..8 {
                let key = cluster(namespace, "a");
                let mut bytes = MOST;
                while bytes > 0 && !kept.keep(&key, bytes) {
                    bytes -= MOST / 256;
                }
            }
        }
        // 10,000 workers.
        assert!(kept.keep(&cluster(8, "a"), 2_500_000));
    }
}
