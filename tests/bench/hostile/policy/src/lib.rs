//! A policy that attacks the operator if an annotation of a resource requests it.
//!
//! The sample that the operator tries a component on has no such annotation, so that the policy becomes active.

use std::collections::BTreeMap;
use std::hint::black_box;

use dask_operator_plugin::prelude::*;

/// Annotation with the misbehaviour at admission.
const ADMIT: &str = "example.com/at-admission";
/// Annotation with the misbehaviour when a plan is reviewed.
const REVIEW: &str = "example.com/at-review";

/// Iterations of a finite loop that takes a second or two, which is more than the time limit of a call.
const SLOW: u64 = 1_000_000_000;
/// Number of findings that an answer can hold.
const FINDINGS: usize = 500_000;
/// Size of an answer that is as large as the limit allows, in bytes.
const LARGE: usize = 60 << 20;
/// Number of JSON objects in a patch. Each has eight bytes, and takes a hundred times more in a parser's memory.
const OBJECTS: usize = 500_000;

/// The policy.
#[derive(Debug)]
pub struct Hostile;

impl Plugin for Hostile {
    const NAME: &str = "hostile";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Attacks the operator on request.";
    type Settings = NoSettings;
}

impl Policy for Hostile {
    fn admit(request: &AdmissionRequest, _: &NoSettings) -> Result<AdmissionResponse, String> {
        let action = requested_action(&request.object_json()?, ADMIT);
        misbehave(&action);
        Ok(match action.as_str() {
            "copies" => AdmissionResponse::patch(&copies()),
            "depth" => AdmissionResponse::patch(&depth()),
            "objects" => AdmissionResponse {
                verdict: Verdict::Patch(objects()),
                warnings: Vec::new(),
            },
            "findings" => AdmissionResponse {
                verdict: Verdict::Refuse(findings()),
                warnings: Vec::new(),
            },
            "large" => AdmissionResponse::refuse("spec", "x".repeat(LARGE)),
            _ => AdmissionResponse::allow(),
        })
    }

    fn review_plan(request: &ReviewRequest, _: &NoSettings) -> Result<Review, String> {
        let action = requested_action(&request.parent_json()?, REVIEW);
        misbehave(&action);
        Ok(match action.as_str() {
            "findings" => Review::Refuse(findings()),
            "large" => Review::Refuse(vec![Finding::error("spec", "x".repeat(LARGE))]),
            _ => Review::Allow,
        })
    }
}

/// Returns the value of an annotation of a resource. Empty if the resource does not have the annotation.
fn requested_action(object: &Value, annotation: &str) -> String {
    let value = object["metadata"]["annotations"][annotation].as_str();
    value.unwrap_or_default().to_owned()
}

/// Performs an action that does not depend on the answer. Other actions do nothing.
fn misbehave(action: &str) {
    match action {
        "loop" => loop {
            spin(SLOW);
        },
        "memory" => exhaust_memory(),
        "slow" => spin(SLOW),
        "trap" => panic!("requested by an annotation"),
        action => spin(iterations(action)),
    }
}

/// Returns the number of loop iterations of an action such as `rounds-1000`, or 0 for other actions.
fn iterations(action: &str) -> u64 {
    let iterations = action
        .strip_prefix("rounds-")
        .and_then(|number| number.parse().ok());
    iterations.unwrap_or_default()
}

/// Runs an empty loop.
fn spin(iterations: u64) {
    for iteration in 0..iterations {
        black_box(iteration);
    }
}

/// Allocates memory until the call exceeds its memory limit.
fn exhaust_memory() -> ! {
    let mut chunks = BTreeMap::new();
    loop {
        chunks.insert(chunks.len(), vec![1_u8; 1 << 20]);
        black_box(&chunks);
    }
}

/// Returns a JSON Patch that doubles an object thirty times.
fn copies() -> Value {
    let annotations = "/metadata/annotations";
    let mut changes = vec![json!({"op": "add", "path": annotations, "value": {"a": "x"}})];
    changes.extend(
        (0..30).map(|n| json!({"op": "copy", "from": annotations, "path": format!("{annotations}/k{n}")})),
    );
    Value::Array(changes)
}

/// Returns a JSON Patch that nests an object in itself, 2^17 levels deep.
fn depth() -> Value {
    let mut changes = vec![json!({"op": "add", "path": "/spec/x", "value": {"a": {}}})];
    let mut deepest = "/spec/x/a".to_owned();
    for _ in 0..17 {
        changes.push(json!({"op": "copy", "from": "/spec/x", "path": format!("{deepest}/a")}));
        let below = deepest.replacen("/spec/x", "/a", 1);
        deepest.push_str(&below);
    }
    Value::Array(changes)
}

/// Returns a JSON Patch whose value is a list of many small objects.
fn objects() -> String {
    let value = vec![r#"{"":0}"#; OBJECTS].join(", ");
    format!(r#"[{{"op": "add", "path": "/spec/x", "value": [{value}]}}]"#)
}

/// Returns as many findings as an answer can hold.
fn findings() -> Vec<Finding> {
    let finding = |n: usize| Finding::error("spec", format!("finding {n}"));
    (0..FINDINGS).map(finding).collect()
}

dask_operator_plugin::export!(Hostile: policy);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_action_from_the_annotation() {
        let object = json!({"metadata": {"annotations": {ADMIT: "loop"}}});
        assert_eq!(requested_action(&object, ADMIT), "loop");
        assert_eq!(requested_action(&object, REVIEW), "");
        assert_eq!(requested_action(&json!({}), ADMIT), "");
    }

    #[test]
    fn reads_the_number_of_iterations() {
        assert_eq!(iterations("rounds-950"), 950);
        assert_eq!(iterations("rounds-many"), 0);
        assert_eq!(iterations("copies"), 0);
    }

    #[test]
    fn each_copy_is_added_at_the_deepest_level() {
        let patch = depth();
        let paths: Vec<_> = patch
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|change| change["path"].as_str())
            .collect();
        assert_eq!(paths[..3], ["/spec/x", "/spec/x/a/a", "/spec/x/a/a/a/a"]);
    }
}
