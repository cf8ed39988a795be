//! What became of the writes of one pass, and when to come back because of it.

use std::collections::HashMap;
use std::time::Duration;

use dask_operator_core::category::{Cause, Retry};
use dask_operator_core::plan::ResourceKind;
use tracing::{debug, info, warn};

use crate::errors::WriteError;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// It was done.
    Done,
    /// There was nothing to do.
    Nothing,
    /// It was withheld for that time, because there were too many.
    Withheld(Duration),
}

/// What became of the changes to children.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) errors: Vec<WriteError>,
    pub(crate) done: usize,
    /// How many were withheld.
    pub(crate) withheld: usize,
    /// Some were left for later, and until when.
    pub(crate) later: Option<Duration>,
}

/// How many creations of objects of a kind failed, those counted more than once
/// that all others would share.
#[derive(Default)]
pub(crate) struct Failures(HashMap<ResourceKind, usize>);

impl Failures {
    /// So many objects of one kind may be refused until the others are not tried
    /// any more: they come from one template.
    const MOST: usize = 10;

    pub(crate) fn add(&mut self, kind: ResourceKind, cause: Cause) {
        let weight = match cause {
            cause if cause.concerns_all() => Self::MOST,
            Cause::Invalid => 1,
            _ => 0,
        };
        *self.0.entry(kind).or_default() += weight;
    }

    /// No other object of that kind may be made now.
    pub(crate) fn withhold(&mut self, kind: ResourceKind) {
        self.0.insert(kind, Self::MOST);
    }

    pub(crate) fn are_hopeless(&self, kind: &ResourceKind) -> bool {
        self.0.get(kind).is_some_and(|failures| *failures >= Self::MOST)
    }
}

impl Written {
    pub(crate) fn add(&mut self, wrote: Wrote) {
        match wrote {
            Wrote::Done => self.done += 1,
            Wrote::Nothing => {}
            Wrote::Withheld(wait) => {
                self.withheld += 1;
                self.later = Some(self.later.map_or(wait, |later| later.min(wait)));
            }
        }
    }

    /// Logs what went wrong; of many errors that are alike the first few. Of a
    /// namespace that is being deleted one line is enough, when there was no
    /// failure before.
    pub(crate) fn say_errors(&self, failures: u32) {
        const SAID: usize = 3;
        let ends = |error: &&WriteError| error.cause == Cause::NamespaceTerminating;
        if let Some(error) = self.errors.iter().find(ends) {
            match failures {
                0 => info!("the namespace is being deleted: nothing is created in it any more"),
                _ => debug!("{error}"),
            }
            return;
        }
        let passing =
            |error: &&WriteError| matches!(error.cause, Cause::Stale | Cause::AlreadyExists | Cause::Gone);
        for error in self.errors.iter().filter(passing) {
            debug!("{error}");
        }
        let serious: Vec<_> = self.errors.iter().filter(|error| !passing(error)).collect();
        for error in serious.iter().take(SAID) {
            warn!("{error}");
        }
        if serious.len() > SAID {
            warn!("and {} more errors", serious.len() - SAID);
        }
    }
}

/// When to come back after these errors: what can be done soon is not held up
/// by what has to wait. In a namespace that is being deleted nothing can be.
pub(crate) fn soonest(errors: &[WriteError]) -> Option<Retry> {
    let ends = |error: &&WriteError| error.cause == Cause::NamespaceTerminating;
    if let Some(error) = errors.iter().find(ends) {
        return Some(error.retry());
    }
    let rank = |retry: &Retry| match retry {
        Retry::Soon => (0, Duration::ZERO),
        Retry::After(wait) => (1, *wait),
        Retry::Passing => (2, Duration::ZERO),
        Retry::BackOff => (3, Duration::ZERO),
        Retry::OnChange => (4, Duration::ZERO),
    };
    errors.iter().map(WriteError::retry).min_by_key(rank)
}
