//! Results of the writes of one reconcile, and the requeue that follows from them.

use std::collections::HashMap;
use std::time::Duration;

use dask_operator_core::category::{Cause, Retry};
use dask_operator_core::plan::ResourceKind;
use tracing::{debug, info, warn};

use crate::client::error::WriteError;

/// Result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// The write was done.
    Done,
    /// No write was necessary.
    Nothing,
    /// The write was withheld for this time, because there were too many.
    Withheld(Duration),
}

/// Results of the changes of a reconcile.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) errors: Vec<WriteError>,
    pub(crate) done: usize,
    /// Number of withheld writes.
    pub(crate) withheld: usize,
    /// Shortest wait of the withheld writes, if there are any.
    pub(crate) later: Option<Duration>,
}

/// Number of failed creations, by kind. Failures that would affect all other objects of the kind count more.
#[derive(Default)]
pub(crate) struct Failures(HashMap<ResourceKind, usize>);

impl Failures {
    /// Number of refused objects of one kind after which the others are not tried any more, because all come from one
    /// template.
    const MAX: usize = 10;

    pub(crate) fn add(&mut self, kind: ResourceKind, cause: Cause) {
        let weight = match cause {
            cause if cause.concerns_all() => Self::MAX,
            Cause::Invalid => 1,
            _ => 0,
        };
        *self.0.entry(kind).or_default() += weight;
    }

    /// Prevents further creations of objects of that kind.
    pub(crate) fn withhold(&mut self, kind: ResourceKind) {
        self.0.insert(kind, Self::MAX);
    }

    pub(crate) fn are_blocked(&self, kind: &ResourceKind) -> bool {
        self.0.get(kind).is_some_and(|failures| *failures >= Self::MAX)
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

    /// Logs the errors, and of many similar ones only the first few. For a namespace that is being deleted one line is
    /// enough, if there was no failure before.
    pub(crate) fn log_errors(&self, failures: u32) {
        const MAX_LOGGED: usize = 3;
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
        for error in serious.iter().take(MAX_LOGGED) {
            warn!("{error}");
        }
        if serious.len() > MAX_LOGGED {
            warn!("and {} more errors", serious.len() - MAX_LOGGED);
        }
    }
}

/// Returns the retry after these errors: the soonest one, so that a long wait does not delay what can be done soon. In
/// a namespace that is being deleted, nothing can be created, so its wait applies.
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
