//! How much is kept of what schedulers answer.

use std::collections::HashMap;

use super::ClusterKey;

/// Answers of at most so many bytes are always kept, those about some 300 workers.
const FREE: usize = 64 << 10;

/// The most bytes of all others together; 20,000 workers take some 5 MiB.
const MOST: usize = 64 << 20;

/// And of those, of the schedulers in one namespace.
const MOST_OF_NAMESPACE: usize = 16 << 20;

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
        let has_room = all + bytes <= MOST && here + bytes <= MOST_OF_NAMESPACE;
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

    #[test]
    fn neither_a_namespace_nor_all_together_keep_too_much() {
        let mut kept = Kept::default();
        let cluster = |namespace: usize, name| ClusterKey::new(&format!("n{namespace}"), name);
        for namespace in 0..MOST / MOST_OF_NAMESPACE {
            assert!(kept.keep(&cluster(namespace, "a"), MOST_OF_NAMESPACE / 2));
            assert!(kept.keep(&cluster(namespace, "b"), MOST_OF_NAMESPACE / 2));
            assert!(
                !kept.keep(&cluster(namespace, "c"), FREE + 1),
                "the namespace is full"
            );
            assert!(kept.keep(&cluster(namespace, "c"), FREE));
        }
        let other = cluster(MOST, "a");
        assert!(!kept.keep(&other, FREE + 1), "all are full");
        assert!(
            kept.keep(&cluster(0, "a"), FREE + 1),
            "an answer takes the place of the last"
        );
        assert!(kept.keep(&other, FREE + 1));
        assert!(!kept.keep(&other, MOST));
        kept.forget(&cluster(1, "b"));
        assert!(kept.keep(&cluster(1, "d"), MOST_OF_NAMESPACE / 2));
    }
}
