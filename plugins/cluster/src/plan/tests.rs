use dask_operator_plugin::dask::{kinds, time};
use dask_operator_plugin::testing::{Outcome, START, Scenario, answer, worker};

use super::*;

mod available;
mod idle;
mod registration;
mod restarts;
mod suspension;
mod update;

fn simple() -> Scenario {
    Scenario::of("{metadata: {name: simple, generation: 2}, spec: {worker: {replicas: 2}}}")
}

fn plan(scenario: &Scenario) -> Outcome {
    scenario.plan::<Cluster, DefaultCluster>().expect("plan")
}

fn pod(status: Value) -> Value {
    let labels = json!({
        "dask.org/cluster-name": "simple", "dask.org/component": "scheduler", "sidecar.istio.io/inject": "false",
    });
    json!({
        "apiVersion": "v1", "kind": "Pod", "status": status,
        "metadata": {"name": "simple-scheduler", "labels": labels},
    })
}

fn ready_pod() -> Value {
    pod(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}))
}

fn service(type_: &str, ingress: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "simple-scheduler"},
        "spec": {"type": type_}, "status": {"loadBalancer": {"ingress": ingress}},
    })
}

fn group(replicas: u32, ready: u32) -> Value {
    json!({
        "apiVersion": kinds::DASK_API_VERSION, "kind": "DaskWorkerGroup",
        "metadata": {"name": "simple-default", "annotations": {"kubernetes.dask.org/cluster-replicas": "2"}},
        "spec": {"worker": {"replicas": replicas}}, "status": {"replicas": replicas, "readyReplicas": ready},
    })
}

fn complete_cluster(pod: Value) -> Scenario {
    simple()
        .child(pod)
        .child(service("ClusterIP", &Value::Null))
        .child(group(2, 2))
}

/// The summary of a plan without a scheduler.
const WITHOUT_SCHEDULER: [&str; 2] = [
    "apply Service simple-scheduler",
    "apply DaskWorkerGroup simple-default",
];

#[test]
fn plans_the_children_of_a_new_cluster() {
    let plan = plan(&simple());
    assert_eq!(
        plan.summary(),
        [
            "create Pod simple-scheduler",
            "apply Service simple-scheduler",
            "apply DaskWorkerGroup simple-default"
        ]
    );
    assert_eq!(
        plan.status(),
        json!({
            "phase": "Created", "replicas": 0, "readyReplicas": 0, "observedGeneration": 2,
            "selector": "dask.org/cluster-name=simple,dask.org/component=worker,dask.org/workergroup-name=simple-default",
        })
    );
    let pod = plan.object("Pod", "simple-scheduler").expect("pod");
    assert_eq!(
        pod["metadata"]["labels"],
        json!({"dask.org/cluster-name": "simple", "dask.org/component": "scheduler", "sidecar.istio.io/inject": "false"})
    );
    assert_eq!(
        pod["spec"]["containers"][0]["env"],
        Value::Null,
        "nothing is injected into the scheduler"
    );
    let service = plan.object("Service", "simple-scheduler").expect("service");
    assert_eq!(
        service["metadata"]["labels"],
        json!({"dask.org/cluster-name": "simple", "dask.org/component": "scheduler"})
    );
    let group = plan.object("DaskWorkerGroup", "simple-default").expect("group");
    assert_eq!(
        group["metadata"]["annotations"],
        json!({"kubernetes.dask.org/cluster-replicas": "2"})
    );
    assert_eq!(
        (&group["spec"]["cluster"], &group["spec"]["worker"]["replicas"]),
        (&json!("simple"), &json!(2))
    );
}

/// A user's copy of the default group, including its labels, is left alone.
#[test]
fn a_copy_of_the_default_group_is_left_alone_and_counted() {
    let mut copy = group(3, 1);
    copy["metadata"]["name"] = json!("copy");
    let plan = plan(&complete_cluster(ready_pod()).child(copy));
    assert_eq!(
        plan.summary().last().map(String::as_str),
        Some("keep DaskWorkerGroup copy")
    );
    assert_eq!(
        plan.condition("WorkersReady").as_deref(),
        Some("False WorkersStarting: 3 of 5 workers are ready")
    );
}

#[test]
fn the_phase_is_running_when_all_parts_exist() {
    let starting = plan(&complete_cluster(pod(json!({"phase": "Pending"}))));
    assert_eq!(starting.status()["phase"], "Running");
    assert_eq!(
        starting.condition("Available").as_deref(),
        Some("False SchedulerStarting: pod simple-scheduler is starting")
    );
    let ready = plan(&complete_cluster(ready_pod()));
    assert_eq!(
        ready.condition("WorkersReady").as_deref(),
        Some("True AllReady: 2 of 2 workers are ready")
    );
    assert_eq!(ready.events(), [""; 0]);
}

#[test]
fn a_load_balancer_without_address_is_pending() {
    let with = |ingress: Value| {
        plan(
            &simple()
                .child(ready_pod())
                .child(service("LoadBalancer", &ingress))
                .child(group(2, 0)),
        )
    };
    let waiting = with(Value::Null);
    assert_eq!(waiting.status()["phase"], "Pending");
    assert!(
        waiting
            .condition("Available")
            .is_some_and(|text| text.starts_with("False ServiceUnreachable"))
    );
    assert_eq!(with(json!([{"ip": "192.0.2.1"}])).status()["phase"], "Running");
}

#[test]
fn reports_a_crash_loop() {
    let crashing = pod(
        json!({"phase": "Running", "containerStatuses": [{"name": "scheduler", "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}}}]}),
    );
    let plan = plan(&complete_cluster(crashing));
    assert_eq!(plan.status()["phase"], "Running");
    assert_eq!(
        plan.condition("SchedulerReady").as_deref(),
        Some("False CrashLoopBackOff: pod simple-scheduler waits: container scheduler: back-off 5m0s")
    );
}

#[test]
fn replaces_a_lost_scheduler_after_it_is_gone() {
    let seen = json!({"phase": "Running", "schedulerUid": "uid-of-simple-scheduler"});
    // 1. The pod has ended. It is left out of the plan, so that it is deleted. No second one is created.
    let mut over = pod(json!({"phase": "Failed", "reason": "Evicted", "message": "memory"}));
    over["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    let evicted = complete_cluster(over).status(seen);
    let at_once = plan(&evicted.clone().after(4000));
    assert_eq!(
        (at_once.summary()[0].as_str(), at_once.0.requeue_after),
        ("keep Pod simple-scheduler", Some(6000)),
        "a scheduler that ends just after its creation is not replaced at once"
    );
    let first = plan(&evicted.after(10_000));
    assert_eq!(first.summary(), WITHOUT_SCHEDULER);
    assert_eq!(first.status()["phase"], "Running");
    assert!(
        first
            .condition("SchedulerReady")
            .is_some_and(|text| text.starts_with("False SchedulerLost: "))
    );
    assert_eq!(
        first.events(),
        [
            "SchedulerLost: the scheduler ended soon after its start (Evicted: memory) and is replaced now, and later each \
             time that it happens again"
        ]
    );
    // 2. The pod is being deleted. It keeps its name until then.
    let mut going = ready_pod();
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(
        plan(&complete_cluster(going).status(first.status())).summary()[0],
        "keep Pod simple-scheduler"
    );
    // 3. The pod is gone. A new one is created and counted.
    let gone = simple()
        .child(service("ClusterIP", &Value::Null))
        .child(group(2, 2))
        .status(first.status());
    let third = plan(&gone);
    assert_eq!(third.summary()[0], "create Pod simple-scheduler");
    assert_eq!(third.status()["schedulerRestarts"], 1);
    assert_eq!(third.events(), [""; 0], "the end was already reported");
    // 4. The new pod was not observed yet. The plan is repeated, but not counted again.
    let fourth = plan(&gone.clone().status(third.status()));
    assert_eq!(fourth.status()["schedulerRestarts"], 1);
    assert_eq!(fourth.events(), [""; 0]);
    // 5. The new pod exists.
    let mut new = ready_pod();
    new["metadata"]["uid"] = json!("another");
    let fifth = plan(&complete_cluster(new.clone()).status(fourth.status()));
    assert_eq!(
        (&fifth.status()["schedulerRestarts"], fifth.events().len()),
        (&json!(1), 0)
    );
    assert!(
        fifth
            .condition("SchedulerRestarted")
            .is_some_and(|text| text.contains("started anew once"))
    );
    // Without a plan in between, the different UID shows the loss.
    let jump = plan(&complete_cluster(new).status(first.status()));
    assert_eq!(
        (&jump.status()["schedulerRestarts"], jump.events().len()),
        (&json!(1), 0)
    );
}

#[test]
fn leaves_the_deployment_of_an_older_operator_alone() {
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "simple-scheduler"},
        "status": {"readyReplicas": 1}});
    let plan = plan(&complete_cluster(deployment).status(json!({"phase": "Running"})));
    assert_eq!(plan.summary()[0], "keep Deployment simple-scheduler");
    assert!(
        plan.condition("SchedulerReady")
            .is_some_and(|text| text.starts_with("True"))
    );
    assert_eq!(plan.status()["phase"], "Running");
}

#[test]
fn counts_the_workers_of_other_groups() {
    let mut other = group(3, 1);
    other["metadata"]["name"] = json!("gpu");
    let plan = plan(&complete_cluster(ready_pod()).related(other));
    assert_eq!(
        plan.condition("WorkersReady").as_deref(),
        Some("False WorkersStarting: 3 of 5 workers are ready")
    );
    assert_eq!(
        plan.status()["replicas"],
        2,
        "the cluster's own number is that of the default group"
    );
}

#[test]
fn a_repeated_plan_changes_nothing() {
    let first = simple();
    let second = first.clone().with(&plan(&first));
    let third = second.clone().with(&plan(&second));
    let (second, third) = (plan(&second), plan(&third));
    assert_eq!(second.0.children, third.0.children);
    assert_eq!(second.summary()[0], "keep Pod simple-scheduler");
    assert_eq!(third.status()["phase"], "Running");
    assert_eq!(third.0.events, []);
}

#[test]
fn reports_the_reason_why_workers_are_not_ready() {
    let said = |reason: &str, message: &str, status: &str| {
        let mut group = group(2, 0);
        group["status"]["conditions"] =
            json!([{"type": "WorkersReady", "status": status, "reason": reason, "message": message}]);
        let scenario = simple()
            .child(ready_pod())
            .child(service("ClusterIP", &Value::Null))
            .child(group);
        let first = plan(&scenario);
        let again = plan(&scenario.with(&first));
        let of_workers = |event: &String| event.starts_with("WorkersNotReady");
        assert_eq!(
            again.events().into_iter().filter(of_workers).count(),
            0,
            "it is reported once"
        );
        let events = first.events().into_iter().filter(of_workers).collect::<Vec<_>>();
        (first.condition("WorkersReady").unwrap_or_default(), events)
    };
    let no_node = "worker group simple-default: 2 wait: Unschedulable (0/1 nodes are available)";
    assert_eq!(
        said(
            "Unschedulable",
            "0 of 2 workers are ready; 2 wait: Unschedulable (0/1 nodes are available)",
            "False"
        ),
        (
            format!("False Unschedulable: 0 of 2 workers are ready; {no_node}"),
            vec![format!("WorkersNotReady: 0 of 2 workers are ready; {no_node}")]
        )
    );
    let starting = "False WorkersStarting: 0 of 2 workers are ready".to_owned();
    assert_eq!(
        said("WorkersStarting", "0 of 2 workers are ready", "False"),
        (starting.clone(), vec![])
    );
    assert_eq!(
        said("AllReady", "2 workers are ready", "True"),
        (starting, vec![])
    );
}

/// Returns the default group with these conditions.
fn group_with_conditions(ready: u32, conditions: Value) -> Value {
    let mut group = group(2, ready);
    group["status"]["conditions"] = conditions;
    group
}

#[test]
fn repeats_the_conditions_of_the_default_group() {
    let condition = |type_: &str, status: &str, reason: &str, message: &str| json!({"type": type_, "status": status, "reason": reason, "message": message});
    let drained = "1 of 2 workers are ready; 1 worker is being drained, and replaced after that: a";
    let conditions = json!([
        condition("WorkersReady", "False", "WorkersRetiring", drained),
        condition("ScaleDownBlocked", "True", "WorkersHoldData", "b holds results"),
        condition(
            "WorkersUpToDate",
            "False",
            "RollingUpdate",
            "1 of 2 workers are up to date"
        ),
        condition("SpecQuestionable", "True", "Mistakes", "of the group"),
    ]);
    let scenario = simple()
        .child(ready_pod())
        .child(service("ClusterIP", &Value::Null))
        .child(group_with_conditions(1, conditions));
    let said = plan(&scenario);
    assert_eq!(
        said.condition("WorkersReady").as_deref(),
        Some(
            "False WorkersRetiring: 1 of 2 workers are ready; worker group simple-default: 1 worker is being drained, and replaced \
             after that: a"
        )
    );
    assert_eq!(said.events(), [""; 0], "draining is not a problem");
    assert_eq!(
        (
            said.condition("ScaleDownBlocked").as_deref(),
            said.condition("WorkersUpToDate").as_deref()
        ),
        (
            Some("True WorkersHoldData: b holds results"),
            Some("False RollingUpdate: 1 of 2 workers are up to date")
        )
    );
    assert_eq!(
        said.condition("SpecQuestionable"),
        None,
        "the cluster has a condition of its own"
    );
    let suspended = plan(&scenario.change(|cluster| cluster["spec"]["suspend"] = json!(true)));
    assert_eq!(
        (
            suspended.condition("ScaleDownBlocked"),
            suspended.condition("WorkersUpToDate")
        ),
        (None, None)
    );
    assert_eq!(
        plan(&complete_cluster(ready_pod())).condition("WorkersUpToDate"),
        None
    );
}

#[test]
fn problems_take_precedence_over_replacements() {
    let condition = |reason: &str| json!([{"type": "WorkersReady", "status": "False", "reason": reason, "message": "0 of 2; words"}]);
    let mut other = group_with_conditions(1, condition("Unschedulable"));
    other["metadata"]["name"] = json!("gpu");
    let scenario = simple()
        .child(ready_pod())
        .child(service("ClusterIP", &Value::Null))
        .child(group_with_conditions(0, condition("WorkersRetiring")))
        .related(other);
    assert_eq!(
        plan(&scenario).condition("WorkersReady").as_deref(),
        Some("False Unschedulable: 1 of 4 workers are ready; worker group gpu: words")
    );
}

#[test]
fn reports_mistakes_in_a_condition() {
    let copied = json!({"dask.org/cluster-name": "other", "dask.org/component": "scheduler"});
    let scenario = simple().change(|cluster| cluster["spec"]["scheduler"]["service"]["selector"] = copied);
    assert_eq!(
        plan(&scenario).condition("SpecQuestionable").as_deref(),
        Some(
            "True Mistakes: spec.scheduler.service.selector.dask.org/cluster-name: it selects no scheduler of this \
             cluster: write `dask.org/cluster-name: simple`"
        )
    );
    assert_eq!(plan(&simple()).condition("SpecQuestionable"), None);
}
