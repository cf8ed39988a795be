use std::convert::Infallible;

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

/// Requests that an API server received: path and body.
type Sent = Arc<Mutex<Vec<(String, Value)>>>;

/// Returns a client of an API server that accepts every request, and the requests.
fn server() -> (Client, Sent) {
    let sent = Sent::default();
    let log = sent.clone();
    let server = tower::service_fn(move |request: Request<Body>| {
        let log = log.clone();
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            log.lock().push((path, body));
            Ok::<_, Infallible>(Response::new(Body::from(b"{\"metadata\": {}}".to_vec())))
        }
    });
    (Client::new(server, "default"), sent)
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
    assert_eq!(written, path);
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
    let engine = Engine::new(EngineConfig::default()).unwrap_or_else(|error| panic!("{error}"));
    let parts = Parts {
        writer: Writer::new(client.clone(), 1),
        events: Events::new(client.clone(), level),
        client,
        plugins: Arc::new(Plugins::new(Catalog::default(), AllowedKinds::default(), 1)),
        engine,
        sources: Sources::default(),
        cache: ComponentCache::new(None),
        watched: ResourceTypes::new([]),
        metrics: PluginMetrics::register(&mut Registry::default()),
        swapped: Box::new(|_| ()),
        health: Arc::default(),
        leadership: Leadership::always(),
        selection: Arc::default(),
    };
    let mut manager = Manager::new(parts, &[]);
    let resource = of_namespace();
    let id = resource.id.clone();
    let mut state = PluginState::new(resource);
    state.load_finished(LoadOutcome {
        id: id.clone(),
        uid: "u".into(),
        generation: 0,
        before: None,
        loaded: None,
        failure: Some(LoadFailure::new(LoadReason::NoSource, "spec.source is empty")),
    });
    manager.states.insert(id.clone(), state);
    // The second report is about the same state.
    for _ in 0..2 {
        manager.report(&id, false).await;
    }
    let sent = sent.lock();
    let kinds: Vec<_> = sent
        .iter()
        .map(|(path, _)| path.rsplit('/').next().unwrap_or_default())
        .collect();
    assert_eq!(kinds, expected);
}
