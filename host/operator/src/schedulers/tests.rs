//! Tests with fake schedulers and paused time.

use std::collections::VecDeque;

use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_scheduler::ErrorKind;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::MutexGuard;
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::client::FailureKind;
use super::*;
use crate::client::object::tests::object;
use crate::client::resource::ResourceType;
use crate::metrics::Registry;

/// Fake scheduler with scripted answers that records the queries.
#[derive(Clone, Default)]
struct FakeClient(Arc<Mutex<FakeState>>);

#[derive(Default)]
struct FakeState {
    /// Answers in their order. The last one is repeated.
    answers: VecDeque<Result<Answers, Failure>>,
    queries: Vec<(Instant, Questions)>,
    /// Addresses of each request to retire workers.
    retired: Vec<Vec<String>>,
    /// Number of workers that each such request retires.
    can_retire: usize,
}

impl FakeClient {
    fn state(&self) -> MutexGuard<'_, FakeState> {
        self.0.lock()
    }

    fn will_answer(&self, answer: Result<Answers, Failure>) {
        self.state().answers.push_back(answer);
    }
}

impl SchedulerClient for FakeClient {
    fn session(&self, endpoint: &Endpoint) -> Box<dyn Session> {
        if endpoint.comm.to_string().contains("//192.0.2.") {
            return Box::new(Hanging);
        }
        Box::new(self.clone())
    }
}

/// Scheduler that accepts connections but never answers.
struct Hanging;

impl Session for Hanging {
    fn query<'a>(&'a mut self, _: &'a Questions) -> BoxFuture<'a, Result<Answers, Failure>> {
        async {
            tokio::time::sleep(Duration::from_secs(35)).await;
            failed("no answer")
        }
        .boxed()
    }

    fn retire<'a>(&'a mut self, _: &'a [String]) -> BoxFuture<'a, Result<Vec<String>, Failure>> {
        async { Ok(Vec::new()) }.boxed()
    }
}

impl Session for FakeClient {
    fn query<'a>(&'a mut self, questions: &'a Questions) -> BoxFuture<'a, Result<Answers, Failure>> {
        let mut state = self.state();
        state.queries.push((Instant::now(), questions.clone()));
        let answer = match state.answers.len() {
            0 => Ok(Answers::default()),
            1 => state.answers[0].clone(),
            _ => state
                .answers
                .pop_front()
                .unwrap_or_else(|| Ok(Answers::default())),
        };
        async { answer }.boxed()
    }

    fn retire<'a>(&'a mut self, addresses: &'a [String]) -> BoxFuture<'a, Result<Vec<String>, Failure>> {
        let mut state = self.state();
        state.retired.push(addresses.to_vec());
        let retired = addresses.iter().take(state.can_retire).cloned().collect();
        async move { Ok(retired) }.boxed()
    }
}

struct World {
    client: FakeClient,
    schedulers: Schedulers,
    requeued: UnboundedReceiver<ParentKey>,
    cluster: ClusterKey,
}

/// Adds a cluster and its scheduler to the stores.
fn put_scheduler(stores: &Stores, cluster: &str, address: &str) {
    let put = |kind: ResourceKind, value: serde_json::Value| {
        stores.of(&kind).map(|store| store.apply_event(object(&value)));
    };
    put(
        ResourceKind::new(DASK_API_VERSION, "DaskCluster"),
        json!({
            "apiVersion": DASK_API_VERSION, "kind": "DaskCluster",
            "metadata": {"name": cluster, "namespace": "n", "uid": format!("cluster-{cluster}")},
        }),
    );
    put(
        ResourceKind::new("v1", "Pod"),
        json!({
            "apiVersion": "v1", "kind": "Pod", "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            "metadata": {
                "name": format!("pod-{cluster}"), "namespace": "n", "uid": format!("pod-{cluster}"),
                "labels": {"dask.org/cluster-name": cluster, "dask.org/component": "scheduler"},
            },
        }),
    );
    put(
        ResourceKind::new("v1", "Service"),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "spec": {"clusterIP": address, "selector": {"dask.org/cluster-name": cluster}},
            "metadata": {
                "name": format!("{cluster}-scheduler"), "namespace": "n", "uid": format!("service-{cluster}"),
                "labels": {"dask.org/cluster-name": cluster},
                "ownerReferences": [{
                    "apiVersion": DASK_API_VERSION, "kind": "DaskCluster", "name": cluster,
                    "uid": format!("cluster-{cluster}"), "controller": true,
                }],
            },
        }),
    );
}

impl World {
    fn new() -> Self {
        let kinds = ["Pod", "Service"].map(|kind| ResourceType::of(ResourceKind::new("v1", kind)));
        let stores = Stores::new(kinds);
        put_scheduler(&stores, "a", "10.0.0.7");
        let (client, (send, requeued)) = (FakeClient::default(), mpsc::unbounded_channel());
        let metrics = SchedulerMetrics::register(&mut Registry::default());
        let schedulers = Schedulers::new(Box::new(client.clone()), stores, metrics, send);
        Self {
            client,
            schedulers,
            requeued,
            cluster: ClusterKey::new("n", "a"),
        }
    }

    fn subscribe(&self, parent: &ParentKey, request: Option<SchedulerRequest>) {
        self.schedulers.subscribe(&self.cluster, parent, request);
    }

    fn state(&self, parent: &ParentKey) -> SchedulerState {
        self.schedulers.state(&self.cluster, parent)
    }

    /// Waits for this number of seconds and returns the resources that were requeued in that time.
    async fn after(&mut self, seconds: u64) -> Vec<ParentKey> {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let mut requeued = Vec::new();
        while let Ok(parent) = self.requeued.try_recv() {
            requeued.push(parent);
        }
        requeued
    }

    fn query_count(&self) -> usize {
        self.client.state().queries.len()
    }
}

fn group(name: &str) -> ParentKey {
    ParentKey::new(DaskKind::WorkerGroup, "n", name)
}

fn request(questions: &[SchedulerQuestion], period: u64, retire: &[&str]) -> SchedulerRequest {
    SchedulerRequest {
        questions: questions.to_vec(),
        period,
        target_duration: None,
        tls: false,
        retire: retire.iter().map(|address| (*address).to_owned()).collect(),
    }
}

fn workers(addresses: &[&str], processing: u32) -> Answers {
    let worker = |address: &&str| SchedulerWorker {
        address: (*address).to_owned(),
        name: "w".to_owned(),
        status: "running".to_owned(),
        processing,
        managed_bytes: 0,
        last_seen: 0,
    };
    Answers {
        workers: addresses.iter().map(worker).collect(),
        ..Answers::default()
    }
}

fn failed(message: &str) -> Result<Answers, Failure> {
    Err(Failure {
        kind: FailureKind::Client(ErrorKind::Refused),
        message: message.to_owned(),
    })
}

#[tokio::test(start_paused = true)]
async fn schedulers_are_queried_only_while_a_resource_requests_it() {
    let mut world = World::new();
    let (a, b) = (group("a"), group("b"));
    assert!(matches!(world.state(&a), SchedulerState::NotAsked));
    world.subscribe(&a, Some(request(&[SchedulerQuestion::Workers], 5000, &[])));
    assert_eq!(
        world.after(11).await,
        vec![a.clone()],
        "only the first of equal answers requeues the resource"
    );
    assert_eq!(world.query_count(), 3);
    assert!(matches!(world.state(&a), SchedulerState::Facts(_)));
    assert!(
        matches!(world.state(&b), SchedulerState::NotAsked),
        "b has not requested anything"
    );
    world.subscribe(&b, Some(request(&[SchedulerQuestion::Idle], 60_000, &[])));
    assert_eq!(
        world.after(1).await,
        vec![b.clone()],
        "a new request is served with the last answer"
    );
    world.schedulers.unsubscribe(&a);
    world.subscribe(&b, None);
    world.after(1).await;
    assert_eq!(world.schedulers.count(), 0);
    let queries = world.query_count();
    world.after(100).await;
    assert_eq!(world.query_count(), queries);
}

#[tokio::test(start_paused = true)]
async fn only_relevant_changes_requeue_a_resource() {
    let mut world = World::new();
    let a = group("a");
    for answers in [
        workers(&["tcp://1"], 0),
        workers(&["tcp://1"], 7),
        workers(&["tcp://1", "tcp://2"], 7),
        Answers {
            idle_since: Some(5),
            ..workers(&["tcp://1", "tcp://2"], 0)
        },
    ] {
        world.client.will_answer(Ok(answers));
    }
    world.subscribe(&a, Some(request(&[SchedulerQuestion::Idle], 1000, &[])));
    assert_eq!(world.after(10).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn with_the_demand_idle_workers_requeue_a_resource() {
    let mut world = World::new();
    let a = group("a");
    let answers = |processing, desired| Answers {
        demand: [(None, desired)].into(),
        ..workers(&["tcp://1"], processing)
    };
    // The demand falls before the last heartbeat reports that the worker is idle.
    for (processing, desired) in [(2, 1), (1, 1), (1, 0), (0, 0)] {
        world.client.will_answer(Ok(answers(processing, desired)));
    }
    world.subscribe(&a, Some(request(&[SchedulerQuestion::Demand], 1000, &[])));
    assert_eq!(
        world.after(10).await.len(),
        3,
        "the first answer, the lower demand, the idle worker"
    );
}

#[tokio::test(start_paused = true)]
async fn failing_schedulers_are_backed_off_and_requeue_a_resource_once() {
    let mut world = World::new();
    let a = group("a");
    world.client.will_answer(failed("connection refused"));
    world.subscribe(&a, Some(request(&[SchedulerQuestion::Workers], 1000, &[])));
    assert_eq!(world.after(100).await.len(), 1);
    assert!(matches!(world.state(&a), SchedulerState::Unreachable(why) if why == "connection refused"));
    assert!((8..=12).contains(&world.query_count()), "{}", world.query_count());
    world.client.will_answer(Ok(workers(&["tcp://1"], 0)));
    world.client.state().answers.pop_front();
    world.schedulers.refresh(&world.cluster);
    assert_eq!(
        world.after(1).await.len(),
        1,
        "a change of its objects ends the back-off"
    );
}

/// The time that a worker may take to retire is counted from `answers_since`.
#[tokio::test(start_paused = true)]
async fn answers_since_restarts_after_each_failure() {
    let world = World::new();
    let a = group("a");
    let answers = |queried_at| {
        Ok(Answers {
            queried_at,
            ..workers(&["tcp://1"], 0)
        })
    };
    world.client.will_answer(answers(10));
    world.subscribe(&a, Some(request(&[SchedulerQuestion::Workers], 1000, &[])));
    // The scheduler is queried once a second, half a second before each check.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut observed = Vec::new();
    for next in [
        answers(20),
        failed("no answer"),
        answers(40),
        answers(50),
        answers(60),
    ] {
        observed.push(match world.state(&a) {
            SchedulerState::Facts(facts) => Some((facts.observed_at, facts.answers_since)),
            SchedulerState::Unreachable(_) | SchedulerState::NotAsked => None,
        });
        world.client.state().answers = [next].into();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let expected = [
        Some((10, 10)),
        Some((20, 10)),
        None,
        Some((40, 40)),
        Some((50, 40)),
    ];
    assert_eq!(observed, expected);
}

/// Schedulers that accept connections but never answer don't delay others.
#[tokio::test(start_paused = true)]
async fn hanging_schedulers_do_not_delay_others() {
    let mut world = World::new();
    let workers_request = || Some(request(&[SchedulerQuestion::Workers], 1000, &[]));
    for number in 1..=2 * AT_ONCE {
        let name = format!("hangs-{number}");
        put_scheduler(&world.schedulers.0.stores, &name, &format!("192.0.2.{number}"));
        let cluster = ClusterKey::new("n", &name);
        world
            .schedulers
            .subscribe(&cluster, &group(&name), workers_request());
    }
    world.after(1).await;
    world.subscribe(&group("a"), workers_request());
    world.after(3).await;
    assert!(world.query_count() >= 1, "the query waits for hanging schedulers");
}

#[tokio::test(start_paused = true)]
async fn one_query_serves_all_resources() {
    let mut world = World::new();
    let durations = [Some(5000), None];
    for (at, target_duration) in durations.into_iter().enumerate() {
        let request = SchedulerRequest {
            target_duration,
            ..request(&[SchedulerQuestion::Demand], 5000, &[])
        };
        world.subscribe(&group(&at.to_string()), Some(request));
    }
    world.client.will_answer(Ok(Answers {
        demand: [(Some(5000), 3), (None, 8)].into(),
        ..Answers::default()
    }));
    world.after(1).await;
    let query = world
        .client
        .state()
        .queries
        .last()
        .map(|(_, questions)| questions.clone());
    assert_eq!(query.map(|query| query.demand), Some(durations.into()));
    let desired = |name: &str| match world.state(&group(name)) {
        SchedulerState::Facts(facts) => facts.desired_workers,
        _ => None,
    };
    assert_eq!((desired("0"), desired("1")), (Some(3), Some(8)));
}

#[tokio::test(start_paused = true)]
async fn workers_are_retired_once_and_again_after_a_failure() {
    let mut world = World::new();
    let a = group("a");
    let retire = || request(&[SchedulerQuestion::Workers], 1000, &["tcp://1", "tcp://2"]);
    world.client.will_answer(Ok(workers(&["tcp://1", "tcp://2"], 0)));
    world.client.state().can_retire = 1;
    world.subscribe(&a, Some(retire()));
    world.after(1).await;
    world.subscribe(&a, Some(retire()));
    world.after(1).await;
    assert_eq!(
        world.client.state().retired.len(),
        1,
        "a worker that is being retired is not retired again"
    );
    let observed = |world: &World| match world.state(&a) {
        SchedulerState::Facts(facts) => facts.workers.into_iter().map(|worker| worker.address).collect(),
        _ => Vec::new(),
    };
    assert_eq!(
        observed(&world),
        ["tcp://2"],
        "a retired worker is left out, although the scheduler still lists it"
    );
    assert!(
        world.after(10).await.contains(&a),
        "the other worker can be retired again"
    );
    world.subscribe(&a, Some(retire()));
    world.after(1).await;
    assert_eq!(
        world.client.state().retired.last(),
        Some(&vec!["tcp://2".to_owned()])
    );
    assert!(observed(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn reports_a_cluster_without_a_scheduler() {
    let mut world = World::new();
    world.cluster = ClusterKey::new("n", "b");
    let a = group("a");
    world.subscribe(&a, Some(request(&[SchedulerQuestion::Workers], 1000, &[])));
    world.after(1).await;
    assert!(
        matches!(world.state(&a), SchedulerState::Unreachable(why) if why == "no scheduler pod is ready")
    );
    assert_eq!(world.query_count(), 0);
}
