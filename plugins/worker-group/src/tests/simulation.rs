//! A group with its scheduler, in whatever happens to them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::silence::GIVE_UP;

/// Milliseconds from one plan to the next.
const STEP: i64 = 1000;
/// `drainTimeoutSeconds`, in milliseconds: time enough to be stuck.
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
        let mark = self.object["metadata"]["annotations"][metadata::RETIRING_SINCE].as_str()?;
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

/// What happens before a plan.
#[derive(Debug, Clone)]
enum Happens {
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

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        2 => Just(Happens::Nothing),
        2 => (0..8_u32).prop_map(Happens::Scale),
        6 => any::<usize>().prop_map(Happens::Starts),
        6 => any::<usize>().prop_map(Happens::Registers),
        2 => (any::<usize>(), 0..1000_u64).prop_map(|(pod, bytes)| Happens::Works(pod, bytes)),
        1 => any::<usize>().prop_map(Happens::IsLost),
        1 => any::<usize>().prop_map(Happens::Disconnects),
        1 => any::<bool>().prop_map(Happens::Unreachable),
        1 => any::<bool>().prop_map(Happens::Refuses),
        1 => any::<bool>().prop_map(Happens::WritesFail),
        1 => any::<u8>().prop_map(Happens::NewTemplate),
    ]
}

#[derive(Debug)]
struct World {
    pods: BTreeMap<String, SimulatedPod>,
    now: i64,
    replicas: u32,
    strategy: Value,
    scale_down: &'static str,
    template: u8,
    /// Whether the cluster has other workers.
    others: bool,
    unreachable: bool,
    refuses: bool,
    /// Whether marks can't be written, although the status can.
    writes_fail: bool,
    asked: bool,
    /// Since when the scheduler has answered each time.
    answers_since: Option<i64>,
    status: Value,
}

impl World {
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
            asked: false,
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

    fn happen(&mut self, what: &Happens) {
        match *what {
            Happens::Nothing => {}
            Happens::Scale(replicas) => self.replicas = replicas,
            Happens::Unreachable(unreachable) => self.unreachable = unreachable,
            Happens::Refuses(refuses) => self.refuses = refuses,
            Happens::WritesFail(writes_fail) => self.writes_fail = writes_fail,
            Happens::NewTemplate(template) => self.template = template % 3,
            Happens::Starts(pod) => {
                if let Some(pod) = self.pod(pod).filter(|pod| pod.state == State::Pending) {
                    pod.state = State::Running;
                }
            }
            Happens::Registers(pod) => {
                if let Some(pod) = self
                    .pod(pod)
                    .filter(|pod| pod.state == State::Running && pod.mark().is_none())
                {
                    pod.registered = true;
                }
            }
            Happens::Works(pod, bytes) => {
                if let Some(pod) = self.pod(pod) {
                    pod.bytes = bytes;
                }
            }
            Happens::IsLost(pod) => {
                if let Some(pod) = self.pod(pod) {
                    (pod.state, pod.registered) = (State::Lost, false);
                }
            }
            Happens::Disconnects(pod) => {
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
        match (self.asked, self.unreachable) {
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

    /// Plans, checks the plan and carries it out.
    fn step(&mut self) {
        let blind = self.unreachable || !self.asked;
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
        let takes = self.others || registered > 1;
        for (name, pod) in &self.pods {
            if outcome.child("Pod", name).is_some() || pod.state != State::Running {
                continue;
            }
            let since = pod.mark();
            let since_asked = START + self.answers_since.unwrap_or(self.now);
            let due = since.is_some_and(|since| START + self.now - STEP >= since.max(since_asked) + TIMEOUT);
            match self.scale_down {
                "unsafe" if blind => {
                    assert!(self.asked, "the scheduler was never asked about {name}");
                    let since = self.status["schedulerUnreachableSince"].as_str();
                    let since = since.and_then(time::parse).expect("it was silent before");
                    assert!(
                        START + self.now - STEP >= since + GIVE_UP,
                        "{name} is given up at once"
                    );
                }
                _ => {
                    assert!(!blind, "{name} is deleted while nobody can be asked");
                    assert!(since.is_some(), "{name} is deleted without a mark");
                    assert!(!pod.registered || due, "{name} is deleted while it is a worker");
                    let is_loss = self.scale_down == "drain" && pod.registered && pod.bytes > 0;
                    assert!(
                        !is_loss || takes,
                        "{name} is deleted while no other worker takes its results"
                    );
                }
            }
        }
        let mut called_back = 0;
        self.pods.retain(|name, _| outcome.child("Pod", name).is_some());
        for child in &outcome.0.children {
            let name = child.key.name.clone();
            match &child.action {
                ChildAction::Keep => {}
                ChildAction::Apply(_) if self.writes_fail => {}
                ChildAction::Apply(object) => {
                    let object: Value = serde_json::from_str(object).expect("JSON");
                    let pod = self.pods.get_mut(&name).expect("only who exists is marked");
                    let mark = &object["metadata"]["annotations"][metadata::RETIRING_SINCE];
                    called_back += usize::from(mark.is_null() && pod.mark().is_some());
                    let present = &mut pod.object["metadata"];
                    present["labels"] = object["metadata"]["labels"].clone();
                    match present["annotations"].as_object_mut() {
                        Some(annotations) if mark.is_null() => {
                            annotations.remove(metadata::RETIRING_SINCE);
                        }
                        _ => present["annotations"][metadata::RETIRING_SINCE] = mark.clone(),
                    }
                }
                ChildAction::Create(object) => {
                    let mut object: Value = serde_json::from_str(object).expect("JSON");
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
        self.asked = outcome.0.scheduler.is_some();
        for address in outcome.0.scheduler.iter().flat_map(|request| &request.retire) {
            let name = address.trim_start_matches("tcp://").trim_end_matches(":1");
            let pod = self
                .pods
                .get_mut(name)
                .expect("only this group's workers are retired");
            assert!(pod.mark().is_some(), "{name} is retired without a mark");
            // Dask keeps a worker whose results no other can take.
            pod.registered &= self.refuses || (pod.bytes > 0 && !takes);
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
            counted(&self.pods) <= most.max(counted_before) + called_back,
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

    /// Everything works from now on.
    fn settle(&mut self) {
        (self.unreachable, self.refuses, self.writes_fail) = (false, false, false);
        if self.replicas == 0 {
            // The results are fetched.
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

    /// Whether the group has all that it shall have, and nothing is left to do.
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
            && (!updated || (!self.asked && self.status["conditions"].as_array().map(Vec::len) == Some(1)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_all_ends_well(
        events in prop::collection::vec(happens(), 0..60),
        strategy in prop::sample::select(vec![
            json!(null), json!({"type": "OnDelete"}), json!({"maxSurge": 2}),
            json!({"maxUnavailable": 2}), json!({"maxUnavailable": 1, "maxSurge": 1}),
        ]),
        scale_down in prop::sample::select(vec!["drain", "drain", "unsafe"]),
        others in any::<bool>(),
    ) {
        let mut world = World::new(strategy, scale_down, others);
        for event in &events {
            world.happen(event);
            world.step();
        }
        world.settle();
        prop_assert!(world.is_settled(), "{:?}", world);
    }
}
