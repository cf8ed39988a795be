//! Namespaces over which the objects of a benchmark are spread.

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};

use crate::api::{Api, Kind, Namespace};

/// Namespaces that the benchmark created. Object `i` belongs into namespace `i` modulo their number.
pub(crate) struct Namespaces(Vec<Namespace>);

impl Namespaces {
    /// Creates `count` namespaces whose names start with `prefix`.
    pub(crate) async fn create(api: &Api, prefix: &str, count: usize) -> Result<Self> {
        Ok(Self(Namespace::create_many(api, prefix, count.max(1)).await?))
    }

    /// Returns the namespace of object `i`.
    pub(crate) fn of(&self, i: usize) -> &Namespace {
        &self.0[i % self.0.len()]
    }

    /// Returns all namespaces.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.0.iter()
    }

    /// Returns each namespace with the numbers of its objects, of `total` objects.
    pub(crate) fn shares(&self, total: usize) -> impl Iterator<Item = (&Namespace, Share)> {
        let step = self.0.len();
        let share = move |(first, namespace)| (namespace, Share { first, step, total });
        self.0.iter().enumerate().map(share)
    }

    /// Calls `act` for each of `total` objects, at most `concurrency` at a time.
    pub(crate) async fn each(
        &self,
        total: usize,
        concurrency: usize,
        act: impl AsyncFn(&Namespace, usize) -> Result<()>,
    ) -> Result<()> {
        let act = &act;
        stream::iter(0..total)
            .map(async |i| act(self.of(i), i).await)
            .buffer_unordered(concurrency)
            .try_collect()
            .await
    }

    /// Waits until each namespace has `for_each` objects of a kind for each of `total` objects.
    pub(crate) async fn wait_for(&self, kind: Kind, total: usize, for_each: usize) -> Result<()> {
        for (namespace, share) in self.shares(total) {
            namespace.wait_for(kind, share.len() * for_each).await?;
        }
        Ok(())
    }

    /// Waits until all pods with these labels are in a phase.
    pub(crate) async fn wait_for_phase(&self, labels: &str, phase: &str) -> Result<()> {
        for namespace in self.iter() {
            let what = format!("phase {phase} of the pods {labels}");
            let done = async || namespace.are_all_pods(labels, phase).await;
            namespace.until(&what, done).await?;
        }
        Ok(())
    }

    /// Deletes the objects in all namespaces.
    pub(crate) async fn clear(&self) -> Result<()> {
        futures::future::try_join_all(self.iter().map(Namespace::clear)).await?;
        Ok(())
    }

    /// Deletes the namespaces with their objects.
    pub(crate) async fn delete(self) -> Result<()> {
        Namespace::delete_many(self.0).await
    }
}

/// The numbers of the objects in one namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    first: usize,
    step: usize,
    total: usize,
}

impl Share {
    /// Returns the numbers.
    pub(crate) fn numbers(self) -> impl Iterator<Item = usize> {
        (self.first..self.total).step_by(self.step)
    }

    /// Returns how many there are.
    pub(crate) fn len(self) -> usize {
        self.numbers().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_contain_each_number_once() {
        let shares = (0..3).map(|first| Share {
            first,
            step: 3,
            total: 8,
        });
        assert_eq!(shares.clone().map(Share::len).collect::<Vec<_>>(), [3, 3, 2]);
        let mut numbers: Vec<_> = shares.flat_map(Share::numbers).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..8).collect::<Vec<_>>());
        let share = Share {
            first: 2,
            step: 3,
            total: 2,
        };
        assert_eq!(share.len(), 0);
    }
}
