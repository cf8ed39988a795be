//! Property test: a simulated group and scheduler with random events.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::silence::OUTAGE_TIMEOUT;

/// Milliseconds between two plans.
const STEP: i64 = 1000;
/// `drainTimeoutSeconds` in milliseconds, long enough for workers to count as stuck.
const TIMEOUT: i64 = 40_000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Pending,
    Running,
    Lost,
}

#[derive(Debug, Clone)]
struct SimulatedPod {
    state: State,
    registered: bool,
    bytes: u64,
    object: Value,
}

impl SimulatedPod {
    fn mark(&self) -> Option<Timestamp> {
        let mark = self.object["metadata"]["annotations"][metadata::ANNOTATION_RETIRING_SINCE].as_str()?;
        time::parse(mark)
    }

    fn observed(&self) -> Value {
        let mut object = self.object.clone();
        object["status"] = match self.state {
            State::Pending => pending(),
            State::Running => running(),
            State::Lost => json!({"phase": "Failed", "reason": "Evicted"}),
        };
        object
    }
}

/// An event before a plan.
#[derive(Debug, Clone)]
enum Event {
    Nothing,
    Scale(u32),
    Starts(usize),
    Registers(usize),
    Works(usize, u64),
    IsLost(usize),
    Disconnects(usize),
    Unreachable(bool),
    Refuses(bool),
    WritesFail(bool),
    NewTemplate(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Nothing),
        2 => (0..8_u32).prop_map(Event::Scale),
        6 => any::<usize>().prop_map(Event::Starts),
        6 => any::<usize>().prop_map(Event::Registers),
        2 => (any::<usize>(), 0..1000_u64).prop_map(|(pod, bytes)| Event::Works(pod, bytes)),
        1 => any::<usize>().prop_map(Event::IsLost),
        1 => any::<usize>().prop_map(Event::Disconnects),
        1 => any::<bool>().prop_map(Event::Unreachable),
        1 => any::<bool>().prop_map(Event::Refuses),
        1 => any::<bool>().prop_map(Event::WritesFail),
        1 => any::<u8>().prop_map(Event::NewTemplate),
    ]
}

#[derive(Debug)]
struct Simulation {
    pods: BTreeMap<String, SimulatedPod>,
    now: i64,
    replicas: u32,
    strategy: Value,
    scale_down: &'static str,
    template: u8,
    /// True if the cluster has other workers.
    others: bool,
    unreachable: bool,
    refuses: bool,
    /// True if marks can't be written, although the status can.
    writes_fail: bool,
    queried: bool,
    /// Time since which the scheduler has replied to each query.
    answers_since: Option<i64>,
    status: Value,
}

impl Simulation {
    fn new(strategy: Value, scale_down: &'static str, others: bool) -> Self {
        Self {
            pods: BTreeMap::new(),
            now: 0,
            replicas: 5,
            strategy,
            scale_down,
            template: 0,
            others,
            unreachable: false,
            refuses: false,
            writes_fail: false,
            queried: false,
            answers_since: None,
            status: json!({}),
        }
    }

    fn limits(&self) -> (usize, usize) {
        let count = |field: &str| self.strategy[field].as_u64().map(|count| count as usize);
        let surge = count("maxSurge").unwrap_or(0);
        (count("maxUnavailable").unwrap_or(usize::from(surge == 0)), surge)
    }

    fn pod(&mut self, number: usize) -> Option<&mut SimulatedPod> {
        let number = number.checked_rem(self.pods.len())?;
        self.pods.values_mut().nth(number)
    }

    fn apply(&mut self, what: &Event) {
        match *what {
            Event::Nothing => {}
            Event::Scale(replicas) => self.replicas = replicas,
            Event::Unreachable(unreachable) => self.unreachable = unreachable,
            Event::Refuses(refuses) => self.refuses = refuses,
            Event::WritesFail(writes_fail) => self.writes_fail = writes_fail,
            Event::NewTemplate(template) => self.template = template % 3,
            Event::Starts(pod) => {
                if let Some(pod) = self.pod(pod).filter(|pod| pod.state == State::Pending) {
                    pod.state = State::Running;
                }
            }
            Event::Registers(pod) => {
                if let Some(pod) = self
                    .pod(pod)
                    .filter(|pod| pod.state == State::Running && pod.mark().is_none())
                {
                    pod.registered = true;
                }
            }
            Event::Works(pod, bytes) => {
                if let Some(pod) = self.pod(pod) {
                    pod.bytes = bytes;
                }
            }
            Event::IsLost(pod) => {
                if let Some(pod) = self.pod(pod) {
                    (pod.state, pod.registered) = (State::Lost, false);
                }
            }
            Event::Disconnects(pod) => {
                if let Some(pod) = self.pod(pod) {
                    pod.registered = false;
                }
            }
        }
    }

    fn scenario(&self) -> Scenario {
        let registered = self.pods.iter().filter(|(_, pod)| pod.registered);
        let mut known: Vec<(&str, u32, u64)> = registered
            .map(|(name, pod)| (name.as_str(), u32::from(pod.bytes > 500), pod.bytes))
            .collect();
        if self.others {
            known.extend([("other-worker-1", 0, 0), ("other-worker-2", 0, 0)]);
        }
        let scenario = group(self.replicas)
            .after(self.now)
            .status(self.status.clone())
            .change(|group| {
                let worker = &mut group["spec"]["worker"];
                worker["updateStrategy"] = self.strategy.clone();
                worker["scaleDown"] = json!(self.scale_down);
                worker["drainTimeoutSeconds"] = json!(TIMEOUT / 1000);
                let version = self.template.to_string();
                worker["spec"] = json!({"containers": [{"name": "worker", "image": format!("i:{version}")}]});
                worker["metadata"] = json!({"labels": {"version": version}});
            });
        let scenario = self
            .pods
            .values()
            .fold(scenario, |scenario, pod| scenario.child(pod.observed()));
        match (self.queried, self.unreachable) {
            (false, _) => scenario,
            (true, true) => scenario.unreachable("gone"),
            (true, false) => scenario.scheduler(SchedulerFacts {
                answers_since: START + self.answers_since.unwrap_or(self.now),
                ..facts(self.now, &known)
            }),
        }
    }

    fn ready(&self) -> usize {
        let ready = self
            .pods
            .values()
            .filter(|pod| pod.state == State::Running && pod.mark().is_none());
        ready.count()
    }

    /// Makes a plan, checks it and applies it.
    fn step(&mut self) {
        let blind = self.unreachable || !self.queried;
        self.answers_since = (!blind).then(|| self.answers_since.unwrap_or(self.now));
        let scenario = self.scenario();
        let outcome = plan(&scenario);
        self.now += STEP;
        let ready_before = self.ready();
        let counted = |pods: &BTreeMap<String, SimulatedPod>| {
            pods.values()
                .filter(|pod| pod.state != State::Lost && pod.mark().is_none())
                .count()
        };
        let counted_before = counted(&self.pods);

        let registered = self.pods.values().filter(|pod| pod.registered).count();
        let has_recipients = self.others || registered > 1;
        for (name, pod) in &self.pods {
            if outcome.child("Pod", name).is_some() || pod.state != State::Running {
                continue;
            }
            let since = pod.mark();
            let since_queried = START + self.answers_since.unwrap_or(self.now);
            let due =
                since.is_some_and(|since| START + self.now - STEP >= since.max(since_queried) + TIMEOUT);
            match self.scale_down {
                "unsafe" if blind => {
                    assert!(self.queried, "the scheduler was never queried about {name}");
                    let since = self.status["schedulerUnreachableSince"].as_str();
                    let since = since
                        .and_then(time::parse)
                        .expect("start of the outage in the status");
                    assert!(
                        START + self.now - STEP >= since + OUTAGE_TIMEOUT,
                        "{name} is deleted too early"
                    );
                }
                _ => {
                    assert!(
                        !blind,
                        "{name} is deleted although the scheduler can't be queried"
                    );
                    assert!(since.is_some(), "{name} is deleted without a mark");
                    assert!(!pod.registered || due, "{name} is deleted while it is registered");
                    let is_loss = self.scale_down == "drain" && pod.registered && pod.bytes > 0;
                    assert!(
                        !is_loss || has_recipients,
                        "{name} is deleted while no other worker takes its results"
                    );
                }
            }
        }
        let mut reinstated = 0;
        self.pods.retain(|name, _| outcome.child("Pod", name).is_some());
        for child in &outcome.0.children {
            let name = child.key.name.clone();
            match &child.action {
                ChildAction::Keep => {}
                ChildAction::Apply(_) if self.writes_fail => {}
                ChildAction::Apply(object) => {
                    let object: Value = serde_json::from_str(object).expect("JSON");
                    let pod = self
                        .pods
                        .get_mut(&name)
                        .expect("only existing workers are marked");
                    let mark = &object["metadata"]["annotations"][metadata::ANNOTATION_RETIRING_SINCE];
                    reinstated += usize::from(mark.is_null() && pod.mark().is_some());
                    let present = &mut pod.object["metadata"];
                    present["labels"] = object["metadata"]["labels"].clone();
                    match present["annotations"].as_object_mut() {
                        Some(annotations) if mark.is_null() => {
                            annotations.remove(metadata::ANNOTATION_RETIRING_SINCE);
                        }
                        _ => present["annotations"][metadata::ANNOTATION_RETIRING_SINCE] = mark.clone(),
                    }
                }
                ChildAction::Create(_) | ChildAction::Copy(_) => {
                    let mut object = outcome.object_of(child).expect("an object");
                    object["apiVersion"] = json!("v1");
                    object["kind"] = json!("Pod");
                    object["metadata"]["name"] = json!(name);
                    object["metadata"]["creationTimestamp"] = json!(time::format(START + self.now));
                    let pod = SimulatedPod {
                        state: State::Pending,
                        registered: false,
                        bytes: 0,
                        object,
                    };
                    assert!(self.pods.insert(name, pod).is_none(), "a name is used twice");
                }
            }
        }
        self.queried = outcome.0.scheduler.is_some();
        for address in outcome.0.scheduler.iter().flat_map(|request| &request.retire) {
            let name = address.trim_start_matches("tcp://").trim_end_matches(":1");
            let pod = self
                .pods
                .get_mut(name)
                .expect("only this group's workers are retired");
            assert!(pod.mark().is_some(), "{name} is retired without a mark");
            // Dask keeps a worker if no other worker can take its results.
            pod.registered &= self.refuses || (pod.bytes > 0 && !has_recipients);
        }

        let (max_unavailable, max_surge) = self.limits();
        let replicas = self.replicas as usize;
        let least = replicas.saturating_sub(max_unavailable);
        assert!(
            self.ready() >= least.min(ready_before),
            "{} of {least} are left: {:?}",
            self.ready(),
            outcome.summary()
        );
        let has_successor = self.strategy["type"] != "OnDelete" && self.scale_down == "drain" && !self.others;
        let most = replicas + max_surge + usize::from(has_successor);
        assert!(
            counted(&self.pods) <= most.max(counted_before) + reinstated,
            "more than {most}: {:?}",
            outcome.summary()
        );

        let mut status = outcome.status();
        let conditions = outcome.0.conditions.iter().map(|c| {
            json!({"type": c.type_, "reason": c.reason, "status": if c.status == ConditionStatus::True { "True" } else { "False" }})
        });
        status["conditions"] = conditions.collect();
        self.status = status;
    }

    /// Applies plans without further failures until nothing is left to do.
    fn settle(&mut self) {
        (self.unreachable, self.refuses, self.writes_fail) = (false, false, false);
        if self.replicas == 0 {
            // The user fetches the results.
            self.pods.values_mut().for_each(|pod| pod.bytes = 0);
        }
        // Longer than the longest back-off.
        for _ in 0..400 {
            for pod in self.pods.values_mut().filter(|pod| pod.state != State::Lost) {
                (pod.state, pod.registered) = (State::Running, pod.registered || pod.mark().is_none());
            }
            self.step();
            if self.is_settled() {
                break;
            }
        }
    }

    /// Returns whether the group is in its desired state and nothing is left to do.
    fn is_settled(&self) -> bool {
        let replicas = json!(self.replicas);
        let updated = self.status["updatedReplicas"] == replicas;
        self.pods.len() == self.replicas as usize
            && self
                .pods
                .values()
                .all(|pod| pod.registered && pod.mark().is_none())
            && self.status["readyReplicas"] == replicas
            && (self.strategy["type"] == "OnDelete" || updated)
            && (!updated || (!self.queried && self.status["conditions"].as_array().map(Vec::len) == Some(1)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn loses_no_results_and_settles(
        events in prop::collection::vec(event(), 0..60),
        strategy in prop::sample::select(vec![
            json!(null), json!({"type": "OnDelete"}), json!({"maxSurge": 2}),
            json!({"maxUnavailable": 2}), json!({"maxUnavailable": 1, "maxSurge": 1}),
        ]),
        scale_down in prop::sample::select(vec!["drain", "drain", "unsafe"]),
        others in any::<bool>(),
    ) {
        let mut simulation = Simulation::new(strategy, scale_down, others);
        for event in &events {
            simulation.apply(event);
            simulation.step();
        }
        simulation.settle();
        prop_assert!(simulation.is_settled(), "{:?}", simulation);
    }
}
