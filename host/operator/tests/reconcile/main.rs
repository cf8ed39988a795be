//! A pass over a resource against an API server that is played by the test: what
//! is sent, and what is made of the answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dask_operator::events::{Events, Level};
use dask_operator::kinds::Kind;
use dask_operator::metrics::Metrics;
use dask_operator::object::Object;
use dask_operator::plugins::{Catalog, Plugin, PluginError, Plugins};
use dask_operator::reconcile::{Allocation, Outcome, Reconciler};
use dask_operator::routes::ParentKey;
use dask_operator::schedulers::{Network, Schedulers};
use dask_operator::stores::Stores;
use dask_operator::writes::Writes;
use dask_operator_core::category::Retry;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_render::logic::{Failure, Logic};
use dask_operator_runtime::contract::{
    self, Answer, ChildAction, ChildKey, DesiredChild, Event, EventType, Finding, Observation, Owner, Plan,
    Scale, Severity,
};
use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::sync::mpsc;

const DASK: &str = "kubernetes.dask.org/v1";

/// What the API server was asked: method, path with query, body.
type Sent = (String, String, Value);

/// An API server that answers every write with the object that was sent, unless
/// `refuse` says otherwise, and remembers what it was asked.
struct Server {
    sent: Arc<Mutex<Vec<Sent>>>,
    client: kube::Client,
}

/// How the server refuses requests.
#[derive(Clone, Copy)]
struct Refusal {
    /// Method and end of the path of those that are refused.
    what: (&'static str, &'static str),
    /// The answer: status code, reason, message.
    answer: (u16, &'static str, &'static str),
}

impl Server {
    fn start(refuse: Option<Refusal>) -> Self {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = sent.clone();
        tokio::spawn(async move {
            while let Some((request, respond)) = handle.next_request().await {
                let (parts, body) = request.into_parts();
                let bytes = body
                    .collect()
                    .await
                    .map(|body| body.to_bytes())
                    .unwrap_or_default();
                let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let method = match parts
                    .headers
                    .get("content-type")
                    .and_then(|type_| type_.to_str().ok())
                {
                    Some("application/apply-patch+yaml") => "APPLY".to_owned(),
                    _ => parts.method.to_string(),
                };
                let path = parts.uri.path().to_owned();
                let uri = parts.uri.to_string();
                let refused =
                    |Refusal {
                         what: (refused, end), ..
                     }: &Refusal| method == *refused && path.ends_with(end);
                let (code, answer) = match refuse.filter(refused) {
                    Some(Refusal {
                        answer: (code, reason, message),
                        ..
                    }) => {
                        let status = json!({
                            "kind": "Status", "apiVersion": "v1", "status": "Failure",
                            "code": code, "reason": reason, "message": message,
                        });
                        (code, status)
                    }
                    None => (200, stored(&body, &path)),
                };
                log.lock()
                    .unwrap_or_else(|error| panic!("{error}"))
                    .push((method, uri, body));
                let response = Response::builder()
                    .status(code)
                    .body(Body::from(answer.to_string().into_bytes()));
                respond.send_response(response.unwrap_or_else(|error| panic!("{error}")));
            }
        });
        Self {
            sent,
            client: kube::Client::new(service, "default"),
        }
    }

    /// All requests, `METHOD last/parts`, in the order of their texts.
    fn requests(&self) -> Vec<String> {
        let sent = self.sent.lock().unwrap_or_else(|error| panic!("{error}"));
        let text = |(method, uri, _): &Sent| {
            let path = uri.split('?').next().unwrap_or_default();
            let short = path.split_once("/namespaces/n/").map_or(path, |(_, short)| short);
            format!("{method} {short}")
        };
        let mut requests: Vec<_> = sent.iter().map(text).collect();
        requests.sort();
        requests
    }

    /// URI and body of the only request that starts like this.
    fn request(&self, start: &str) -> (String, Value) {
        let sent = self.sent.lock().unwrap_or_else(|error| panic!("{error}"));
        let (method, end) = start.split_once(' ').unwrap_or((start, ""));
        let mut found = sent
            .iter()
            .filter(|(sent, uri, _)| sent == method && uri.contains(end));
        let (_, uri, body) = found.next().unwrap_or_else(|| panic!("no {start} in {sent:?}"));
        (uri.clone(), body.clone())
    }
}

/// What the server makes of an object that it is sent.
fn stored(body: &Value, path: &str) -> Value {
    let mut stored = body.clone();
    // The name stands in the body, or in the path before a subresource.
    let in_path = path
        .trim_end_matches("/status")
        .trim_end_matches("/scale")
        .rsplit('/')
        .next();
    let name = stored["metadata"]["name"]
        .as_str()
        .or(in_path)
        .unwrap_or_default()
        .to_owned();
    let uid = if name == "a" {
        "parent".to_owned()
    } else {
        format!("uid-{name}")
    };
    stored["metadata"]["name"] = name.into();
    stored["metadata"]["uid"] = uid.into();
    stored["metadata"]["namespace"] = "n".into();
    stored["metadata"]["resourceVersion"] = "1000".into();
    stored["metadata"]["generation"] = 1.into();
    stored
}

/// Logic that answers what the test wants.
struct Fixed(fn() -> Result<Answer<Plan>, Failure>);

impl Logic for Fixed {
    fn child_kinds(&self, _: &str) -> Result<Vec<contract::ResourceKind>, Failure> {
        let kind = |kind: &str| contract::ResourceKind {
            api_version: "v1".into(),
            kind: kind.into(),
        };
        Ok(vec![kind("Pod"), kind("Service")])
    }

    fn default(&self, object: &str, _: &str) -> Result<Answer<String>, Failure> {
        Ok(Ok(object.to_owned()))
    }

    fn validate(&self, _: &str, _: Option<&str>, _: &str) -> Result<Vec<Finding>, Failure> {
        Ok(Vec::new())
    }

    fn plan(&self, _: &Observation) -> Result<Answer<Plan>, Failure> {
        (self.0)()
    }
}

fn empty() -> Plan {
    Plan {
        children: Vec::new(),
        status: r#"{"phase":"Running"}"#.into(),
        conditions: Vec::new(),
        events: Vec::new(),
        owner: None,
        scale: Vec::new(),
        delete_parent: None,
        requeue_after: None,
        scheduler: None,
    }
}

fn child(kind: &str, name: &str, action: fn(String) -> ChildAction) -> DesiredChild {
    let key = ChildKey {
        api_version: "v1".into(),
        kind: kind.into(),
        name: name.into(),
    };
    let object = json!({"metadata": {"labels": {"dask.org/cluster-name": "a"}}, "spec": {"x": 1}});
    DesiredChild {
        key,
        action: action(object.to_string()),
    }
}

fn pod(name: &str) -> DesiredChild {
    child("Pod", name, ChildAction::Create)
}

fn object(value: &Value) -> Object {
    let kind = ResourceKind::new(
        value["apiVersion"].as_str().unwrap_or_default(),
        value["kind"].as_str().unwrap_or_default(),
    );
    Object::from_json(&value.to_string(), &kind).unwrap_or_else(|error| panic!("{error}"))
}

fn parent(kind: &str, status: &Value) -> Value {
    json!({
        "apiVersion": DASK, "kind": kind, "status": status, "spec": {"cluster": "a"},
        "metadata": {"name": "a", "namespace": "n", "uid": "parent", "resourceVersion": "10", "generation": 1},
    })
}

fn owned(kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {
            "name": name, "namespace": "n", "uid": format!("uid-{name}"), "resourceVersion": "20",
            "labels": {"dask.org/cluster-name": "a"},
            "ownerReferences": [{"apiVersion": DASK, "kind": "DaskCluster", "name": "a", "uid": "parent"}],
        },
        "spec": {"x": 1},
    })
}

/// A reconciler in a world of these objects, and its API server.
struct World {
    server: Server,
    reconciler: Reconciler,
}

impl World {
    fn new(refuse: Option<Refusal>, objects: &[Value], plan: fn() -> Result<Answer<Plan>, Failure>) -> Self {
        Self::with(refuse, objects, || {
            Plugin::new("fixed 1.0.0 (abc)".into(), "{}".into(), Box::new(Fixed(plan)))
        })
    }

    fn with(
        refuse: Option<Refusal>,
        objects: &[Value],
        plugin: impl Fn() -> Result<Plugin, PluginError>,
    ) -> Self {
        let server = Server::start(refuse);
        let stores = Stores::new(["Pod", "Service"].map(|kind| Kind::of(ResourceKind::new("v1", kind))));
        for value in objects {
            let object = object(value);
            let kind = ResourceKind::new(
                value["apiVersion"].as_str().unwrap_or_default(),
                value["kind"].as_str().unwrap_or_default(),
            );
            stores.of(&kind).map(|store| store.shown(object));
        }
        let defaults: BTreeMap<_, _> = DaskKind::ALL
            .into_iter()
            .map(|kind| (kind, plugin().map(Arc::new)))
            .collect();
        let catalog = Catalog::new(defaults, Vec::new());
        let metrics = Arc::new(Metrics::default());
        let network = Box::new(Network::new(None));
        let schedulers = Schedulers::new(
            network,
            stores.clone(),
            metrics.clone(),
            mpsc::unbounded_channel().0,
        );
        let reconciler = Reconciler::new(
            stores,
            Arc::new(Plugins::new(catalog, 1)),
            schedulers,
            Writes::new(server.client.clone(), 8),
            Events::new(server.client.clone(), Level::All),
            metrics,
        );
        Self { server, reconciler }
    }

    async fn pass(&self, kind: DaskKind) -> Outcome {
        self.reconciler
            .reconcile(&ParentKey::new(kind, "n", "a"), 0)
            .await
    }
}

#[tokio::test]
async fn what_is_missing_is_created_and_a_second_pass_writes_nothing() {
    let plan = || {
        Ok(Ok(Plan {
            children: vec![pod("p1"), pod("p2"), child("Service", "s", ChildAction::Apply)],
            requeue_after: Some(1500),
            ..empty()
        }))
    };
    let world = World::new(None, &[parent("DaskCluster", &json!({}))], plan);
    assert_eq!(
        world.pass(DaskKind::Cluster).await,
        Outcome::Done(Some(Duration::from_millis(1500)))
    );
    let first = world.server.requests();
    assert_eq!(
        first,
        [
            "APPLY daskclusters/a/status",
            "APPLY services/s",
            "POST pods",
            "POST pods"
        ]
    );

    let (uri, service) = world.server.request("APPLY services/s");
    assert!(
        uri.contains("fieldManager=dask-operator") && !uri.contains("force=true"),
        "{uri}"
    );
    assert_eq!(service["metadata"]["ownerReferences"][0]["uid"], "parent");
    assert!(service["metadata"]["annotations"]["kubernetes.dask.org/last-applied-hash"].is_string());
    let (uri, status) = world.server.request("APPLY daskclusters/a/status");
    assert!(uri.contains("force=true"), "{uri}");
    assert_eq!(
        (&status["status"], &status["metadata"]["resourceVersion"]),
        (&json!({"phase": "Running"}), &json!("10"))
    );

    // No watch has shown anything yet.
    world.pass(DaskKind::Cluster).await;
    assert_eq!(world.server.requests(), first);
}

#[tokio::test]
async fn what_is_not_wanted_is_deleted_if_it_is_still_the_same() {
    let world = World::new(
        None,
        &[
            parent("DaskCluster", &json!({"phase": "Running"})),
            owned("Pod", "p"),
        ],
        || Ok(Ok(empty())),
    );
    assert_eq!(world.pass(DaskKind::Cluster).await, Outcome::Done(None));
    assert_eq!(world.server.requests(), ["DELETE pods/p"]);
    let (_, body) = world.server.request("DELETE pods/p");
    assert_eq!(
        (&body["preconditions"]["uid"], &body["propagationPolicy"]),
        (&json!("uid-p"), &json!("Background"))
    );
    world.pass(DaskKind::Cluster).await;
    assert_eq!(world.server.requests().len(), 1, "it is on its way out");
}

/// A conflict says nothing about who won: it may be there still.
#[tokio::test]
async fn a_deletion_that_met_a_conflict_is_tried_again() {
    let refuse = Some(Refusal {
        what: ("DELETE", "/pods/p"),
        answer: (409, "Conflict", "the object has been modified"),
    });
    let world = World::new(
        refuse,
        &[
            parent("DaskCluster", &json!({"phase": "Running"})),
            owned("Pod", "p"),
        ],
        || Ok(Ok(empty())),
    );
    for _ in 0..2 {
        assert_eq!(
            world.pass(DaskKind::Cluster).await,
            Outcome::Failed(Retry::Soon, None)
        );
    }
    assert_eq!(world.server.requests(), ["DELETE pods/p"; 2]);
}

#[tokio::test]
async fn what_exists_is_applied_over_the_version_that_was_seen() {
    let plan = || {
        Ok(Ok(Plan {
            children: vec![child("Service", "s", ChildAction::Apply)],
            ..empty()
        }))
    };
    let objects = [
        parent("DaskCluster", &json!({"phase": "Running"})),
        owned("Service", "s"),
    ];
    let world = World::new(None, &objects, plan);
    world.pass(DaskKind::Cluster).await;
    assert_eq!(world.server.requests(), ["APPLY services/s"]);
    let (uri, body) = world.server.request("APPLY services/s");
    assert!(uri.contains("force=true"), "{uri}");
    assert_eq!(body["metadata"]["resourceVersion"], "20");
}

#[rstest]
#[case::trap(|| Err("it trapped".into()), "PluginFailed", Retry::BackOff, json!("Running"))]
#[case::gave_up(|| Ok(Err(contract::Error::Failed("no idea".into()))), "PluginFailed", Retry::BackOff, json!("Running"))]
#[case::refused(
    || Ok(Ok(Plan { children: vec![pod("Bad_Name")], ..empty() })), "PlanRefused", Retry::BackOff, json!("Running")
)]
#[case::invalid(
    || {
        let finding = Finding { severity: Severity::Error, field: "spec.worker".into(), message: "is missing".into() };
        Ok(Err(contract::Error::Invalid(vec![finding])))
    },
    "SpecInvalid",
    Retry::OnChange,
    json!("Error")
)]
#[tokio::test]
async fn without_a_plan_nothing_is_touched_and_the_status_says_why(
    #[case] plan: fn() -> Result<Answer<Plan>, Failure>,
    #[case] condition: &str,
    #[case] retry: Retry,
    #[case] phase: Value,
) {
    let world = World::new(
        None,
        &[
            parent("DaskCluster", &json!({"phase": "Running"})),
            owned("Pod", "p"),
        ],
        plan,
    );
    assert_eq!(world.pass(DaskKind::Cluster).await, Outcome::Failed(retry, None));
    assert_eq!(
        world.server.requests(),
        ["APPLY daskclusters/a/status", "POST events"]
    );
    let (_, body) = world.server.request("APPLY daskclusters/a/status");
    let told = &body["status"]["conditions"][0];
    assert_eq!(
        (&told["type"], &told["status"], &body["status"]["phase"]),
        (&json!(condition), &json!("True"), &phase)
    );
    world.pass(DaskKind::Cluster).await;
    assert_eq!(world.server.requests().len(), 2, "it is told once");
}

#[tokio::test]
async fn a_plugin_that_was_not_loaded_is_named() {
    let broken = || {
        Err(PluginError::unusable(
            "DaskCluster",
            "mine.wasm: forbidden import".into(),
        ))
    };
    let world = World::with(None, &[parent("DaskCluster", &json!({}))], broken);
    assert_eq!(
        world.pass(DaskKind::Cluster).await,
        Outcome::Failed(Retry::BackOff, None)
    );
    let (_, body) = world.server.request("APPLY daskclusters/a/status");
    let message = body["status"]["conditions"][0]["message"]
        .as_str()
        .unwrap_or_default();
    assert!(message.contains("mine.wasm: forbidden import"), "{message}");
}

/// The creation of pods fails with this.
fn no_pods(code: u16, reason: &'static str, message: &'static str) -> Option<Refusal> {
    Some(Refusal {
        what: ("POST", "/pods"),
        answer: (code, reason, message),
    })
}

#[rstest]
#[case::quota(
    no_pods(403, "Forbidden", "pods \"p1\" is forbidden: exceeded quota: q"),
    Retry::Passing, Some("QuotaExceeded"), json!("Running")
)]
#[case::invalid(no_pods(422, "Invalid", "Pod \"p1\" is invalid"), Retry::OnChange, Some("Invalid"), json!("Error"))]
#[case::server(no_pods(500, "InternalError", "etcd"), Retry::Passing, None, json!("Running"))]
#[case::exists(no_pods(409, "AlreadyExists", "exists"), Retry::Soon, None, json!("Running"))]
#[case::namespace_ends(
    no_pods(403, "Forbidden", "unable to create new content in namespace n because it is being terminated"),
    Retry::After(Duration::from_secs(30)), None, json!("Running")
)]
#[tokio::test]
async fn an_error_does_not_stop_the_others_and_is_told_if_it_is_for_people(
    #[case] refuse: Option<Refusal>,
    #[case] retry: Retry,
    #[case] reason: Option<&str>,
    #[case] phase: Value,
) {
    let plan = || {
        Ok(Ok(Plan {
            children: vec![pod("p1"), child("Service", "s", ChildAction::Apply)],
            ..empty()
        }))
    };
    let world = World::new(refuse, &[parent("DaskCluster", &json!({}))], plan);
    assert_eq!(world.pass(DaskKind::Cluster).await, Outcome::Failed(retry, None));
    assert!(world.server.requests().contains(&"APPLY services/s".to_owned()));
    let (_, body) = world.server.request("APPLY daskclusters/a/status");
    assert_eq!(body["status"]["phase"], phase);
    assert_eq!(body["status"]["conditions"][0]["reason"].as_str(), reason);
    assert_eq!(
        world.server.requests().contains(&"POST events".to_owned()),
        reason.is_some()
    );
}

#[rstest]
#[case::quota(no_pods(403, "Forbidden", "exceeded quota: q"), 8)]
#[case::invalid(no_pods(422, "Invalid", "Pod is invalid"), 18)]
#[tokio::test]
async fn what_all_others_would_meet_stops_their_creation(
    #[case] refuse: Option<Refusal>,
    #[case] most: usize,
) {
    let plan = || {
        Ok(Ok(Plan {
            children: (0..100).map(|i| pod(&format!("p{i}"))).collect(),
            ..empty()
        }))
    };
    let world = World::new(refuse, &[parent("DaskCluster", &json!({}))], plan);
    world.pass(DaskKind::Cluster).await;
    let creations = world
        .server
        .requests()
        .iter()
        .filter(|request| *request == "POST pods")
        .count();
    assert!(creations <= most, "{creations}");
}

#[tokio::test]
async fn events_are_sent_when_the_status_was_written() {
    let plan = || {
        let event = Event {
            type_: EventType::Normal,
            reason: "Scaled".into(),
            message: "from 1 to 2".into(),
        };
        Ok(Ok(Plan {
            events: vec![event],
            ..empty()
        }))
    };
    let refuse = Some(Refusal {
        what: ("APPLY", "/status"),
        answer: (409, "Conflict", "the object has been modified"),
    });
    let stale = World::new(refuse, &[parent("DaskCluster", &json!({}))], plan);
    assert_eq!(
        stale.pass(DaskKind::Cluster).await,
        Outcome::Failed(Retry::Soon, None)
    );
    assert_eq!(stale.server.requests(), ["APPLY daskclusters/a/status"]);

    let world = World::new(None, &[parent("DaskCluster", &json!({}))], plan);
    world.pass(DaskKind::Cluster).await;
    let (_, event) = world.server.request("POST events");
    assert_eq!(
        (
            &event["reason"],
            &event["note"],
            &event["reportingController"],
            &event["regarding"]["uid"]
        ),
        (
            &json!("Scaled"),
            &json!("from 1 to 2"),
            &json!("dask-operator"),
            &json!("parent")
        )
    );
}

#[tokio::test]
async fn groups_are_scaled_and_owners_set_and_parents_deleted() {
    let plan = || {
        let owner = Owner {
            api_version: DASK.into(),
            kind: "DaskCluster".into(),
            name: "a".into(),
            uid: "c".into(),
        };
        let scale = vec![Scale {
            worker_group: "g".into(),
            replicas: 7,
        }];
        Ok(Ok(Plan {
            owner: Some(owner),
            scale,
            delete_parent: Some("idle".into()),
            status: "{}".into(),
            ..empty()
        }))
    };
    let group = json!({
        "apiVersion": DASK, "kind": "DaskWorkerGroup", "spec": {"cluster": "a", "worker": {"replicas": 3}},
        "metadata": {"name": "g", "namespace": "n", "uid": "uid-g", "resourceVersion": "5"},
    });
    let world = World::new(None, &[parent("DaskAutoscaler", &json!({})), group], plan);
    let outcome = world.pass(DaskKind::Autoscaler).await;
    assert_eq!(outcome, Outcome::Gone, "{:?}", world.server.sent);
    assert_eq!(
        world.server.requests(),
        [
            "DELETE daskautoscalers/a",
            "PATCH daskautoscalers/a",
            "PATCH daskworkergroups/g/scale"
        ]
    );
    let (_, scale) = world.server.request("PATCH daskworkergroups/g/scale");
    assert_eq!(
        scale,
        json!({"metadata": {"resourceVersion": "5"}, "spec": {"replicas": 7}})
    );
    let (_, adopted) = world.server.request("PATCH daskautoscalers/a");
    assert_eq!(adopted["metadata"]["ownerReferences"][0]["uid"], "c");
    let (_, deleted) = world.server.request("DELETE daskautoscalers/a");
    assert_eq!(deleted["preconditions"]["uid"], "parent");
}

#[tokio::test]
async fn workers_come_in_portions_where_that_is_set() {
    let plan = || {
        Ok(Ok(Plan {
            children: (0..5).map(|i| pod(&format!("p{i}"))).collect(),
            status: "{}".into(),
            ..empty()
        }))
    };
    let mut world = World::new(None, &[parent("DaskWorkerGroup", &json!({}))], plan);
    world.reconciler.allocation = Allocation {
        batch: Some(2),
        delay: Duration::from_secs(3),
    };
    assert_eq!(
        world.pass(DaskKind::WorkerGroup).await,
        Outcome::Done(Some(Duration::from_secs(3)))
    );
    world.pass(DaskKind::WorkerGroup).await;
    assert_eq!(world.pass(DaskKind::WorkerGroup).await, Outcome::Done(None));
    assert_eq!(world.server.requests(), ["POST pods"; 5]);
}

#[tokio::test]
async fn what_is_being_deleted_is_left_alone() {
    let mut deleted = parent("DaskCluster", &json!({}));
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let world = World::new(None, &[deleted], || {
        Ok(Ok(Plan {
            children: vec![pod("p")],
            ..empty()
        }))
    });
    assert_eq!(world.pass(DaskKind::Cluster).await, Outcome::Gone);
    assert!(world.server.requests().is_empty());
}
