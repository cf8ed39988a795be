//! Property test: a simulated job with random events, whose operator may restart between any two writes.

use std::collections::BTreeMap;

use dask_operator_job::DefaultJob;
use dask_operator_plugin::Job;
use dask_operator_plugin::contract::ChildAction;
use dask_operator_plugin::dask::{kinds, time};
use dask_operator_plugin::testing::{Outcome, START, Scenario, answer, worker};
use proptest::prelude::*;
use serde_json::{Value, json};

const PHASES: [&str; 5] = ["JobCreated", "ClusterCreated", "Running", "Successful", "Failed"];

/// An event in the simulation.
#[derive(Clone, Debug)]
enum Step {
    /// The runner's container starts, for the first time or again.
    Starts,
    /// The runner's container fails. With `Never`, the pod fails too.
    Fails,
    /// The runner succeeds.
    Succeeds,
    /// The runner is evicted.
    Evicted,
    /// The runner pod is deleted, and terminates.
    Deleted,
    /// Deleted objects are gone.
    Gone,
    /// The runner pod is gone without having terminated.
    Vanishes,
    /// `spec.suspend` is set to this value.
    Suspend(bool),
    /// This many seconds pass.
    Time(u16),
    /// This many workers are registered.
    Workers(u8),
    /// The operator reconciles. Each bit of `writes` is set if one of its writes to children succeeds, and
    /// `writes_status` is true if the write of the status succeeds.
    Reconcile { writes: u8, writes_status: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Starts),
        2 => Just(Step::Fails),
        1 => Just(Step::Succeeds),
        1 => Just(Step::Evicted),
        1 => Just(Step::Deleted),
        2 => Just(Step::Gone),
        1 => Just(Step::Vanishes),
        1 => any::<bool>().prop_map(Step::Suspend),
        1 => (0..400_u16).prop_map(Step::Time),
        1 => (0..4_u8).prop_map(Step::Workers),
        6 => (any::<u8>(), any::<bool>()).prop_map(|(writes, writes_status)| Step::Reconcile { writes, writes_status }),
        6 => Just(Step::Reconcile { writes: u8::MAX, writes_status: true }),
    ]
}

fn spec() -> impl Strategy<Value = Value> {
    let limit = prop_oneof![Just(Value::Null), (0..3_u8).prop_map(Value::from)];
    let deadline = prop_oneof![3 => Just(Value::Null), 1 => (1..600_u16).prop_map(Value::from)];
    (limit, deadline, any::<bool>(), 0..3_u8, any::<bool>()).prop_map(
        |(limit, deadline, never, workers, keep)| {
            json!({
                "job": {"spec": {"restartPolicy": if never { "Never" } else { "OnFailure" }, "containers": [{"name": "j", "image": "i"}]}},
                "cluster": {"spec": {}}, "backoffLimit": limit, "activeDeadlineSeconds": deadline,
                "waitForWorkers": workers, "deletionPolicy": if keep { "OnSuccess" } else { "Always" },
            })
        },
    )
}

struct Pod {
    uid: String,
    phase: &'static str,
    restarts: u64,
    failed: bool,
    terminating: bool,
}

struct Simulation {
    spec: Value,
    status: Value,
    pod: Option<Pod>,
    /// True if the cluster is being deleted. `None` if it does not exist.
    cluster: Option<bool>,
    seconds: i64,
    workers: usize,
    made: u64,
    /// Number of starts of each runner since the last suspension.
    starts: BTreeMap<String, u64>,
    /// Number of starts of each runner according to the written status.
    recorded: BTreeMap<String, u64>,
}

impl Simulation {
    fn new(spec: Value) -> Self {
        Self {
            spec,
            status: Value::Null,
            pod: None,
            cluster: None,
            seconds: 0,
            workers: 0,
            made: 0,
            starts: BTreeMap::new(),
            recorded: BTreeMap::new(),
        }
    }

    fn limit(&self) -> Option<u64> {
        self.spec["backoffLimit"].as_u64()
    }

    fn never(&self) -> bool {
        self.spec["job"]["spec"]["restartPolicy"] == "Never"
    }

    fn phase(&self) -> Option<usize> {
        PHASES.iter().position(|phase| self.status["jobStatus"] == *phase)
    }

    fn is_over(&self) -> bool {
        self.phase() >= Some(3)
    }

    fn is_suspended(&self) -> bool {
        let conditions = self.status["conditions"].as_array().into_iter().flatten();
        conditions
            .into_iter()
            .any(|condition| condition["type"] == "Suspended" && condition["status"] == "True")
    }

    fn scenario(&self) -> Scenario {
        let now = START + self.seconds * 1000;
        let mut scenario = Scenario::of_value(json!({
            "metadata": {"name": "j", "creationTimestamp": time::format(START)},
            "spec": self.spec, "status": self.status,
        }));
        if let Some(pod) = &self.pod {
            let state = match (pod.phase, pod.failed) {
                ("Pending", _) => json!({}),
                ("Running", true) => json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                ("Running", false) => json!({"running": {"startedAt": time::format(START)}}),
                (phase, _) => json!({"terminated": {
                    "exitCode": u8::from(phase == "Failed"), "startedAt": time::format(START),
                    "finishedAt": time::format(now)}}),
            };
            let last = if pod.failed {
                json!({"terminated": {"exitCode": 1}})
            } else {
                json!({})
            };
            let deleted = pod.terminating.then(|| time::format(now));
            scenario = scenario.child(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "j-runner", "uid": pod.uid, "deletionTimestamp": deleted},
                "status": {"phase": pod.phase, "containerStatuses": [
                    {"restartCount": pod.restarts, "state": state, "lastState": last}]},
            }));
        }
        if let Some(terminating) = self.cluster {
            let deleted = terminating.then(|| time::format(now));
            scenario = scenario.child(json!({
                "apiVersion": kinds::DASK_API_VERSION, "kind": "DaskCluster",
                "metadata": {"name": "j", "deletionTimestamp": deleted},
            }));
        }
        let worker = |number| worker(format!("w{number}"), format!("tcp://10.0.0.{number}:1"));
        let facts = answer(now, (0..self.workers).map(worker).collect());
        scenario.scheduler(facts).after(self.seconds * 1000)
    }

    fn apply(&mut self, step: &Step) {
        let never = self.never();
        match step {
            Step::Starts => {
                if let Some(pod) = self.pod.as_mut().filter(|pod| !pod.terminating) {
                    match (pod.phase, pod.failed) {
                        ("Pending", _) => pod.phase = "Running",
                        ("Running", true) => {
                            pod.failed = false;
                            pod.restarts += 1;
                        }
                        _ => {}
                    }
                    if pod.phase == "Running" {
                        self.starts.insert(pod.uid.clone(), pod.restarts + 1);
                    }
                }
            }
            Step::Fails => self.if_running(|pod| {
                if never {
                    pod.phase = "Failed";
                } else {
                    pod.failed = true;
                }
            }),
            Step::Succeeds => self.if_running(|pod| pod.phase = "Succeeded"),
            Step::Evicted => {
                if let Some(pod) = self
                    .pod
                    .as_mut()
                    .filter(|pod| ["Pending", "Running"].contains(&pod.phase))
                {
                    pod.phase = "Failed";
                }
            }
            Step::Deleted => {
                if let Some(pod) = &mut self.pod {
                    pod.terminating = true;
                }
            }
            Step::Gone => {
                self.pod = self.pod.take().filter(|pod| !pod.terminating);
                self.cluster = self.cluster.filter(|terminating| !terminating);
            }
            Step::Vanishes => self.pod = None,
            Step::Suspend(suspend) => self.spec["suspend"] = json!(suspend),
            Step::Time(seconds) => self.seconds += i64::from(*seconds),
            Step::Workers(workers) => self.workers = usize::from(*workers),
            Step::Reconcile {
                writes,
                writes_status,
            } => self.reconcile(*writes, *writes_status),
        }
    }

    fn if_running(&mut self, change: impl FnOnce(&mut Pod)) {
        if let Some(pod) = self
            .pod
            .as_mut()
            .filter(|pod| pod.phase == "Running" && !pod.failed)
        {
            change(pod);
        }
    }

    /// Makes a plan, checks it and applies some of its writes.
    fn reconcile(&mut self, writes: u8, writes_status: bool) {
        let plan = self.scenario().plan::<Job, DefaultJob>().expect("plan");
        self.check(&plan);
        let mut bits = (0..8).map(|bit| writes & (1 << bit) != 0);
        let mut done = || bits.next().unwrap_or(true);
        let creates = |kind: &str, name: &str| {
            let child = plan.child(kind, name).map(|child| &child.action);
            matches!(child, Some(ChildAction::Create(_) | ChildAction::Apply(_)))
        };
        if self.cluster.is_some() && plan.child("DaskCluster", "j").is_none() && done() {
            self.cluster = Some(true);
        }
        if plan.child("Pod", "j-runner").is_none()
            && done()
            && let Some(pod) = &mut self.pod
        {
            pod.terminating = true;
        }
        if self.pod.is_none() && creates("Pod", "j-runner") && done() {
            self.made += 1;
            self.pod = Some(Pod {
                uid: format!("u{}", self.made),
                phase: "Pending",
                restarts: 0,
                failed: false,
                terminating: false,
            });
        }
        if self.cluster.is_none() && creates("DaskCluster", "j") && done() {
            self.cluster = Some(false);
        }
        if writes_status {
            self.write_status(&plan);
        }
        if plan.0.delete_parent.is_some() {
            assert!(self.is_over(), "it is deleted before its end is written");
        }
    }

    fn write_status(&mut self, plan: &Outcome) {
        let before = self.status.clone();
        let after = Scenario::of("{metadata: {name: j}, spec: {}}").with(&Outcome(
            dask_operator_plugin::contract::Plan {
                children: Vec::new(),
                ..plan.0.clone()
            },
        ));
        self.status = after.parent()["status"].clone();
        // As the host sets the transition times.
        let now = time::format(START + self.seconds * 1000);
        let old = before["conditions"].as_array().cloned().unwrap_or_default();
        for condition in self.status["conditions"].as_array_mut().into_iter().flatten() {
            let same = old
                .iter()
                .find(|old| old["type"] == condition["type"] && old["status"] == condition["status"]);
            condition["lastTransitionTime"] =
                same.map_or_else(|| json!(now), |old| old["lastTransitionTime"].clone());
        }
        if self.is_suspended() {
            self.starts.clear();
            self.recorded.clear();
        } else if let Some(pod) = &self.pod
            && self.status["attempts"]["runner"] == pod.uid.as_str()
        {
            self.recorded.insert(pod.uid.clone(), pod.restarts + 1);
        }
    }

    fn check(&self, plan: &Outcome) {
        let (before, status) = (self.phase(), plan.status());
        let after = PHASES.iter().position(|phase| status["jobStatus"] == *phase);
        assert!(after >= before, "{:?} after {before:?}", status);
        if self.is_over() {
            assert_eq!(after, before, "the end is final");
            assert_eq!(plan.0.events, []);
        }
        if after >= Some(3) {
            let fields = status.as_object().expect("object").keys().map(String::as_str);
            let known = [
                "clusterName",
                "endTime",
                "jobRunnerPodName",
                "jobStatus",
                "startTime",
            ];
            assert!(fields.into_iter().all(|field| known.contains(&field)), "{status}");
            assert!(status["endTime"].is_string());
            assert!(plan.0.conditions.is_empty());
        }
        let settled = self.is_over() || self.is_suspended();
        if self.cluster == Some(false) && plan.child("DaskCluster", "j").is_none() {
            assert!(
                settled,
                "the cluster is deleted before the status tells the reason"
            );
        }
        let creates = plan.object("Pod", "j-runner").is_some();
        if creates {
            assert!(self.pod.is_none() && !self.is_over(), "two runners");
            if let Some(limit) = self.limit() {
                assert!(
                    self.recorded.values().sum::<u64>() <= limit,
                    "{:?}",
                    self.recorded
                );
            }
        }
        if let Some(pod) = self
            .pod
            .as_ref()
            .filter(|pod| !pod.terminating && !self.is_over())
        {
            if pod.phase == "Succeeded" {
                assert_eq!(status["jobStatus"], "Successful");
            }
            if pod.phase == "Failed" && self.limit().is_none() {
                assert_eq!(status["jobStatus"], "Failed");
            }
        }
    }

    /// Applies plans without further failures until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..10 {
            self.reconcile(u8::MAX, true);
            self.apply(&Step::Gone);
        }
        let suspended = self.spec["suspend"] == true;
        if self.is_over() || suspended {
            let alive = self
                .pod
                .as_ref()
                .is_some_and(|pod| ["Pending", "Running"].contains(&pod.phase));
            assert!(!alive, "the runner of an ended or suspended job still runs");
        }
        let keeps = self.status["jobStatus"] == "Failed" && self.spec["deletionPolicy"] == "OnSuccess";
        assert!(
            !self.is_over() || keeps || self.cluster.is_none(),
            "a cluster is left"
        );
        if !self.is_over() && !suspended {
            let waits = self.spec["waitForWorkers"].as_u64() > Some(self.workers as u64);
            assert!(self.pod.is_some() || waits, "there is no runner");
            assert_eq!(self.cluster, Some(false), "there is no cluster");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reaches_a_consistent_state_after_any_events(spec in spec(), steps in prop::collection::vec(step(), 0..40)) {
        let mut simulation = Simulation::new(spec);
        for step in &steps {
            simulation.apply(step);
        }
        simulation.settle();
    }

    #[test]
    fn an_operator_that_sees_each_event_respects_the_backoff_limit(
        spec in spec(), steps in prop::collection::vec(step(), 0..40),
    ) {
        let mut simulation = Simulation::new(spec);
        for step in &steps {
            simulation.apply(step);
            simulation.reconcile(u8::MAX, true);
            simulation.reconcile(u8::MAX, true);
            if let Some(limit) = simulation.limit() {
                let starts = simulation.starts.values().sum::<u64>();
                prop_assert!(starts <= limit + 1, "{:?} {:?}", simulation.starts, steps);
            }
        }
    }
}
