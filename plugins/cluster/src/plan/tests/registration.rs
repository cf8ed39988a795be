//! Tests of workers that do not register with the scheduler.

use super::*;

const UID: &str = "11111111-1111-4111-8111-111111111111";

/// Returns a cluster with this group, whose scheduler became ready this many milliseconds ago. The pair is the status of
/// `WorkersReady`, and the milliseconds since its last transition.
fn with_group(group: Value, milliseconds: i64, (ready, ready_for): (&str, i64)) -> Scenario {
    let mut scheduler = ready_pod();
    scheduler["metadata"]["uid"] = json!(UID);
    let condition = |type_: &str, status: &str, reason: &str, milliseconds: i64| {
        let since = time::format(START - milliseconds);
        json!({"type": type_, "status": status, "reason": reason, "message": "m", "lastTransitionTime": since})
    };
    simple()
        .child(scheduler)
        .child(service("ClusterIP", &Value::Null))
        .child(group)
        .status(json!({"schedulerUid": UID, "conditions": [
            condition("SchedulerReady", "True", "SchedulerReady", milliseconds),
            condition("WorkersReady", ready, "AllReady", ready_for),
            condition("Available", "True", "SchedulerReachable", milliseconds)]}))
}

/// Returns a cluster as [`with_group`] does, with this many workers, which became ready at the same time as the scheduler.
fn with_workers(workers: u32, milliseconds: i64) -> Scenario {
    with_group(group(workers, workers), milliseconds, ("True", milliseconds))
}

fn ready_for(milliseconds: i64) -> Scenario {
    with_workers(2, milliseconds)
}

fn facts(workers: &[&str]) -> SchedulerFacts {
    answer(
        START,
        workers
            .iter()
            .map(|name| worker(*name, "tcp://10.0.0.7:1"))
            .collect(),
    )
}

fn available(plan: &Outcome) -> String {
    plan.condition("Available").expect("condition")
}

#[test]
fn queries_the_scheduler_only_if_registration_takes_long() {
    let soon = plan(&ready_for(10_000));
    assert_eq!(
        (soon.0.scheduler.is_none(), soon.0.requeue_after),
        (true, Some(50_000))
    );
    let late = plan(&ready_for(60_000));
    let request = late.0.scheduler.as_ref().expect("scheduler query");
    assert_eq!(request.questions, [SchedulerQuestion::Workers]);
    assert_eq!(available(&late), "True SchedulerReachable: clients can connect");

    let found = plan(&ready_for(60_000).scheduler(facts(&["w"])));
    assert_eq!((found.0.scheduler.is_none(), found.0.requeue_after), (true, None));
    assert_eq!(found.status()["registeredWith"], UID);
    let again =
        plan(&ready_for(3_600_000).change(|cluster| cluster["status"]["registeredWith"] = json!(UID)));
    assert_eq!((again.0.scheduler.is_none(), again.0.requeue_after), (true, None));
    assert_eq!(again.status()["registeredWith"], UID);
    let other = ready_for(3_600_000).change(|cluster| cluster["status"]["registeredWith"] = json!("another"));
    assert!(
        plan(&other).0.scheduler.is_some(),
        "the UID is of another scheduler"
    );

    assert!(plan(&with_workers(0, 60_000)).0.scheduler.is_none());
}

#[test]
fn reports_that_no_worker_has_registered() {
    let none = ready_for(60_000).scheduler(facts(&[]));
    let text = available(&plan(&none));
    let beginning = "True NoWorkerRegistered: clients can connect, but none of 2 workers has registered with the scheduler, which \
                     they are told to call at tcp://simple-scheduler.default.svc:8786; if its settings turn TLS on, write";
    assert!(text.starts_with(beginning), "{text}");
    let elsewhere = none.clone().change(|cluster| {
        cluster["spec"]["scheduler"]["spec"]["containers"] =
            json!([{"name": "scheduler", "image": "i:1", "args": ["dask", "scheduler", "--port", "9999"]}]);
    });
    let text = available(&plan(&elsewhere));
    assert!(
        text.ends_with("; the condition SpecQuestionable says what is probably wrong"),
        "{text}"
    );
    // The finding stays until there are new facts.
    let known = none.with(&plan(&elsewhere));
    let since = json!("2025-12-31T23:00:00Z");
    let waiting = ready_for(60_000).change(|cluster| {
        cluster["status"] = known.parent()["status"].clone();
        for condition in cluster["status"]["conditions"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            condition["lastTransitionTime"] = since.clone();
        }
    });
    assert_eq!(available(&plan(&waiting)), text);
}

#[test]
fn reports_a_scheduler_that_the_operator_cannot_query() {
    let silent = ready_for(60_000).unreachable("it hung up");
    let text = available(&plan(&silent));
    assert!(
        text.starts_with("True SchedulerNotAsked: the scheduler is ready, but it isn't known whether a worker has registered")
            && text.contains("can't ask it by tcp: it hung up; if its settings turn TLS on, write `--protocol`, `tls` in \
                              spec.scheduler.spec.containers[0].args"),
        "{text}"
    );
    let said = silent.change(|cluster| {
        cluster["spec"]["scheduler"]["spec"]["containers"] =
            json!([{"name": "scheduler", "image": "i:1", "args": ["dask", "scheduler", "--protocol", "tls"]}]);
    });
    let text = available(&plan(&said));
    assert!(text.ends_with("can't ask it by tls: it hung up"), "{text}");
}

#[test]
fn late_workers_have_time_to_register() {
    let hour = 3_600_000;
    // Number of ready workers, status of `WorkersReady` and its age; reason, and requeue.
    let cases = [
        // The group was just scaled up from 0.
        (0, "True", hour, "SchedulerReachable", None),
        // Images are being pulled.
        (0, "False", 600_000, "SchedulerReachable", None),
        // The workers just became ready.
        (2, "False", 90_000, "SchedulerReachable", Some(60_000)),
        (2, "True", 20_000, "SchedulerReachable", Some(40_000)),
        (2, "True", 59_000, "SchedulerReachable", Some(1000)),
        (2, "True", 60_000, "NoWorkerRegistered", None),
        (1, "False", 60_000, "NoWorkerRegistered", None),
    ];
    for (ready, status, ready_for, reason, again) in cases {
        let scenario = with_group(group(2, ready), hour, (status, ready_for)).scheduler(facts(&[]));
        let plan = plan(&scenario);
        let text = available(&plan);
        assert!(
            text.starts_with(&format!("True {reason}")),
            "{ready} {status} {ready_for}: {text}"
        );
        let asks = reason == "NoWorkerRegistered";
        assert_eq!(
            (plan.0.scheduler.is_some(), plan.0.requeue_after),
            (asks, again),
            "{ready} {status} {ready_for}"
        );
    }
    // The status does not yet show that the scheduler is ready.
    let new =
        with_workers(2, hour).change(|cluster| cluster["status"]["conditions"][0]["status"] = json!("False"));
    assert_eq!(plan(&new).0.requeue_after, Some(60_000));
}

#[test]
fn the_finding_stays_although_other_workers_become_ready() {
    let said = with_group(group(2, 2), 3_600_000, ("True", 1000))
        .change(|cluster| cluster["status"]["conditions"][2]["reason"] = json!("NoWorkerRegistered"));
    let waiting = plan(&said);
    assert_eq!(available(&waiting), "True NoWorkerRegistered: m");
    assert_eq!(
        (waiting.0.scheduler.is_some(), waiting.0.requeue_after),
        (true, Some(15_000))
    );
    let answered = plan(&said.clone().scheduler(facts(&[])));
    assert!(available(&answered).starts_with("True NoWorkerRegistered: clients can connect"));
    let registered = plan(&said.scheduler(facts(&["w"])));
    assert_eq!(
        available(&registered),
        "True SchedulerReachable: clients can connect"
    );
}

#[test]
fn reports_workers_that_cannot_start() {
    let mut group = group(2, 0);
    group["status"]["conditions"] = json!([{
        "type": "WorkersReady", "status": "False", "reason": "Unschedulable",
        "message": "0 of 2 workers are ready; 2 wait: Unschedulable (0/1 nodes are available)",
    }]);
    let after = |milliseconds: i64| {
        plan(&with_group(group.clone(), milliseconds, ("False", 1000)).scheduler(facts(&[])))
    };
    let text = available(&after(60_000));
    let end = "; worker group simple-default: 2 wait: Unschedulable (0/1 nodes are available)";
    assert!(
        text.starts_with("True NoWorkerRegistered: ") && text.ends_with(end),
        "there is no hint about TLS, because no worker tries to connect: {text}"
    );
    let soon = after(50_000);
    assert!(available(&soon).starts_with("True SchedulerReachable"));
    assert_eq!(soon.0.requeue_after, Some(10_000));
}

#[test]
fn combines_its_query_with_other_queries() {
    let both = ready_for(60_000).change(|cluster| cluster["spec"]["idleTimeout"] = json!(3600));
    let request = plan(&both).0.scheduler.expect("scheduler query");
    assert_eq!(
        request.questions,
        [SchedulerQuestion::Idle, SchedulerQuestion::Workers]
    );
}
