//! A policy that harms its operator as best it can, where an annotation tells it to.
//!
//! The sample that a component is tried on has no such annotation, so it is put in force.

use std::collections::BTreeMap;
use std::hint::black_box;

use dask_operator_plugin::prelude::*;

/// The annotation that says what to do at admission.
const ADMIT: &str = "example.com/at-admission";
/// The annotation that says what to do when a plan is reviewed.
const REVIEW: &str = "example.com/at-review";

/// Rounds of a loop that takes a second or two, which is more than a call may take, and ends.
const SLOW: u64 = 1_000_000_000;
/// As many findings as there is room for in an answer.
const FINDINGS: usize = 500_000;
/// Bytes of an answer that is as large as one may be.
const LARGE: usize = 60 << 20;
/// Objects of JSON in a patch, of eight bytes each: a hundred times more in a parser's memory.
const OBJECTS: usize = 500_000;

/// The policy.
#[derive(Debug)]
pub struct Hostile;

impl Plugin for Hostile {
    const NAME: &str = "hostile";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Harms its operator as best it can.";
    type Settings = NoSettings;
}

impl Policy for Hostile {
    fn admit(request: &AdmissionRequest, _: &NoSettings) -> Result<AdmissionResponse, String> {
        let told = told(&request.object_json()?, ADMIT);
        misbehave(&told);
        Ok(match told.as_str() {
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
        let told = told(&request.parent_json()?, REVIEW);
        misbehave(&told);
        Ok(match told.as_str() {
            "findings" => Review::Refuse(findings()),
            "large" => Review::Refuse(vec![Finding::error("spec", "x".repeat(LARGE))]),
            _ => Review::Allow,
        })
    }
}

/// What an annotation of a resource says; nothing where there is none.
fn told(object: &Value, annotation: &str) -> String {
    let said = object["metadata"]["annotations"][annotation].as_str();
    said.unwrap_or_default().to_owned()
}

/// What can be done without an answer.
fn misbehave(told: &str) {
    match told {
        "loop" => loop {
            spin(SLOW);
        },
        "memory" => hoard(),
        "slow" => spin(SLOW),
        "trap" => panic!("told to"),
        told => spin(rounds(told)),
    }
}

/// How many rounds of a loop it is told to make, as `rounds-1000`; none where it is told something else.
fn rounds(told: &str) -> u64 {
    let rounds = told
        .strip_prefix("rounds-")
        .and_then(|rounds| rounds.parse().ok());
    rounds.unwrap_or_default()
}

fn spin(rounds: u64) {
    for round in 0..rounds {
        black_box(round);
    }
}

fn hoard() -> ! {
    let mut hoard = BTreeMap::new();
    loop {
        hoard.insert(hoard.len(), vec![1_u8; 1 << 20]);
        black_box(&hoard);
    }
}

/// A JSON Patch that doubles an object thirty times.
fn copies() -> Value {
    let annotations = "/metadata/annotations";
    let mut changes = vec![json!({"op": "add", "path": annotations, "value": {"a": "x"}})];
    changes.extend(
        (0..30).map(|n| json!({"op": "copy", "from": annotations, "path": format!("{annotations}/k{n}")})),
    );
    Value::Array(changes)
}

/// A JSON Patch that nests an object in itself, 2^17 deep.
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

/// A JSON Patch whose value is many small objects.
fn objects() -> String {
    let value = vec![r#"{"":0}"#; OBJECTS].join(", ");
    format!(r#"[{{"op": "add", "path": "/spec/x", "value": [{value}]}}]"#)
}

fn findings() -> Vec<Finding> {
    let finding = |n: usize| Finding::error("spec", format!("finding {n}"));
    (0..FINDINGS).map(finding).collect()
}

dask_operator_plugin::export!(Hostile: policy);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_told_is_done() {
        let object = json!({"metadata": {"annotations": {ADMIT: "loop"}}});
        assert_eq!(told(&object, ADMIT), "loop");
        assert_eq!(told(&object, REVIEW), "");
        assert_eq!(told(&json!({}), ADMIT), "");
    }

    #[test]
    fn it_is_as_slow_as_it_is_told() {
        assert_eq!(rounds("rounds-950"), 950);
        assert_eq!(rounds("rounds-many"), 0);
        assert_eq!(rounds("copies"), 0);
    }

    #[test]
    fn each_copy_goes_to_what_the_one_before_left_deepest() {
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
