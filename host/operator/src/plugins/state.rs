//! State of one plugin resource: the active version, and the attempts to load another one.

mod entry;
mod trials;

use std::time::Duration;

use dask_operator_api::{Condition, LastGood};
use dask_operator_core::backoff::Backoff;
use tokio::time::Instant;

use crate::plugins::error::{LoadFailure, LoadReason};
use crate::plugins::loaded::LoadedPlugin;
use crate::plugins::request::{LoadOutcome, LoadRequest};
use crate::plugins::resource::Resource;
use trials::FailedTrials;

/// Wait after a first failure, and the longest one. The wait doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// State of one plugin resource.
pub(super) struct PluginState {
    /// The resource as last seen.
    pub(super) resource: Resource,
    /// Active version.
    pub(super) active: Option<LoadedPlugin>,
    /// Version that was active before, for a rollback.
    previous: Option<LoadedPlugin>,
    /// Digest that was rolled back.
    pub(super) rolled_back: Option<String>,
    /// Failure to load the spec of the resource.
    failure: Option<LoadFailure>,
    /// Failure in operation of the active component, or of the one that was rolled back.
    runtime_failure: Option<LoadFailure>,
    /// Back-off after failed attempts.
    backoff: Backoff,
    /// Trials of components that could not be used.
    trials: FailedTrials,
    /// True while an attempt is running.
    running: bool,
    /// Start of the next attempt; `None` if none is scheduled.
    next_attempt: Option<Instant>,
    /// True if the next attempt fetches the source although the spec is unchanged.
    recheck_source: bool,
    /// True if the plugin existed at the start and its component has not been tried yet.
    untried: bool,
    /// Repeated failure in this replica, about which the leader decides: the message, and whether the plugin may be rolled back.
    failing: Option<(String, bool)>,
}

/// Action by which a replica that is not the leader follows the leader's status of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FollowerAction {
    /// Nothing changes.
    Nothing,
    /// Another version is active now.
    Exchanged,
    /// The active version was rolled back, and the version before must be loaded.
    LoadPrevious,
    /// The source holds other bytes and must be fetched.
    FetchSource,
}

impl PluginState {
    pub(super) fn new(resource: Resource) -> Self {
        let (rolled_back, runtime_failure) = rollback_in_status(&resource);
        Self {
            rolled_back,
            resource,
            active: None,
            previous: None,
            failure: None,
            runtime_failure,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            trials: FailedTrials::default(),
            running: false,
            next_attempt: None,
            recheck_source: false,
            untried: false,
            failing: None,
        }
    }

    /// Marks the plugin as one that existed at the start. If the status reports that the current spec was tried and failed, it is
    /// known that the plugin changes nothing, as before.
    pub(super) fn at_start(mut self) -> Self {
        let status = &self.resource.status;
        let is_current = status.observed_generation == Some(self.resource.generation);
        let has_failed = |condition: &Condition| condition.type_ == "Ready" && condition.status == "False";
        self.untried = !(is_current && status.conditions.iter().any(has_failed));
        self
    }

    /// Replaces the resource with a changed one. A replica that `leads` keeps its own status, because it writes the status and a
    /// watch may be late; but a status about the new generation was written by the former leader, and is taken over.
    pub(super) fn spec_changed(&mut self, mut resource: Resource, leads: bool) {
        if leads && resource.status.observed_generation != Some(resource.generation) {
            resource.status = std::mem::take(&mut self.resource.status);
        }
        self.resource = resource;
        let (rolled_back, runtime_failure) = rollback_in_status(&self.resource);
        self.rolled_back = rolled_back;
        if runtime_failure.is_some() {
            self.runtime_failure = runtime_failure;
        }
        self.backoff.reset();
        self.trials = FailedTrials::default();
        self.next_attempt = None;
        self.recheck_source = false;
        self.failing = None;
    }

    /// Returns whether a version of the plugin was active before this process started.
    pub(super) fn was_active(&self) -> bool {
        self.resource.status.digest.is_some()
    }

    /// Returns whether a start waits until the plugin is loaded or has failed. That applies to plugins that were active, and to
    /// plugins of the cluster, which may have been applied while no operator was running. It does not wait for new plugins of
    /// tenants.
    pub(super) fn delays_start(&self) -> bool {
        self.was_active() || self.resource.id.namespace.is_none()
    }

    /// Returns why the spec is not active, or else how the active component failed in operation.
    pub(super) fn failure(&self) -> Option<&LoadFailure> {
        match &self.failure {
            // About a version that was rolled back, the failure in operation is more informative.
            Some(failure) if failure.reason == LoadReason::RolledBack => {
                self.runtime_failure.as_ref().or(Some(failure))
            }
            Some(failure) => Some(failure),
            None => self.runtime_failure.as_ref().filter(|_| self.active.is_some()),
        }
    }

    /// Returns whether the plugin has neither been loaded nor failed.
    pub(super) fn is_loading(&self) -> bool {
        self.active.is_none() && self.failure.is_none()
    }

    /// Returns whether this is a plugin of the cluster that existed at the start and blocks its scope while it is being loaded.
    pub(super) fn blocks_while_loading(&self) -> bool {
        self.untried
            && self.resource.id.namespace.is_none()
            && self.is_loading()
            && self.entry().is_some_and(|entry| entry.blocks())
    }

    /// Returns the start of the next attempt; `None` while one is running, or if none is scheduled.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next_attempt.filter(|_| !self.running)
    }

    /// Clears the scheduled start, because the plugin waits in the queue. Returns false if an attempt is running.
    pub(super) fn start_waiting(&mut self) -> bool {
        if !self.running {
            self.next_attempt = None;
        }
        !self.running
    }

    /// Starts the next attempt; returns `None` while one is running.
    pub(super) fn begin(&mut self) -> Option<LoadRequest> {
        if self.running {
            return None;
        }
        self.running = true;
        self.next_attempt = None;
        Some(LoadRequest {
            resource: self.resource.clone(),
            active: self.active.clone(),
            rolled_back: self.rolled_back.clone(),
            given_up: self.given_up(),
            refused: None,
            alone: false,
            recheck_source: self.recheck_source,
        })
    }

    /// Returns the failure of a component that is not tried again for now.
    fn given_up(&self) -> Option<LoadFailure> {
        // A plugin of the cluster may block all namespaces until it can be used.
        self.resource.id.namespace.as_ref()?;
        self.trials.given_up()
    }

    fn failed(&mut self, failure: LoadFailure) {
        self.trials.failed(&failure);
        self.failure = Some(failure);
        self.next_attempt = Some(Instant::now() + self.backoff.failed());
    }

    /// Returns whether an attempt that has ended is outdated: the resource has changed, or the active version was rolled back
    /// meanwhile. If so, the attempt no longer counts as running.
    pub(super) fn is_outdated(&mut self, outcome: &LoadOutcome) -> bool {
        let is_resource = self.resource.generation == outcome.generation;
        let is_unchanged = self.active.as_ref().map(LoadedPlugin::identity) == outcome.before;
        // A component with another digest is valid, whatever the active version was when the attempt began.
        let is_new = |loaded: &LoadedPlugin| self.rolled_back.as_ref() != Some(&loaded.digest);
        let counts = is_resource && (is_unchanged || outcome.loaded.as_ref().is_some_and(is_new));
        if !counts {
            self.running = false;
        }
        !counts
    }

    /// Applies the outcome of an attempt. Returns whether another version is active, or whether the block or its reason changed.
    pub(super) fn load_finished(&mut self, outcome: LoadOutcome) -> bool {
        self.running = false;
        let block = self.blocks_untried().then(|| self.failure.clone());
        // If the registry can't be reached, nothing is known about the component.
        self.untried &= outcome
            .failure
            .as_ref()
            .is_some_and(|failure| failure.leaves_open())
            && outcome.loaded.is_none();
        let worked = outcome.failure.is_none();
        let is_exchanged = outcome.loaded.is_some();
        // A rollback is reported until the source holds something else that works. A failure of the active component is reported
        // until it is replaced or recovers, because fetching the source does not show how the component works.
        self.runtime_failure = self
            .runtime_failure
            .take()
            .filter(|failure| match failure.reason {
                LoadReason::RolledBack => !worked,
                _ => !is_exchanged,
            });
        match outcome.failure {
            None => {
                self.failure = None;
                self.backoff.reset();
                self.trials = FailedTrials::default();
                // From now on, only the source can change.
                self.recheck_source = true;
                self.next_attempt = self.resource.refresh().map(|every| Instant::now() + every);
            }
            Some(failure) => self.failed(failure),
        }
        match outcome.loaded {
            Some(loaded) => {
                self.previous = self.active.replace(loaded);
                self.failing = None;
                true
            }
            None => block.is_some() && block != self.blocks_untried().then(|| self.failure.clone()),
        }
    }

    /// Follows the leader, as far as the status shows what it did with this plugin. All replicas answer the webhook and must use
    /// the same version.
    pub(super) fn follow(&mut self) -> FollowerAction {
        match self.follow_rollback() {
            FollowerAction::Nothing => {}
            done => return done,
        }
        let (Some(last), Some(active)) = (last_good(&self.resource), &self.active) else {
            return FollowerAction::Nothing;
        };
        if last.digest == active.digest {
            return FollowerAction::Nothing;
        }
        self.recheck_source = true;
        FollowerAction::FetchSource
    }

    /// Rolls back if the leader has done so.
    pub(super) fn follow_rollback(&mut self) -> FollowerAction {
        let (Some(last), Some(active)) = (last_good(&self.resource), &self.active) else {
            return FollowerAction::Nothing;
        };
        let is_it = |version: &LoadedPlugin| {
            version.digest == last.digest && version.requested_by.generation == last.generation
        };
        if last.rolled_back.as_ref() != Some(&active.digest) || is_it(active) {
            return FollowerAction::Nothing;
        }
        let previous = self.previous.take().filter(is_it);
        let message = match &self.resource.status.error {
            Some(error) => error.clone(),
            None => format!("{} was taken back by the replica that leads", active.title()),
        };
        self.rolled_back = last.rolled_back.clone();
        self.failing = None;
        self.active = previous;
        self.failure = None;
        self.runtime_failure = Some(LoadFailure::new(LoadReason::RolledBack, message));
        if self.active.is_none() {
            self.recheck_source = false;
            return FollowerAction::LoadPrevious;
        }
        FollowerAction::Exchanged
    }

    /// Records a repeated failure in this replica, about which the leader decides.
    pub(super) fn record_failing(&mut self, message: String, may_roll_back: bool) {
        self.failing = Some((message, may_roll_back));
    }

    /// Takes the recorded failure, for a replica that has become the leader.
    pub(super) fn take_failing(&mut self) -> Option<(String, bool)> {
        self.failing.take()
    }

    /// Handles repeated failures of the active version. Activates the version before if there is one and `may_roll_back` is
    /// true. Returns whether it did.
    pub(super) fn roll_back(&mut self, message: &str, may_roll_back: bool) -> bool {
        let Some(active) = &self.active else {
            return false;
        };
        let failed = active.title();
        if !may_roll_back {
            self.runtime_failure = Some(LoadFailure::new(
                LoadReason::FailsInOperation,
                format!(
                    "{failed} fails again and again, and it is not taken back: what it can't decide about is refused and \
                     held, until it can or this plugin is changed: {message}"
                ),
            ));
            return false;
        }
        let Some(previous) = self.previous.take() else {
            let message = format!(
                "{failed} fails again and again, and there is no earlier version to go back to: {message}"
            );
            self.runtime_failure = Some(LoadFailure::new(LoadReason::FailsInOperation, message));
            return false;
        };
        let text = format!(
            "{failed} failed again and again and was taken back for {}: {message}",
            previous.title()
        );
        self.rolled_back = Some(active.digest.clone());
        // The next attempt reports again why the spec can't be loaded.
        self.failure = None;
        self.runtime_failure = Some(LoadFailure::new(LoadReason::RolledBack, text));
        self.active = Some(previous);
        true
    }

    /// Marks the active version as recovered. Returns whether it was reported as failing.
    pub(super) fn mark_recovered(&mut self) -> bool {
        self.failing = None;
        let fails = |failure: &mut LoadFailure| failure.reason == LoadReason::FailsInOperation;
        self.runtime_failure.take_if(fails).is_some()
    }
}

/// Returns the version that the leader activated last for the current generation of the resource.
fn last_good(resource: &Resource) -> Option<LastGood> {
    let status = &resource.status;
    let is_current = status.observed_generation == Some(resource.generation);
    status.last_good.clone().filter(|_| is_current)
}

/// Returns the digest that was rolled back, and the reason if the status reports it. `None` if the resource was changed since,
/// because the digest may be tried again then.
fn rollback_in_status(resource: &Resource) -> (Option<String>, Option<LoadFailure>) {
    let Some(digest) = last_good(resource).and_then(|last| last.rolled_back) else {
        return (None, None);
    };
    let status = &resource.status;
    let is_reported = status
        .conditions
        .iter()
        .any(|condition| condition.reason.as_deref() == Some(LoadReason::RolledBack.as_str()));
    let message = status.error.as_ref().filter(|_| is_reported);
    (
        Some(digest),
        message.map(|message| LoadFailure::new(LoadReason::RolledBack, message)),
    )
}

#[cfg(test)]
mod tests;
