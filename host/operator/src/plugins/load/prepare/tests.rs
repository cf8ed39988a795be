use dask_operator_evaluator::convert;
use dask_operator_evaluator::logic::PluginFailure;
use dask_operator_runtime::EngineConfig;
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Operation, Review, ReviewRequest,
};
use parking_lot::Mutex;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::plugins::testing;

/// Rules that record the user information that they receive.
struct Notes(Arc<Mutex<String>>);

impl PolicyInterface for Notes {
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        self.0.lock().clone_from(&request.user_info);
        Err("it only notes".into())
    }

    fn review_plan(&self, _: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        Err("it only notes".into())
    }
}

/// Information about users beyond their names and groups is for administrators only.
#[test]
fn a_tenants_policy_receives_names_and_groups_only() {
    let user_info = r#"{"username":"ann","uid":"7","groups":["a"],"extra":{"token":["secret"]}}"#;
    let object = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"source": {}}});
    let of_namespace = testing::of_namespace(object);
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
        let seen = seen.lock();
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
        watched: ResourceTypes::new([]),
        allowed_kinds: AllowedKinds::default(),
        rights,
        reports: mpsc::unbounded_channel().0,
    };
    let mut object = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"source": {}}});
    if !interfaces.is_null() {
        object["spec"]["interfaces"] = interfaces;
    }
    let bytes = dask_operator_components::WORKER_GROUP.bytes;
    let prepared = loader.prepare(&testing::of_namespace(object), bytes, None, None);
    assert_eq!(
        prepared.err().map(|failure| failure.reason.as_str()),
        Some(reason)
    );
}
