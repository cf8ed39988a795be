//! Tests of `waitForWorkers`.

use super::*;

fn waiting() -> Scenario {
    job_with(&json!({"waitForWorkers": 2}))
}

fn facts(workers: usize) -> SchedulerFacts {
    let worker = |number| worker(format!("w{number}"), format!("tcp://10.0.0.{number}:1"));
    answer(START, (0..workers).map(worker).collect())
}

#[test]
fn creates_the_runner_when_enough_workers_have_registered() {
    let first = plan(&waiting());
    assert_eq!(first.summary(), ["apply DaskCluster j"]);
    let asked = first.0.scheduler.clone().expect("scheduler query");
    assert_eq!(
        (asked.questions, asked.period, asked.tls),
        (vec![SchedulerQuestion::Workers], 1000, false)
    );
    assert_eq!(
        first.condition("RunnerReady").as_deref(),
        Some("False WaitingForWorkers: the runner waits for 2 workers")
    );
    let second = waiting().with(&first);
    let one = plan(&second.clone().scheduler(facts(1)));
    assert_eq!(one.summary(), ["apply DaskCluster j"]);
    assert_eq!(
        one.condition("RunnerReady").as_deref(),
        Some("False WaitingForWorkers: 1 of 2 workers have registered")
    );
    let down = plan(&second.clone().unreachable("connection refused"));
    assert_eq!(down.summary(), ["apply DaskCluster j"]);
    let enough = plan(&second.clone().scheduler(facts(2)));
    assert_eq!(enough.summary(), ["create Pod j-runner", "apply DaskCluster j"]);
    let third = plan(&second.scheduler(facts(2)).with(&enough).scheduler(facts(0)));
    assert_eq!(
        (third.summary(), third.0.scheduler),
        (
            vec!["keep Pod j-runner".to_owned(), "apply DaskCluster j".to_owned()],
            None
        ),
        "no query is made while the runner runs"
    );
}
