//! Memory limit for cached answers of schedulers. No I/O.

use std::collections::HashMap;

use super::ClusterKey;

/// Size in bytes up to which an answer is always cached: about 300 workers.
const FREE: usize = 64 << 10;

/// Maximum bytes of all larger answers together; 100,000 workers take some 25 MiB. The answers of one namespace take at most
/// as much as they leave free: one namespace alone gets half, four get a fifth each. So some memory is left for the next one.
const MOST: usize = 64 << 20;

/// Bytes of cached answers by cluster. Answers of at most [`FREE`] bytes are not counted.
#[derive(Debug, Default)]
pub(super) struct AnswerBudget(HashMap<ClusterKey, usize>);

impl AnswerBudget {
    /// Reserves memory for an answer of the scheduler of `cluster`, in place of its last answer. Returns whether there is
    /// enough memory. If not, the reservation of the last answer is released nevertheless.
    pub(super) fn reserve(&mut self, cluster: &ClusterKey, bytes: usize) -> bool {
        self.release(cluster);
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
        let fits = here + bytes <= MOST.saturating_sub(all + bytes);
        if fits {
            self.0.insert(cluster.clone(), bytes);
        }
        fits
    }

    /// Releases the memory of the scheduler of `cluster`.
    pub(super) fn release(&mut self, cluster: &ClusterKey) {
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
    fn a_namespace_gets_as_much_as_it_leaves_free() {
        let mut budget = AnswerBudget::default();
        assert!(!budget.reserve(&cluster(0, "a"), MOST / 2 + 1));
        assert!(budget.reserve(&cluster(0, "a"), MOST / 4));
        assert!(budget.reserve(&cluster(0, "b"), MOST / 4));
        assert!(
            !budget.reserve(&cluster(0, "c"), FREE + 1),
            "the namespace has used its half"
        );
        assert!(budget.reserve(&cluster(0, "c"), FREE));
        assert!(budget.reserve(&cluster(1, "a"), MOST / 4));
        assert!(
            budget.reserve(&cluster(1, "a"), FREE + 1),
            "an answer replaces the last one"
        );
        assert!(budget.reserve(&cluster(2, "a"), MOST / 5));
        budget.release(&cluster(0, "a"));
        budget.release(&cluster(2, "a"));
        assert!(budget.reserve(&cluster(1, "a"), MOST / 3));
    }

    /// Fake schedulers in some namespaces repeatedly take all the memory that they can get.
    #[test]
    fn another_namespace_always_gets_memory() {
        let mut budget = AnswerBudget::default();
        for _ in 0..20 {
            for namespace in 0..8 {
                let key = cluster(namespace, "a");
                let mut bytes = MOST;
                while bytes > 0 && !budget.reserve(&key, bytes) {
                    bytes -= MOST / 256;
                }
            }
        }
        // 10,000 workers.
        assert!(budget.reserve(&cluster(8, "a"), 2_500_000));
    }
}
