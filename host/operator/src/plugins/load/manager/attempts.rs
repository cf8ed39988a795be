//! Attempts to load plugins: their start, and the handling of their outcomes.

use tokio::time::Instant;

use super::Manager;
use crate::key::PluginId;
use crate::metrics::SUCCESS;
use crate::plugins::error::LoadReason;
use crate::plugins::quota;
use crate::plugins::request::{LoadOutcome, LoadRequest};
use crate::plugins::state::PluginState;

impl Manager {
    /// Enqueues all plugins whose next attempt is due.
    pub(super) fn begin_due(&mut self) {
        let now = Instant::now();
        self.begin_where(|state| state.due().is_some_and(|due| due <= now));
    }

    pub(super) fn begin_where(&mut self, wanted: impl Fn(&PluginState) -> bool) {
        let wanted: Vec<_> = self
            .states
            .iter()
            .filter(|(_, state)| wanted(state))
            .map(|(id, _)| id.clone())
            .collect();
        wanted.iter().for_each(|id| self.begin(id));
    }

    /// Enqueues a plugin, and starts as many attempts as possible.
    pub(super) fn begin(&mut self, id: &PluginId) {
        if self.states.get_mut(id).is_some_and(PluginState::start_waiting) {
            self.queue.enqueue(id.clone());
        }
        self.begin_next();
    }

    /// Starts attempts as long as the queue allows it.
    pub(super) fn begin_next(&mut self) {
        while let Some((id, alone)) = self.next_plugin() {
            let refused = quota::refuses(&self.states, &id);
            let Some(request) = self.states.get_mut(&id).and_then(PluginState::begin) else {
                self.queue.ended(&id);
                continue;
            };
            let request = LoadRequest {
                refused,
                alone,
                ..request
            };
            self.attempts.spawn(self.context.clone().attempt(request));
        }
    }

    /// Returns the next plugin, and whether it is tried alone. Suspects of tenants are not tried until the start has ended.
    fn next_plugin(&mut self) -> Option<(PluginId, bool)> {
        let alone = self.startup.is_over().then(|| self.queue.next_alone());
        match alone.flatten() {
            Some(id) => Some((id, true)),
            None => Some((self.queue.next()?, false)),
        }
    }

    /// Handles the end of an attempt, and starts the next ones.
    pub(super) async fn attempt_ended(&mut self, outcome: LoadOutcome) {
        self.queue.ended(&outcome.id);
        self.apply_outcome(outcome).await;
        self.begin_next();
    }

    /// Handles outcomes that were waiting for the labels of namespaces.
    pub(super) async fn apply_parked(&mut self) {
        for outcome in std::mem::take(&mut self.parked) {
            self.apply_outcome(outcome).await;
        }
    }

    /// Applies the outcome of an attempt.
    async fn apply_outcome(&mut self, mut outcome: LoadOutcome) {
        let id = outcome.id.clone();
        let Some(state) = self
            .states
            .get_mut(&id)
            .filter(|state| state.resource.uid == outcome.uid)
        else {
            return;
        };
        if state.is_outdated(&outcome) {
            self.begin(&id);
            return;
        }
        if state.resource.scope.by_labels && self.namespaces.is_pending() {
            self.parked.push(outcome);
            return;
        }
        if let Some(failure) = self.namespaces.failure_of(state) {
            outcome.loaded = None;
            outcome.failure = Some(failure);
        }
        // Fetching an unchanged source loads nothing.
        let result = match (&outcome.failure, &outcome.loaded) {
            (Some(failure), _) => Some(failure.reason.as_str()),
            (None, Some(_)) => Some(SUCCESS),
            (None, None) => None,
        };
        if let Some(result) = result {
            self.metrics.loaded(result);
        }
        let is_suspect = outcome
            .failure
            .as_ref()
            .is_some_and(|failure| failure.reason == LoadReason::TriedAlone);
        let changed = state.load_finished(outcome);
        if is_suspect {
            self.queue.enqueue_suspect(id.clone());
        }
        if changed {
            self.exchange();
            (self.swapped)(id.namespace.as_deref());
        }
        self.report(&id, changed).await;
        // The leader may have rolled the version back while it was loaded here.
        if !self.leadership.now()
            && let Some(state) = self.states.get_mut(&id)
        {
            let done = state.follow_rollback();
            self.apply_follow(&id, done);
        }
    }
}
