//! Random changes of clusters, and the state that they lead to.

use std::collections::BTreeMap;

/// A cluster as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Desired {
    /// Number of workers.
    pub(crate) workers: usize,
    /// Version of the template of the workers.
    pub(crate) version: u64,
}

/// A change of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The cluster is created.
    Create(Desired),
    /// The number of workers or the template of the workers changes.
    Update(Desired),
    /// The cluster is deleted.
    Delete,
}

/// A random sequence of changes, which keeps the number of clusters about the same.
pub(crate) struct Script {
    random: fastrand::Rng,
    /// The clusters that exist, by number.
    clusters: BTreeMap<usize, Desired>,
    /// Number of clusters.
    target: usize,
    /// Average number of workers of a cluster.
    workers: usize,
}

impl Script {
    /// Creates a sequence without clusters, which is the same for the same arguments.
    pub(crate) fn new(seed: u64, target: usize, workers: usize) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            clusters: BTreeMap::new(),
            target,
            workers,
        }
    }

    /// Returns the clusters after all changes so far, by number.
    pub(crate) fn clusters(&self) -> &BTreeMap<usize, Desired> {
        &self.clusters
    }

    /// Returns the number of the cluster that changes next, and its change.
    ///
    /// Of 20 changes, 12 scale a cluster, 3 change its template, and the others delete a cluster or create one, often with the
    /// name of a deleted one.
    pub(crate) fn change(&mut self) -> (usize, Change) {
        let is_complete = self.clusters.len() >= self.target;
        let choice = self.random.u32(0..20);
        if self.clusters.is_empty() || choice >= 15 && !is_complete {
            return self.create();
        }
        let at = self.random.usize(0..self.clusters.len());
        let Some((number, before)) = self.clusters.iter().nth(at).map(|(key, value)| (*key, *value)) else {
            return self.create();
        };
        let desired = match choice {
            0..12 => Desired {
                workers: self.random_workers(),
                ..before
            },
            12..15 => Desired {
                version: before.version + 1,
                ..before
            },
            _ => {
                self.clusters.remove(&number);
                return (number, Change::Delete);
            }
        };
        self.clusters.insert(number, desired);
        (number, Change::Update(desired))
    }

    /// Creates the cluster with the first free number.
    pub(crate) fn create(&mut self) -> (usize, Change) {
        let number = (0..)
            .find(|number| !self.clusters.contains_key(number))
            .unwrap_or_default();
        let desired = Desired {
            workers: self.random_workers(),
            version: 0,
        };
        self.clusters.insert(number, desired);
        (number, Change::Create(desired))
    }

    fn random_workers(&mut self) -> usize {
        self.random.usize(1..2 * self.workers.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_depend_on_the_seed_only() {
        let changes = |seed| {
            let mut script = Script::new(seed, 10, 5);
            (0..100).map(|_| script.change()).collect::<Vec<_>>()
        };
        assert_eq!(changes(1), changes(1));
        assert_ne!(changes(1), changes(2));
    }

    #[test]
    fn the_numbers_of_clusters_and_workers_stay_about_the_same() {
        let mut script = Script::new(7, 100, 5);
        for _ in 0..100 {
            script.create();
        }
        let mut deleted = 0;
        for _ in 0..5000 {
            deleted += usize::from(script.change().1 == Change::Delete);
            assert!((90..=100).contains(&script.clusters().len()));
        }
        assert!((300..1000).contains(&deleted), "{deleted}");
        let workers: usize = script.clusters().values().map(|desired| desired.workers).sum();
        assert!((400..600).contains(&workers), "{workers}");
        assert!(script.clusters().values().any(|desired| desired.version > 1));
    }

    #[test]
    fn the_clusters_are_the_result_of_the_changes() {
        let mut script = Script::new(3, 5, 2);
        let mut clusters = BTreeMap::new();
        for _ in 0..500 {
            match script.change() {
                (number, Change::Create(desired)) => assert_eq!(clusters.insert(number, desired), None),
                (number, Change::Update(desired)) => assert!(clusters.insert(number, desired).is_some()),
                (number, Change::Delete) => assert!(clusters.remove(&number).is_some()),
            }
            assert_eq!(&clusters, script.clusters());
        }
    }
}
