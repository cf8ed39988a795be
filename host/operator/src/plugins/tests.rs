use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use dask_operator_core::parent::DaskKind;
use dask_operator_render::policy::{Mode, Rules};
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Finding, ResourceKind as ContractKind, Review, ReviewRequest,
    SchedulerState,
};
use dask_operator_runtime::left;

use super::*;
use crate::trouble::Trouble;

/// Component that records the remaining time of each call.
#[derive(Clone, Default)]
struct TimeLog(Arc<Mutex<Vec<Duration>>>);

impl TimeLog {
    fn record(&self) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.push(left().unwrap_or(Duration::MAX));
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::new(Policy {
            title: "policy".into(),
            settings: "{}".into(),
            mode: Mode::Protect,
            rules: Box::new(self.clone()),
        })
    }

    fn plugin(&self, whose: Whose) -> Arc<Plugin> {
        Arc::new(Plugin {
            title: "plugin".into(),
            settings: "{}".into(),
            child_kinds: Vec::new(),
            whose,
            logic: Box::new(self.clone()),
        })
    }
}

impl Rules for TimeLog {
    fn admit(&self, _: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, Failure> {
        Err("not asked".into())
    }

    fn review_plan(&self, _: &ReviewRequest) -> Result<Result<Review, String>, Failure> {
        self.record();
        Ok(Ok(Review::Allow))
    }
}

impl Logic for TimeLog {
    fn child_kinds(&self, _: &str) -> Result<Vec<ContractKind>, Failure> {
        Ok(Vec::new())
    }

    fn default(&self, _: &str, _: &str) -> Result<Answer<String>, Failure> {
        Err("not asked".into())
    }

    fn validate(&self, _: &str, _: Option<&str>, _: &str) -> Result<Vec<Finding>, Failure> {
        Err("not asked".into())
    }

    fn plan(&self, _: &Observation) -> Result<Answer<Plan>, Failure> {
        self.record();
        Err("no plan".into())
    }
}

/// An active policy of a namespace, or of the cluster.
fn entry(namespace: Option<&str>, policy: &Arc<Policy>) -> Entry {
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
    Plugins::new(catalog.with(entries, BTreeMap::new()), 1)
}

/// Calls policies for a review of a plan for a resource in the namespace `a`.
async fn reviewed(plugins: &Plugins, policies: Vec<Arc<Policy>>) -> Result<Reviewed, ReviewError> {
    let key = ParentKey::new(DaskKind::Cluster, "a", "c");
    plugins
        .review(policies, &key, Load::Light, "{}".into(), Vec::new(), 0)
        .await
}

#[tokio::test]
async fn calls_share_a_deadline_and_those_of_tenants_an_earlier_one() {
    let clock = <TimeLog as Default>::default();
    let (own, of_cluster) = (clock.policy(), clock.policy());
    let plugins = plugins(vec![entry(Some("a"), &own), entry(None, &of_cluster)]);
    assert!(reviewed(&plugins, vec![own, of_cluster]).await.is_ok());
    for whose in [Whose::Tenants, Whose::Operators] {
        let observation = Observation {
            parent: "{}".into(),
            children: Vec::new(),
            related: Vec::new(),
            scheduler: SchedulerState::NotAsked,
            now: 0,
            seed: 0,
            settings: "{}".into(),
        };
        let answer = plugins
            .plan(&clock.plugin(whose), "a", Load::Light, observation)
            .await;
        assert_eq!(
            answer.err().map(|error| error.message).as_deref(),
            Some("no plan")
        );
    }
    let times = clock.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(
        times.iter().all(|left| *left <= Whose::Operators.time()),
        "{times:?}"
    );
    let are_short: Vec<_> = times.iter().map(|left| *left <= Whose::Tenants.time()).collect();
    assert_eq!(are_short, [true, false, true, false], "{times:?}");
}

/// A namespace that has used nothing is not asked to use less, and its call is soon retried.
#[tokio::test(start_paused = true)]
async fn errors_distinguish_busy_from_overdrawn() {
    let clock = <TimeLog as Default>::default();
    let own = clock.policy();
    let plugins = plugins(vec![entry(Some("a"), &own)]);
    let busy = plugins.shares.permit("b", Whose::Tenants, Load::Heavy).await;
    let trouble = reviewed(&plugins, vec![own.clone()])
        .await
        .err()
        .map(Trouble::review);
    drop(busy);
    let said = trouble.map(|trouble| (trouble.reason, trouble.retry));
    assert_eq!(said, Some(("PluginsBusy".to_owned(), Retry::Passing)));

    let slow = plugins.shares.permit("a", Whose::Tenants, Load::Heavy).await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    drop(slow);
    let trouble = reviewed(&plugins, vec![own]).await.err().map(Trouble::review);
    let said = trouble.map(|trouble| (trouble.reason, trouble.retry));
    assert_eq!(said, Some(("PluginShareUsed".to_owned(), Retry::BackOff)));
    assert!(clock.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
}
