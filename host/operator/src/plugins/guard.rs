//! Watches over a plugin that is in force: one that fails again and again is told of.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dask_operator_render::logic::{Failure, Logic};
use dask_operator_render::policy::Rules;
use dask_operator_runtime::CallError;
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Answer, Finding, Observation, Plan, ResourceKind, Review,
    ReviewRequest,
};
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;

use super::PluginId;

/// So many failures in a row about different objects are a plugin's fault, and not an
/// object's.
const OBJECTS: usize = 3;

/// And so many about whatever objects, when there is no success in between.
const FAILURES: usize = 8;

/// A policy that protects is on trial until it has decided about so many different objects, and not longer than that.
/// Afterwards nobody can have it taken back by making it fail.
const TRIAL: (usize, Duration) = (3, Duration::from_secs(600));

/// One that failed again and again, and then decides without a failure for so long, is well again.
const WELL: Duration = Duration::from_secs(60);

/// What becomes of a plugin that fails again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// It can be taken back for ever: nothing that is forbidden becomes allowed by that.
    Endless,
    /// It can be taken back while it is on trial ([`TRIAL`]).
    Trial,
}

/// What is to be told of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    /// Which one.
    pub(super) id: PluginId,
    /// The digest of its code.
    pub(super) digest: String,
    /// What there is to be told.
    pub(super) what: Told,
}

/// What there is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It fails again and again.
    Fails {
        /// What happened last.
        message: String,
        /// Whether it can be taken back for that.
        may_go_back: bool,
    },
    /// It did, and does no more.
    Well,
}

/// Counts the failures of one plugin.
#[derive(Debug)]
pub(super) struct Guard {
    id: PluginId,
    digest: String,
    term: Term,
    tell: UnboundedSender<News>,
    row: Mutex<Row>,
}

/// What has been seen of it.
#[derive(Debug)]
struct Row {
    /// Failures without a success in between, and the objects that they were about.
    failures: usize,
    objects: HashSet<u64>,
    told: bool,
    failed: Option<Instant>,
    /// Since when it has been in force.
    begun: Instant,
    /// Objects that it has decided about, until they are enough.
    decided: HashSet<u64>,
}

impl Row {
    fn new(now: Instant) -> Self {
        Self {
            failures: 0,
            objects: HashSet::new(),
            told: false,
            failed: None,
            begun: now,
            decided: HashSet::new(),
        }
    }

    fn is_on_trial(&self, now: Instant) -> bool {
        let (objects, time) = TRIAL;
        self.decided.len() < objects && now.duration_since(self.begun) < time
    }
}

impl Guard {
    /// Tells when the plugin with code of this digest fails again and again.
    pub(super) fn new(id: PluginId, digest: String, term: Term, tell: UnboundedSender<News>) -> Arc<Self> {
        Arc::new(Self {
            id,
            digest,
            term,
            tell,
            row: Mutex::new(Row::new(Instant::now())),
        })
    }

    /// What was before (samples) does not count: it is in force from now on.
    pub(super) fn begin(&self) {
        *self.row.lock().unwrap_or_else(PoisonError::into_inner) = Row::new(Instant::now());
    }

    /// Notes how a call about `object` (JSON) went. What a plugin refuses or can't decide is no failure, nor is a call that
    /// was ended because whoever asked had no more time.
    fn note<T>(&self, object: &str, answer: Result<T, Failure>) -> Result<T, Failure> {
        match &answer {
            Ok(_) => self.decides(object, Instant::now()),
            Err(failure) if is_its_fault(failure) => self.fails(object, failure, Instant::now()),
            Err(_) => {}
        }
        answer
    }

    fn decides(&self, object: &str, now: Instant) {
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        if row.decided.len() < TRIAL.0 {
            row.decided.insert(place(object));
        }
        row.failures = 0;
        row.objects.clear();
        // One that fails for some objects only is not told of each time that another one goes well in between.
        let is_well = row.failed.is_none_or(|failed| now.duration_since(failed) >= WELL);
        if is_well && std::mem::take(&mut row.told) {
            self.tell(Told::Well);
        }
    }

    fn fails(&self, object: &str, failure: &Failure, now: Instant) {
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        row.failures += 1;
        row.objects.insert(place(object));
        row.failed = Some(now);
        let hopeless = row.objects.len() >= OBJECTS || row.failures >= FAILURES;
        if hopeless && !std::mem::replace(&mut row.told, true) {
            self.tell(Told::Fails {
                message: failure.to_string(),
                may_go_back: self.term == Term::Endless || row.is_on_trial(now),
            });
        }
    }

    fn tell(&self, what: Told) {
        // Nobody listens any more when the operator ends.
        let _ = self.tell.send(News {
            id: self.id.clone(),
            digest: self.digest.clone(),
            what,
        });
    }
}

/// Returns whether a failure is the plugin's, and not the host's or of who asked it.
fn is_its_fault(failure: &Failure) -> bool {
    let error = failure.downcast_ref::<CallError>();
    error.is_some_and(|error| error.failure.is_of_component())
}

/// What tells one object from another: its kind, namespace and name.
fn place(object: &str) -> u64 {
    #[derive(Default, Deserialize, Hash)]
    #[serde(default)]
    struct Object {
        kind: String,
        metadata: Metadata,
    }
    #[derive(Default, Deserialize, Hash)]
    #[serde(default)]
    struct Metadata {
        namespace: String,
        name: String,
    }
    let object: Object = serde_json::from_str(object).unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    object.hash(&mut hasher);
    hasher.finish()
}

/// Somebody who is watched over.
pub(super) struct Guarded<T> {
    /// Who is asked.
    pub(super) inner: T,
    /// Who watches.
    pub(super) guard: Arc<Guard>,
}

impl<T: Logic> Logic for Guarded<T> {
    fn child_kinds(&self, settings: &str) -> Result<Vec<ResourceKind>, Failure> {
        self.inner.child_kinds(settings)
    }

    fn default(&self, object: &str, settings: &str) -> Result<Answer<String>, Failure> {
        self.guard.note(object, self.inner.default(object, settings))
    }

    fn validate(&self, object: &str, old: Option<&str>, settings: &str) -> Result<Vec<Finding>, Failure> {
        self.guard
            .note(object, self.inner.validate(object, old, settings))
    }

    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, Failure> {
        self.guard.note(&observation.parent, self.inner.plan(observation))
    }
}

impl<T: Rules> Rules for Guarded<T> {
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, Failure> {
        self.guard.note(&request.object, self.inner.admit(request))
    }

    fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, Failure> {
        self.guard.note(&request.parent, self.inner.review_plan(request))
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_runtime::{Digest, Failure as What};
    use rstest::rstest;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    fn error(what: What) -> Failure {
        Box::new(CallError {
            component: "c".into(),
            digest: Digest::of(b""),
            interface: "cluster",
            function: "plan",
            failure: Box::new(what),
        })
    }

    /// What is told of a plugin of that term. Calls: the object's name, and how it goes: `+`, `-` (trap), `!` (no room) or `?`
    /// (another error); a number is so many seconds.
    fn told(term: Term, calls: &str) -> String {
        let (tell, mut heard) = unbounded_channel();
        let id = PluginId {
            namespace: None,
            name: "p".into(),
        };
        let guard = Guard::new(id, "sha256:1".into(), term, tell);
        // What was tried on samples does not count.
        for name in ["a", "b", "c"] {
            guard.decides(&object(name), Instant::now());
        }
        guard.begin();
        let mut now = Instant::now();
        for call in calls.split(' ') {
            if let Ok(seconds) = call.parse() {
                now += Duration::from_secs(seconds);
                continue;
            }
            let (name, how) = call.split_at(1);
            match how {
                "+" => guard.decides(&object(name), now),
                "-" => guard.fails(&object(name), &error(What::Missing), now),
                how => {
                    let failure = match how {
                        "!" => error(What::Exhausted("it is full".into())),
                        _ => "something else".into(),
                    };
                    let answer: Result<(), Failure> = guard.note(&object(name), Err(failure));
                    assert!(answer.is_err());
                }
            }
        }
        let mut told = String::new();
        while let Ok(news) = heard.try_recv() {
            told.push(match news.what {
                Told::Fails {
                    may_go_back: true, ..
                } => 'b',
                Told::Fails { .. } => 'f',
                Told::Well => 'w',
            });
        }
        told
    }

    fn object(name: &str) -> String {
        format!(r#"{{"kind": "DaskCluster", "metadata": {{"name": "{name}"}}, "status": {{}}}}"#)
    }

    #[test]
    fn who_has_no_more_time_blames_nobody() {
        let no_time = || -> Failure {
            Box::new(CallError {
                component: "c".into(),
                digest: Digest::of(b""),
                interface: "policy",
                function: "admit",
                failure: Box::new(What::NoTime {
                    left: Duration::from_millis(10),
                }),
            })
        };
        assert!(is_its_fault(&trap()) && !is_its_fault(&no_time()));
    }

    #[rstest]
    #[case::one_object("a- a- a- a-", "")]
    #[case::one_object_for_long("a- a- a- a- a- a- a- a- a- a-", "b")]
    #[case::three_objects("a- b- c- d-", "b")]
    #[case::others_go_well("a- b- x+ c- a- x+ b- c-", "")]
    #[case::no_traps("a? b? c? d?", "")]
    #[case::no_room("a! b! c! d!", "")]
    #[case::again_after_success("a- b- c- 60 a+ a- b- c-", "bwb")]
    #[case::after_others_went_well("x+ y+ z+ a- b- c-", "b")]
    fn what_fails_in_a_row_is_told(#[case] calls: &str, #[case] expected: &str) {
        assert_eq!(told(Term::Endless, calls), expected);
    }

    #[rstest]
    #[case::at_first("a- b- c-", "b")]
    #[case::after_two_decisions("x+ y+ a- b- c-", "b")]
    #[case::two_about_the_same("x+ x+ x+ a- b- c-", "b")]
    #[case::after_the_third("x+ y+ z+ a- b- c-", "f")]
    #[case::after_ten_minutes("600 a- b- c-", "f")]
    #[case::just_before("599 a- b- c-", "b")]
    #[case::others_go_well_in_between("x+ y+ z+ a- b- c- x+ a- b- c- y+", "f")]
    #[case::well_for_a_minute("x+ y+ z+ a- b- c- 59 x+ 1 x+", "fw")]
    fn a_policy_that_protects_can_be_taken_back_while_it_is_on_trial(
        #[case] calls: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(told(Term::Trial, calls), expected);
    }
}
