//! Circuit breaker of an active plugin: counts its failures, and reports when it trips or has recovered.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dask_operator_api::{OnFailure, PluginMode};
use dask_operator_evaluator::logic::PluginFailure;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;

use crate::key::PluginId;
use crate::plugins::resource::Resource;

/// Number of different objects about which a plugin must fail without a success in between, until the failures count as the
/// plugin's and not as an object's.
const OBJECTS: usize = 3;

/// Number of failures without a success in between that count as the plugin's, whatever objects they are about.
const FAILURES: usize = 8;

/// Number of namespaces in which a plugin of the cluster must fail before it is rolled back, so that a user with permissions in
/// one namespace can't have it rolled back for all others.
const NAMESPACES: usize = 3;

/// Time without failures after which a plugin that failed repeatedly counts as recovered.
const RECOVERY: Duration = Duration::from_secs(60);

/// Rule by which a plugin that fails repeatedly is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RollbackRule {
    /// Never: the version before may allow what this one forbids.
    Never,
    /// After failures about different objects.
    Objects,
    /// After failures in different namespaces.
    Namespaces,
}

impl RollbackRule {
    /// Returns the rule by which the plugin is rolled back if it fails repeatedly.
    pub(super) fn of(resource: &Resource, is_policy: bool) -> Self {
        let protects = is_policy && resource.spec.mode == PluginMode::Protect;
        let usual = if protects {
            OnFailure::Hold
        } else {
            OnFailure::LastGood
        };
        match (resource.spec.on_failure.unwrap_or(usual), &resource.id.namespace) {
            (OnFailure::Hold, _) => Self::Never,
            (OnFailure::LastGood, Some(_)) => Self::Objects,
            (OnFailure::LastGood, None) => Self::Namespaces,
        }
    }
}

/// Report about a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BreakerReport {
    /// Plugin that the report is about.
    pub(super) id: PluginId,
    /// Digest of the plugin's component.
    pub(super) digest: String,
    /// Transition that is reported.
    pub(super) transition: Transition,
}

/// Transition of a circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    /// The plugin fails repeatedly.
    Tripped {
        /// Message of the last failure.
        message: String,
        /// True if the plugin may be rolled back for it.
        may_roll_back: bool,
    },
    /// The plugin failed repeatedly and has recovered.
    Recovered,
}

/// Circuit breaker of one plugin.
#[derive(Debug)]
pub(super) struct PluginBreaker {
    id: PluginId,
    digest: String,
    rule: RollbackRule,
    reports: UnboundedSender<BreakerReport>,
    streak: Mutex<FailureStreak>,
}

/// Calls of a plugin since its last success.
#[derive(Debug, Default)]
struct FailureStreak {
    /// Failures without a success in between. `objects` and `namespaces` are those that the failures were about.
    failures: usize,
    objects: HashSet<u64>,
    namespaces: HashSet<u64>,
    /// The last report of failures: whether the plugin may be rolled back. `None` if nothing was reported since it recovered.
    reported: Option<bool>,
    failed: Option<Instant>,
    /// True if the plugin has decided about anything since it became active.
    has_decided: bool,
}

impl PluginBreaker {
    /// Creates the circuit breaker of the plugin with this digest. It sends a report when the plugin fails repeatedly.
    pub(super) fn new(
        id: PluginId,
        digest: String,
        rule: RollbackRule,
        reports: UnboundedSender<BreakerReport>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            digest,
            rule,
            reports,
            streak: Mutex::default(),
        })
    }

    /// Starts to count: the plugin becomes active. Earlier calls, which were about samples, don't count.
    pub(super) fn begin(&self) {
        *self.streak.lock() = FailureStreak::default();
    }

    /// Counts a successful call.
    pub(super) fn record_success(&self, now: Instant) {
        let mut streak = self.streak.lock();
        streak.has_decided = true;
        streak.failures = 0;
        streak.objects.clear();
        streak.namespaces.clear();
        // A plugin that fails for some objects only is not reported each time that another object succeeds in between.
        let has_recovered = streak
            .failed
            .is_none_or(|failed| now.duration_since(failed) >= RECOVERY);
        if has_recovered && streak.reported.take().is_some() {
            self.report(Transition::Recovered);
        }
    }

    /// Counts a failed call about `object` (JSON).
    pub(super) fn record_failure(&self, object: &str, failure: &PluginFailure, now: Instant) {
        let (object, namespace) = identity(object);
        let mut streak = self.streak.lock();
        streak.failures += 1;
        streak.failed = Some(now);
        if streak.objects.len() < OBJECTS {
            streak.objects.insert(object);
        }
        if streak.namespaces.len() < NAMESPACES {
            streak.namespaces.insert(namespace);
        }
        let is_tripped = streak.objects.len() >= OBJECTS || streak.failures >= FAILURES;
        let may_roll_back = match self.rule {
            RollbackRule::Never => false,
            RollbackRule::Objects => true,
            // A plugin that has never worked may be rolled back even if a single namespace uses it.
            RollbackRule::Namespaces => {
                streak.namespaces.len() >= NAMESPACES || (!streak.has_decided && streak.failures >= FAILURES)
            }
        };
        let is_new = streak
            .reported
            .is_none_or(|could_roll_back| may_roll_back && !could_roll_back);
        if is_tripped && is_new {
            streak.reported = Some(may_roll_back);
            self.report(Transition::Tripped {
                message: failure.to_string(),
                may_roll_back,
            });
        }
    }

    fn report(&self, transition: Transition) {
        // The receiver is dropped on shutdown.
        let _ = self.reports.send(BreakerReport {
            id: self.id.clone(),
            digest: self.digest.clone(),
            transition,
        });
    }
}

/// Returns hashes that identify an object (by its kind, namespace and name) and its namespace.
fn identity(object: &str) -> (u64, u64) {
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
    use serde_json::{Value, json};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::plugins::testing;

    /// A breaker, and the receiver of its reports.
    pub(in crate::plugins) fn breaker(
        rule: RollbackRule,
    ) -> (Arc<PluginBreaker>, UnboundedReceiver<BreakerReport>) {
        let (sender, receiver) = unbounded_channel();
        let id = PluginId {
            namespace: None,
            name: "p".into(),
        };
        (PluginBreaker::new(id, "sha256:1".into(), rule, sender), receiver)
    }

    /// One letter per report: failing and may be rolled back (`b`), failing and may not (`f`), or recovered (`w`).
    pub(in crate::plugins) fn letters(mut receiver: UnboundedReceiver<BreakerReport>) -> String {
        let mut letters = String::new();
        while let Ok(report) = receiver.try_recv() {
            letters.push(match report.transition {
                Transition::Tripped {
                    may_roll_back: true, ..
                } => 'b',
                Transition::Tripped { .. } => 'f',
                Transition::Recovered => 'w',
            });
        }
        letters
    }

    /// The reports about a plugin with this rule, as [`letters`]. Each call is the object's namespace (`n` if there is only one
    /// letter), its name, and `+` or `-` for success or failure; a number advances the time by this number of seconds.
    fn reports(rule: RollbackRule, calls: &str) -> String {
        let (breaker, receiver) = breaker(rule);
        // Trials on samples don't count.
        breaker.record_success(Instant::now());
        breaker.begin();
        let mut now = Instant::now();
        for call in calls.split(' ') {
            if let Ok(seconds) = call.parse() {
                now += Duration::from_secs(seconds);
                continue;
            }
            let (name, how) = call.split_at(call.len() - 1);
            match how {
                "+" => breaker.record_success(now),
                _ => breaker.record_failure(&object(name), &"it traps".into(), now),
            }
        }
        letters(receiver)
    }

    /// An object with a namespace and name as in [`reports`].
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
    fn reports_repeated_failures(#[case] calls: &str, #[case] expected: &str) {
        assert_eq!(reports(RollbackRule::Objects, calls), expected);
    }

    #[rstest]
    #[case::at_first("a- b- c-", "f")]
    #[case::in_many_namespaces("xa- yb- zc- wd-", "f")]
    #[case::for_long("a- a- a- a- a- a- a- a- a-", "f")]
    #[case::others_go_well_in_between("a- b- c- x+ a- b- c- y+", "f")]
    #[case::well_for_a_minute("a- b- c- 59 x+ 1 x+", "fw")]
    fn a_plugin_that_holds_is_never_rolled_back(#[case] calls: &str, #[case] expected: &str) {
        assert_eq!(reports(RollbackRule::Never, calls), expected);
    }

    #[rstest]
    #[case::one_namespace("xz+ xa- xb- xc- xd-", "f")]
    #[case::one_namespace_for_long("xz+ xa- xb- xc- xd- xe- xf- xg- xh- xi-", "f")]
    #[case::three_namespaces("xz+ xa- ya- za-", "b")]
    #[case::first_one_and_then_others("xz+ xa- xb- xc- ya- za- zb-", "fb")]
    #[case::others_go_well("xz+ xa- ya- xz+ za- xa-", "")]
    #[case::never_worked("xa- xa- xa- xa- xa- xa- xa- xa-", "b")]
    fn failures_in_one_namespace_roll_nothing_back_for_others(#[case] calls: &str, #[case] expected: &str) {
        assert_eq!(reports(RollbackRule::Namespaces, calls), expected);
    }

    #[rstest]
    #[case::policy("DaskPlugin", "protect", Value::Null, true, RollbackRule::Never)]
    #[case::policy_of_the_cluster("ClusterDaskPlugin", "protect", Value::Null, true, RollbackRule::Never)]
    #[case::only_monitors("ClusterDaskPlugin", "monitor", Value::Null, true, RollbackRule::Namespaces)]
    #[case::logic("ClusterDaskPlugin", "protect", Value::Null, false, RollbackRule::Namespaces)]
    #[case::logic_of_a_namespace("DaskPlugin", "protect", Value::Null, false, RollbackRule::Objects)]
    #[case::policy_that_may("ClusterDaskPlugin", "protect", json!("LastGood"), true, RollbackRule::Namespaces)]
    #[case::logic_that_may_not("DaskPlugin", "protect", json!("Hold"), false, RollbackRule::Never)]
    fn protecting_policies_are_not_rolled_back_by_default(
        #[case] kind: &str,
        #[case] mode: &str,
        #[case] on_failure: Value,
        #[case] is_policy: bool,
        #[case] expected: RollbackRule,
    ) {
        let mut object = json!({"metadata": {"name": "p"}, "spec": {"source": {}, "mode": mode}});
        if !on_failure.is_null() {
            object["spec"]["onFailure"] = on_failure;
        }
        let resource = if kind == "DaskPlugin" {
            object["metadata"]["namespace"] = "n".into();
            testing::of_namespace(object)
        } else {
            testing::of_cluster(object)
        };
        assert_eq!(RollbackRule::of(&resource, is_policy), expected);
    }
}
