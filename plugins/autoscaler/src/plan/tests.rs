//! Tests of complete plans.

use dask_operator_plugin::dask::conditions::{AbleToScale, ScalingLimited};
use dask_operator_plugin::testing::{Outcome, START, Scenario, answer, worker};
use dask_operator_plugin::{Autoscaler, serde_json};

use super::*;
use crate::DefaultAutoscaler;

fn cluster() -> Value {
    json!({"apiVersion": kinds::DASK_API_VERSION, "kind": "DaskCluster", "metadata": {"name": "simple"}})
}

fn group(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": kinds::DASK_API_VERSION, "kind": "DaskWorkerGroup", "metadata": {"name": name},
        "spec": {"worker": {"replicas": replicas}},
    })
}

fn parent() -> Scenario {
    Scenario::of("{metadata: {name: a, generation: 4}, spec: {cluster: simple, minimum: 2, maximum: 10}}")
}

fn scenario(replicas: u32) -> Scenario {
    parent()
        .related(cluster())
        .related(group("simple-default", replicas))
}

/// Returns facts with this number of registered workers of the default group. As many of them are busy as the scheduler could
/// use.
fn facts(desired: Option<u32>, registered: u32) -> SchedulerFacts {
    let worker = |number| SchedulerWorker {
        processing: u32::from(desired.is_none_or(|desired| number < desired)),
        ..worker(
            format!("simple-default-worker-{number:010x}"),
            format!("tcp://10.0.0.{number}:40000"),
        )
    };
    SchedulerFacts {
        desired_workers: desired,
        ..answer(START, (0..registered).map(worker).collect())
    }
}

fn plan(scenario: &Scenario) -> Outcome {
    scenario.plan::<Autoscaler, DefaultAutoscaler>().expect("plan")
}

/// Returns the number of workers of the group after the plan.
fn scaled(plan: &Outcome, current: u32) -> u32 {
    plan.0.scale.first().map_or(current, |scale| scale.replicas)
}

#[test]
fn stays_within_minimum_and_maximum() {
    // Current number, demand of the scheduler, number after the plan.
    let cases = [
        (5, None, 5),
        (0, None, 2),
        (50, None, 10),
        (5, Some(7), 7),
        (5, Some(1000), 10),
        (10, Some(1000), 10),
        (100, Some(0), 10),
    ];
    for (current, desired, expected) in cases {
        let scenario = scenario(current);
        let plan = plan(&match desired {
            Some(desired) => scenario.scheduler(facts(Some(desired), 0)),
            None => scenario,
        });
        assert_eq!(scaled(&plan, current), expected, "{current} {desired:?}");
        assert_eq!(
            plan.0.events.len(),
            usize::from(current != expected),
            "an event only when something changes"
        );
        assert_eq!(plan.status()["desiredReplicas"], expected);
        assert_eq!(plan.status()["observedGeneration"], 4);
        assert_eq!(
            plan.0.owner.as_ref().map(|owner| owner.name.as_str()),
            Some("simple")
        );
    }
}

/// Returns another autoscaler of the cluster.
fn other(name: &str, created: &str, group: Option<&str>) -> Value {
    json!({
        "apiVersion": kinds::DASK_API_VERSION, "kind": "DaskAutoscaler",
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {"cluster": "simple", "workerGroup": group},
    })
}

#[test]
fn only_the_oldest_autoscaler_of_a_group_is_active() {
    let base = scenario(1).change(|a| a["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:05Z"));
    let after = "2026-01-01T00:00:09Z";
    let cases = [
        (other("b", "2026-01-01T00:00:01Z", None), true),
        (other("b", "2026-01-01T00:00:01Z", Some("simple-default")), true),
        (other("0", "2026-01-01T00:00:05Z", None), true),
        (other("b", "2026-01-01T00:00:05Z", None), false),
        (other("b", after, None), false),
        (other("b", "2026-01-01T00:00:01Z", Some("more")), false),
    ];
    for (other, is_older) in cases {
        let scenario = base.clone().related(other.clone()).scheduler(facts(Some(7), 1));
        let first = plan(&scenario);
        assert_eq!(scaled(&first, 1), if is_older { 1 } else { 7 }, "{other}");
        if is_older {
            let name = other["metadata"]["name"].as_str().unwrap_or_default();
            assert_eq!(
                first.condition(ScalingActive::TYPE),
                Some(format!(
                    "False AnotherAutoscaler: DaskAutoscaler {name} scales simple-default already, and is older: delete one of the two, \
                     or name another worker group in spec.workerGroup"
                ))
            );
            assert_eq!((first.events().len(), &first.0.scheduler), (1, &None));
            assert_eq!(
                plan(&scenario.with(&first)).events(),
                [""; 0],
                "it is reported once"
            );
        }
    }
    let mut going = other("b", "2026-01-01T00:00:01Z", None);
    going["metadata"]["deletionTimestamp"] = json!(after);
    assert_eq!(
        scaled(&plan(&base.related(going).scheduler(facts(Some(7), 1))), 1),
        7
    );
}

#[test]
fn queries_the_scheduler() {
    let asked = |scenario: &Scenario| plan(scenario).0.scheduler.expect("scheduler query");
    let request = asked(&scenario(5));
    assert_eq!(
        request.questions,
        [SchedulerQuestion::Demand, SchedulerQuestion::Workers]
    );
    assert_eq!(
        (request.period, request.target_duration, request.tls),
        (5000, None, false)
    );
    let request = asked(&scenario(5).change(|object| object["spec"]["targetDurationSeconds"] = json!(30)));
    assert_eq!(request.target_duration, Some(30_000));
    let mut with_tls = cluster();
    with_tls["spec"]["scheduler"]["spec"]["containers"] =
        json!([{"args": ["dask", "scheduler", "--protocol", "tls"]}]);
    assert!(asked(&parent().related(with_tls).related(group("simple-default", 5))).tls);
}

#[test]
fn reports_the_demand_and_the_result() {
    let plan = plan(&scenario(5).scheduler(facts(Some(100), 5)));
    assert_eq!(
        plan.condition(ScalingActive::TYPE).as_deref(),
        Some("True FollowsDemand: the scheduler could use 100 workers; simple-default has 5 and goes to 10")
    );
    assert_eq!(
        plan.condition(ScalingLimited::TYPE).as_deref(),
        Some("True TooManyReplicas: 100 workers are more than the maximum of 10")
    );
    assert_eq!(
        plan.events(),
        [
            "Scaled: worker group simple-default goes from 5 to 10 workers: the scheduler could use 100 workers, which is more \
             than the maximum"
        ]
    );
    assert_eq!(plan.status()["lastScaleTime"], "2026-01-01T00:00:00Z");
}

/// Makes plans as the host does: after each change, and at the times that plans request. Returns the times of changes in
/// seconds with the numbers of workers, and the number of status writes. Ends after `until` seconds.
fn follow(mut scenario: Scenario, mut replicas: u32, desired: u32, until: i64) -> (Vec<(i64, u32)>, usize) {
    let (mut now, mut changes, mut writes) = (0, Vec::new(), 0);
    let mut status = Value::Null;
    while now < until * 1000 {
        let mut facts = facts(Some(desired), replicas);
        facts.observed_at += now;
        let outcome = plan(&scenario.clone().after(now).scheduler(facts));
        let after = scaled(&outcome, replicas);
        scenario = scenario.with(&outcome);
        writes += usize::from(scenario.parent()["status"] != status);
        status = scenario.parent()["status"].clone();
        if after != replicas {
            changes.push((now / 1000, after));
            replicas = after;
            scenario = Scenario::of_value(scenario.parent().clone())
                .related(cluster())
                .related(group("simple-default", replicas));
            now += 100;
        } else {
            now += i64::try_from(outcome.0.requeue_after.expect("requeue")).expect("soon");
        }
    }
    (changes, writes)
}

#[test]
fn scales_down_after_a_minute_by_a_quarter_every_15_seconds() {
    let (changes, writes) = follow(scenario(10), 10, 2, 1000);
    assert_eq!(changes, [(60, 8), (75, 6), (90, 5), (105, 4), (120, 3), (135, 2)]);
    assert!(writes <= 3 * changes.len() + 2, "{writes}");
    let slowly = scenario(10).change(|object| {
        object["spec"]["scaleDown"] = json!({"windowSeconds": 300, "step": "100%"});
    });
    let (changes, _) = follow(slowly, 10, 2, 1000);
    assert_eq!(changes, [(300, 2)]);
}

#[test]
fn reports_the_reason_to_wait() {
    let first = scenario(10).scheduler(facts(Some(2), 10));
    let outcome = plan(&first);
    assert_eq!(
        outcome.condition(AbleToScale::TYPE).as_deref(),
        Some(
            "False DownWindow: wants 2, waits until 2026-01-01T00:01:00Z because 10 were wanted at 2026-01-01T00:00:00Z"
        )
    );
    assert_eq!(outcome.0.requeue_after, Some(60_000));
    let at = |scenario: Scenario, after: i64| {
        let mut facts = facts(Some(2), 10);
        facts.observed_at += after;
        plan(&scenario.scheduler(facts).after(after))
    };
    let again = at(first.clone().with(&outcome), 30_400);
    assert_eq!(again.0.conditions, outcome.0.conditions);
    assert_eq!(again.0.status, outcome.0.status, "nothing is written");
    assert_eq!(again.0.requeue_after, Some(29_600));
    let down = at(first.clone().with(&again), 60_000);
    assert_eq!(scaled(&down, 10), 8);
    assert_eq!(
        down.condition(ScalingLimited::TYPE).as_deref(),
        Some("True ScaleDownLimit: 2 workers at most may go in one step")
    );
}

#[test]
fn counts_starting_workers() {
    let first = scenario(10).scheduler(facts(Some(3), 3));
    let outcome = plan(&first);
    assert_eq!(scaled(&outcome, 10), 10);
    assert_eq!(
        outcome.condition(AbleToScale::TYPE).as_deref(),
        Some(
            "False WorkersStarting: workers that were asked for have not registered yet: they count as if they had \
             until 2026-01-01T00:05:00Z"
        )
    );
    assert_eq!(
        outcome.0.requeue_after,
        Some(60_001),
        "when the facts become too old, which is before the end of the start-up"
    );
}

#[test]
fn subtracts_the_workers_of_other_groups() {
    let mut facts = facts(Some(8), 3);
    facts.workers[0].name = "gpu-worker-0123456789".to_owned();
    let plan = plan(&scenario(2).related(group("gpu", 5)).scheduler(facts));
    assert_eq!(
        plan.condition(ScalingActive::TYPE).as_deref(),
        Some(
            "True FollowsDemand: the scheduler could use 8 workers, 1 registered in other groups; simple-default has 2 \
             and goes to 7"
        )
    );
}

#[test]
fn a_pod_that_runs_several_workers_is_one_replica() {
    let mut group = group("simple-default", 2);
    group["spec"]["worker"]["spec"] =
        json!({"containers": [{"name": "worker", "args": ["dask", "worker", "--nworkers", "4"]}]});
    let plan = plan(
        &parent()
            .related(cluster())
            .related(group)
            .scheduler(facts(Some(17), 2)),
    );
    assert_eq!(scaled(&plan, 2), 5);
    assert_eq!(
        plan.condition(ScalingActive::TYPE).as_deref(),
        Some(
            "True FollowsDemand: the scheduler could use 17 workers (4 in each pod); simple-default has 2 and goes to 5"
        )
    );
}

#[test]
fn scales_a_named_group() {
    let named = |scenario: Scenario| scenario.change(|object| object["spec"]["workerGroup"] = json!("gpu"));
    let outcome = plan(
        &named(scenario(2))
            .related(group("gpu", 5))
            .scheduler(facts(Some(9), 2)),
    );
    assert_eq!(outcome.0.scale[0].worker_group, "gpu");
    assert_eq!(outcome.0.scale[0].replicas, 7);
    let outcome = plan(&named(scenario(2)));
    assert_eq!(
        outcome.events(),
        ["WorkerGroupNotFound: there is no DaskWorkerGroup gpu of the DaskCluster simple to scale"]
    );
}

#[test]
fn waits_for_missing_objects_and_reports_them_once() {
    let outcome = plan(&parent());
    let message = "there is no DaskCluster simple in namespace default: an autoscaler and its cluster must share a \
                   namespace";
    assert_eq!(
        outcome.condition(ScalingActive::TYPE),
        Some(format!("False ClusterNotFound: {message}"))
    );
    assert_eq!(outcome.events(), [format!("ClusterNotFound: {message}")]);
    assert_eq!(outcome.0.requeue_after, Some(MISSING_RETRY));
    assert!(outcome.0.scale.is_empty() && outcome.0.scheduler.is_none());
    assert_eq!(plan(&parent().with(&outcome)).events(), [""; 0]);
    let without_group = parent().related(cluster()).with(&outcome);
    assert_eq!(
        plan(&without_group).events().len(),
        1,
        "the reason is another one"
    );
}

#[test]
fn keeps_the_limits_without_a_demand() {
    let cases = [
        (scenario(20), "SchedulerNotAsked"),
        (scenario(20).unreachable("refused"), "SchedulerUnreachable"),
        (scenario(20).scheduler(facts(None, 20)), "NoDemand"),
    ];
    for (scenario, reason) in cases {
        let plan = plan(&scenario);
        assert_eq!(scaled(&plan, 20), 10, "minimum and maximum apply");
        let condition = plan.condition(ScalingActive::TYPE).expect("condition");
        assert!(condition.starts_with(&format!("False {reason}: ")), "{condition}");
        assert!(plan.0.scheduler.is_some(), "the query continues");
    }
}

#[test]
fn ignores_facts_that_are_too_old() {
    let answered = scenario(5).scheduler(facts(Some(7), 5));
    let outcome = plan(&answered.clone().after(60_000));
    assert_eq!((scaled(&outcome, 5), outcome.0.requeue_after), (7, Some(1)));
    let outcome = plan(&answered.after(60_001));
    assert_eq!((scaled(&outcome, 5), outcome.0.requeue_after), (5, Some(5000)));
    assert_eq!(
        outcome.condition(ScalingActive::TYPE).as_deref(),
        Some(
            "False StaleAnswer: the scheduler last answered at 2026-01-01T00:00:00Z; only minimum and maximum are kept"
        )
    );
}

#[test]
fn scales_nothing_while_the_cluster_is_suspended() {
    let mut suspended = cluster();
    suspended["spec"]["suspend"] = json!(true);
    let outcome = plan(&parent().related(suspended).related(group("simple-default", 50)));
    assert!(outcome.0.scale.is_empty() && outcome.0.scheduler.is_none());
    assert_eq!(
        outcome.condition(ScalingActive::TYPE).as_deref(),
        Some("False ClusterSuspended: the DaskCluster simple is suspended: nothing is scaled")
    );
    let status: Value = serde_json::from_str(&outcome.0.status).expect("JSON");
    assert_eq!(status["desiredReplicas"], 50);
}

#[test]
fn scales_nothing_until_the_time_in_the_annotation() {
    let cooling = scenario(50)
        .change(|object| {
            object["metadata"]["annotations"]["kubernetes.dask.org/cooldown-until"] = json!("1767225614.5");
        })
        .scheduler(facts(Some(8), 8));
    let outcome = plan(&cooling);
    assert!(outcome.0.scale.is_empty() && outcome.0.events.is_empty());
    assert_eq!(
        outcome.condition(AbleToScale::TYPE).as_deref(),
        Some(
            "False CoolDown: nothing is scaled until 2026-01-01T00:00:15Z, as the annotation \
             kubernetes.dask.org/cooldown-until says"
        )
    );
    assert_eq!(outcome.0.requeue_after, Some(15_000));
    assert_eq!(scaled(&plan(&cooling.after(15_000)), 50), 10);
}

#[test]
fn reports_a_change_once() {
    let first = scenario(5).scheduler(facts(Some(7), 5));
    let outcome = plan(&first);
    assert_eq!(outcome.events().len(), 1);
    // The change of the group was not observed yet.
    let again = plan(&first.with(&outcome).after(10));
    assert_eq!((scaled(&again, 5), again.events().len()), (7, 0));
}
