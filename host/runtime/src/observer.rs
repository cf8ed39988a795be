//! Who wants to know how calls went.

use std::time::Duration;

use crate::{Digest, Failure};

/// Told about every call of every component, on the thread that makes the call.
/// Metrics are made of it.
pub trait CallObserver: Send + Sync {
    /// A call has ended.
    fn called(&self, report: &CallReport<'_>);
}

/// How one call went.
#[derive(Clone, Copy, Debug)]
pub struct CallReport<'a> {
    /// The component's own name; where it came from, while it is asked to describe itself.
    pub component: &'a str,
    /// Where it came from, as given to [`Component::load`](crate::Component::load).
    pub origin: &'a str,
    /// Its code.
    pub digest: Digest,
    /// The interface, by its name in the contract: `worker-group`, `describe`, …
    pub interface: &'static str,
    /// The function, by its name in the contract: `plan`, …
    pub function: &'static str,
    /// From before the instance was made until after the answer was checked.
    pub duration: Duration,
    /// The instance's linear memory at its end, in bytes.
    pub memory: usize,
    /// What went wrong; none when the component answered.
    pub failure: Option<&'a Failure>,
}
