//! The status of a parent and its conditions.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::plan::DesiredCondition;

/// Returns the status to write: `status` with `conditions`, each with its `lastTransitionTime` and `observedGeneration`.
///
/// `observed` is the whole parent. The `lastTransitionTime` of a condition is `now` (RFC 3339) if its status differs from
/// the observed one, else the observed time. Fields that are null are left out, and so is an empty list of conditions.
#[must_use]
pub fn desired(
    status: &Map<String, Value>,
    conditions: &[DesiredCondition],
    observed: &Value,
    now: &str,
) -> Value {
    let mut status = status.clone();
    status.retain(|_, value| !value.is_null());
    let generation = &observed["metadata"]["generation"];
    let before = observed["status"]["conditions"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if !conditions.is_empty() {
        let before = transition_times(before);
        let conditions = conditions
            .iter()
            .map(|condition| to_json(condition, &before, generation, now));
        status.insert("conditions".into(), conditions.collect());
    }
    Value::Object(status)
}

/// The `lastTransitionTime` of conditions, by type and status. If two conditions have the same type and status, the first
/// one counts.
type TransitionTimes<'a> = HashMap<(&'a str, &'a str), Option<&'a str>>;

fn transition_times(conditions: &[Value]) -> TransitionTimes<'_> {
    let mut times = TransitionTimes::new();
    for condition in conditions {
        if let (Some(type_), Some(status)) = (condition["type"].as_str(), condition["status"].as_str()) {
            times
                .entry((type_, status))
                .or_insert_with(|| condition["lastTransitionTime"].as_str());
        }
    }
    times
}

/// Returns a condition as JSON, with its `lastTransitionTime` and, if `generation` is a number, its `observedGeneration`.
fn to_json(
    condition: &DesiredCondition,
    before: &TransitionTimes<'_>,
    generation: &Value,
    now: &str,
) -> Value {
    let since = before.get(&(condition.type_.as_str(), condition.status.as_str()));
    let since = since.copied().flatten().unwrap_or(now);
    let mut value = json!({
        "type": condition.type_,
        "status": condition.status.as_str(),
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": since,
    });
    if generation.is_u64() {
        value["observedGeneration"] = generation.clone();
    }
    value
}

/// Returns the status of `observed` (the whole parent) with one condition in place of those whose type is in `host`.
///
/// This is the status to write if there is no plan: everything else stays as it is.
#[must_use]
pub fn with_condition(observed: &Value, host: &[&str], condition: &DesiredCondition, now: &str) -> Value {
    let mut status = observed["status"].as_object().cloned().unwrap_or_default();
    let before = status
        .remove("conditions")
        .and_then(|conditions| match conditions {
            Value::Array(conditions) => Some(conditions),
            _ => None,
        });
    let before = before.unwrap_or_default();
    let new = to_json(
        condition,
        &transition_times(&before),
        &observed["metadata"]["generation"],
        now,
    );
    let mut conditions: Vec<_> = before
        .into_iter()
        .filter(|old| {
            old["type"]
                .as_str()
                .is_none_or(|type_| !host.contains(&type_) && type_ != condition.type_)
        })
        .collect();
    conditions.push(new);
    status.insert("conditions".into(), conditions.into());
    Value::Object(status)
}

/// Returns whether two statuses are equivalent: equal except for fields that are null or empty, and for the order of
/// conditions.
#[must_use]
pub fn same(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Object(one), Value::Object(two)) => {
            // Compares each field once. Otherwise common fields would be compared twice, those inside them four times, etc.
            let others = two.keys().filter(|name| !one.contains_key(*name));
            one.keys().chain(others).all(|name| {
                let (one, two) = (
                    one.get(name).unwrap_or(&Value::Null),
                    two.get(name).unwrap_or(&Value::Null),
                );
                if name == "conditions" {
                    same_conditions(one, two)
                } else {
                    same(one, two)
                }
            })
        }
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same(one, two))
        }
        (one, two) => one == two || (is_empty(one) && is_empty(two)),
    }
}

fn same_conditions(one: &Value, two: &Value) -> bool {
    let sorted = |conditions: &Value| {
        let mut conditions = conditions.as_array().cloned().unwrap_or_default();
        conditions.sort_by(|one, two| one["type"].as_str().cmp(&two["type"].as_str()));
        Value::Array(conditions)
    };
    same(&sorted(one), &sorted(two))
}

/// Returns whether a value is null, an empty list, or a map of such values.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;
    use crate::plan::ConditionStatus;

    fn condition(type_: &str, status: ConditionStatus, reason: &str) -> DesiredCondition {
        DesiredCondition {
            type_: type_.into(),
            status,
            reason: reason.into(),
            message: "m".into(),
        }
    }

    fn observed() -> Value {
        json!({
            "metadata": {"generation": 3},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "reason": "Old", "message": "m", "lastTransitionTime": "then"},
                {"type": "PluginFailed", "status": "True", "lastTransitionTime": "then"},
            ]},
        })
    }

    #[rstest]
    #[case::same_status(ConditionStatus::True, "then")]
    #[case::other_status(ConditionStatus::False, "now")]
    fn the_transition_time_changes_only_with_the_status(
        #[case] status: ConditionStatus,
        #[case] since: &str,
    ) {
        let conditions = [condition("Ready", status, "New")];
        let desired = desired(&Map::new(), &conditions, &observed(), "now");
        assert_eq!(desired["conditions"][0]["lastTransitionTime"], since);
        assert_eq!(desired["conditions"][0]["reason"], "New");
        assert_eq!(desired["conditions"][0]["observedGeneration"], 3);
    }

    /// A linear search in all conditions for each condition would take minutes.
    #[rstest]
    #[timeout(Duration::from_secs(20))]
    fn many_conditions_take_linear_time() {
        let all: Vec<_> = (0..100_000)
            .map(|number| condition(&format!("Number{number}"), ConditionStatus::True, "New"))
            .collect();
        let mut parent = json!({"metadata": {"generation": 1}});
        parent["status"] = desired(&Map::new(), &all, &parent, "then");
        let again = desired(&Map::new(), &all, &parent, "now");
        assert_eq!(again["conditions"][99_999]["lastTransitionTime"], "then");
        assert!(same(&again, &parent["status"]));
    }

    #[test]
    fn the_field_is_left_out_without_conditions() {
        let status = json!({"phase": "Created", "gone": null});
        let status = status.as_object().cloned().unwrap_or_default();
        assert_eq!(
            desired(&status, &[], &observed(), "now"),
            json!({"phase": "Created"})
        );
    }

    #[test]
    fn a_host_condition_leaves_the_rest_of_the_status_unchanged() {
        let refused = condition("PlanRefused", ConditionStatus::True, "Refused");
        let status = with_condition(&observed(), &["PluginFailed", "PlanRefused"], &refused, "now");
        assert_eq!(status["phase"], "Running");
        let types: Vec<_> = status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| &c["type"])
            .collect();
        assert_eq!(types, ["Ready", "PlanRefused"]);
    }

    #[rstest]
    #[case::nothing(json!({}), json!(null), true)]
    #[case::null_field(json!({"a": null}), json!({}), true)]
    #[case::empty_list(json!({"a": []}), json!({}), true)]
    #[case::zero_is_something(json!({"a": 0}), json!({}), false)]
    #[case::order_of_conditions(
        json!({"conditions": [{"type": "A"}, {"type": "B"}]}),
        json!({"conditions": [{"type": "B"}, {"type": "A"}]}),
        true
    )]
    #[case::a_condition_less(json!({"conditions": [{"type": "A"}]}), json!({"conditions": []}), false)]
    #[case::time(
        json!({"conditions": [{"type": "A", "lastTransitionTime": "1"}]}),
        json!({"conditions": [{"type": "A", "lastTransitionTime": "2"}]}),
        false
    )]
    fn compares_statuses(#[case] one: Value, #[case] two: Value, #[case] expected: bool) {
        assert_eq!(same(&one, &two), expected);
        assert_eq!(same(&two, &one), expected);
    }

    /// Two comparisons of each field would take exponential time.
    #[test]
    fn nested_fields_are_compared_once() {
        let deep = |inmost: u8| (0..100).fold(json!(inmost), |inner, _| json!({"a": inner}));
        assert!(same(&deep(1), &deep(1)));
        assert!(!same(&deep(1), &deep(2)));
    }
}
