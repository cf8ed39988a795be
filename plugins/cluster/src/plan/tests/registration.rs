//! Workers that don't find the scheduler.

use super::*;

const UID: &str = "11111111-1111-4111-8111-111111111111";

/// A cluster whose scheduler became ready so many milliseconds ago, with this many workers.
fn with_workers(workers: u32, milliseconds: i64) -> Scenario {
    let mut scheduler = ready_pod();
    scheduler["metadata"]["uid"] = json!(UID);
    let since = time::format(START - milliseconds);
    simple()
        .child(scheduler)
        .child(service("ClusterIP", &Value::Null))
        .child(group(workers, workers))
        .status(json!({"schedulerUid": UID, "conditions": [
            {"type": "SchedulerReady", "status": "True", "reason": "SchedulerReady", "lastTransitionTime": since},
            {"type": "Available", "status": "True", "reason": "SchedulerReachable", "lastTransitionTime": since}]}))
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
    plan.condition("Available").expect("a condition")
}

#[test]
fn the_scheduler_is_asked_only_where_it_takes_long() {
    let soon = plan(&ready_for(10_000));
    assert_eq!(
        (soon.0.scheduler.is_none(), soon.0.requeue_after),
        (true, Some(50_000))
    );
    let late = plan(&ready_for(60_000));
    let request = late.0.scheduler.as_ref().expect("a request");
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
    assert!(plan(&other).0.scheduler.is_some(), "that was another scheduler");

    assert!(plan(&with_workers(0, 60_000)).0.scheduler.is_none());
}

#[test]
fn what_keeps_workers_away_is_said() {
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
    // Until there is another answer, it stands.
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
fn a_scheduler_that_the_operator_cannot_ask() {
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
fn it_is_asked_together_with_what_else_is_asked() {
    let both = ready_for(60_000).change(|cluster| cluster["spec"]["idleTimeout"] = json!(3600));
    let request = plan(&both).0.scheduler.expect("a request");
    assert_eq!(
        request.questions,
        [SchedulerQuestion::Idle, SchedulerQuestion::Workers]
    );
}
