//! Schedulers that answer what a test says, and time that a test moves on.

use std::collections::VecDeque;

use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::*;
use crate::kinds::Kind;
use crate::object::tests::object;

/// What a test's scheduler does, and what it was asked.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    /// Answers in their order; the last one stays.
    answers: VecDeque<Result<Answers, Failure>>,
    asked: Vec<(Instant, Questions)>,
    /// What was retired, and how many of them could leave.
    retired: Vec<Vec<String>>,
    can_leave: usize,
}

impl Script {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn says(&self, answer: Result<Answers, Failure>) {
        self.lines().answers.push_back(answer);
    }
}

impl Dask for Script {
    fn talk(&self, place: &Place) -> Box<dyn Talk> {
        if place.comm.to_string().contains("//192.0.2.") {
            return Box::new(Silent);
        }
        Box::new(self.clone())
    }
}

/// A scheduler that takes connections and says nothing, for as long as anybody waits.
struct Silent;

impl Talk for Silent {
    fn ask<'a>(&'a mut self, _: &'a Questions) -> BoxFuture<'a, Result<Answers, Failure>> {
        async {
            tokio::time::sleep(Duration::from_secs(35)).await;
            silent("no answer")
        }
        .boxed()
    }

    fn retire<'a>(&'a mut self, _: &'a [String]) -> BoxFuture<'a, Result<Vec<String>, Failure>> {
        async { Ok(Vec::new()) }.boxed()
    }
}

impl Talk for Script {
    fn ask<'a>(&'a mut self, questions: &'a Questions) -> BoxFuture<'a, Result<Answers, Failure>> {
        let mut lines = self.lines();
        lines.asked.push((Instant::now(), questions.clone()));
        let answer = match lines.answers.len() {
            0 => Ok(Answers::default()),
            1 => lines.answers[0].clone(),
            _ => lines
                .answers
                .pop_front()
                .unwrap_or_else(|| Ok(Answers::default())),
        };
        async { answer }.boxed()
    }

    fn retire<'a>(&'a mut self, addresses: &'a [String]) -> BoxFuture<'a, Result<Vec<String>, Failure>> {
        let mut lines = self.lines();
        lines.retired.push(addresses.to_vec());
        let leave = addresses.iter().take(lines.can_leave).cloned().collect();
        async move { Ok(leave) }.boxed()
    }
}

struct World {
    script: Script,
    schedulers: Schedulers,
    news: UnboundedReceiver<ParentKey>,
    cluster: ClusterKey,
}

/// Puts a cluster's scheduler into the stores.
fn put_scheduler(stores: &Stores, cluster: &str, address: &str) {
    let put = |kind: ResourceKind, value: serde_json::Value| {
        stores.of(&kind).map(|store| store.shown(object(&value)));
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
        let kinds = ["Pod", "Service"].map(|kind| Kind::of(ResourceKind::new("v1", kind)));
        let stores = Stores::new(kinds);
        put_scheduler(&stores, "a", "10.0.0.7");
        let (script, (send, news)) = (Script::default(), mpsc::unbounded_channel());
        let schedulers = Schedulers::new(Box::new(script.clone()), stores, Arc::default(), send);
        Self {
            script,
            schedulers,
            news,
            cluster: ClusterKey::new("n", "a"),
        }
    }

    fn want(&self, parent: &ParentKey, request: Option<SchedulerRequest>) {
        self.schedulers.want(&self.cluster, parent, request);
    }

    fn state(&self, parent: &ParentKey) -> SchedulerState {
        self.schedulers.state(&self.cluster, parent)
    }

    /// Lets so many seconds go by; gives who has to be reconciled.
    async fn after(&mut self, seconds: u64) -> Vec<ParentKey> {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let mut news = Vec::new();
        while let Ok(parent) = self.news.try_recv() {
            news.push(parent);
        }
        news
    }

    fn times_asked(&self) -> usize {
        self.script.lines().asked.len()
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

fn silent(message: &str) -> Result<Answers, Failure> {
    Err(Failure {
        kind: "refused",
        message: message.to_owned(),
    })
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_unless_somebody_wants_to_know() {
    let mut world = World::new();
    let (a, b) = (group("a"), group("b"));
    assert!(matches!(world.state(&a), SchedulerState::NotAsked));
    world.want(&a, Some(request(&[SchedulerQuestion::Workers], 5000, &[])));
    assert_eq!(
        world.after(11).await,
        vec![a.clone()],
        "the first answer is news, the same again is not"
    );
    assert_eq!(world.times_asked(), 3);
    assert!(matches!(world.state(&a), SchedulerState::Facts(_)));
    assert!(
        matches!(world.state(&b), SchedulerState::NotAsked),
        "b did not ask"
    );
    world.want(&b, Some(request(&[SchedulerQuestion::Idle], 60_000, &[])));
    assert_eq!(
        world.after(1).await,
        vec![b.clone()],
        "who is new is told what is known"
    );
    world.schedulers.forget(&a);
    world.want(&b, None);
    world.after(1).await;
    assert_eq!(world.schedulers.count(), 0);
    let asked = world.times_asked();
    world.after(100).await;
    assert_eq!(world.times_asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn only_what_matters_is_news() {
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
        world.script.says(Ok(answers));
    }
    world.want(&a, Some(request(&[SchedulerQuestion::Idle], 1000, &[])));
    assert_eq!(world.after(10).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_the_demand_is_told_when_workers_are_no_longer_busy() {
    let mut world = World::new();
    let a = group("a");
    let answers = |processing, desired| Answers {
        demand: [(None, desired)].into(),
        ..workers(&["tcp://1"], processing)
    };
    // The demand has fallen before the last heartbeat says that the worker has nothing to do.
    for (processing, desired) in [(2, 1), (1, 1), (1, 0), (0, 0)] {
        world.script.says(Ok(answers(processing, desired)));
    }
    world.want(&a, Some(request(&[SchedulerQuestion::Demand], 1000, &[])));
    assert_eq!(
        world.after(10).await.len(),
        3,
        "the first answer, the lower demand, the idle worker"
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_is_asked_rarely_and_said_once() {
    let mut world = World::new();
    let a = group("a");
    world.script.says(silent("nobody listens"));
    world.want(&a, Some(request(&[SchedulerQuestion::Workers], 1000, &[])));
    assert_eq!(world.after(100).await.len(), 1);
    assert!(matches!(world.state(&a), SchedulerState::Unreachable(why) if why == "nobody listens"));
    assert!((8..=12).contains(&world.times_asked()), "{}", world.times_asked());
    world.script.says(Ok(workers(&["tcp://1"], 0)));
    world.script.lines().answers.pop_front();
    world.schedulers.look(&world.cluster);
    assert_eq!(
        world.after(1).await.len(),
        1,
        "it is asked as soon as there is a reason"
    );
}

/// How long a worker that is told to leave may take counts from there.
#[tokio::test(start_paused = true)]
async fn since_when_a_scheduler_answers_counts_anew_after_each_silence() {
    let world = World::new();
    let a = group("a");
    let answers = |asked_at| {
        Ok(Answers {
            asked_at,
            ..workers(&["tcp://1"], 0)
        })
    };
    world.script.says(answers(10));
    world.want(&a, Some(request(&[SchedulerQuestion::Workers], 1000, &[])));
    // It is asked once a second, half a second before each look.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut told = Vec::new();
    for next in [
        answers(20),
        silent("no answer"),
        answers(40),
        answers(50),
        answers(60),
    ] {
        told.push(match world.state(&a) {
            SchedulerState::Facts(facts) => Some((facts.observed_at, facts.answers_since)),
            SchedulerState::Unreachable(_) | SchedulerState::NotAsked => None,
        });
        world.script.lines().answers = [next].into();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let expected = [
        Some((10, 10)),
        Some((20, 10)),
        None,
        Some((40, 40)),
        Some((50, 40)),
    ];
    assert_eq!(told, expected);
}

/// Schedulers that take connections and say nothing don't keep others waiting.
#[tokio::test(start_paused = true)]
async fn many_that_hang_hold_nobody_up() {
    let mut world = World::new();
    let wanted = || Some(request(&[SchedulerQuestion::Workers], 1000, &[]));
    for number in 1..=2 * AT_ONCE {
        let name = format!("hangs-{number}");
        put_scheduler(&world.schedulers.0.stores, &name, &format!("192.0.2.{number}"));
        let cluster = ClusterKey::new("n", &name);
        world.schedulers.want(&cluster, &group(&name), wanted());
    }
    world.after(1).await;
    world.want(&group("a"), wanted());
    world.after(3).await;
    assert!(world.times_asked() >= 1, "it waits for those that hang");
}

#[tokio::test(start_paused = true)]
async fn all_are_asked_for_in_one_go() {
    let mut world = World::new();
    let wants = [Some(5000), None];
    for (at, target_duration) in wants.into_iter().enumerate() {
        let request = SchedulerRequest {
            target_duration,
            ..request(&[SchedulerQuestion::Demand], 5000, &[])
        };
        world.want(&group(&at.to_string()), Some(request));
    }
    world.script.says(Ok(Answers {
        demand: [(Some(5000), 3), (None, 8)].into(),
        ..Answers::default()
    }));
    world.after(1).await;
    let asked = world
        .script
        .lines()
        .asked
        .last()
        .map(|(_, questions)| questions.clone());
    assert_eq!(asked.map(|asked| asked.demand), Some(wants.into()));
    let desired = |name: &str| match world.state(&group(name)) {
        SchedulerState::Facts(facts) => facts.desired_workers,
        _ => None,
    };
    assert_eq!((desired("0"), desired("1")), (Some(3), Some(8)));
}

#[tokio::test(start_paused = true)]
async fn workers_leave_once_and_are_asked_again_if_they_could_not() {
    let mut world = World::new();
    let a = group("a");
    let retire = || request(&[SchedulerQuestion::Workers], 1000, &["tcp://1", "tcp://2"]);
    world.script.says(Ok(workers(&["tcp://1", "tcp://2"], 0)));
    world.script.lines().can_leave = 1;
    world.want(&a, Some(retire()));
    world.after(1).await;
    world.want(&a, Some(retire()));
    world.after(1).await;
    assert_eq!(
        world.script.lines().retired.len(),
        1,
        "nobody is asked twice at once"
    );
    let told = |world: &World| match world.state(&a) {
        SchedulerState::Facts(facts) => facts.workers.into_iter().map(|worker| worker.address).collect(),
        _ => Vec::new(),
    };
    assert_eq!(
        told(&world),
        ["tcp://2"],
        "who has left is not told of, although the scheduler knows it"
    );
    assert!(
        world.after(10).await.contains(&a),
        "the other one can be asked again"
    );
    world.want(&a, Some(retire()));
    world.after(1).await;
    assert_eq!(
        world.script.lines().retired.last(),
        Some(&vec!["tcp://2".to_owned()])
    );
    assert!(told(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_scheduler_says_so() {
    let mut world = World::new();
    world.cluster = ClusterKey::new("n", "b");
    let a = group("a");
    world.want(&a, Some(request(&[SchedulerQuestion::Workers], 1000, &[])));
    world.after(1).await;
    assert!(
        matches!(world.state(&a), SchedulerState::Unreachable(why) if why == "no scheduler pod is ready")
    );
    assert_eq!(world.times_asked(), 0);
}
