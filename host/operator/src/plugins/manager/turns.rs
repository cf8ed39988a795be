//! The manager's attempts to load plugins: when each begins, and what becomes of what comes of it.

use tokio::time::Instant;

use super::super::attempt::{Attempt, Outcome};
use super::super::failure::TRIED_ALONE;
use super::super::known::Known;
use super::super::{PluginId, quota};
use super::Manager;

impl Manager {
    /// Begins all attempts whose time has come.
    pub(super) fn begin_due(&mut self) {
        let now = Instant::now();
        self.begin_where(|known| known.due().is_some_and(|due| due <= now));
    }

    pub(super) fn begin_where(&mut self, wanted: impl Fn(&Known) -> bool) {
        let wanted: Vec<_> = self
            .known
            .iter()
            .filter(|(_, known)| wanted(known))
            .map(|(id, _)| id.clone())
            .collect();
        wanted.iter().for_each(|id| self.begin(id));
    }

    /// Begins an attempt as soon as it is this one's turn.
    pub(super) fn begin(&mut self, id: &PluginId) {
        if self.known.get_mut(id).is_some_and(Known::wait) {
            self.loads.wait(id.clone());
        }
        self.begin_next();
    }

    /// Begins the attempts whose turn it is.
    pub(super) fn begin_next(&mut self) {
        while let Some((id, alone)) = self.next_turn() {
            let refused = quota::refuses(&self.known, &id);
            let Some(attempt) = self.known.get_mut(&id).and_then(Known::begin) else {
                self.loads.ended(&id);
                continue;
            };
            let attempt = Attempt {
                refused,
                alone,
                ..attempt
            };
            self.attempts.spawn(attempt.make(self.means.clone()));
        }
    }

    /// Whose turn it is, and whether to be tried alone: suspects of tenants are not before it is known what is in force.
    fn next_turn(&mut self) -> Option<(PluginId, bool)> {
        let alone = self.awaited.is_over().then(|| self.loads.next_alone());
        match alone.flatten() {
            Some(id) => Some((id, true)),
            None => Some((self.loads.next()?, false)),
        }
    }

    /// An attempt has ended, and it is the next one's turn.
    pub(super) async fn ended(&mut self, outcome: Outcome) {
        self.loads.ended(&outcome.id);
        self.came_of(outcome).await;
        self.begin_next();
    }

    /// Goes on with attempts that have ended before it was known which namespaces they concern.
    pub(super) async fn unpark(&mut self) {
        for outcome in std::mem::take(&mut self.parked) {
            self.came_of(outcome).await;
        }
    }

    /// Puts in force what came of an attempt.
    async fn came_of(&mut self, mut outcome: Outcome) {
        let id = outcome.id.clone();
        let Some(known) = self
            .known
            .get_mut(&id)
            .filter(|known| known.resource.uid == outcome.uid)
        else {
            return;
        };
        if known.is_outdated(&outcome) {
            self.begin(&id);
            return;
        }
        if known.resource.scope.by_labels && self.namespaces.are_awaited() {
            self.parked.push(outcome);
            return;
        }
        if let Some(hindered) = self.namespaces.hinder(known) {
            outcome.good = None;
            outcome.failure = Some(hindered);
        }
        // A look at a source that holds nothing new loads nothing.
        let result = match (&outcome.failure, &outcome.good) {
            (Some(failure), _) => Some(failure.reason),
            (None, Some(_)) => Some("success"),
            (None, None) => None,
        };
        if let Some(result) = result {
            self.metrics.plugins().loaded(result);
        }
        let is_suspect = outcome
            .failure
            .as_ref()
            .is_some_and(|failure| failure.reason == TRIED_ALONE);
        let changed = known.ended(outcome);
        if is_suspect {
            self.loads.wait_alone(id.clone());
        }
        if changed {
            self.exchange();
            (self.swapped)(id.namespace.as_deref());
        }
        self.report(&id, changed).await;
        // It may have been taken back while it was loaded here.
        if !self.leading.now()
            && let Some(known) = self.known.get_mut(&id)
        {
            let done = known.follow_back();
            self.followed(&id, done);
        }
    }
}
