//! How many workers a cluster shall have.

use dask_operator_plugin::dask::resource::{self, Resource};
use dask_operator_plugin::dask::{kinds, names};
use dask_operator_plugin::prelude::*;

use crate::validate;

/// How long to wait for a cluster or a worker group that does not exist.
const LOOK_AGAIN: u64 = 30_000;

/// Whether anything is scaled: as of a HorizontalPodAutoscaler.
const SCALING_ACTIVE: &str = "ScalingActive";
/// Whether minimum or maximum stand in the way: as of a HorizontalPodAutoscaler.
const SCALING_LIMITED: &str = "ScalingLimited";

/// Plans a `DaskAutoscaler`.
pub(crate) fn autoscaler(observation: &Observation) -> Result<Plan, Error> {
    let parent = observation.parent_json()?;
    Error::if_invalid(validate::autoscaler(&parent))?;
    let parent = Resource::of(&parent);
    let cluster_name = parent.spec["cluster"].as_str().unwrap_or_default();
    let Some(cluster) = observation.related_object(&kinds::cluster(), cluster_name) else {
        let message = format!(
            "there is no DaskCluster {cluster_name} in namespace {}",
            parent.namespace
        );
        return Ok(waiting(&parent, None, "ClusterNotFound", message));
    };
    let owner = Owner {
        api_version: cluster.key.api_version.clone(),
        kind: cluster.key.kind.clone(),
        name: cluster.key.name.clone(),
        uid: cluster.uid.clone(),
    };
    let group_name = names::default_group(cluster_name);
    let Some(group) = observation.related_object(&kinds::worker_group(), &group_name) else {
        let message = format!("the DaskWorkerGroup {group_name} does not exist yet");
        return Ok(waiting(&parent, Some(owner), "WorkerGroupNotFound", message));
    };
    let current = resource::replicas(&group.read::<Value>()?["spec"]["worker"]);
    Ok(scaling(
        &parent,
        owner,
        group_name,
        current,
        &Demand::of(&observation.scheduler),
    ))
}

/// What the Dask scheduler could use.
enum Demand {
    Known(u32),
    Unknown { reason: &'static str, message: String },
}

impl Demand {
    fn of(scheduler: &SchedulerState) -> Self {
        let (reason, message) = match scheduler {
            SchedulerState::Facts(SchedulerFacts {
                desired_workers: Some(desired),
                ..
            }) => return Self::Known(*desired),
            SchedulerState::Facts(_) => (
                "NoDemand",
                "the scheduler does not say how many workers it could use".to_owned(),
            ),
            SchedulerState::Unreachable(why) => (
                "SchedulerUnreachable",
                format!("the scheduler does not answer: {why}"),
            ),
            SchedulerState::NotAsked => ("SchedulerNotAsked", "the scheduler was not asked yet".to_owned()),
        };
        Self::Unknown { reason, message }
    }
}

fn scaling(parent: &Resource<'_>, owner: Owner, group: String, current: u32, demand: &Demand) -> Plan {
    let bound = |field: &str| u32::try_from(parent.spec[field].as_u64().unwrap_or(0)).unwrap_or(u32::MAX);
    let (minimum, maximum) = (bound("minimum"), bound("maximum"));
    let (asked, active) = match demand {
        Demand::Known(desired) => {
            let message = format!("the scheduler could use {desired} workers");
            (
                *desired,
                Condition::new(SCALING_ACTIVE, ConditionStatus::True, "FollowsDemand", message),
            )
        }
        Demand::Unknown { reason, message } => {
            let message = format!("{message}; only minimum and maximum are kept");
            (
                current,
                Condition::new(SCALING_ACTIVE, ConditionStatus::False, *reason, message),
            )
        }
    };
    let wanted = asked.clamp(minimum, maximum);
    let limited = match wanted {
        _ if wanted > asked => Some((
            "TooFewReplicas",
            format!("{asked} workers are less than the minimum of {minimum}"),
        )),
        _ if wanted < asked => Some((
            "TooManyReplicas",
            format!("{asked} workers are more than the maximum of {maximum}"),
        )),
        _ => None,
    };
    let limited = match limited {
        Some((reason, message)) => Condition::new(SCALING_LIMITED, ConditionStatus::True, reason, message),
        None => {
            let message = format!("{asked} workers are within {minimum} and {maximum}");
            Condition::new(
                SCALING_LIMITED,
                ConditionStatus::False,
                "DesiredWithinRange",
                message,
            )
        }
    };
    let mut plan = Plan {
        status: status(parent, Some((current, wanted))),
        conditions: vec![active, limited],
        owner: Some(owner),
        ..Plan::default()
    };
    if wanted != current {
        let message = format!("worker group {group} goes from {current} to {wanted} workers");
        plan.events.push(Event::normal("Scaled", message));
        plan.scale.push(Scale {
            worker_group: group,
            replicas: wanted,
        });
    }
    plan
}

fn waiting(parent: &Resource<'_>, owner: Option<Owner>, reason: &str, message: String) -> Plan {
    Plan {
        status: status(parent, None),
        conditions: vec![Condition::new(
            SCALING_ACTIVE,
            ConditionStatus::False,
            reason,
            message,
        )],
        owner,
        requeue_after: Some(LOOK_AGAIN),
        ..Plan::default()
    }
}

/// The status: `currentReplicas` and `desiredReplicas` of the default group, `observedGeneration`.
fn status(parent: &Resource<'_>, replicas: Option<(u32, u32)>) -> String {
    let mut status = json!({});
    if let Some((current, wanted)) = replicas {
        status["currentReplicas"] = json!(current);
        status["desiredReplicas"] = json!(wanted);
    }
    if let Some(generation) = parent.generation() {
        status["observedGeneration"] = json!(generation);
    }
    status.to_string()
}

#[cfg(test)]
mod tests {
    use dask_operator_plugin::Autoscaler;
    use dask_operator_plugin::testing::{Outcome, START, Scenario};

    use super::*;
    use crate::DefaultAutoscaler;

    fn scenario(replicas: u32) -> Scenario {
        Scenario::of("{metadata: {name: a}, spec: {cluster: simple, minimum: 2, maximum: 10}}")
            .related(
                json!({"apiVersion": kinds::DASK, "kind": "DaskCluster", "metadata": {"name": "simple"}}),
            )
            .related(json!({
                "apiVersion": kinds::DASK, "kind": "DaskWorkerGroup", "metadata": {"name": "simple-default"},
                "spec": {"worker": {"replicas": replicas}},
            }))
    }

    fn demand(desired: u32) -> SchedulerFacts {
        SchedulerFacts {
            observed_at: START,
            workers: Vec::new(),
            desired_workers: Some(desired),
            idle_since: None,
        }
    }

    fn plan(scenario: &Scenario) -> Outcome {
        scenario.plan::<Autoscaler, DefaultAutoscaler>().expect("plan")
    }

    #[test]
    fn never_outside_minimum_and_maximum() {
        // current, what the scheduler asks for, what comes out
        let cases = [
            (5, None, 5),
            (0, None, 2),
            (50, None, 10),
            (5, Some(7), 7),
            (5, Some(0), 2),
            (5, Some(1000), 10),
            (10, Some(1000), 10),
        ];
        for (current, desired, expected) in cases {
            let scenario = scenario(current);
            let scenario = match desired {
                Some(desired) => scenario.scheduler(demand(desired)),
                None => scenario,
            };
            let plan = plan(&scenario);
            let scaled = plan.0.scale.first().map_or(current, |scale| scale.replicas);
            assert_eq!(scaled, expected, "{current} {desired:?}");
            assert_eq!(
                plan.0.events.len(),
                usize::from(current != expected),
                "an event only when something changes"
            );
            assert_eq!(plan.status()["desiredReplicas"], expected);
            assert_eq!(
                plan.0.owner.as_ref().map(|owner| owner.name.as_str()),
                Some("simple")
            );
        }
    }

    #[test]
    fn conditions_say_what_was_asked() {
        let plan = plan(&scenario(5).scheduler(demand(100)));
        assert_eq!(
            plan.condition(SCALING_ACTIVE).as_deref(),
            Some("True FollowsDemand: the scheduler could use 100 workers")
        );
        assert_eq!(
            plan.condition(SCALING_LIMITED).as_deref(),
            Some("True TooManyReplicas: 100 workers are more than the maximum of 10")
        );
    }

    #[test]
    fn what_is_missing_is_waited_for() {
        let alone = Scenario::of("{metadata: {name: a}, spec: {cluster: simple, minimum: 2, maximum: 10}}");
        let plan = plan(&alone);
        assert!(
            plan.condition(SCALING_ACTIVE)
                .is_some_and(|text| text.starts_with("False ClusterNotFound"))
        );
        assert_eq!(plan.0.requeue_after, Some(LOOK_AGAIN));
        assert!(plan.0.scale.is_empty());
    }
}
