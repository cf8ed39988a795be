//! Which of the workers that the scheduler knows belong to which group.

use dask_operator_plugin::prelude::*;

use crate::decision::Demand;

/// What the scheduler said, as a demand on one group; none where it did not say how many workers it could use.
/// `others` are the names of the cluster's other groups.
///
/// A worker that can't be told, because it was not started with `--name $(DASK_WORKER_NAME)`, counts as one of the
/// group: were it taken for another's, a group of such workers would be scaled down because of its own.
pub(crate) fn demand(facts: &SchedulerFacts, others: &[&str]) -> Option<Demand> {
    let mut demand = Demand {
        desired: facts.desired_workers?,
        ..Demand::default()
    };
    for worker in &facts.workers {
        if group_of(&worker.name).is_some_and(|group| others.contains(&group)) {
            demand.others += 1;
            continue;
        }
        demand.registered += 1;
        let leaves = worker.status.starts_with("clos");
        if worker.processing > 0 && !leaves {
            demand.busy += 1;
        }
    }
    Some(demand)
}

/// The group of a worker with a name that this operator gave it, `<group>-worker-<10 hexadecimal digits>`. Dask appends
/// `-0`, `-1`, … where a pod runs several.
fn group_of(worker: &str) -> Option<&str> {
    let (group, rest) = worker.rsplit_once("-worker-")?;
    let (id, number) = rest.split_at_checked(10)?;
    let hexadecimal = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hexadecimal && (number.is_empty() || number.starts_with('-'))).then_some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_workers() {
        let cases = [
            ("c-default-worker-0123456789", Some("c-default")),
            ("c-default-worker-0123456789-1", Some("c-default")),
            (
                "c-worker-0123456789-worker-abcdef0123",
                Some("c-worker-0123456789"),
            ),
            ("c-default-worker-xyz", None),
            ("c-default-worker-01234567890", None),
            ("tcp://10.0.0.1:40000", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(group_of(name), expected, "{name}");
        }
    }

    #[test]
    fn of_several_groups() {
        let worker = |name: &str, status: &str, processing| SchedulerWorker {
            address: String::new(),
            name: name.to_owned(),
            status: status.to_owned(),
            processing,
            managed_bytes: 0,
            last_seen: 0,
        };
        let mut facts = SchedulerFacts {
            observed_at: 0,
            answers_since: 0,
            workers: vec![
                worker("c-default-worker-0000000001", "running", 2),
                worker("c-default-worker-0000000002", "running", 0),
                worker("c-default-worker-0000000003", "closing_gracefully", 2),
                worker("tcp://10.0.0.1:40000", "paused", 1),
                worker("gpu-worker-0000000001", "running", 1),
                worker("gone-worker-0000000001", "running", 0),
            ],
            desired_workers: Some(5),
            idle_since: None,
        };
        let expected = Demand {
            desired: 5,
            others: 1,
            registered: 5,
            busy: 2,
        };
        assert_eq!(demand(&facts, &["gpu"]), Some(expected));
        facts.desired_workers = None;
        assert_eq!(demand(&facts, &["gpu"]), None);
    }
}
