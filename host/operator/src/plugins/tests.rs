use std::collections::BTreeMap;
use std::time::Duration;

use dask_operator_core::api_error::RetryPolicy;
use dask_operator_core::parent::DaskKind;
use dask_operator_evaluator::logic::LogicInterface;
use dask_operator_evaluator::policy::{Mode, PolicyInterface};
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Answer, Finding, Plan, ResourceKind as ContractKind, Review,
    ReviewRequest, SchedulerState,
};
use dask_operator_runtime::left;
use parking_lot::Mutex;

use super::*;
use crate::key::PluginId;

/// Component that records the remaining time of each call.
#[derive(Clone, Default)]
struct TimeLog(Arc<Mutex<Vec<Duration>>>);

impl TimeLog {
    fn record(&self) {
        let mut times = self.0.lock();
        times.push(left().unwrap_or(Duration::MAX));
    }

    fn policy(&self) -> Arc<PolicyPlugin> {
        Arc::new(PolicyPlugin {
            title: "policy".into(),
            settings: "{}".into(),
            mode: Mode::Protect,
            rules: Box::new(self.clone()),
        })
    }

    fn plugin(&self, owner: PluginOwner) -> Arc<LogicPlugin> {
        Arc::new(LogicPlugin {
            title: "plugin".into(),
            settings: "{}".into(),
            child_kinds: Vec::new(),
            owner,
            logic: Arc::new(self.clone()),
        })
    }
}

impl PolicyInterface for TimeLog {
    fn admit(&self, _: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        Err("not called".into())
    }

    fn review_plan(&self, _: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        self.record();
        Ok(Ok(Review::Allow))
    }
}

impl LogicInterface for TimeLog {
    fn child_kinds(&self, _: &str) -> Result<Vec<ContractKind>, PluginFailure> {
        Ok(Vec::new())
    }

    fn default(&self, _: &str, _: &str) -> Result<Answer<String>, PluginFailure> {
        Err("not called".into())
    }

    fn validate(&self, _: &str, _: Option<&str>, _: &str) -> Result<Vec<Finding>, PluginFailure> {
        Err("not called".into())
    }

    fn plan(&self, _: &Observation) -> Result<Answer<Plan>, PluginFailure> {
        self.record();
        Err("no plan".into())
    }
}

/// An active policy of a namespace, or of the cluster.
fn entry(namespace: Option<&str>, policy: &Arc<PolicyPlugin>) -> Entry {
    Entry {
        id: PluginId {
            namespace: namespace.map(str::to_owned),
            name: "p".into(),
        },
        scope: Scope::default(),
        order: 0,
        logic: BTreeMap::new(),
        policy: Some(Ok(policy.clone())),
        loaded: None,
    }
}

/// Plugins on a machine with one processor.
fn plugins(entries: Vec<Entry>) -> Plugins {
    let catalog = Catalog::new(BTreeMap::new(), Vec::new());
    Plugins::new(catalog.with(entries, BTreeMap::new()), AllowedKinds::default(), 1)
}

/// Calls policies for a review of a plan for a resource in the namespace `a`.
async fn reviewed(
    plugins: &Plugins,
    policies: Vec<Arc<PolicyPlugin>>,
) -> Result<ReviewedChildren, ReviewError> {
    let key = ParentKey::new(DaskKind::Cluster, "a", "c");
    plugins
        .review(policies, &key, Weight::Light, "{}".into(), Vec::new(), 0)
        .await
}

#[tokio::test]
async fn calls_share_a_deadline_and_those_of_tenants_an_earlier_one() {
    let clock = <TimeLog as Default>::default();
    let (own, of_cluster) = (clock.policy(), clock.policy());
    let plugins = plugins(vec![entry(Some("a"), &own), entry(None, &of_cluster)]);
    assert!(reviewed(&plugins, vec![own, of_cluster]).await.is_ok());
    for owner in [PluginOwner::Tenant, PluginOwner::Administrator] {
        let observation = Observation {
            parent: "{}".into(),
            children: Vec::new(),
            related: Vec::new(),
            scheduler: SchedulerState::NotAsked,
            now: 0,
            seed: 0,
            settings: "{}".into(),
        };
        let evaluator = plugins.evaluator_of(clock.plugin(owner), Vec::new());
        let answer = plugins.plan(&evaluator, "a", Weight::Light, observation).await;
        let message = answer.err().map(|error| error.to_string());
        assert_eq!(message.as_deref(), Some("plugin: no plan"));
    }
    let times = clock.0.lock();
    assert!(
        times
            .iter()
            .all(|left| *left <= call_time(PluginOwner::Administrator)),
        "{times:?}"
    );
    let are_short: Vec<_> = times
        .iter()
        .map(|left| *left <= call_time(PluginOwner::Tenant))
        .collect();
    assert_eq!(are_short, [true, false, true, false], "{times:?}");
}

/// Returns the error of a call for which there was no permit.
fn failed(reviewed: Result<ReviewedChildren, ReviewError>) -> PluginError {
    match reviewed {
        Err(ReviewError::Failed { title, failure }) => PluginError::no_answer(&title, &failure),
        other => panic!("{other:?}"),
    }
}

/// A namespace that has used nothing is not asked to use less, and its call is soon retried.
#[tokio::test(start_paused = true)]
async fn errors_distinguish_busy_from_overdrawn() {
    let clock = <TimeLog as Default>::default();
    let own = clock.policy();
    let plugins = plugins(vec![entry(Some("a"), &own)]);
    let busy = plugins
        .permits
        .permit("b", PluginOwner::Tenant, Weight::Heavy)
        .await;
    let error = failed(reviewed(&plugins, vec![own.clone()]).await);
    drop(busy);
    assert_eq!(
        (error.reason.as_str(), error.reason.retry()),
        ("PluginsBusy", RetryPolicy::Passing)
    );

    let slow = plugins
        .permits
        .permit("a", PluginOwner::Tenant, Weight::Heavy)
        .await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    drop(slow);
    let error = failed(reviewed(&plugins, vec![own]).await);
    assert_eq!(
        (error.reason.as_str(), error.reason.retry()),
        ("PluginShareUsed", RetryPolicy::BackOff)
    );
    assert!(clock.0.lock().is_empty());
}
