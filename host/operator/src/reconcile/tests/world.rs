//! Mock API server, and a reconciler that uses it.
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::cache::Stores;
use crate::client::events::{Events, Level};
pub(crate) use crate::client::object::tests::object;
use crate::client::resource::ResourceType;
use crate::client::writer::Writer;
use crate::key::ParentKey;
use crate::metrics::Registry;
use crate::plugins::{Catalog, PluginError, Plugins};
use crate::reconcile::metrics::ReconcileMetrics;
use crate::reconcile::{Dependencies, Outcome, Reconciler};
use crate::recording::Recording;
use crate::schedulers::metrics::SchedulerMetrics;
use crate::schedulers::{NetworkClient, Schedulers};
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_evaluator::AllowedKinds;
use dask_operator_evaluator::logic::{LogicInterface, LogicPlugin, PluginFailure};
use dask_operator_evaluator::policy::PolicyPlugin;
use dask_operator_runtime::contract::{
    self, Answer, ChildAction, ChildKey, DesiredChild, Finding, Observation, Owner, Plan,
};
use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;

pub(crate) const DASK: &str = "kubernetes.dask.org/v1";

/// Request that the API server received: method, path with query, body.
pub(crate) type Sent = (String, String, Value);

/// API server that answers every write with the object that was sent, unless `refuse` matches or the write must create an object
/// that exists, and records the write requests. It has two objects of each kind that no watch shows: see [`FOREIGN`] and [`OURS`].
pub(crate) struct Server {
    pub(crate) sent: Arc<Mutex<Vec<Sent>>>,
    /// Objects that a lookup finds.
    pub(crate) objects: Arc<Mutex<Vec<Value>>>,
    pub(crate) client: kube::Client,
}

/// Requests that the server refuses.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    /// Method and end of the path of the refused requests.
    pub(crate) what: (&'static str, &'static str),
    /// Answer: status code, reason, message. With code 0, no answer is sent.
    pub(crate) answer: (u16, &'static str, &'static str),
}

impl Server {
    pub(crate) fn start(refuse: Option<Refusal>) -> Self {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = sent.clone();
        let objects = Arc::<Mutex<Vec<Value>>>::default();
        let existing = objects.clone();
        tokio::spawn(async move {
            let mut unanswered = Vec::new();
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
                    None if method == "GET" => (200, listed(&uri, &existing.lock())),
                    None if method == "APPLY" && must_create(&body) && exists(&path, &existing.lock()) => {
                        (409, conflict())
                    }
                    None => (200, stored(&body, &path)),
                };
                if method != "GET" {
                    log.lock().push((method, uri, body));
                }
                if code == 0 {
                    unanswered.push(respond);
                    continue;
                }
                let response = Response::builder()
                    .status(code)
                    .body(Body::from(answer.to_string().into_bytes()));
                respond.send_response(response.unwrap_or_else(|error| panic!("{error}")));
            }
        });
        Self {
            sent,
            objects,
            client: kube::Client::new(service, "default"),
        }
    }

    /// Returns all requests, `METHOD last/parts`, sorted as text.
    pub(crate) fn requests(&self) -> Vec<String> {
        let sent = self.sent.lock();
        let text = |(method, uri, _): &Sent| {
            let path = uri.split('?').next().unwrap_or_default();
            let short = path.split_once("/namespaces/n/").map_or(path, |(_, short)| short);
            format!("{method} {short}")
        };
        let mut requests: Vec<_> = sent.iter().map(text).collect();
        requests.sort();
        requests
    }

    /// Returns URI and body of the only request that starts with `start`.
    pub(crate) fn request(&self, start: &str) -> (String, Value) {
        let sent = self.sent.lock();
        let (method, end) = start.split_once(' ').unwrap_or((start, ""));
        let mut found = sent
            .iter()
            .filter(|(sent, uri, _)| sent == method && uri.contains(end));
        let (_, uri, body) = found.next().unwrap_or_else(|| panic!("no {start} in {sent:?}"));
        (uri.clone(), body.clone())
    }
}

/// Name of objects that a user has created, without the label.
pub(crate) const FOREIGN: &str = "foreign";

/// Name of objects that this operator has created.
pub(crate) const OURS: &str = "ours";

/// Returns whether an apply must create its object: no existing object has this version.
fn must_create(body: &Value) -> bool {
    body["metadata"]["resourceVersion"] == "1"
}

/// Returns whether an object with this path exists, among `existing` objects and those that no watch shows.
fn exists(path: &str, existing: &[Value]) -> bool {
    let (collection, name) = path.rsplit_once('/').unwrap_or_default();
    !listed(
        &format!("{collection}?fieldSelector=metadata.name%3D{name}"),
        existing,
    )["items"]
        .is_null()
}

/// Returns the answer to a write whose `metadata.resourceVersion` is not that of the existing object.
fn conflict() -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409, "reason": "Conflict",
        "message": "the object has been modified; please apply your changes to the latest version and try again",
    })
}

/// Returns the list of objects with one name, of `existing` objects and those that no watch shows.
fn listed(uri: &str, existing: &[Value]) -> Value {
    let name_of = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let collection = |object: &Value| {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        format!("/namespaces/{namespace}/{kind}s?")
    };
    let foreign = json!({"metadata": {
        "name": FOREIGN, "namespace": "n", "uid": "uid-foreign",
        "managedFields": [{"manager": "kubectl-create", "fieldsV1": {"f:spec": {}}}],
    }});
    let unwatched = [(FOREIGN, foreign), (OURS, owned("Service", OURS))];
    let unwatched = unwatched.map(|(name, object)| (name.to_owned(), object));
    let known = existing.iter().filter(|object| uri.contains(&collection(object)));
    let known = known.map(|object| (name_of(object), object.clone()));
    let found = known.chain(unwatched).find_map(|(name, object)| {
        uri.ends_with(&format!("metadata.name%3D{name}"))
            .then_some(object)
    });
    // A real API server answers with null too, if only metadata is requested.
    let items = found.map_or(Value::Null, |found| json!([found]));
    json!({"items": items})
}

/// Returns the object that the server stores for a request.
pub(crate) fn stored(body: &Value, path: &str) -> Value {
    let mut stored = body.clone();
    // The name is in the body, or in the path before a subresource.
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

/// Function that returns the plan of the test.
pub(crate) type Planned = fn(&Observation) -> Result<Answer<Plan>, PluginFailure>;

/// Logic with the plan of the test.
pub(crate) struct Fixed(pub(crate) Planned);

impl LogicInterface for Fixed {
    fn child_kinds(&self, _: &str) -> Result<Vec<contract::ResourceKind>, PluginFailure> {
        let kind = |kind: &str| contract::ResourceKind {
            api_version: "v1".into(),
            kind: kind.into(),
        };
        Ok(vec![kind("Pod"), kind("Service")])
    }

    fn default(&self, object: &str, _: &str) -> Result<Answer<String>, PluginFailure> {
        Ok(Ok(object.to_owned()))
    }

    fn validate(&self, _: &str, _: Option<&str>, _: &str) -> Result<Vec<Finding>, PluginFailure> {
        Ok(Vec::new())
    }

    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, PluginFailure> {
        (self.0)(observation)
    }
}

pub(crate) fn empty() -> Plan {
    Plan {
        status: r#"{"phase":"Running"}"#.into(),
        ..Plan::default()
    }
}

pub(crate) fn child(kind: &str, name: &str, action: fn(String) -> ChildAction) -> DesiredChild {
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

pub(crate) fn pod(name: &str) -> DesiredChild {
    child("Pod", name, ChildAction::Create)
}

pub(crate) fn parent(kind: &str, status: &Value) -> Value {
    json!({
        "apiVersion": DASK, "kind": kind, "status": status, "spec": {"cluster": "a"},
        "metadata": {"name": "a", "namespace": "n", "uid": "parent", "resourceVersion": "10", "generation": 1},
    })
}

/// Returns the cluster `a` with this uid as the owner that a plan sets.
pub(crate) fn cluster_owner(uid: &str) -> Owner {
    Owner {
        api_version: DASK.into(),
        kind: "DaskCluster".into(),
        name: "a".into(),
        uid: uid.into(),
    }
}

pub(crate) fn owned(kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {
            "name": name, "namespace": "n", "uid": format!("uid-{name}"), "resourceVersion": "20",
            "labels": {"dask.org/cluster-name": "a"},
            "ownerReferences": [{"apiVersion": DASK, "kind": "DaskCluster", "name": "a", "uid": "parent", "controller": true}],
        },
        "spec": {"x": 1},
    })
}

/// A reconciler with these objects in its informer cache, and its API server.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) reconciler: Reconciler,
}

impl World {
    pub(crate) fn new(refuse: Option<Refusal>, objects: &[Value], plan: Planned) -> Self {
        Self::with(refuse, objects, || {
            let title = "fixed 1.0.0 (abc)";
            let plugin = LogicPlugin::new(title.into(), "{}".into(), Arc::new(Fixed(plan)));
            plugin.map_err(|failure| PluginError::no_answer(title, &failure))
        })
    }

    pub(crate) fn with(
        refuse: Option<Refusal>,
        objects: &[Value],
        plugin: impl Fn() -> Result<LogicPlugin, PluginError>,
    ) -> Self {
        Self::with_policies(refuse, objects, plugin, Vec::new())
    }

    pub(crate) fn with_policies(
        refuse: Option<Refusal>,
        objects: &[Value],
        plugin: impl Fn() -> Result<LogicPlugin, PluginError>,
        policies: Vec<Arc<PolicyPlugin>>,
    ) -> Self {
        let server = Server::start(refuse);
        *server.objects.lock() = objects.to_vec();
        let stores =
            Stores::new(["Pod", "Service"].map(|kind| ResourceType::of(ResourceKind::new("v1", kind))));
        for value in objects {
            let object = object(value);
            let kind = ResourceKind::new(
                value["apiVersion"].as_str().unwrap_or_default(),
                value["kind"].as_str().unwrap_or_default(),
            );
            stores.of(&kind).map(|store| store.apply_event(object));
        }
        let defaults: BTreeMap<_, _> = DaskKind::ALL
            .into_iter()
            .map(|kind| (kind, plugin().map(Arc::new)))
            .collect();
        let catalog = Catalog::new(defaults, policies);
        let mut registry = Registry::default();
        let network = Box::new(NetworkClient::new(None));
        let schedulers = Schedulers::new(
            network,
            stores.clone(),
            SchedulerMetrics::register(&mut registry),
            mpsc::unbounded_channel().0,
        );
        let reconciler = Reconciler::new(Dependencies {
            stores,
            plugins: Arc::new(Plugins::new(catalog, AllowedKinds::default(), 1)),
            schedulers,
            writer: Writer::new(server.client.clone(), 8),
            events: Events::new(server.client.clone(), Level::All),
            metrics: ReconcileMetrics::register(&mut registry),
            selection: Arc::default(),
            recording: Recording::default(),
        });
        Self { server, reconciler }
    }

    pub(crate) async fn reconcile(&self, kind: DaskKind) -> Outcome {
        self.reconciler
            .reconcile(&ParentKey::new(kind, "n", "a"), 0)
            .await
    }
}
