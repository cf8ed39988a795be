//! Which workers a group shall have.

use std::collections::HashSet;

use dask_operator_plugin::dask::metadata;
use dask_operator_plugin::dask::names::WorkerNames;
use dask_operator_plugin::dask::resource::{self, Resource};
use dask_operator_plugin::dask::{defaults, kinds};
use dask_operator_plugin::prelude::*;
use dask_operator_plugin::{WorkerGroup, log};

use crate::census::{Census, Lost, Worker};
use crate::template::Template;
use crate::{DefaultWorkerGroup, Settings, validate};

/// Whether as many workers are ready as the group shall have.
const WORKERS_READY: &str = "WorkersReady";
/// Workers that are too many are held back.
const SCALE_DOWN_BLOCKED: &str = "ScaleDownBlocked";

/// How long to wait for a cluster that does not exist.
const LOOK_AGAIN: u64 = 30_000;
/// The shortest time between two batches, where no delay is set.
const NEXT_BATCH: u64 = 1000;
/// How many names a sentence holds.
const NAMED: usize = 3;

/// Plans a `DaskWorkerGroup`.
pub(crate) fn worker_group(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
    let group = <DefaultWorkerGroup as Logic<WorkerGroup>>::default(observation.parent_json()?, settings)?;
    Error::if_invalid(validate::worker_group(&group, None))?;
    let group = Resource::of(&group);
    let census = Census::of(observation)?;
    let cluster_name = group.spec["cluster"].as_str().unwrap_or_default();
    match observation.related_object(&kinds::cluster(), cluster_name) {
        None => {
            let message = format!(
                "there is no DaskCluster {cluster_name} in namespace {}",
                group.namespace
            );
            Ok(as_it_is(&group, &census, "ClusterNotFound", message, observation))
        }
        Some(cluster) if cluster.terminating => {
            let message = format!("DaskCluster {cluster_name} is being deleted");
            Ok(as_it_is(
                &group,
                &census,
                "ClusterTerminating",
                message,
                observation,
            ))
        }
        Some(observed) => {
            let mut cluster: Value = observed.read()?;
            defaults::cluster_spec(&mut cluster["spec"], cluster_name, &settings.default_image);
            let plan = workers(&group, &Resource::of(&cluster), &census, observation, settings);
            let ChildKey {
                api_version,
                kind,
                name,
            } = observed.key.clone();
            Ok(Plan {
                owner: Some(Owner {
                    api_version,
                    kind,
                    name,
                    uid: observed.uid.clone(),
                }),
                ..plan
            })
        }
    }
}

/// Without a cluster nothing is created and nothing is taken.
fn as_it_is(
    group: &Resource<'_>,
    census: &Census<'_>,
    reason: &str,
    message: String,
    observation: &Observation,
) -> Plan {
    let everything = observation.children.iter().flat_map(|kind| &kind.objects);
    Plan {
        children: everything.map(DesiredChild::keep).collect(),
        status: status(group, census),
        conditions: vec![Condition::new(
            WORKERS_READY,
            ConditionStatus::False,
            reason,
            message,
        )],
        requeue_after: Some(LOOK_AGAIN),
        ..Plan::default()
    }
}

fn workers(
    group: &Resource<'_>,
    cluster: &Resource<'_>,
    census: &Census<'_>,
    observation: &Observation,
    settings: &Settings,
) -> Plan {
    let desired = resource::replicas(&group.spec["worker"]) as usize;
    let missing = desired.saturating_sub(census.workers.len() + census.lost.len());
    let surplus = census.workers.len().saturating_sub(desired);
    let (taken, held) = victims(census, surplus);
    let batch = Batch::of(missing, census, observation.now, settings);

    let kept = census
        .workers
        .iter()
        .map(|worker| worker.observed)
        .filter(|observed| !taken.contains(&observed.key.name.as_str()));
    let mut children: Vec<DesiredChild> = kept
        .chain(census.terminating.iter().copied())
        .map(DesiredChild::keep)
        .collect();
    if batch.size > 0 {
        let template = Template::of(group, cluster, settings);
        let names = WorkerNames::new(group.name, observation.seed, names_taken(observation));
        children.extend(names.take(batch.size).map(|name| template.worker(name)));
        log::debug(format!("{} of {missing} missing workers are created", batch.size));
    }

    let mut conditions = vec![workers_ready(census, desired)];
    let mut events = lost(&census.lost);
    if held > 0 {
        let blocked = scale_down_blocked(held);
        if !group.condition_holds(SCALE_DOWN_BLOCKED) {
            events.push(Event::warning(SCALE_DOWN_BLOCKED, blocked.message.clone()));
        }
        conditions.push(blocked);
    }
    Plan {
        children,
        status: status(group, census),
        conditions,
        events,
        requeue_after: batch.again,
        ..Plan::default()
    }
}

/// How many workers are created now, and when to ask again for the rest.
struct Batch {
    size: usize,
    again: Option<u64>,
}

impl Batch {
    fn of(missing: usize, census: &Census<'_>, now: Timestamp, settings: &Settings) -> Self {
        let limit = settings
            .batch_size
            .filter(|limit| *limit > 0)
            .map_or(usize::MAX, |limit| limit as usize);
        let delay = i64::from(settings.delay.unwrap_or(0)) * 1000;
        let due = census.newest().map_or(now, |newest| newest + delay);
        let again = u64::try_from(delay).unwrap_or(0).max(NEXT_BATCH);
        match missing {
            0 => Self { size: 0, again: None },
            // Nobody who set no batch size asked for a pause.
            _ if limit != usize::MAX && due > now => Self {
                size: 0,
                again: u64::try_from(due - now).ok(),
            },
            _ if missing > limit => Self {
                size: limit,
                again: Some(again),
            },
            _ => Self {
                size: missing,
                again: None,
            },
        }
    }
}

/// Which of the workers that are too many can go without loss, by name; and how many can't. First those without a
/// node, then the newest.
fn victims<'a>(census: &Census<'a>, surplus: usize) -> (HashSet<&'a str>, usize) {
    let mut harmless: Vec<&Worker<'a>> = census
        .workers
        .iter()
        .filter(|worker| !worker.may_hold_data)
        .collect();
    harmless.sort_by_key(|worker| (worker.scheduled, std::cmp::Reverse(worker.created)));
    let taken: HashSet<&str> = harmless
        .iter()
        .take(surplus)
        .map(|worker| worker.observed.key.name.as_str())
        .collect();
    let held = surplus - taken.len();
    (taken, held)
}

/// Names that no new worker can have: those of all that exist, in whatever state, and those that the scheduler knows.
fn names_taken(observation: &Observation) -> impl Iterator<Item = &str> {
    let objects = observation
        .children
        .iter()
        .flat_map(|kind| &kind.objects)
        .map(|object| object.key.name.as_str());
    let known = match &observation.scheduler {
        SchedulerState::Facts(facts) => facts.workers.as_slice(),
        SchedulerState::NotAsked | SchedulerState::Unreachable(_) => &[],
    };
    objects.chain(known.iter().map(|worker| worker.name.as_str()))
}

fn workers_ready(census: &Census<'_>, desired: usize) -> Condition {
    let ready = census.ready();
    let counted = match ready > desired {
        true => format!("{ready} workers are ready, {desired} are wanted"),
        false => format!("{ready} of {desired} workers are ready"),
    };
    if ready >= desired {
        return Condition::new(WORKERS_READY, ConditionStatus::True, "AllReady", counted);
    }
    match census.trouble() {
        Some((count, cause)) => {
            let message = format!("{counted}; {count} wait: {} ({})", cause.reason, cause.message);
            Condition::new(WORKERS_READY, ConditionStatus::False, &cause.reason, message)
        }
        None => Condition::new(WORKERS_READY, ConditionStatus::False, "WorkersStarting", counted),
    }
}

fn scale_down_blocked(held: usize) -> Condition {
    let who = match held {
        1 => "1 worker more than wanted is".to_owned(),
        _ => format!("{held} workers more than wanted are"),
    };
    let message = format!(
        "{who} held back, because results that nobody else has may be lost: delete a worker's pod to let it go"
    );
    Condition::new(
        SCALE_DOWN_BLOCKED,
        ConditionStatus::True,
        "WorkersMayHoldData",
        message,
    )
}

/// One event for all workers that are over, however many.
fn lost(lost: &[Lost<'_>]) -> Vec<Event> {
    let Some(first) = lost.first() else {
        return Vec::new();
    };
    let mut names: Vec<&str> = lost.iter().take(NAMED).map(|lost| lost.name).collect();
    if lost.len() > NAMED {
        names.push("…");
    }
    let names = names.join(", ");
    let why = if first.cause.message.is_empty() {
        String::new()
    } else {
        format!(": {}", first.cause.message)
    };
    let message = format!(
        "{} lost and will be replaced ({}{why}): {names}",
        counted(lost.len(), "worker"),
        first.cause.reason
    );
    vec![Event::warning("WorkerLost", message)]
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what} is")
    } else {
        format!("{count} {what}s are")
    }
}

fn status(group: &Resource<'_>, census: &Census<'_>) -> String {
    let cluster = group.spec["cluster"].as_str().unwrap_or_default();
    let mut status = json!({
        "replicas": census.workers.len(),
        "readyReplicas": census.ready(),
        "selector": metadata::selector(&metadata::worker_labels(cluster, group.name)),
    });
    if let Some(generation) = group.generation() {
        status["observedGeneration"] = json!(generation);
    }
    status.to_string()
}

#[cfg(test)]
mod tests {
    use dask_operator_plugin::testing::{Outcome, START, Scenario};

    use super::*;

    fn cluster() -> Value {
        json!({
            "apiVersion": kinds::DASK, "kind": "DaskCluster",
            "metadata": {"name": "simple", "labels": {"team": "cluster", "from": "cluster"}},
            "spec": {},
        })
    }

    fn group(replicas: u32) -> Scenario {
        let group = json!({
            "metadata": {"name": "simple-default", "generation": 4, "labels": {"team": "group"}},
            "spec": {"cluster": "simple", "worker": {"replicas": replicas}},
        });
        Scenario::of_value(group).related(cluster())
    }

    fn pod(name: &str, status: Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod", "status": status,
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        })
    }

    fn running() -> Value {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
    }

    fn pending() -> Value {
        json!({"phase": "Pending"})
    }

    fn plan(scenario: &Scenario) -> Outcome {
        scenario.plan::<WorkerGroup, DefaultWorkerGroup>().expect("plan")
    }

    fn count(plan: &Outcome, action: &str) -> usize {
        plan.summary()
            .iter()
            .filter(|line| line.starts_with(action))
            .count()
    }

    #[test]
    fn a_new_group() {
        let plan = plan(&group(3));
        assert_eq!(count(&plan, "create Pod"), 3);
        let name = plan.0.children[0].key.name.clone();
        let pod = plan.object("Pod", &name).expect("pod");
        assert_eq!(
            pod["spec"]["containers"][0]["env"],
            json!([
                {"name": "DASK_WORKER_NAME", "value": name},
                {"name": "DASK_SCHEDULER_ADDRESS", "value": "tcp://simple-scheduler.default.svc:8786"},
            ])
        );
        let labels = &pod["metadata"]["labels"];
        assert_eq!(
            (&labels["team"], &labels["from"]),
            (&json!("group"), &json!("cluster"))
        );
        assert_eq!(labels["sidecar.istio.io/inject"], "false");
        assert_eq!(
            plan.status(),
            json!({
                "replicas": 0, "readyReplicas": 0, "observedGeneration": 4,
                "selector": "dask.org/cluster-name=simple,dask.org/component=worker,dask.org/workergroup-name=simple-default",
            })
        );
        assert_eq!(
            plan.condition(WORKERS_READY).as_deref(),
            Some("False WorkersStarting: 0 of 3 workers are ready")
        );
        assert_eq!(
            plan.0.owner.as_ref().map(|owner| owner.kind.as_str()),
            Some("DaskCluster")
        );
    }

    #[test]
    fn half_done_work_is_finished_with_the_same_names() {
        let all = plan(&group(5));
        let mut half = group(5).with(&all);
        let third = all.0.children[2].key.name.clone();
        half = Scenario::of_value(half.parent().clone()).related(cluster());
        for child in all.0.children.iter().filter(|child| child.key.name != third) {
            half = half.child(pod(&child.key.name, pending()));
        }
        let rest = plan(&half);
        assert_eq!(count(&rest, "keep"), 4);
        assert_eq!(
            rest.summary().last().map(String::as_str),
            Some(format!("create Pod {third}").as_str())
        );
    }

    #[test]
    fn a_plan_applied_to_its_own_result_changes_nothing() {
        let scenario = group(20);
        let after = scenario.clone().with(&plan(&scenario));
        assert_eq!(count(&plan(&after), "keep"), 20);
        assert_eq!(plan(&after).0.children.len(), 20);
    }

    #[test]
    fn lost_workers_hold_their_place_until_they_are_gone() {
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
        let scenario = group(2).child(pod("a", evicted)).child(pod("b", running()));
        let first = plan(&scenario);
        assert_eq!(
            first.summary(),
            ["keep Pod b"],
            "a is deleted, its successor is not there yet"
        );
        assert_eq!(
            first.events(),
            ["WorkerLost: 1 worker is lost and will be replaced (Evicted: low on memory): a"]
        );
        assert_eq!(first.status()["replicas"], 1);
        let second = plan(&group(2).child(pod("b", running())));
        assert_eq!(count(&second, "create"), 1);
        assert_eq!(second.events(), [""; 0]);
    }

    #[test]
    fn terminating_workers_are_kept_and_not_counted() {
        let mut going = pod("a", running());
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let plan = plan(&group(2).child(going).child(pod("b", running())));
        assert_eq!((count(&plan, "keep"), count(&plan, "create")), (2, 1));
        assert_eq!(plan.status()["replicas"], 1);
    }

    #[test]
    fn scaling_down_takes_only_what_never_worked() {
        let creating = json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]});
        let base = group(1)
            .child(pod("a", running()))
            .child(pod("b", running()))
            .child(pod("c", creating))
            .child(pod("d", pending()));
        let first = plan(&base);
        assert_eq!(first.summary(), ["keep Pod a", "keep Pod b"]);
        let blocked = first.condition(SCALE_DOWN_BLOCKED).expect("blocked");
        assert!(
            blocked.starts_with("True WorkersMayHoldData: 1 worker more than wanted is held back"),
            "{blocked}"
        );
        assert_eq!(first.0.events.len(), 1);
        let again = plan(&base.with(&first));
        assert_eq!(again.0.events, [], "it is said once");
        assert!(again.condition(SCALE_DOWN_BLOCKED).is_some());
    }

    #[test]
    fn the_unscheduled_and_the_newest_go_first() {
        let mut scheduled = pod("a", pending());
        scheduled["spec"] = json!({"nodeName": "n"});
        let mut newer = pod("c", pending());
        newer["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:09Z");
        let base = |replicas| {
            group(replicas)
                .child(scheduled.clone())
                .child(pod("b", pending()))
                .child(newer.clone())
        };
        assert_eq!(plan(&base(2)).summary(), ["keep Pod a", "keep Pod b"]);
        assert_eq!(plan(&base(1)).summary(), ["keep Pod a"]);
        assert_eq!(plan(&base(0)).summary(), [""; 0]);
    }

    #[test]
    fn batches() {
        let settings = json!({"batchSize": 2, "delay": 10});
        let first = plan(&group(5).settings(&settings));
        assert_eq!(
            (count(&first, "create"), first.0.requeue_after),
            (2, Some(10_000))
        );
        let two = group(5)
            .settings(&settings)
            .child(pod("a", pending()))
            .child(pod("b", pending()));
        let early = plan(&two.clone().after(4000));
        assert_eq!((count(&early, "create"), early.0.requeue_after), (0, Some(6000)));
        let due = plan(&two.after(10_000));
        assert_eq!((count(&due, "create"), due.0.requeue_after), (2, Some(10_000)));
        let last = plan(&group(2).settings(&settings));
        assert_eq!((count(&last, "create"), last.0.requeue_after), (2, None));
    }

    #[test]
    fn deployments_from_before_are_workers() {
        let deployment = |name: &str, ready: u32| {
            json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "status": {"readyReplicas": ready}})
        };
        let plan = plan(&group(3).child(deployment("x", 1)).child(deployment("y", 0)));
        assert_eq!(
            (count(&plan, "keep Deployment"), count(&plan, "create Pod")),
            (2, 1)
        );
        assert_eq!(
            (&plan.status()["replicas"], &plan.status()["readyReplicas"]),
            (&json!(2), &json!(1))
        );
    }

    #[test]
    fn names_that_the_scheduler_knows_are_not_used_again() {
        let first = plan(&group(1)).0.children[0].key.name.clone();
        let worker = SchedulerWorker {
            address: "tcp://10.0.0.1:1".into(),
            name: first.clone(),
            status: "running".into(),
            processing: 0,
            managed_bytes: 0,
            last_seen: START,
        };
        let facts = SchedulerFacts {
            observed_at: START,
            workers: vec![worker],
            desired_workers: None,
            idle_since: None,
        };
        assert_ne!(plan(&group(1).scheduler(facts)).0.children[0].key.name, first);
    }

    #[test]
    fn without_a_cluster_nothing_is_taken() {
        let alone = Scenario::of_value(group(5).parent().clone()).child(pod("a", running()));
        let plan = plan(&alone);
        assert_eq!(plan.summary(), ["keep Pod a"]);
        assert_eq!(plan.0.requeue_after, Some(LOOK_AGAIN));
        assert!(
            plan.condition(WORKERS_READY)
                .is_some_and(|text| text.contains("ClusterNotFound"))
        );
    }

    #[test]
    fn the_commonest_trouble_is_said() {
        let waiting = |reason: &str| {
            json!({"phase": "Pending", "containerStatuses": [
            {"name": "worker", "state": {"waiting": {"reason": reason, "message": "m"}}}]})
        };
        let scenario = group(3)
            .child(pod("a", waiting("ErrImagePull")))
            .child(pod("b", waiting("ImagePullBackOff")))
            .child(pod("c", waiting("ImagePullBackOff")));
        assert_eq!(
            plan(&scenario).condition(WORKERS_READY).as_deref(),
            Some(
                "False ImagePullBackOff: 0 of 3 workers are ready; 2 wait: ImagePullBackOff (container worker: m)"
            )
        );
    }

    #[test]
    fn a_wrong_group_is_invalid() {
        let error = group(1).change(|group| group["spec"]["worker"]["replicas"] = json!(-1));
        let error = error
            .plan::<WorkerGroup, DefaultWorkerGroup>()
            .expect_err("invalid");
        assert!(matches!(error, Error::Invalid(findings) if findings[0].field == "spec.worker.replicas"));
    }
}
