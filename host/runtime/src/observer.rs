//! Observer interface for calls, the basis of metrics.

use std::time::Duration;

use crate::{Digest, Failure};

/// Observer of every call of every component, for metrics. It is called on the thread that
/// makes the call.
pub trait CallObserver: Send + Sync {
    /// Records a call that has ended.
    fn called(&self, report: &CallReport<'_>);
}

/// Report about one call.
#[derive(Clone, Copy, Debug)]
pub struct CallReport<'a> {
    /// Name from the component's description; the source of the component while it is called for its description.
    pub component: &'a str,
    /// Source of the component, as given to [`Component::load`](crate::Component::load).
    pub origin: &'a str,
    /// Digest of the component's bytes.
    pub digest: Digest,
    /// Name of the interface in the contract: `worker-group`, `describe`, …
    pub interface: &'static str,
    /// Name of the function in the contract: `plan`, …
    pub function: &'static str,
    /// Time from before the instance was created until after the answer was checked.
    pub duration: Duration,
    /// The instance's linear memory at its end, in bytes.
    pub memory: usize,
    /// The failure; `None` if the component answered.
    pub failure: Option<&'a Failure>,
}
