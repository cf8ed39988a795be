//! Assignment of threads and processes to processors.

use anyhow::Result;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Processors on which a thread may run.
pub(super) struct Processors(CpuSet);

impl Processors {
    /// Returns the processors on which this thread may run.
    pub(super) fn of_this_thread() -> Result<Self> {
        Ok(Self(sched_getaffinity(None)?))
    }

    /// Returns the first of the processors.
    pub(super) fn first(&self) -> Self {
        self.only(self.numbers().next())
    }

    /// Returns the last of the processors.
    pub(super) fn last(&self) -> Self {
        self.only(self.numbers().last())
    }

    fn numbers(&self) -> impl Iterator<Item = usize> + '_ {
        (0..CpuSet::MAX_CPU).filter(|&number| self.0.is_set(number))
    }

    fn only(&self, number: Option<usize>) -> Self {
        let mut set = CpuSet::new();
        if let Some(number) = number {
            set.set(number);
        }
        Self(set)
    }

    /// Lets this thread run only on these processors, and also the threads and processes that it starts afterwards.
    pub(super) fn apply(&self) -> Result<()> {
        Ok(sched_setaffinity(None, &self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_one_of_the_processors() {
        let mut set = CpuSet::new();
        [1, 2, 5].into_iter().for_each(|number| set.set(number));
        let processors = Processors(set);
        let numbers = |of: &Processors| of.numbers().collect::<Vec<_>>();
        assert_eq!(numbers(&processors.first()), [1]);
        assert_eq!(numbers(&processors.last()), [5]);
    }
}
