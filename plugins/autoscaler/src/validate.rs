//! What is wrong with a `DaskAutoscaler`.

use dask_operator_plugin::dask::checks::Checks;
use dask_operator_plugin::prelude::*;

/// Findings for the whole object.
pub(crate) fn autoscaler(object: &Value) -> Vec<Finding> {
    let mut checks = Checks::default();
    let Some(spec) = checks
        .object(object, "spec", "")
        .map(|spec| Value::Object(spec.clone()))
    else {
        return checks.into_findings();
    };
    if spec["cluster"].as_str().is_none_or(str::is_empty) {
        checks.error(
            "spec.cluster",
            "it says which cluster to scale: write the name of a DaskCluster in this namespace",
        );
    }
    if spec["maximum"].is_null() {
        checks.error(
            "spec.maximum",
            "it is missing: write how many workers there may be, as `maximum: 10`",
        );
    }
    for field in ["minimum", "maximum"] {
        checks.whole_number(&spec, field, "spec", "workers, 0 or more");
    }
    if let (Some(minimum), Some(maximum)) = (spec["minimum"].as_u64(), spec["maximum"].as_u64())
        && minimum > maximum
    {
        let message =
            format!("the minimum of {minimum} is greater than the maximum of {maximum}: exchange them");
        checks.error("spec.minimum", message);
    }
    checks.into_findings()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
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
            (Value::Null, vec!["spec"]),
        ];
        for (spec, expected) in cases {
            let findings = autoscaler(&json!({"spec": spec}));
            let fields: Vec<&str> = findings.iter().map(|finding| finding.field.as_str()).collect();
            assert_eq!(fields, expected, "{spec}");
        }
    }
}
