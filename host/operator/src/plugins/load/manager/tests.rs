use dask_operator_evaluator::AllowedKinds;
use dask_operator_runtime::EngineConfig;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use parking_lot::Mutex;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::client::events::Level;
use crate::metrics::Registry;
use crate::plugins::error::LoadReason;
use crate::plugins::testing;

fn of_namespace() -> Resource {
    let metadata = json!({"name": "p", "namespace": "n", "uid": "u"});
    testing::of_namespace(json!({"metadata": metadata, "spec": {"source": {}}}))
}

fn of_cluster() -> Resource {
    testing::of_cluster(json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"source": {}}}))
}

/// Requests that an API server received: path with query, and body.
type Sent = Arc<Mutex<Vec<(String, Value)>>>;

/// Returns a client of an API server that accepts every request, and the requests.
fn server() -> (Client, Sent) {
    server_with_failure(None)
}

/// Returns a client of an API server that refuses the first request with this code and reason and accepts all others, and the
/// requests.
fn server_with_failure(failure: Option<(u16, &'static str)>) -> (Client, Sent) {
    let sent = Sent::default();
    let log = sent.clone();
    let server = tower::service_fn(move |request: Request<Body>| {
        let log = log.clone();
        async move {
            let path = request.uri().to_string();
            let body = request.into_body().collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let mut log = log.lock();
            log.push((path, body));
            let (code, answer) = match failure.filter(|_| log.len() == 1) {
                Some((code, reason)) => {
                    let status =
                        json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason});
                    (code, status)
                }
                None => (200, json!({"metadata": {}})),
            };
            Response::builder()
                .status(code)
                .body(Body::from(answer.to_string().into_bytes()))
        }
    });
    (Client::new(server, "default"), sent)
}

/// Returns a manager without plugins.
fn manager(client: &Client, level: Level, leadership: Leadership) -> Manager {
    let engine = Engine::new(EngineConfig::default()).unwrap_or_else(|error| panic!("{error}"));
    let parts = Parts {
        writer: Writer::new(client.clone(), 1).only_while(leadership.clone()),
        events: Events::new(client.clone(), level),
        client: client.clone(),
        plugins: Arc::new(Plugins::new(Catalog::default(), AllowedKinds::default(), 1)),
        engine,
        sources: Sources::default(),
        cache: ComponentCache::new(None),
        watched: ResourceTypes::new([]),
        metrics: PluginMetrics::register(&mut Registry::default()),
        swapped: Box::new(|_| ()),
        health: Arc::default(),
        leadership,
        selection: Arc::default(),
    };
    Manager::new(parts, &[])
}

/// Lets the attempt to load the plugin of [`of_namespace`] fail with this message.
fn fail(manager: &mut Manager, message: &str) -> PluginId {
    let resource = of_namespace();
    let id = resource.id.clone();
    let outcome = LoadOutcome {
        id: id.clone(),
        uid: "u".into(),
        generation: 0,
        before: None,
        loaded: None,
        failure: Some(LoadFailure::new(LoadReason::NoSource, message)),
    };
    let state = manager.states.entry(id.clone());
    state
        .or_insert_with(|| PluginState::new(resource))
        .load_finished(outcome);
    id
}

/// Returns the errors in the statuses that were sent.
fn errors(sent: &Sent) -> Vec<Value> {
    let sent = sent.lock();
    sent.iter()
        .map(|(_, body)| body["status"]["error"].clone())
        .collect()
}

#[rstest]
#[case::of_namespace(
    of_namespace(),
    "DaskPlugin",
    "/apis/kubernetes.dask.org/v1/namespaces/n/daskplugins/p/status"
)]
#[case::of_cluster(
    of_cluster(),
    "ClusterDaskPlugin",
    "/apis/kubernetes.dask.org/v1/clusterdaskplugins/p/status"
)]
#[tokio::test]
async fn a_changed_status_is_written_to_the_observed_plugin(
    #[case] resource: Resource,
    #[case] kind: &str,
    #[case] path: &str,
) {
    let (client, sent) = server();
    let writer = Writer::new(client, 1);
    assert!(
        write_status(&writer, &resource, &resource.status).await,
        "it has that status"
    );
    let wanted = PluginStatus {
        digest: Some("sha256:1".into()),
        ..PluginStatus::default()
    };
    assert!(write_status(&writer, &resource, &wanted).await);
    let sent = sent.lock();
    let [(written, body)] = &sent[..] else {
        panic!("{sent:?}");
    };
    let (written, query) = written.split_once('?').unwrap_or_default();
    assert_eq!(written, path);
    // The status is applied whatever version the plugin has meanwhile.
    assert!(query.contains("force=true"), "{query}");
    assert_eq!(body["metadata"]["resourceVersion"], Value::Null);
    assert_eq!(
        (&body["kind"], &body["metadata"]["uid"]),
        (&json!(kind), &json!("u"))
    );
    assert_eq!(
        body["metadata"]["namespace"].as_str(),
        resource.id.namespace.as_deref()
    );
    assert_eq!(body["status"]["digest"], "sha256:1");
}

/// The level that the administrator sets applies to events about plugins, too.
#[rstest]
#[case::all(Level::All, &["status", "events"])]
#[case::warnings(Level::Warnings, &["status", "events"])]
#[case::none(Level::None, &["status"])]
#[tokio::test]
async fn a_failure_is_reported_by_status_and_event(#[case] level: Level, #[case] expected: &[&str]) {
    let (client, sent) = server();
    let mut manager = manager(&client, level, Leadership::always());
    let id = fail(&mut manager, "spec.source is empty");
    // The second report is about the same state.
    for _ in 0..2 {
        manager.report(&id, false).await;
    }
    let sent = sent.lock();
    let kinds: Vec<_> = sent
        .iter()
        .map(|(path, _)| path.split('?').next().unwrap_or_default())
        .map(|path| path.rsplit('/').next().unwrap_or_default())
        .collect();
    assert_eq!(kinds, expected);
}

/// A status that could not be written does not count as written. There is no request for it before the next report.
#[rstest]
#[case::unavailable(503, "ServiceUnavailable")]
#[case::created_again_meanwhile(409, "Conflict")]
#[case::deleted_meanwhile(404, "NotFound")]
#[tokio::test]
async fn the_next_report_writes_the_newest_status_after_a_failed_write(
    #[case] code: u16,
    #[case] reason: &'static str,
) {
    let (client, sent) = server_with_failure(Some((code, reason)));
    let mut manager = manager(&client, Level::None, Leadership::always());
    let id = fail(&mut manager, "first");
    manager.report(&id, false).await;
    assert_eq!(errors(&sent), ["first"]);
    fail(&mut manager, "second");
    manager.report(&id, false).await;
    manager.report(&id, false).await;
    assert_eq!(errors(&sent), ["first", "second"], "the second one was written");
}

#[tokio::test]
async fn a_new_leader_writes_the_newest_status_once() {
    let (client, sent) = server();
    let leadership = Leadership::not_yet();
    let mut manager = manager(&client, Level::None, leadership.clone());
    for message in ["first", "second"] {
        let id = fail(&mut manager, message);
        manager.report(&id, false).await;
    }
    assert_eq!(errors(&sent), Vec::<Value>::new(), "another replica leads");
    leadership.until(Instant::now() + Duration::from_secs(60));
    manager.take_over().await;
    manager.take_over().await;
    assert_eq!(errors(&sent), ["second"]);
}

/// All plugins wait for the write of a status.
#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_ends_after_its_time_limit() {
    let (service, _handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let writer = Writer::new(Client::new(service, "default"), 1);
    let wanted = PluginStatus {
        digest: Some("sha256:1".into()),
        ..PluginStatus::default()
    };
    let start = Instant::now();
    assert!(!write_status(&writer, &of_namespace(), &wanted).await);
    assert_eq!(start.elapsed().as_secs(), STATUS_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_write_is_completed_if_the_manager_ends() {
    let (service, mut requests) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let writer = Writer::new(Client::new(service, "default"), 1);
    let wanted = PluginStatus {
        digest: Some("sha256:1".into()),
        ..PluginStatus::default()
    };
    let resource = of_namespace();
    let (_, answer) = tokio::select! {
        request = requests.next_request() => request.expect("a request"),
        _ = write_status(&writer, &resource, &wanted) => panic!("there is no answer yet"),
    };
    let limit = Duration::from_secs(1);
    let settled_after = async || {
        let start = Instant::now();
        writer.settle(limit).await;
        start.elapsed()
    };
    assert_eq!(settled_after().await, limit, "the request is in flight");
    answer.send_response(Response::new(Body::from(b"{}".to_vec())));
    assert_eq!(settled_after().await, Duration::ZERO);
}
