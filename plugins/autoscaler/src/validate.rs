//! Validation of a `DaskAutoscaler`.

use dask_operator_plugin::dask::checks::Checks;
use dask_operator_plugin::dask::fields;
use dask_operator_plugin::dask::metadata::ANNOTATION_COOLDOWN_UNTIL;
use dask_operator_plugin::prelude::*;

use crate::{cooldown, policy};

/// Maximum window and period, in seconds.
const MAX_SECONDS: u64 = 3600;

/// Returns the findings for the whole object.
pub(crate) fn autoscaler(object: &Value) -> Vec<Finding> {
    let mut checks = Checks::default();
    let Some(spec) = checks.object(object, "spec", "") else {
        return checks.into_findings();
    };
    checks.cluster_name(&spec[fields::autoscaler::CLUSTER], "which cluster to scale");
    if spec[fields::autoscaler::MAXIMUM].is_null() {
        checks.error(
            "spec.maximum",
            "it is missing: write how many workers there may be, as `maximum: 10`",
        );
    }
    for field in [fields::autoscaler::MINIMUM, fields::autoscaler::MAXIMUM] {
        checks.workers(spec, field, "spec", "workers, 0 or more");
    }
    if let (Some(minimum), Some(maximum)) = (
        spec[fields::autoscaler::MINIMUM].as_u64(),
        spec[fields::autoscaler::MAXIMUM].as_u64(),
    ) && minimum > maximum
    {
        let message =
            format!("the minimum of {minimum} is greater than the maximum of {maximum}: exchange them");
        checks.error("spec.minimum", message);
    }
    let group = &spec[fields::autoscaler::WORKER_GROUP];
    if !group.is_null() && group.as_str().is_none_or(str::is_empty) {
        checks.error(
            "spec.workerGroup",
            "it says which worker group to scale: write the name of a DaskWorkerGroup of the cluster, or leave it out \
             for the default group",
        );
    }
    let target = &spec[fields::autoscaler::TARGET_DURATION];
    if !target.is_null() && target.as_u64().is_none_or(|seconds| seconds == 0) {
        let message = format!("{target} can't be used: write a whole number of seconds, 1 or more");
        checks.error("spec.targetDurationSeconds", message);
    } else {
        checks.duration(
            spec,
            fields::autoscaler::TARGET_DURATION,
            "spec",
            "seconds, 1 or more",
            "leave it out for the scheduler's own setting",
        );
    }
    for (field, example) in [
        (fields::autoscaler::SCALE_UP, "100%"),
        (fields::autoscaler::SCALE_DOWN, "25%"),
    ] {
        pace(&mut checks, &spec[field], &format!("spec.{field}"), example);
    }
    let annotation = &object["metadata"]["annotations"][ANNOTATION_COOLDOWN_UNTIL];
    if !annotation.is_null() && cooldown::read(annotation).is_none() {
        let message = format!(
            "{annotation} is no time, so that nothing waits for it: write seconds since 1970, as \"1767225600.0\""
        );
        checks.warning(
            format!("metadata.annotations.{ANNOTATION_COOLDOWN_UNTIL}"),
            message,
        );
    }
    checks.into_findings()
}

/// Checks `scaleUp` or `scaleDown`.
fn pace(checks: &mut Checks, pace: &Value, path: &str, example: &str) {
    if pace.is_null() {
        return;
    }
    if !pace.is_object() {
        let message =
            format!("{pace} can't be used: write an object, as `{{windowSeconds: 60, step: {example}}}`");
        return checks.error(path, message);
    }
    for field in [fields::pace::WINDOW, fields::pace::PERIOD] {
        let seconds = &pace[field];
        if !seconds.is_null() && seconds.as_u64().is_none_or(|seconds| seconds > MAX_SECONDS) {
            let message =
                format!("{seconds} can't be used: write a whole number of seconds from 0 to {MAX_SECONDS}");
            checks.error(format!("{path}.{field}"), message);
        }
    }
    let step = &pace[fields::pace::STEP];
    if !step.is_null() && policy::step(step).is_none() {
        let message = format!(
            "{step} can't be used: write a whole number of workers, 1 or more, as `step: 2`, or a part of them, 1% or \
             more, as `step: {example}`"
        );
        checks.error(format!("{path}.step"), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_invalid_fields() {
        let cases = [
            (json!({"cluster": "c", "minimum": 1, "maximum": 10}), vec![]),
            (json!({"cluster": "c", "minimum": 0, "maximum": 0}), vec![]),
            (
                json!({"cluster": "c", "minimum": 3, "maximum": 2}),
                vec!["spec.minimum"],
            ),
            (
                json!({"cluster": "", "minimum": -1, "maximum": "2"}),
                vec!["spec.cluster", "spec.minimum", "spec.maximum"],
            ),
            (json!({}), vec!["spec.cluster", "spec.maximum"]),
            (json!({"cluster": "c", "maximum": 2}), vec![]),
            (
                json!({"cluster": "c", "minimum": 20_001, "maximum": 1_000_000}),
                vec!["spec.minimum", "spec.maximum"],
            ),
            (Value::Null, vec!["spec"]),
        ];
        for (spec, expected) in cases {
            assert_eq!(fields_of(&json!({"spec": spec})), expected, "{spec}");
        }
    }

    fn fields_of(object: &Value) -> Vec<String> {
        autoscaler(object)
            .into_iter()
            .map(|finding| finding.field)
            .collect()
    }

    #[test]
    fn reports_invalid_scaling_fields() {
        let cases = [
            (json!({"workerGroup": "g", "targetDurationSeconds": 1}), vec![]),
            (json!({"workerGroup": ""}), vec!["spec.workerGroup"]),
            (json!({"workerGroup": 1}), vec!["spec.workerGroup"]),
            (
                json!({"targetDurationSeconds": 0}),
                vec!["spec.targetDurationSeconds"],
            ),
            (
                json!({"targetDurationSeconds": "5s"}),
                vec!["spec.targetDurationSeconds"],
            ),
            (
                json!({"targetDurationSeconds": 999_999_999_999_i64}),
                vec!["spec.targetDurationSeconds"],
            ),
            (json!({"scaleUp": null, "scaleDown": {}}), vec![]),
            (json!({"scaleUp": 5}), vec!["spec.scaleUp"]),
            (
                json!({"scaleDown": {"windowSeconds": 0, "step": 1, "periodSeconds": 3600}}),
                vec![],
            ),
            (
                json!({"scaleDown": {"windowSeconds": -1, "step": "0%", "periodSeconds": 3601}}),
                vec![
                    "spec.scaleDown.windowSeconds",
                    "spec.scaleDown.periodSeconds",
                    "spec.scaleDown.step",
                ],
            ),
            (json!({"scaleUp": {"step": "abc"}}), vec!["spec.scaleUp.step"]),
            (json!({"scaleUp": {"step": -2}}), vec!["spec.scaleUp.step"]),
            (json!({"scaleUp": {"step": 0}}), vec!["spec.scaleUp.step"]),
        ];
        for (more, expected) in cases {
            let mut spec = json!({"cluster": "c", "maximum": 2});
            for (field, value) in more.as_object().expect("object") {
                spec[field] = value.clone();
            }
            assert_eq!(fields_of(&json!({"spec": spec})), expected, "{more}");
        }
    }

    #[test]
    fn messages_contain_a_remedy() {
        let findings = autoscaler(&json!({"spec": {
            "cluster": "c", "maximum": 2, "scaleDown": {"step": "0%"},
        }}));
        assert_eq!(
            findings[0].message,
            "\"0%\" can't be used: write a whole number of workers, 1 or more, as `step: 2`, or a part of them, 1% or \
             more, as `step: 25%`"
        );
    }

    #[test]
    fn warns_about_an_invalid_annotation() {
        let object = |text: &str| {
            json!({
                "metadata": {"annotations": {ANNOTATION_COOLDOWN_UNTIL: text}},
                "spec": {"cluster": "c", "maximum": 2},
            })
        };
        assert_eq!(autoscaler(&object("1767225600.25")), []);
        let findings = autoscaler(&object("tomorrow"));
        assert!(!findings[0].is_error(), "{findings:?}");
    }
}
