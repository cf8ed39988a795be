use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use dask_operator_core::parent::DaskKind;
use dask_operator_evaluator::AllowedKinds;
use dask_operator_evaluator::logic::{LogicInterface, LogicPlugin, PluginFailure};
use dask_operator_evaluator::policy::{Mode, PolicyInterface, PolicyPlugin};
use dask_operator_runtime::contract::{
    self, AdmissionRequest, AdmissionResponse, Finding, Observation, Plan, ResourceKind, Review,
    ReviewRequest, Severity, Verdict,
};
use http_body_util::BodyExt as _;
use kube::client::{Body, Client};
use rstest::rstest;
use serde_json::json;

use crate::key::PluginId;

use super::*;
use crate::cache::Stores;
use crate::metrics::Registry;
use crate::plugins::{Catalog, Entry, PluginError, Plugins, Scope, Sources, TenantComponent, Unknown};
use crate::webhook::scale::tests::{stores, stores_with};

/// Logic that accepts everything.
struct Test;

impl LogicInterface for Test {
    fn child_kinds(&self, _: &str) -> Result<Vec<ResourceKind>, PluginFailure> {
        Ok(Vec::new())
    }

    fn default(&self, object: &str, _: &str) -> Result<contract::Answer<String>, PluginFailure> {
        Ok(Ok(object.to_owned()))
    }

    fn validate(&self, _: &str, _: Option<&str>, _: &str) -> Result<Vec<Finding>, PluginFailure> {
        Ok(Vec::new())
    }

    fn plan(&self, _: &Observation) -> Result<contract::Answer<Plan>, PluginFailure> {
        Err("not called in these tests".into())
    }
}

/// Policy that allows at most three workers.
struct Few;

impl PolicyInterface for Few {
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        let object: Value = serde_json::from_str(&request.object)?;
        let workers = object["spec"]["worker"]["replicas"].as_u64().unwrap_or_default();
        let finding = || Finding {
            severity: Severity::Error,
            field: "spec.worker.replicas".into(),
            message: "write 3 or less".into(),
        };
        let verdict = if workers > 3 {
            Verdict::Refuse(vec![finding()])
        } else {
            Verdict::Allow
        };
        Ok(Ok(AdmissionResponse {
            verdict,
            warnings: Vec::new(),
        }))
    }

    fn review_plan(&self, _: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        Ok(Ok(Review::Allow))
    }
}

/// Policy that always fails.
struct Broken;

impl PolicyInterface for Broken {
    fn admit(&self, _: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        Err("it trapped".into())
    }

    fn review_plan(&self, _: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        Err("it trapped".into())
    }
}

const OPERATOR: &str = "system:serviceaccount:dask:operator";

/// Returns a handler with a worker group of this number of workers and a policy that allows at most three.
fn handler(workers: u32) -> Arc<Handler> {
    handler_with(workers, Box::new(Few))
}

fn handler_with(workers: u32, rules: Box<dyn PolicyInterface>) -> Arc<Handler> {
    handler_of(stores(workers), rules)
}

fn handler_of(stores: Stores, rules: Box<dyn PolicyInterface>) -> Arc<Handler> {
    let plugin = LogicPlugin::new("test".into(), "{}".into(), Arc::new(Test));
    let plugin = plugin
        .map(Arc::new)
        .map_err(|failure| PluginError::no_answer("test", &failure));
    let policy = PolicyPlugin {
        title: "few".into(),
        settings: "{}".into(),
        mode: Mode::Protect,
        rules,
    };
    let defaults = BTreeMap::from([(DaskKind::WorkerGroup, plugin)]);
    let catalog = Catalog::new(defaults, vec![Arc::new(policy)]);
    let (service, _) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
    Arc::new(Handler {
        decider: Decider {
            plugins: Arc::new(Plugins::new(catalog, AllowedKinds::default(), 1)),
            sources: Sources::default(),
            stores,
            own_user: Some(OPERATOR.into()),
            strict: false,
        },
        executor: Executor::new(1),
        dry_run: DryRunClient::new(Client::new(service, "default")),
        metrics: WebhookMetrics::register(&mut Registry::default()),
        recording: Recording::default(),
    })
}

/// Returns the review of a request by `user` to scale the worker group `name`.
fn scale(user: &str, name: &str, replicas: u32) -> Value {
    let scale = |replicas: u32| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": replicas},
            "metadata": {"name": name, "namespace": "n", "uid": "u", "resourceVersion": "7"}})
    };
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "1", "operation": "UPDATE", "namespace": "n", "name": name, "userInfo": {"username": user},
        "kind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "subResource": "scale",
        "resource": {"group": "kubernetes.dask.org", "version": "v1", "resource": "daskworkergroups"},
        "object": scale(replicas), "oldObject": scale(1),
    }})
}

/// Sends a request. Returns the status code, and the response in the review or the plain text.
async fn ask(handler: &Arc<Handler>, body: String) -> (StatusCode, Value) {
    let now = tokio::time::Instant::now();
    let limits = TimeLimits {
        end: now + Duration::from_secs(50),
        deadline: now + Duration::from_secs(60),
    };
    ask_until(handler, body, limits).await
}

async fn ask_until(handler: &Arc<Handler>, body: String, limits: TimeLimits) -> (StatusCode, Value) {
    let (step, body) = (Step::Validate, Bytes::from(body));
    let response = match handler.classify(step, &body, limits).await {
        Ok(classification) => handler.respond(step, body, classification, limits).await,
        Err(response) => response,
    };
    let code = response.status();
    let Ok(body) = response.into_body().collect().await;
    let body = body.to_bytes();
    let review = serde_json::from_slice(&body).map(|mut review: Value| review["response"].take());
    (
        code,
        review.unwrap_or_else(|_| String::from_utf8_lossy(&body).into()),
    )
}

#[rstest]
#[case::fewer_than_allowed(1, "me", 3, true, &[])]
#[case::more_than_allowed(1, "me", 4, false, &[])]
#[case::too_many_before(10, "me", 11, false, &[])]
#[case::fewer_of_too_many(10, "me", 5, true, &["policy few: spec.worker.replicas: write 3 or less"])]
#[case::by_the_operator(1, OPERATOR, 4, true, &[])]
#[case::as_it_is(10, "me", 10, true, &[])]
#[tokio::test(start_paused = true)]
async fn scale_requests_are_subject_to_policies(
    #[case] workers: u32,
    #[case] user: &str,
    #[case] replicas: u32,
    #[case] is_allowed: bool,
    #[case] warnings: &[&str],
) {
    let (code, response) = ask(&handler(workers), scale(user, "g", replicas).to_string()).await;
    assert_eq!((code, &response["allowed"]), (StatusCode::OK, &json!(is_allowed)));
    if !is_allowed {
        let message = "policy few: spec.worker.replicas: write 3 or less";
        assert_eq!(response["status"]["message"], message);
        assert_eq!(response["status"]["reason"], "Forbidden");
    }
    let found = response["warnings"].as_array().cloned().unwrap_or_default();
    assert_eq!(found, warnings);
}

/// A policy may also require a minimum number of workers.
#[tokio::test(start_paused = true)]
async fn a_scale_down_is_refused_while_it_cannot_be_decided() {
    let fewer = scale("me", "g", 5).to_string();
    let (_, response) = ask(&handler_with(10, Box::new(Broken)), fewer.clone()).await;
    assert_eq!(response["allowed"], false);
    assert_eq!(
        response["status"]["message"],
        "policy few: it could not decide: it trapped"
    );
    assert_eq!(response["status"]["code"], 503);

    let handler = handler(10);
    let plugins = &handler.decider.plugins;
    let unknown = Unknown {
        namespace: None,
        why: "they are not listed yet".into(),
    };
    plugins.exchange(plugins.catalog().without(vec![unknown]));
    let (_, response) = ask(&handler, fewer).await;
    assert_eq!(response["allowed"], false);
    assert_eq!(
        response["status"]["message"],
        "this can't be checked: plugins: they are not listed yet"
    );
    assert_eq!(response["status"]["reason"], "ServiceUnavailable");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_resource_is_waited_for_and_then_refused() {
    let start = tokio::time::Instant::now();
    let (_, response) = ask(&handler(1), scale("me", "h", 2).to_string()).await;
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("the operator has not seen it yet: try again"),
        "{message}"
    );
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[rstest]
#[case::small(0, true)]
#[case::large(SMALL, false)]
#[tokio::test(start_paused = true)]
async fn waiting_scale_requests_hold_no_text(#[case] padding: usize, #[case] waits: bool) {
    let handler = handler(1);
    let mut body = scale("me", "h", 2);
    body["request"]["userInfo"]["groups"] = json!(["g".repeat(padding)]);
    let (step, body) = (Step::Validate, Bytes::from(body.to_string()));
    let start = tokio::time::Instant::now();
    let limits = TimeLimits {
        end: start + Duration::from_secs(50),
        deadline: start + Duration::from_secs(60),
    };
    let classification = handler.classify(step, &body, limits).await.ok();
    let Some(classification) = classification else {
        panic!("the request was not classified");
    };
    let answering = tokio::spawn({
        let body = body.clone();
        async move { handler.respond(step, body, classification, limits).await.status() }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(answering.is_finished(), !waits);
    assert!(body.is_unique());
    assert_eq!(answering.await.ok(), Some(StatusCode::OK));
}

/// The request is small, but the resource that it scales is parsed as well.
#[tokio::test]
async fn a_large_resource_that_is_scaled_is_heavy() {
    let small = handler(1);
    let large = handler_of(stores_with(1, 1 << 20), Box::new(Few));
    let soon = || {
        let now = tokio::time::Instant::now();
        TimeLimits {
            end: now + Duration::from_millis(200),
            deadline: now + Duration::from_secs(60),
        }
    };
    let request = scale("me", "g", 2).to_string();
    let mut blocked = Vec::new();
    for handler in [&small, &large] {
        let (go_on, wait) = mpsc::channel::<()>();
        blocked.push(go_on);
        let TimeLimits { end, .. } = soon();
        let limits = TimeLimits { end, deadline: end };
        let heavy = handler
            .executor
            .run_short(limits, 1 << 20, move || wait.recv().unwrap_or_default());
        assert_eq!(heavy.await, Err(ExecutorError::Late));
    }
    let (_, response) = ask(&small, request.clone()).await;
    assert_eq!(response["allowed"], true);
    let (code, text) = ask_until(&large, request.clone(), soon()).await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    drop(blocked);
    let (_, response) = ask(&large, request).await;
    assert_eq!(response["allowed"], true);
}

/// A finalizer can always be removed, regardless of the size of the object.
#[tokio::test]
async fn updates_of_objects_that_are_being_deleted_are_admitted() {
    let group = |finalizers: Value, spec: Value| {
        json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup", "spec": spec,
            "metadata": {"name": "g", "namespace": "n", "finalizers": finalizers, "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    };
    let mut body = scale("me", "g", 2);
    let request = &mut body["request"];
    request["kind"] = json!({"group": "kubernetes.dask.org", "version": "v1", "kind": "DaskWorkerGroup"});
    request["subResource"] = Value::Null;
    let spec = json!(vec![json!({}); 200_000]);
    request["oldObject"] = group(json!(["a/b"]), spec.clone());
    request["object"] = group(json!([]), spec);
    let (code, response) = ask(&handler_with(1, Box::new(Broken)), body.to_string()).await;
    assert_eq!((code, &response["allowed"]), (StatusCode::OK, &json!(true)));
    body["request"]["operation"] = json!("CREATE");
    let (code, text) = ask(&handler(1), body.to_string()).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert!(
        text.as_str().unwrap_or_default().contains("MiB of memory"),
        "{text}"
    );
}

/// Returns a catalog entry with a policy of the namespace `n`.
fn own_policy(rules: Box<dyn PolicyInterface>) -> Entry {
    Entry {
        id: PluginId {
            namespace: Some("n".into()),
            name: "own".into(),
        },
        scope: Scope {
            namespace: Some("n".into()),
            ..Scope::default()
        },
        order: 0,
        logic: BTreeMap::new(),
        policy: Some(Ok(Arc::new(PolicyPlugin {
            title: "own".into(),
            settings: "{}".into(),
            mode: Mode::Protect,
            rules,
        }))),
        loaded: None,
    }
}

#[rstest]
#[case::allowed(3, true, "")]
#[case::refused(4, false, "policy own: spec.worker.replicas: write 3 or less")]
#[tokio::test]
async fn plugins_of_the_namespace_are_called_in_a_run_of_its_own(
    #[case] workers: u64,
    #[case] is_allowed: bool,
    #[case] expected: &str,
) {
    let handler = handler_of_tenant(Box::new(Few), Box::new(Few));
    let mut body = scale("me", "g", 2);
    let request = &mut body["request"];
    request["kind"] = json!({"group": "kubernetes.dask.org", "version": "v1", "kind": "DaskWorkerGroup"});
    request["subResource"] = Value::Null;
    request["operation"] = json!("CREATE");
    request["object"] = json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup",
        "metadata": {"name": "g", "namespace": "n"},
        "spec": {"worker": {"replicas": workers, "spec": {"containers": [{"name": "w"}]}}}});
    for body in [body, scale("me", "g", u32::try_from(workers).unwrap_or_default())] {
        let (_, response) = ask(&handler, body.to_string()).await;
        assert_eq!(response["allowed"], is_allowed, "{response}");
        let message = response["status"]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with(expected), "{message}");
    }
}

/// Policy that allows everything after a delay.
struct Slow(Duration);

impl PolicyInterface for Slow {
    fn admit(&self, _: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        std::thread::sleep(self.0);
        Ok(Ok(AdmissionResponse {
            verdict: Verdict::Allow,
            warnings: Vec::new(),
        }))
    }

    fn review_plan(&self, _: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        Ok(Ok(Review::Allow))
    }
}

/// Returns a handler with a policy of the cluster and one of the namespace `n`.
fn handler_of_tenant(of_cluster: Box<dyn PolicyInterface>, own: Box<dyn PolicyInterface>) -> Arc<Handler> {
    let handler = handler_with(1, of_cluster);
    let plugins = &handler.decider.plugins;
    let catalog = plugins.catalog().with(vec![own_policy(own)], BTreeMap::new());
    plugins.exchange(catalog);
    handler
}

#[tokio::test(start_paused = true)]
async fn only_time_of_its_own_plugins_is_charged_to_the_namespace() {
    let (short, long) = (Duration::from_millis(20), Duration::from_millis(500));
    let own = TenantComponent { inner: Slow(short) };
    let handler = handler_of_tenant(Box::new(Slow(long)), Box::new(own));
    // The paused clock does not advance while a blocking task runs.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let blocks = tokio::task::spawn_blocking(move || ended.recv());
    let (_, response) = ask(&handler, scale("me", "g", 2).to_string()).await;
    drop(end);
    assert!(blocks.await.is_ok_and(|ended| ended.is_err()));
    assert_eq!(response["allowed"], true, "{response}");
    let used = handler.executor.used("n");
    assert!(used >= short && used < long, "{used:?}");
}

#[tokio::test(start_paused = true)]
async fn plugins_can_be_changed_when_their_time_is_used_up() {
    let handler = handler_of_tenant(Box::new(Few), Box::new(Few));
    let cost = RequestCost {
        namespace: "n".into(),
        owner: PluginOwner::Tenant,
        text: 0,
        tree: 0,
    };
    handler.executor.charge(cost, Duration::from_secs(60)).await;
    let mut body = scale("me", "g", 2);
    let request = &mut body["request"];
    request["kind"] = json!({"group": "kubernetes.dask.org", "version": "v1", "kind": "DaskPlugin"});
    request["subResource"] = Value::Null;
    request["operation"] = json!("CREATE");
    request["object"] = json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskPlugin",
        "metadata": {"name": "own", "namespace": "n"}, "spec": {"source": {"configMap": {"name": "a", "key": "b"}}}});
    let start = tokio::time::Instant::now();
    let (code, _) = ask(&handler, body.to_string()).await;
    assert_eq!(code, StatusCode::OK);
    assert!(start.elapsed() < Duration::from_secs(1));
    let (code, text) = ask(&handler, scale("me", "g", 2).to_string()).await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
    let message = text.as_str().unwrap_or_default();
    assert!(message.contains("namespace n have used their part"), "{message}");
}

#[tokio::test]
async fn errors_of_invalid_requests_are_one_short_line() {
    let mut body = scale("me", "g", 2);
    body["request"]["resource"]["resource"] = format!("x\n{}", "y".repeat(10_000)).into();
    let (code, text) = ask(&handler(1), body.to_string()).await;
    let text = text.as_str().unwrap_or_default();
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert!(text.contains("not about autoscaling/v1 Scale of x yyy"), "{text}");
    assert!(text.len() < LINE + 10 && text.lines().count() == 1);
}

#[test]
fn reports_of_monitoring_policies_are_limited() {
    let reports = |count: usize| vec![AdmissionFinding::new("p", "", "one\ntwo"); count];
    assert_eq!(lines(&reports(1)), ["policy p: one two"]);
    let many = lines(&reports(1_000_000));
    assert_eq!(many.len(), LINES + 1);
    assert_eq!(many.last().map(String::as_str), Some("and 999990 more"));
}
