//! Assignment of the scheduler's workers to worker groups and pods.

use std::collections::HashMap;

use dask_operator_plugin::dask::command;
use dask_operator_plugin::dask::main_container;
use dask_operator_plugin::dask::role::Role;
use dask_operator_plugin::prelude::*;

use crate::decision::Demand;

/// Returns the demand on one group, or `None` if the scheduler did not report the number of workers that it could use.
/// `others` are the names of the cluster's other groups, `pod_spec` is the pod template of this one.
///
/// A worker with an unknown name, which was not started with `--name $(DASK_WORKER_NAME)`, counts as a worker of the group.
/// If it counted for another group, a group of such workers would be scaled down because of its own workers.
pub(crate) fn demand(facts: &SchedulerFacts, others: &[&str], pod_spec: &Value) -> Option<Demand> {
    let mut demand = Demand {
        desired: facts.desired_workers?,
        per_pod: per_pod(pod_spec),
        ..Demand::default()
    };
    // For each pod: the number of workers, and whether one of them is busy.
    let mut pods: HashMap<&str, (u32, bool)> = HashMap::new();
    let (mut unknown, mut unknown_busy) = (0_u32, 0_u32);
    for worker in &facts.workers {
        let is_busy = worker.processing > 0 && !worker.status.starts_with("clos");
        match pod_of(&worker.name) {
            Some((group, _)) if others.contains(&group) => {
                demand.others += 1;
                continue;
            }
            Some((_, pod)) => {
                let (workers, busy) = pods.entry(pod).or_default();
                *workers += 1;
                *busy |= is_busy;
            }
            None => {
                unknown += 1;
                unknown_busy += u32::from(is_busy);
            }
        }
        demand.registered += 1;
    }
    let most = pods.values().map(|(workers, _)| *workers).max();
    demand.per_pod = demand.per_pod.max(most.unwrap_or(1));
    let known = u32::try_from(pods.len()).unwrap_or(u32::MAX);
    let known_busy = u32::try_from(pods.values().filter(|(_, busy)| *busy).count()).unwrap_or(u32::MAX);
    demand.pods = known.saturating_add(unknown.div_ceil(demand.per_pod));
    demand.busy = known_busy.saturating_add(unknown_busy.div_ceil(demand.per_pod));
    Some(demand)
}

/// Returns the number of workers in each pod of this template: the value of `--nworkers`, or 1. `auto` and negative numbers
/// depend on the machine, so registered workers are counted instead.
fn per_pod(pod_spec: &Value) -> u32 {
    let main = &pod_spec["containers"][main_container::position(pod_spec, Role::Worker)];
    let words: Vec<_> = command::words(main).collect();
    let number = ["--nworkers", "--nprocs"]
        .iter()
        .find_map(|name| command::option(&words, name));
    number.and_then(|number| number.parse().ok()).unwrap_or(1).max(1)
}

/// Returns the group and the pod of a worker with a name from this operator, `<group>-worker-<10 hexadecimal digits>`. Dask
/// appends `-0`, `-1`, … if a pod has several workers. `None` for other names.
fn pod_of(worker: &str) -> Option<(&str, &str)> {
    let (group, rest) = worker.rsplit_once("-worker-")?;
    let (id, number) = rest.split_at_checked(10)?;
    let hexadecimal = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pod = &worker[..worker.len() - number.len()];
    (hexadecimal && (number.is_empty() || number.starts_with('-'))).then_some((group, pod))
}

#[cfg(test)]
mod tests {
    use dask_operator_plugin::testing;

    use super::*;

    #[test]
    fn parses_the_group_and_the_pod() {
        let cases = [
            (
                "c-default-worker-0123456789",
                Some(("c-default", "c-default-worker-0123456789")),
            ),
            (
                "c-default-worker-0123456789-1",
                Some(("c-default", "c-default-worker-0123456789")),
            ),
            (
                "c-worker-0123456789-worker-abcdef0123",
                Some(("c-worker-0123456789", "c-worker-0123456789-worker-abcdef0123")),
            ),
            ("c-default-worker-xyz", None),
            ("c-default-worker-01234567890", None),
            ("tcp://10.0.0.1:40000", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(pod_of(name), expected, "{name}");
        }
    }

    #[test]
    fn reads_the_number_of_workers_per_pod() {
        let cases = [
            (json!(["dask", "worker", "--nworkers", "4"]), 4),
            (json!(["dask", "worker", "--nworkers=4", "--nthreads=2"]), 4),
            (json!(["sh", "-c", "dask-worker --nprocs 2 tcp://s:8786"]), 2),
            (json!(["dask", "worker", "--nworkers", "auto"]), 1),
            (json!(["dask", "worker", "--nworkers", "-1"]), 1),
            (json!(["dask", "worker", "--nworkers", "0"]), 1),
            (json!(["dask", "worker", "--nworkers"]), 1),
            (json!(["dask", "worker"]), 1),
            (json!(null), 1),
        ];
        for (args, expected) in cases {
            let pod_spec = json!({"containers": [{"name": "agent"}, {"name": "worker", "args": args}]});
            assert_eq!(per_pod(&pod_spec), expected, "{args}");
        }
        assert_eq!(per_pod(&Value::Null), 1);
    }

    fn worker(name: &str, status: &str, processing: u32) -> SchedulerWorker {
        SchedulerWorker {
            status: status.to_owned(),
            processing,
            ..testing::worker(name, "")
        }
    }

    fn facts(desired: Option<u32>, workers: Vec<SchedulerWorker>) -> SchedulerFacts {
        SchedulerFacts {
            desired_workers: desired,
            ..testing::answer(testing::START, workers)
        }
    }

    #[test]
    fn counts_the_workers_of_several_groups() {
        let workers = vec![
            worker("c-default-worker-0000000001", "running", 2),
            worker("c-default-worker-0000000002", "running", 0),
            worker("c-default-worker-0000000003", "closing_gracefully", 2),
            worker("tcp://10.0.0.1:40000", "paused", 1),
            worker("gpu-worker-0000000001", "running", 1),
            worker("gone-worker-0000000001", "running", 0),
        ];
        let expected = Demand {
            desired: 5,
            others: 1,
            registered: 5,
            pods: 5,
            per_pod: 1,
            busy: 2,
        };
        let said = facts(Some(5), workers.clone());
        assert_eq!(demand(&said, &["gpu"], &Value::Null), Some(expected));
        assert_eq!(demand(&facts(None, workers), &["gpu"], &Value::Null), None);
    }

    #[test]
    fn counts_several_workers_in_a_pod() {
        let named = |pod: u32, number: u32, processing| {
            worker(
                &format!("c-default-worker-{pod:010x}-{number}"),
                "running",
                processing,
            )
        };
        let said = facts(
            Some(40),
            vec![named(1, 0, 0), named(1, 1, 3), named(1, 2, 0), named(2, 0, 0)],
        );
        let seen = demand(&said, &[], &Value::Null);
        let expected = Demand {
            desired: 40,
            others: 0,
            registered: 4,
            pods: 2,
            per_pod: 3,
            busy: 1,
        };
        assert_eq!(seen, Some(expected));
        let four = json!({"containers": [{"args": ["dask", "worker", "--nworkers", "4"]}]});
        let unnamed = vec![worker("tcp://10.0.0.1:1", "running", 1); 5];
        let seen = demand(&facts(Some(40), unnamed), &[], &four);
        let expected = Demand {
            desired: 40,
            others: 0,
            registered: 5,
            pods: 2,
            per_pod: 4,
            busy: 2,
        };
        assert_eq!(seen, Some(expected));
    }
}
