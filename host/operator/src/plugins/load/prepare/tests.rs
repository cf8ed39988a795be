use std::sync::Mutex;

use dask_operator_api::DaskPlugin;
use dask_operator_evaluator::convert;
use dask_operator_evaluator::logic::{Failure, Logic};
use dask_operator_runtime::EngineConfig;
use dask_operator_runtime::contract::{
    self, AdmissionRequest, AdmissionResponse, Answer, Finding, Observation, Operation, Plan, Review,
    ReviewRequest,
};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::client::resource::Kind;

/// Logic that is never called.
struct Unused;

impl Logic for Unused {
    fn child_kinds(&self, _: &str) -> Result<Vec<contract::ResourceKind>, Failure> {
        Err("not asked".into())
    }

    fn default(&self, _: &str, _: &str) -> Result<Answer<String>, Failure> {
        Err("not asked".into())
    }

    fn validate(&self, _: &str, _: Option<&str>, _: &str) -> Result<Vec<Finding>, Failure> {
        Err("not asked".into())
    }

    fn plan(&self, _: &Observation) -> Result<Answer<Plan>, Failure> {
        Err("not asked".into())
    }
}

#[rstest]
#[case::usual("v1", "ConfigMap", true, None)]
#[case::of_an_administrator("example.org/v1", "Gadget", false, None)]
#[case::of_a_tenant(
    "example.org/v1",
    "Gadget",
    true,
    Some("--allow-tenant-child example.org/v1/Gadget")
)]
#[case::not_allowed(
    "example.org/v1",
    "Widget",
    false,
    Some("--allow-child example.org/v1/Widget")
)]
#[case::gives_rights("v1", "Secret", false, Some("which no component may create"))]
fn a_plugin_may_only_declare_allowed_children(
    #[case] api_version: &str,
    #[case] kind: &str,
    #[case] is_of_tenant: bool,
    #[case] expected: Option<&str>,
) {
    let gadget = Kind::of(ResourceKind::new("example.org/v1", "Gadget"));
    let usual = Kind::of(ResourceKind::new("v1", "ConfigMap"));
    let allowed = AllowedKinds::new(std::slice::from_ref(&gadget.resource), &[]);
    let watched = Kinds::new([gadget, usual]);
    let plugin = LogicPlugin {
        title: "mine".into(),
        settings: "{}".into(),
        child_kinds: vec![ResourceKind::new(api_version, kind)],
        owner: if is_of_tenant {
            PluginOwner::Tenant
        } else {
            PluginOwner::Administrator
        },
        logic: Arc::new(Unused),
    };
    let checked = check_kinds(&plugin, DaskKind::Cluster, &allowed, &watched);
    match (checked, expected) {
        (Ok(()), None) => {}
        (Err(failure), Some(expected)) => {
            assert_eq!(failure.reason, LoadReason::KindNotAllowed);
            assert!(failure.message.contains(expected), "{}", failure.message);
        }
        (checked, _) => panic!("{checked:?}"),
    }
}

/// Rules that record the user information that they receive.
struct Notes(Arc<Mutex<String>>);

impl Rules for Notes {
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, Failure> {
        self.0
            .lock()
            .unwrap_or_else(|error| panic!("{error}"))
            .clone_from(&request.user_info);
        Err("it only notes".into())
    }

    fn review_plan(&self, _: &ReviewRequest) -> Result<Result<Review, String>, Failure> {
        Err("it only notes".into())
    }
}

/// Information about users beyond their names and groups is for administrators only.
#[test]
fn a_tenants_policy_receives_names_and_groups_only() {
    let user_info = r#"{"username":"ann","uid":"7","groups":["a"],"extra":{"token":["secret"]}}"#;
    let object = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"source": {}}});
    let object: DaskPlugin = serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"));
    let of_namespace = Resource::of_namespace(object);
    let mut of_cluster = of_namespace.clone();
    of_cluster.id.namespace = None;
    for (resource, expected) in [
        (of_namespace, r#"{"username":"ann","groups":["a"]}"#),
        (of_cluster, user_info),
    ] {
        let seen = Arc::default();
        let request = AdmissionRequest {
            kind: convert::dask_kind(DaskKind::Cluster),
            operation: Operation::Create,
            object: "{}".to_owned(),
            old: None,
            user_info: user_info.to_owned(),
            dry_run: true,
            settings: "{}".to_owned(),
        };
        let answer = rules(&resource, Notes(Arc::clone(&seen))).admit(&request);
        assert!(answer.is_err());
        let seen = seen.lock().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(*seen, expected);
    }
}

/// Without a cache folder, a component of a tenant can't be compiled: any other refusal came before the compilation.
#[rstest]
#[case::forbidden(Value::Null, "InterfaceNotAllowed")]
#[case::missing(json!(["policy"]), "InterfaceMissing")]
#[case::allowed(json!(["worker-group"]), "HostExhausted")]
fn forbidden_and_missing_interfaces_are_refused_before_compilation(
    #[case] interfaces: Value,
    #[case] reason: &str,
) {
    let mut rights = TenantRights::default();
    if interfaces == json!(["worker-group"]) {
        rights.interfaces = Interface::ALL.to_vec();
    }
    let loader = Loader {
        engine: Engine::new(EngineConfig::default()).unwrap_or_else(|error| panic!("{error}")),
        watched: Kinds::new([]),
        allowed_kinds: AllowedKinds::default(),
        rights,
        reports: mpsc::unbounded_channel().0,
    };
    let mut object = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"source": {}}});
    if !interfaces.is_null() {
        object["spec"]["interfaces"] = interfaces;
    }
    let object: DaskPlugin = serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"));
    let bytes = dask_operator_components::WORKER_GROUP.bytes;
    let prepared = loader.prepare(&Resource::of_namespace(object), bytes, None, None);
    assert_eq!(
        prepared.err().map(|failure| failure.reason.as_str()),
        Some(reason)
    );
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
        serde_json::from_value(object).map(Resource::of_namespace)
    } else {
        serde_json::from_value(object).map(Resource::of_cluster)
    };
    let resource = resource.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(rollback_rule(&resource, is_policy), expected);
}
