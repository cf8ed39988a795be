//! Removes idle workers at night.
//!
//! By day this is the default autoscaler. At night it plans as if the autoscaler's minimum were 0: busy workers finish
//! their work, idle workers are removed, and the minimum applies again in the morning. With `evenIfBusy` the maximum is
//! 0 as well.
//!
//! This example shows how to extend logic without rewriting it: it changes the observation, calls the default logic and
//! adds to the plan.

mod night;

use dask_operator_autoscaler::DefaultAutoscaler;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;
use dask_operator_plugin::{schemars, serde};

use night::{Nights, Weekday};

/// Settings of the plugin.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(
    crate = "dask_operator_plugin::serde",
    default,
    deny_unknown_fields,
    rename_all = "camelCase"
)]
#[schemars(crate = "dask_operator_plugin::schemars")]
pub struct Settings {
    /// Offset of local time from UTC, such as `+02:00` or `-05:30`.
    pub utc_offset: String,
    /// Local time at which the night begins, such as `20:00`.
    pub from: String,
    /// Local time at which the night ends, such as `06:00`. If it equals `from`, the night lasts 24 hours.
    pub to: String,
    /// Days of the week on which a night begins.
    pub weekdays: Vec<Weekday>,
    /// Remove workers even if they are busy.
    pub even_if_busy: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            utc_offset: "+00:00".to_owned(),
            from: "20:00".to_owned(),
            to: "06:00".to_owned(),
            weekdays: Weekday::ALL.to_vec(),
            even_if_busy: false,
        }
    }
}

/// The autoscaler component.
#[derive(Debug)]
pub struct NightAutoscaler;

impl Plugin for NightAutoscaler {
    const NAME: &str = "night-autoscaler";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Scales as the default autoscaler does, and down to no idle worker at night.";
    type Settings = Settings;

    fn check_settings(settings: &Settings) -> Vec<Finding> {
        Nights::of(settings).err().unwrap_or_default()
    }
}

/// The type of the condition that reports whether it is night.
const NIGHT: &str = "Night";

impl Logic<Autoscaler> for NightAutoscaler {
    fn child_kinds(_: &Settings) -> Vec<ResourceKind> {
        <DefaultAutoscaler as Logic<Autoscaler>>::child_kinds(&NoSettings::default())
    }

    fn validate(object: &Value, old: Option<&Value>, _: &Settings) -> Vec<Finding> {
        <DefaultAutoscaler as Logic<Autoscaler>>::validate(object, old, &NoSettings::default())
    }

    fn plan(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
        let nights = Nights::of(settings).map_err(Error::Invalid)?;
        let mut parent = observation.parent_json()?;
        // The author's values must be valid by day, too.
        Error::if_invalid(Self::validate(&parent, None, settings))?;
        let now = observation.now;
        let end = nights.end_of_night(now);
        if end.is_some() {
            parent["spec"]["minimum"] = json!(0);
            if settings.even_if_busy {
                parent["spec"]["maximum"] = json!(0);
            }
        }
        let changed = Observation {
            parent: parent.to_string(),
            settings: "{}".to_owned(),
            ..observation.clone()
        };
        let mut plan = <DefaultAutoscaler as Logic<Autoscaler>>::plan(&changed, &NoSettings::default())?;
        let change = end.or_else(|| nights.next_start(now));
        plan.conditions.push(condition(end.is_some(), change, settings));
        if let Some(change) = change {
            let wait = u64::try_from(change.saturating_sub(now)).unwrap_or(1).max(1);
            plan.requeue_after = Some(plan.requeue_after.map_or(wait, |other| other.min(wait)));
        }
        Ok(plan)
    }
}

/// Returns the condition that reports whether it is night, and until when.
fn condition(night: bool, change: Option<Timestamp>, settings: &Settings) -> Condition {
    let change = change.map_or_else(
        || "never".to_owned(),
        |change| format!("at {}", time::format(change)),
    );
    match (night, settings.even_if_busy) {
        (true, false) => {
            let message = format!("no worker is kept that has no work; the night ends {change}");
            Condition::new(NIGHT, ConditionStatus::True, "NoIdleWorkers", message)
        }
        (true, true) => {
            let message = format!("there are no workers; the night ends {change}");
            Condition::new(NIGHT, ConditionStatus::True, "NoWorkers", message)
        }
        (false, _) => {
            let message = format!("the autoscaler's own limits hold; the next night begins {change}");
            Condition::new(NIGHT, ConditionStatus::False, "Day", message)
        }
    }
}

export!(NightAutoscaler: autoscaler);

#[cfg(test)]
mod tests {
    use dask_operator_plugin::testing::{Outcome, START, Scenario, answer, yaml};

    use super::*;

    /// Milliseconds from the start of the scenarios, midnight of a Thursday, to an hour.
    fn hour(hour: i64) -> i64 {
        hour * 3_600_000
    }

    fn plan(at: i64, desired: u32, settings: &Value) -> Outcome {
        let facts = SchedulerFacts {
            desired_workers: Some(desired),
            ..answer(START + at, Vec::new())
        };
        let group = "{apiVersion: kubernetes.dask.org/v1, kind: DaskWorkerGroup, metadata: {name: c-default}, \
                     spec: {cluster: c, worker: {replicas: 3}}}";
        let cluster = "{apiVersion: kubernetes.dask.org/v1, kind: DaskCluster, metadata: {name: c}}";
        let pace = "{windowSeconds: 0, step: 100%, periodSeconds: 0}";
        Scenario::of(&format!(
            "{{kind: DaskAutoscaler, metadata: {{name: a}}, \
             spec: {{cluster: c, minimum: 2, maximum: 10, scaleDown: {pace}}}}}"
        ))
        .related(yaml(cluster))
        .related(yaml(group))
        .scheduler(facts)
        .settings(settings)
        .after(at)
        .plan::<Autoscaler, NightAutoscaler>()
        .expect("a plan")
    }

    fn replicas(outcome: &Outcome) -> Option<u32> {
        outcome.0.scale.first().map(|scale| scale.replicas)
    }

    #[test]
    fn the_minimum_applies_by_day_and_not_at_night() {
        let day = plan(hour(12), 0, &json!({}));
        assert_eq!(replicas(&day), Some(2));
        let before_the_night = plan(hour(20) - 30_000, 0, &json!({}));
        assert_eq!(before_the_night.0.requeue_after, Some(30_000));
        let night = plan(hour(21), 0, &json!({}));
        assert_eq!(replicas(&night), Some(0));
        assert_eq!(
            night.condition(NIGHT).expect("a condition"),
            "True NoIdleWorkers: no worker is kept that has no work; the night ends at 2026-01-02T06:00:00Z"
        );
    }

    #[test]
    fn busy_workers_stay_at_night_unless_even_if_busy_is_set() {
        assert_eq!(replicas(&plan(hour(21), 5, &json!({}))), Some(5));
        assert_eq!(
            replicas(&plan(hour(21), 5, &json!({"evenIfBusy": true}))),
            Some(0)
        );
    }

    #[test]
    fn nights_are_in_local_time() {
        let settings = json!({"utcOffset": "+03:00"});
        assert_eq!(
            replicas(&plan(hour(18), 0, &settings)),
            Some(0),
            "21:00 local time"
        );
        assert_eq!(replicas(&plan(hour(4), 0, &settings)), Some(2), "7:00 local time");
    }

    #[test]
    fn rejects_invalid_limits_at_night_too() {
        let scenario = Scenario::of(
            "{kind: DaskAutoscaler, metadata: {name: a}, spec: {cluster: c, minimum: 9, maximum: 2}}",
        );
        let result = scenario.after(hour(21)).plan::<Autoscaler, NightAutoscaler>();
        assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}");
    }
}
