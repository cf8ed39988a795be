//! Watches over a plugin that is in force: one that fails again and again is told of.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dask_operator_render::logic::Failure;
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;

use super::PluginId;

/// So many failures in a row about different objects are a plugin's fault, and not an
/// object's.
const OBJECTS: usize = 3;

/// And so many about whatever objects, when there is no success in between.
const FAILURES: usize = 8;

/// A plugin of the cluster is taken back for failures in so many namespaces: nobody who has rights in one of them has it
/// taken back for all others.
const NAMESPACES: usize = 3;

/// One that failed again and again, and then decides without a failure for so long, is well again.
const WELL: Duration = Duration::from_secs(60);

/// What becomes of a plugin that fails again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// It stays in force: what was in force before it may allow what it forbids.
    Hold,
    /// It is taken back for failures about different objects.
    Objects,
    /// It is taken back for failures in different namespaces.
    Namespaces,
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
#[derive(Debug, Default)]
struct Row {
    /// Failures without a success in between, and the objects and namespaces that they were about.
    failures: usize,
    objects: HashSet<u64>,
    namespaces: HashSet<u64>,
    /// What was told of them: whether it can be taken back.
    told: Option<bool>,
    failed: Option<Instant>,
    /// Whether it has decided about anything since it is in force.
    has_decided: bool,
}

impl Guard {
    /// Tells when the plugin with code of this digest fails again and again.
    pub(super) fn new(id: PluginId, digest: String, term: Term, tell: UnboundedSender<News>) -> Arc<Self> {
        Arc::new(Self {
            id,
            digest,
            term,
            tell,
            row: Mutex::default(),
        })
    }

    /// What was before (samples) does not count: it is in force from now on.
    pub(super) fn begin(&self) {
        *self.row.lock().unwrap_or_else(PoisonError::into_inner) = Row::default();
    }

    /// It has decided.
    pub(super) fn decides(&self, now: Instant) {
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        row.has_decided = true;
        row.failures = 0;
        row.objects.clear();
        row.namespaces.clear();
        // One that fails for some objects only is not told of each time that another one goes well in between.
        let is_well = row.failed.is_none_or(|failed| now.duration_since(failed) >= WELL);
        if is_well && row.told.take().is_some() {
            self.tell(Told::Well);
        }
    }

    /// It has failed to decide about `object` (JSON).
    pub(super) fn fails(&self, object: &str, failure: &Failure, now: Instant) {
        let (object, namespace) = place(object);
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        row.failures += 1;
        row.failed = Some(now);
        if row.objects.len() < OBJECTS {
            row.objects.insert(object);
        }
        if row.namespaces.len() < NAMESPACES {
            row.namespaces.insert(namespace);
        }
        let is_hopeless = row.objects.len() >= OBJECTS || row.failures >= FAILURES;
        let may_go_back = match self.term {
            Term::Hold => false,
            Term::Objects => true,
            // One that has never worked can be taken back where a single namespace uses it.
            Term::Namespaces => {
                row.namespaces.len() >= NAMESPACES || (!row.has_decided && row.failures >= FAILURES)
            }
        };
        let is_news = row.told.is_none_or(|could_go_back| may_go_back && !could_go_back);
        if is_hopeless && is_news {
            row.told = Some(may_go_back);
            self.tell(Told::Fails {
                message: failure.to_string(),
                may_go_back,
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

/// What tells one object from another (its kind, namespace and name), and one namespace from another.
fn place(object: &str) -> (u64, u64) {
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
    (hash(&object), hash(&object.metadata.namespace))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
pub(super) mod tests {
    use rstest::rstest;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    /// A guard, and what it tells.
    pub(in crate::plugins) fn guard(term: Term) -> (Arc<Guard>, UnboundedReceiver<News>) {
        let (tell, heard) = unbounded_channel();
        let id = PluginId {
            namespace: None,
            name: "p".into(),
        };
        (Guard::new(id, "sha256:1".into(), term, tell), heard)
    }

    /// What was told: that it fails and can be taken back (`b`) or not (`f`), or that it is well again (`w`).
    pub(in crate::plugins) fn letters(mut heard: UnboundedReceiver<News>) -> String {
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

    /// What is told of a plugin of that term. Calls: the object's namespace (`n` where there is one letter only) and name, and
    /// how it goes, `+` or `-`; a number is so many seconds.
    fn told(term: Term, calls: &str) -> String {
        let (guard, heard) = guard(term);
        // What was tried on samples does not count.
        guard.decides(Instant::now());
        guard.begin();
        let mut now = Instant::now();
        for call in calls.split(' ') {
            if let Ok(seconds) = call.parse() {
                now += Duration::from_secs(seconds);
                continue;
            }
            let (name, how) = call.split_at(call.len() - 1);
            match how {
                "+" => guard.decides(now),
                _ => guard.fails(&object(name), &"it traps".into(), now),
            }
        }
        letters(heard)
    }

    /// An object, by its namespace and name as in [`told`].
    pub(in crate::plugins) fn object(name: &str) -> String {
        let (namespace, name) = match name.split_at(name.len() - 1) {
            ("", name) => ("n", name),
            both => both,
        };
        format!(
            r#"{{"kind": "DaskCluster", "metadata": {{"namespace": "{namespace}", "name": "{name}"}}, "status": {{}}}}"#
        )
    }

    #[rstest]
    #[case::one_object("a- a- a- a-", "")]
    #[case::one_object_for_long("a- a- a- a- a- a- a- a- a- a-", "b")]
    #[case::three_objects("a- b- c- d-", "b")]
    #[case::others_go_well("a- b- x+ c- a- x+ b- c-", "")]
    #[case::again_after_success("a- b- c- 60 a+ a- b- c-", "bwb")]
    #[case::after_others_went_well("x+ y+ z+ a- b- c-", "b")]
    fn what_fails_in_a_row_is_told(#[case] calls: &str, #[case] expected: &str) {
        assert_eq!(told(Term::Objects, calls), expected);
    }

    #[rstest]
    #[case::at_first("a- b- c-", "f")]
    #[case::in_many_namespaces("xa- yb- zc- wd-", "f")]
    #[case::for_long("a- a- a- a- a- a- a- a- a-", "f")]
    #[case::others_go_well_in_between("a- b- c- x+ a- b- c- y+", "f")]
    #[case::well_for_a_minute("a- b- c- 59 x+ 1 x+", "fw")]
    fn what_holds_is_never_taken_back(#[case] calls: &str, #[case] expected: &str) {
        assert_eq!(told(Term::Hold, calls), expected);
    }

    #[rstest]
    #[case::one_namespace("xz+ xa- xb- xc- xd-", "f")]
    #[case::one_namespace_for_long("xz+ xa- xb- xc- xd- xe- xf- xg- xh- xi-", "f")]
    #[case::three_namespaces("xz+ xa- ya- za-", "b")]
    #[case::first_one_and_then_others("xz+ xa- xb- xc- ya- za- zb-", "fb")]
    #[case::others_go_well("xz+ xa- ya- xz+ za- xa-", "")]
    #[case::never_worked("xa- xa- xa- xa- xa- xa- xa- xa-", "b")]
    fn one_namespace_has_nothing_taken_back_for_all(#[case] calls: &str, #[case] expected: &str) {
        assert_eq!(told(Term::Namespaces, calls), expected);
    }
}
