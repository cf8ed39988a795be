//! Tests that the example plugins, which authors start from, build to components that the operator runs.

use std::path::Path;

use dask_operator_golden_tests::files;
use dask_operator_plugin_build::Build;
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Operation, ResourceKind, Verdict,
};
use dask_operator_runtime::{CallLimits, Component, Engine, EngineConfig, Interface};
use serde_json::{Value, json};

/// Builds and loads an example. The target folder is shared with other tests, so that the standard library is compiled once.
fn example(name: &str) -> Component {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("plugins");
    let build = Build::new(target)
        .plugin(files::folder("../../plugins/examples").join(name))
        .quiet();
    let built = build
        .run()
        .unwrap_or_else(|error| panic!("{name}: {error}"))
        .remove(0);
    assert!(
        built
            .imports
            .iter()
            .all(|import| import.starts_with("dask:operator/")),
        "{:?}",
        built.imports
    );
    let engine = Engine::new(EngineConfig::default()).expect("an engine");
    Component::load(&engine, name, &built.bytes, CallLimits::default()).expect("the component loads")
}

fn admit(component: &Component, object: &Value, settings: &Value) -> AdmissionResponse {
    let request = AdmissionRequest {
        kind: ResourceKind {
            api_version: "kubernetes.dask.org/v1".to_owned(),
            kind: "DaskCluster".to_owned(),
        },
        operation: Operation::Create,
        object: object.to_string(),
        old: None,
        user_info: "{}".to_owned(),
        dry_run: false,
        settings: settings.to_string(),
    };
    component
        .admit(&request)
        .expect("the call succeeds")
        .expect("the policy decides")
}

/// Returns the field and the message of a refusal's first finding. `None` if the policy does not refuse.
fn refusal(response: AdmissionResponse) -> Option<(String, String)> {
    match response.verdict {
        Verdict::Refuse(findings) => findings
            .into_iter()
            .next()
            .map(|finding| (finding.field, finding.message)),
        Verdict::Allow | Verdict::Patch(_) => None,
    }
}

#[test]
fn required_limits_refuses_containers_without_a_memory_limit() {
    let policy = example("required-limits");
    assert_eq!(policy.interfaces(), [Interface::Policy]);
    let with = |container: Value| json!({"spec": {"worker": {"spec": {"containers": [container]}}}});
    let refused = refusal(admit(&policy, &with(json!({})), &json!({}))).expect("refused");
    assert_eq!(
        refused.0,
        "spec.worker.spec.containers[0].resources.limits.memory"
    );
    let good = with(json!({"resources": {"limits": {"memory": "4Gi"}}}));
    assert_eq!(refusal(admit(&policy, &good, &json!({}))), None);
}

#[test]
fn cost_centre_has_two_interfaces() {
    let component = example("cost-centre");
    assert_eq!(component.interfaces(), [Interface::Cluster, Interface::Policy]);
    assert_eq!(component.name(), "cost-centre");
    let settings = json!({"known": ["research", "sales"]});
    let cluster = json!({"metadata": {"name": "c"}, "spec": {}}).to_string();
    let defaulted = component
        .default(Interface::Cluster, &cluster, &settings.to_string())
        .expect("the call succeeds");
    let defaulted: Value = serde_json::from_str(&defaulted.expect("defaulted")).expect("JSON");
    assert_eq!(
        defaulted["metadata"]["labels"]["example.com/cost-centre"],
        "research"
    );
    assert_eq!(
        defaulted["spec"]["worker"]["replicas"], 1,
        "the default logic runs after it"
    );
    assert_eq!(refusal(admit(&component, &defaulted, &settings)), None);
    let wrong = json!({"metadata": {"labels": {"example.com/cost-centre": "x"}}});
    let refused = refusal(admit(&component, &wrong, &settings)).expect("refused");
    assert_eq!(
        refused.1,
        "there is no cost centre x: write one of research, sales"
    );
    let findings = component
        .validate_settings(r#"{"knowns": []}"#)
        .expect("the call succeeds");
    assert!(
        findings[0].message.contains("did you mean `known`?"),
        "{}",
        findings[0].message
    );
}
