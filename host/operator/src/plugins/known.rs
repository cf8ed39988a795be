//! What is known of one plugin resource: what is in force, and what is tried.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dask_operator_api::{LastGood, PluginMode};
use dask_operator_core::parent::DaskKind;
use dask_operator_render::logic::interface;
use tokio::time::Instant;

use super::attempt::{Attempt, Outcome};
use super::failure::{LoadFailure, ROLLED_BACK};
use super::prepare::Good;
use super::resource::Resource;
use super::{Entry, PluginError, Scope};

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
    /// Why what the resource asks for is not in force.
    pub(super) failure: Option<LoadFailure>,
    failures: u32,
    /// An attempt is under way.
    running: bool,
    /// When the next one begins.
    again: Option<Instant>,
    /// Whether the next one looks at the source although it is the same.
    look: bool,
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
        // What was taken back may be tried again when somebody changed the resource since.
        let same = resource.status.observed_generation == Some(resource.generation);
        let last = resource.status.last_good.as_ref().filter(|_| same);
        Self {
            rolled_back: last.and_then(|last| last.rolled_back.clone()),
            resource,
            good: None,
            previous: None,
            failure: None,
            failures: 0,
            running: false,
            again: None,
            look: false,
            blamed: None,
        }
    }

    /// The resource has changed.
    pub(super) fn wants(&mut self, resource: Resource) {
        let status = std::mem::take(&mut self.resource.status);
        self.resource = Resource { status, ..resource };
        self.rolled_back = None;
        self.failures = 0;
        self.again = None;
        self.look = false;
        self.blamed = None;
    }

    /// Whether something of it was in force before this process began.
    pub(super) fn was_in_force(&self) -> bool {
        self.resource.status.digest.is_some()
    }

    /// Whether nobody knows yet what becomes of it.
    pub(super) fn is_loading(&self) -> bool {
        self.good.is_none() && self.failure.is_none()
    }

    /// When the next attempt begins.
    pub(super) fn due(&self) -> Option<Instant> {
        self.again.filter(|_| !self.running)
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
            look: self.look,
        })
    }

    /// Whether an attempt that has ended was about an earlier state of the resource.
    pub(super) fn is_outdated(&mut self, generation: i64) -> bool {
        let outdated = self.resource.generation != generation;
        if outdated {
            self.running = false;
        }
        outdated
    }

    /// An attempt has ended. Gives whether something else is in force now.
    pub(super) fn ended(&mut self, outcome: Outcome) -> bool {
        self.running = false;
        let worked = outcome.failure.is_none();
        // A look at the source that finds nothing new says nothing of how the component does.
        let fails = self
            .failure
            .take()
            .filter(|failure| failure.reason == FAILS_IN_OPERATION && outcome.good.is_none());
        self.failure = outcome.failure.or(fails);
        if worked {
            self.failures = 0;
            // From now on only the source can have something new.
            self.look = true;
            self.again = self.resource.refresh().map(|every| Instant::now() + every);
        } else {
            let wait = FIRST_WAIT * 2_u32.saturating_pow(self.failures.min(16));
            self.failures += 1;
            self.again = Some(Instant::now() + wait.min(LONGEST_WAIT));
        }
        match outcome.good {
            Some(good) => {
                self.previous = self.good.replace(good);
                self.blamed = None;
                true
            }
            None => false,
        }
    }

    /// Does what who leads has done with this plugin, as its status says: all replicas answer the webhook, and by the same
    /// code.
    pub(super) fn follow(&mut self) -> Follow {
        match self.follow_back() {
            Follow::Stay => {}
            done => return done,
        }
        let (Some(last), Some(good)) = (self.last_good(), &self.good) else {
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
        let (Some(last), Some(good)) = (self.last_good(), &self.good) else {
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
        if self.good.is_none() {
            // Whoever is loaded next says why.
            self.failure = None;
            self.look = false;
            return Follow::Load;
        }
        self.failure = Some(LoadFailure::new(ROLLED_BACK, message));
        Follow::Exchanged
    }

    /// What who leads has put in force last for the resource as it is.
    fn last_good(&self) -> Option<LastGood> {
        let status = &self.resource.status;
        let is_current = status.observed_generation == Some(self.resource.generation);
        status.last_good.clone().filter(|_| is_current)
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
            self.failure = Some(LoadFailure::new(
                FAILS_IN_OPERATION,
                format!(
                    "{failed} fails again and again; its trial is over, and it is not taken back: what it can't decide about \
                     is refused and held, until it can or this plugin is changed: {message}"
                ),
            ));
            return false;
        }
        let Some(previous) = self.previous.take() else {
            let message = format!(
                "{failed} fails again and again, and there is no earlier version to go back to: {message}"
            );
            self.failure = Some(LoadFailure::new(FAILS_IN_OPERATION, message));
            return false;
        };
        let text = format!(
            "{failed} failed again and again and was taken back for {}: {message}",
            previous.title()
        );
        self.rolled_back = Some(good.digest.clone());
        self.failure = Some(LoadFailure::new(ROLLED_BACK, text));
        self.good = Some(previous);
        true
    }

    /// What is in force failed again and again, and does no more. Gives whether that was its only trouble.
    pub(super) fn is_well(&mut self) -> bool {
        self.blamed = None;
        let failed = |failure: &LoadFailure| failure.reason == FAILS_IN_OPERATION;
        self.failure.take_if(|failure| failed(failure)).is_some()
    }

    /// What the catalog gets: what is in force; of what was in force and can't be loaded that it is held; of
    /// all else nothing.
    pub(super) fn entry(&self) -> Option<Entry> {
        if let Some(good) = &self.good {
            return Some(good.entry.clone());
        }
        let why = self
            .failure
            .as_ref()
            .map_or("it is being loaded", |failure| failure.message.as_str());
        self.held(why, self.resource.scope.clone())
    }

    /// What was in force holds all that is in `scope`.
    pub(super) fn held(&self, why: &str, scope: Scope) -> Option<Entry> {
        if !self.was_in_force() {
            return None;
        }
        let status = &self.resource.status;
        let error = PluginError {
            title: format!(
                "{} {} ({}) of {}",
                status.name.as_deref().unwrap_or("plugin"),
                status.version.as_deref().unwrap_or_default(),
                status.short_digest.as_deref().unwrap_or_default(),
                self.resource.id
            ),
            reason: "PluginNotLoaded",
            message: format!("it was in force and can't be used now: {why}"),
        };
        let had = |name: &str| status.interfaces.iter().any(|interface| interface == name);
        let logic: BTreeMap<_, Result<Arc<_>, _>> = DaskKind::ALL
            .into_iter()
            .filter(|kind| had(interface(*kind).name()))
            .map(|kind| (kind, Err(error.clone())))
            .collect();
        let protects = had("policy") && self.resource.spec.mode == PluginMode::Protect;
        Some(Entry {
            id: self.resource.id.clone(),
            scope,
            order: self.resource.spec.order,
            logic,
            policy: protects.then_some(Err(error)),
            loaded: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_api::{DaskPlugin, PluginStatus};
    use serde_json::{Value, json};

    use super::*;

    fn known(status: &Value) -> Known {
        let object = json!({
            "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskPlugin",
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 2},
            "spec": {"source": {"file": {"path": "/p.wasm"}}},
            "status": status,
        });
        let object: DaskPlugin = serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"));
        Known::new(Resource::of_namespace(object).unwrap_or_else(|error| panic!("{error}")))
    }

    /// What can be in force: bytes with this digest, that were asked for in this generation.
    fn good(digest: &str, generation: i64) -> Good {
        let mut asked = known(&json!({})).resource;
        asked.generation = generation;
        Good {
            entry: Entry {
                id: asked.id.clone(),
                scope: Scope::default(),
                order: 0,
                logic: BTreeMap::new(),
                policy: None,
                loaded: None,
            },
            name: "p".to_owned(),
            version: "1".to_owned(),
            digest: digest.to_owned(),
            image_digest: None,
            interfaces: Vec::new(),
            asked,
        }
    }

    fn outcome(good: Option<Good>, failure: Option<LoadFailure>) -> Outcome {
        let resource = known(&json!({})).resource;
        Outcome {
            id: resource.id,
            uid: resource.uid,
            generation: resource.generation,
            good,
            failure,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_looked_at_again_and_again() {
        let mut known = known(&json!({}));
        for good in [Some(good("sha256:1", 2)), None, None] {
            assert!(known.begin().is_some());
            known.ended(outcome(good, None));
            assert_eq!(known.due(), Some(Instant::now() + Duration::from_secs(10)));
            assert!(known.begin().is_some_and(|attempt| attempt.look));
            known.running = false;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_finds_nothing_new_does_not_make_it_well() {
        let mut known = known(&json!({}));
        known.ended(outcome(Some(good("sha256:1", 2)), None));
        assert!(!known.go_back("it traps", false));
        known.ended(outcome(None, None));
        let reason = |known: &Known| known.failure.as_ref().map(|failure| failure.reason);
        assert_eq!(reason(&known), Some(FAILS_IN_OPERATION));
        assert_eq!(known.due(), Some(Instant::now() + Duration::from_secs(10)));
        assert!(known.is_well() && known.failure.is_none());
        // Other code begins anew.
        known.go_back("it traps", false);
        known.ended(outcome(Some(good("sha256:2", 2)), None));
        assert_eq!(reason(&known), None);
    }

    /// The status in which who leads says that it put this in force, and took that back.
    fn led(digest: &str, generation: i64, rolled_back: Option<&str>) -> PluginStatus {
        PluginStatus {
            observed_generation: Some(2),
            error: rolled_back.map(|_| "it failed and was taken back".to_owned()),
            digest: Some(digest.to_owned()),
            last_good: Some(LastGood {
                generation,
                digest: digest.to_owned(),
                rolled_back: rolled_back.map(str::to_owned),
                ..LastGood::default()
            }),
            ..PluginStatus::default()
        }
    }

    fn digest(known: &Known) -> Option<&str> {
        known.good.as_ref().map(|good| good.digest.as_str())
    }

    #[tokio::test(start_paused = true)]
    async fn what_who_leads_takes_back_is_taken_back() {
        let mut known = known(&json!({}));
        known.ended(outcome(Some(good("sha256:1", 1)), None));
        known.ended(outcome(Some(good("sha256:2", 2)), None));
        known.resource.status = led("sha256:2", 2, None);
        assert_eq!(known.follow(), Follow::Stay);
        known.resource.status = led("sha256:1", 1, Some("sha256:2"));
        // Of an older state of the resource, nothing is concluded.
        known.resource.status.observed_generation = Some(1);
        assert_eq!(known.follow(), Follow::Stay);
        known.resource.status.observed_generation = Some(2);
        assert_eq!(known.follow(), Follow::Exchanged);
        assert_eq!(digest(&known), Some("sha256:1"));
        let said = known.failure.as_ref().map(ToString::to_string);
        assert_eq!(said.as_deref(), Some("it failed and was taken back"));
        assert_eq!(known.rolled_back.as_deref(), Some("sha256:2"));
        assert_eq!(known.follow(), Follow::Stay, "that was done");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_have_the_version_before_loads_it() {
        let mut known = known(&json!({"digest": "sha256:1", "interfaces": ["policy"]}));
        known.ended(outcome(Some(good("sha256:2", 2)), None));
        known.resource.status = led("sha256:1", 1, Some("sha256:2"));
        assert_eq!(known.follow(), Follow::Load);
        assert_eq!(digest(&known), None);
        assert!(known.entry().is_some(), "what it looks after is held meanwhile");
        assert!(known.begin().is_some_and(|attempt| attempt.good.is_none()));
        let again = LoadFailure::new(ROLLED_BACK, "not again");
        known.ended(outcome(Some(good("sha256:1", 1)), Some(again)));
        assert_eq!(known.follow(), Follow::Stay);
        assert_eq!(digest(&known), Some("sha256:1"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_who_leads_has_found_at_the_source_is_looked_for() {
        let mut known = known(&json!({}));
        known.ended(outcome(Some(good("sha256:1", 2)), None));
        known.resource.status = led("sha256:2", 2, None);
        assert_eq!(known.follow(), Follow::Look);
        assert_eq!(known.follow_back(), Follow::Stay);
        assert_eq!(
            digest(&known),
            Some("sha256:1"),
            "in force until its successor is ready"
        );
        assert!(known.begin().is_some_and(|attempt| attempt.look));
    }
}
