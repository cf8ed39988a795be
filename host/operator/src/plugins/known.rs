//! What is known of one plugin resource: what is in force, and what is tried.

mod entry;
mod trials;

use std::time::Duration;

use dask_operator_api::{Condition, LastGood};
use tokio::time::Instant;

use super::attempt::{Attempt, Outcome};
use super::failure::{LoadFailure, ROLLED_BACK};
use super::prepare::Good;
use super::resource::Resource;
use trials::Trials;

/// How long to wait after a first failure, and at most.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The reason of what is in force and fails.
const FAILS_IN_OPERATION: &str = "FailsInOperation";

/// What is known of one plugin resource.
pub(super) struct Known {
    /// The resource as it was last seen.
    pub(super) resource: Resource,
    /// What is in force.
    pub(super) good: Option<Good>,
    /// What was in force before that.
    previous: Option<Good>,
    /// A digest that was taken back.
    pub(super) rolled_back: Option<String>,
    /// Why what the resource asks for can't be loaded.
    failure: Option<LoadFailure>,
    /// How a component failed in operation: the one in force, or the one that was taken back.
    trouble: Option<LoadFailure>,
    failures: u32,
    /// What was tried and could not be used.
    trials: Trials,
    /// An attempt is under way.
    running: bool,
    /// When the next one begins.
    again: Option<Instant>,
    /// Whether the next one looks at the source although it is the same.
    look: bool,
    /// Whether it was there at the start and nobody knows yet what it says.
    first: bool,
    /// What fails here again and again, which is for who leads to decide about: what happened, and whether it may go back.
    blamed: Option<(String, bool)>,
}

/// What becomes of a plugin because of what who leads has made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// Nothing.
    Stay,
    /// Something else is in force now.
    Exchanged,
    /// What was in force is not any more, and what shall be has to be loaded.
    Load,
    /// The source holds something else.
    Look,
}

impl Known {
    pub(super) fn new(resource: Resource) -> Self {
        let (rolled_back, trouble) = taken_back(&resource);
        Self {
            rolled_back,
            resource,
            good: None,
            previous: None,
            failure: None,
            trouble,
            failures: 0,
            trials: Trials::default(),
            running: false,
            again: None,
            look: false,
            first: false,
            blamed: None,
        }
    }

    /// It was there at the start. Where the status says that its spec has been tried and could not be used, it is known what
    /// becomes of it: nothing, as before.
    pub(super) fn at_start(mut self) -> Self {
        let status = &self.resource.status;
        let is_current = status.observed_generation == Some(self.resource.generation);
        let has_failed = |condition: &Condition| condition.type_ == "Ready" && condition.status == "False";
        self.first = !(is_current && status.conditions.iter().any(has_failed));
        self
    }

    /// The resource has changed. Who `leads` writes the status, and knows it better than a watch that may be late; a status
    /// about what it has not seen yet is that of who led before.
    pub(super) fn wants(&mut self, mut resource: Resource, leads: bool) {
        if leads && resource.status.observed_generation != Some(resource.generation) {
            resource.status = std::mem::take(&mut self.resource.status);
        }
        self.resource = resource;
        let (rolled_back, trouble) = taken_back(&self.resource);
        self.rolled_back = rolled_back;
        if trouble.is_some() {
            self.trouble = trouble;
        }
        self.failures = 0;
        self.trials = Trials::default();
        self.again = None;
        self.look = false;
        self.blamed = None;
    }

    /// Whether something of it was in force before this process began.
    pub(super) fn was_in_force(&self) -> bool {
        self.resource.status.digest.is_some()
    }

    /// Whether a start waits until it is known what becomes of it: what was in force, and what is an administrator's, which
    /// may have been applied while no operator ran. What a tenant has just made keeps nobody waiting.
    pub(super) fn is_awaited(&self) -> bool {
        self.was_in_force() || self.resource.id.namespace.is_none()
    }

    /// Why it is not as the resource asks for: why that can't be loaded, or else how it failed in operation.
    pub(super) fn failure(&self) -> Option<&LoadFailure> {
        match &self.failure {
            // Of what was taken back, the trouble tells more.
            Some(failure) if failure.reason == ROLLED_BACK => self.trouble.as_ref().or(Some(failure)),
            Some(failure) => Some(failure),
            None => self.trouble.as_ref().filter(|_| self.good.is_some()),
        }
    }

    /// Whether nobody knows yet what becomes of it.
    pub(super) fn is_loading(&self) -> bool {
        self.good.is_none() && self.failure.is_none()
    }

    /// Whether it is an administrator's, was there at the start, and holds what it is for because it is being loaded.
    pub(super) fn holds_loading(&self) -> bool {
        self.first
            && self.resource.id.namespace.is_none()
            && self.is_loading()
            && self.entry().is_some_and(|entry| entry.holds())
    }

    /// When the next attempt begins.
    pub(super) fn due(&self) -> Option<Instant> {
        self.again.filter(|_| !self.running)
    }

    /// It waits for its turn. Gives whether it has to: none begins while one is under way.
    pub(super) fn wait(&mut self) -> bool {
        if !self.running {
            self.again = None;
        }
        !self.running
    }

    /// The next attempt; none while one is under way.
    pub(super) fn begin(&mut self) -> Option<Attempt> {
        if self.running {
            return None;
        }
        self.running = true;
        self.again = None;
        Some(Attempt {
            resource: self.resource.clone(),
            good: self.good.clone(),
            rolled_back: self.rolled_back.clone(),
            given_up: self.given_up(),
            refused: None,
            alone: false,
            look: self.look,
        })
    }

    /// What is not tried again for now, and why it can't be used.
    fn given_up(&self) -> Option<LoadFailure> {
        // An administrator's may hold a whole cluster until it can be used.
        self.resource.id.namespace.as_ref()?;
        self.trials.given_up()
    }

    fn failed(&mut self, failure: LoadFailure) {
        self.trials.failed(&failure);
        self.failure = Some(failure);
        let wait = FIRST_WAIT * 2_u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        self.again = Some(Instant::now() + wait.min(LONGEST_WAIT));
    }

    /// Whether an attempt that has ended was about an earlier state: of the resource, or of what is in force, which was taken
    /// back meanwhile.
    pub(super) fn is_outdated(&mut self, outcome: &Outcome) -> bool {
        let is_resource = self.resource.generation == outcome.generation;
        let is_good = self.good.as_ref().map(Good::mark) == outcome.before;
        // Other code is in place whatever it is compared with.
        let is_new = |good: &Good| self.rolled_back.as_ref() != Some(&good.digest);
        let counts = is_resource && (is_good || outcome.good.as_ref().is_some_and(is_new));
        if !counts {
            self.running = false;
        }
        !counts
    }

    /// An attempt has ended. Gives whether something else is in force now, or held no more or for another reason.
    pub(super) fn ended(&mut self, outcome: Outcome) -> bool {
        self.running = false;
        let held = self.holds_first().then(|| self.failure.clone());
        // A registry that can't be reached says nothing about what the resource asks for.
        self.first &=
            outcome.failure.as_ref().is_some_and(LoadFailure::leaves_open) && outcome.good.is_none();
        let worked = outcome.failure.is_none();
        let is_exchanged = outcome.good.is_some();
        // What was taken back is so until the source holds something else that works. How the component in force does, a look
        // at the source does not tell.
        self.trouble = self.trouble.take().filter(|trouble| match trouble.reason {
            ROLLED_BACK => !worked,
            _ => !is_exchanged,
        });
        match outcome.failure {
            None => {
                self.failure = None;
                self.failures = 0;
                self.trials = Trials::default();
                // From now on only the source can have something new.
                self.look = true;
                self.again = self.resource.refresh().map(|every| Instant::now() + every);
            }
            Some(failure) => self.failed(failure),
        }
        match outcome.good {
            Some(good) => {
                self.previous = self.good.replace(good);
                self.blamed = None;
                true
            }
            None => held.is_some() && held != self.holds_first().then(|| self.failure.clone()),
        }
    }

    /// Does what who leads has done with this plugin, as its status says: all replicas answer the webhook, and by the same
    /// code.
    pub(super) fn follow(&mut self) -> Follow {
        match self.follow_back() {
            Follow::Stay => {}
            done => return done,
        }
        let (Some(last), Some(good)) = (last_good(&self.resource), &self.good) else {
            return Follow::Stay;
        };
        if last.digest == good.digest {
            return Follow::Stay;
        }
        self.look = true;
        Follow::Look
    }

    /// Takes back what who leads has taken back.
    pub(super) fn follow_back(&mut self) -> Follow {
        let (Some(last), Some(good)) = (last_good(&self.resource), &self.good) else {
            return Follow::Stay;
        };
        let is_it = |good: &Good| good.digest == last.digest && good.asked.generation == last.generation;
        if last.rolled_back.as_ref() != Some(&good.digest) || is_it(good) {
            return Follow::Stay;
        }
        let previous = self.previous.take().filter(is_it);
        let message = match &self.resource.status.error {
            Some(error) => error.clone(),
            None => format!("{} was taken back by the replica that leads", good.title()),
        };
        self.rolled_back = last.rolled_back.clone();
        self.blamed = None;
        self.good = previous;
        self.failure = None;
        self.trouble = Some(LoadFailure::new(ROLLED_BACK, message));
        if self.good.is_none() {
            self.look = false;
            return Follow::Load;
        }
        Follow::Exchanged
    }

    /// It fails again and again here, and somebody else decides what becomes of it.
    pub(super) fn blame(&mut self, message: String, may_go_back: bool) {
        self.blamed = Some((message, may_go_back));
    }

    /// What it was blamed for, when it is for this replica to decide.
    pub(super) fn take_blame(&mut self) -> Option<(String, bool)> {
        self.blamed.take()
    }

    /// What is in force fails again and again: what was so before is in force again, where there is
    /// something and it `may_go_back`. Gives whether that is so.
    pub(super) fn go_back(&mut self, message: &str, may_go_back: bool) -> bool {
        let Some(good) = &self.good else {
            return false;
        };
        let failed = good.title();
        if !may_go_back {
            self.trouble = Some(LoadFailure::new(
                FAILS_IN_OPERATION,
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
            self.trouble = Some(LoadFailure::new(FAILS_IN_OPERATION, message));
            return false;
        };
        let text = format!(
            "{failed} failed again and again and was taken back for {}: {message}",
            previous.title()
        );
        self.rolled_back = Some(good.digest.clone());
        // What can't be loaded is told of again by the next attempt.
        self.failure = None;
        self.trouble = Some(LoadFailure::new(ROLLED_BACK, text));
        self.good = Some(previous);
        true
    }

    /// What is in force failed again and again, and does no more. Gives whether that was said of it.
    pub(super) fn is_well(&mut self) -> bool {
        self.blamed = None;
        let fails = |trouble: &mut LoadFailure| trouble.reason == FAILS_IN_OPERATION;
        self.trouble.take_if(fails).is_some()
    }
}

/// What who leads has put in force last for the resource as it is.
fn last_good(resource: &Resource) -> Option<LastGood> {
    let status = &resource.status;
    let is_current = status.observed_generation == Some(resource.generation);
    status.last_good.clone().filter(|_| is_current)
}

/// The digest that was taken back of the resource as it is, and why, where its status says so. (When somebody has changed
/// the resource since, it may be tried again.)
fn taken_back(resource: &Resource) -> (Option<String>, Option<LoadFailure>) {
    let Some(digest) = last_good(resource).and_then(|last| last.rolled_back) else {
        return (None, None);
    };
    let status = &resource.status;
    let is_said = status
        .conditions
        .iter()
        .any(|condition| condition.reason.as_deref() == Some(ROLLED_BACK));
    let said = status.error.as_ref().filter(|_| is_said);
    (
        Some(digest),
        said.map(|error| LoadFailure::new(ROLLED_BACK, error)),
    )
}

#[cfg(test)]
mod tests;
