//! The parent's status.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::plan::Condition;

/// The status to write: `status` with `conditions`, each with its times.
///
/// A condition's `lastTransitionTime` is `now` (RFC 3339) when its status has
/// changed since `observed` (the whole parent), else what it was. Fields that
/// are null are left out; so are conditions when there are none.
#[must_use]
pub fn desired(status: &Map<String, Value>, conditions: &[Condition], observed: &Value, now: &str) -> Value {
    let mut status = status.clone();
    status.retain(|_, value| !value.is_null());
    let generation = &observed["metadata"]["generation"];
    let before = observed["status"]["conditions"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if !conditions.is_empty() {
        let before = times(before);
        let conditions = conditions
            .iter()
            .map(|condition| stamped(condition, &before, generation, now));
        status.insert("conditions".into(), conditions.collect());
    }
    Value::Object(status)
}

/// Since when conditions have had their status, by type and status. The first of two that have both counts.
type Times<'a> = HashMap<(&'a str, &'a str), Option<&'a str>>;

fn times(conditions: &[Value]) -> Times<'_> {
    let mut times = Times::new();
    for condition in conditions {
        if let (Some(type_), Some(status)) = (condition["type"].as_str(), condition["status"].as_str()) {
            times
                .entry((type_, status))
                .or_insert_with(|| condition["lastTransitionTime"].as_str());
        }
    }
    times
}

fn stamped(condition: &Condition, before: &Times<'_>, generation: &Value, now: &str) -> Value {
    let same = before.get(&(condition.type_.as_str(), condition.status.as_str()));
    let since = same.copied().flatten().unwrap_or(now);
    let mut stamped = json!({
        "type": condition.type_,
        "status": condition.status.as_str(),
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": since,
    });
    if generation.is_u64() {
        stamped["observedGeneration"] = generation.clone();
    }
    stamped
}

/// Adds to the status that `observed` (the whole parent) has one condition in
/// place of those whose type is in `host`: what is written when there is no
/// plan, so that everything else stays as it was.
#[must_use]
pub fn with_condition(observed: &Value, host: &[&str], condition: &Condition, now: &str) -> Value {
    let mut status = observed["status"].as_object().cloned().unwrap_or_default();
    let before = status
        .remove("conditions")
        .and_then(|conditions| match conditions {
            Value::Array(conditions) => Some(conditions),
            _ => None,
        });
    let before = before.unwrap_or_default();
    let new = stamped(
        condition,
        &times(&before),
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

/// Whether two statuses say the same: equal but for fields that are null or
/// empty, and for the order of conditions.
#[must_use]
pub fn same(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Object(one), Value::Object(two)) => {
            // Each once: what both have would be compared twice, and all in it four times, and so on.
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
        (one, two) => one == two || (is_nothing(one) && is_nothing(two)),
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

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_nothing),
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

    fn condition(type_: &str, status: ConditionStatus, reason: &str) -> Condition {
        Condition {
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
    fn time_changes_with_the_status_only(#[case] status: ConditionStatus, #[case] since: &str) {
        let conditions = [condition("Ready", status, "New")];
        let desired = desired(&Map::new(), &conditions, &observed(), "now");
        assert_eq!(desired["conditions"][0]["lastTransitionTime"], since);
        assert_eq!(desired["conditions"][0]["reason"], "New");
        assert_eq!(desired["conditions"][0]["observedGeneration"], 3);
    }

    /// With a look through all that there are for each of them this would take minutes.
    #[rstest]
    #[timeout(Duration::from_secs(20))]
    fn many_conditions_take_no_longer_each() {
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
    fn no_conditions_no_field() {
        let status = json!({"phase": "Created", "gone": null});
        let status = status.as_object().cloned().unwrap_or_default();
        assert_eq!(
            desired(&status, &[], &observed(), "now"),
            json!({"phase": "Created"})
        );
    }

    #[test]
    fn without_a_plan_the_rest_stays() {
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
    fn sameness(#[case] one: Value, #[case] two: Value, #[case] expected: bool) {
        assert_eq!(same(&one, &two), expected);
        assert_eq!(same(&two, &one), expected);
    }

    /// With two comparisons of each field this would never end.
    #[test]
    fn what_is_deep_is_compared_once() {
        let deep = |inmost: u8| (0..100).fold(json!(inmost), |inner, _| json!({"a": inner}));
        assert!(same(&deep(1), &deep(1)));
        assert!(!same(&deep(1), &deep(2)));
    }
}
