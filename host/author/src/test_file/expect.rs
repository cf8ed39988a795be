//! Expected outcome of a test case, and its comparison with the actual outcome. Pure.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Outcome;
use crate::diff::missing;
use crate::simulation::RefusalReason;

/// The expected outcome. Parts that are left out are not checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    verdict: Option<Verdict>,
    /// Errors that must be among the refusals, each with a part of its message.
    errors: Option<Vec<ExpectedError>>,
    /// Parts of the warnings that must be given. An empty list means that there must be no warning.
    warnings: Option<Vec<String>>,
    /// The object after admission.
    object: Option<Value>,
    /// Children that must exist.
    children: Option<Value>,
    /// Children that must not exist.
    #[serde(rename = "noChildren")]
    no_children: Option<Vec<Value>>,
    /// Number of workers by worker group that is scaled. `{}` means that no group is scaled.
    scale: Option<Map<String, Value>>,
    status: Option<Value>,
    conditions: Option<Value>,
    events: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Allow,
    Refuse,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedError {
    field: Option<String>,
    message: Option<String>,
}

impl Expect {
    fn is_empty(&self) -> bool {
        let Self {
            verdict,
            errors,
            warnings,
            object,
            children,
            no_children,
            scale,
            status,
            conditions,
            events,
        } = self;
        verdict.is_none()
            && errors.is_none()
            && warnings.is_none()
            && scale.is_none()
            && no_children.is_none()
            && [object, children, status, conditions, events]
                .into_iter()
                .all(Option::is_none)
    }

    /// Returns a line for each difference from the expected outcome. Empty if there is none.
    pub(super) fn problems(&self, outcome: &Outcome) -> Vec<String> {
        if self.is_empty() {
            return vec![
                "it expects nothing: write the expected outcome under `expect`, for example `verdict: refuse`"
                    .to_owned(),
            ];
        }
        let mut problems = self.verdict_problems(outcome);
        for expected in self.errors.iter().flatten() {
            if !outcome.refusals.iter().any(|refusal| expected.matches(refusal)) {
                problems.push(format!("errors: none is {expected}"));
                problems.extend(each("  there is ", &outcome.refusals));
            }
        }
        if let Some(expected) = &self.warnings {
            for part in expected.iter().filter(|part| {
                !outcome
                    .warnings
                    .iter()
                    .any(|warning| warning.contains(part.as_str()))
            }) {
                problems.push(format!("warnings: none says {part:?}"));
                problems.extend(each("  there is ", &outcome.warnings));
            }
            if expected.is_empty() {
                problems.extend(each("warnings: expected none, there is ", &outcome.warnings));
            }
        }
        if let Some(expected) = &self.object {
            problems.extend(lines(
                "object",
                expected,
                outcome.object.as_ref().unwrap_or(&Value::Null),
            ));
        }
        let parts = [
            ("children", &self.children),
            ("status", &self.status),
            ("conditions", &self.conditions),
            ("events", &self.events),
        ];
        for (name, expected) in parts {
            if let Some(expected) = expected {
                problems.extend(lines(name, expected, &outcome.plan[name]));
            }
        }
        let children = outcome.plan["children"].as_array();
        for unwanted in self.no_children.iter().flatten() {
            let found = children
                .into_iter()
                .flatten()
                .filter(|child| missing(unwanted, child).is_empty());
            problems.extend(found.map(|child| {
                format!(
                    "noChildren: there is {} {}",
                    text(&child["kind"]),
                    text(&child["metadata"]["name"])
                )
            }));
        }
        if let Some(expected) = &self.scale {
            let scale = outcome.plan["scale"].as_object().cloned().unwrap_or_default();
            if scale != *expected {
                problems.push(format!(
                    "scale: expected {}, it is {}",
                    json!(expected),
                    json!(scale)
                ));
            }
        }
        problems
    }

    fn verdict_problems(&self, outcome: &Outcome) -> Vec<String> {
        let found = if outcome.refusals.is_empty() {
            Verdict::Allow
        } else {
            Verdict::Refuse
        };
        let expects_errors = self.errors.as_ref().is_some_and(|errors| !errors.is_empty());
        let expected = self.verdict.unwrap_or(if expects_errors {
            Verdict::Refuse
        } else {
            Verdict::Allow
        });
        if expected == found {
            return Vec::new();
        }
        match found {
            Verdict::Allow => vec!["verdict: expected refuse, it is allowed".to_owned()],
            Verdict::Refuse => ["verdict: expected allow, it is refused".to_owned()]
                .into_iter()
                .chain(each("  because ", &outcome.refusals))
                .collect(),
        }
    }
}

impl ExpectedError {
    fn matches(&self, refusal: &RefusalReason) -> bool {
        self.field.as_ref().is_none_or(|field| *field == refusal.field)
            && self
                .message
                .as_ref()
                .is_none_or(|message| refusal.message.contains(message.as_str()))
    }
}

impl std::fmt::Display for ExpectedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let field = self
            .field
            .as_deref()
            .map_or_else(|| "of any field".to_owned(), |field| format!("of {field}"));
        match &self.message {
            Some(message) => write!(f, "{field} and says {message:?}"),
            None => f.write_str(&field),
        }
    }
}

/// Returns a line for each item, with a prefix.
fn each<T: std::fmt::Display>(prefix: &str, items: &[T]) -> impl Iterator<Item = String> {
    items.iter().map(move |item| format!("{prefix}{item}"))
}

fn lines(part: &str, expected: &Value, actual: &Value) -> Vec<String> {
    let lines = missing(expected, actual).into_iter();
    lines
        .map(|line| format!("{part}{}{line}", if line.starts_with('[') { "" } else { ": " }))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn problems(expect: Value, outcome: &Outcome) -> Vec<String> {
        let expect: Expect = serde_json::from_value(expect).expect("expectations");
        expect.problems(outcome)
    }

    fn refused() -> Outcome {
        let refusal = RefusalReason {
            field: "spec.a".into(),
            message: "it is wrong: write 1".into(),
        };
        Outcome {
            refusals: vec![refusal],
            warnings: vec!["be careful".into()],
            ..Outcome::default()
        }
    }

    #[rstest]
    #[case(json!({"verdict": "refuse"}), &[])]
    #[case(json!({"errors": [{"field": "spec.a", "message": "write 1"}]}), &[])]
    #[case(json!({"errors": [{}], "warnings": ["careful"]}), &[])]
    #[case(json!({"verdict": "allow"}), &["verdict: expected allow, it is refused", "  because spec.a: it is wrong: write 1"])]
    #[case(
        json!({"errors": [{"field": "spec.b"}]}),
        &["errors: none is of spec.b", "  there is spec.a: it is wrong: write 1"]
    )]
    #[case(json!({"verdict": "refuse", "warnings": []}), &["warnings: expected none, there is be careful"])]
    #[case(json!({"verdict": "refuse", "warnings": ["x"]}), &["warnings: none says \"x\"", "  there is be careful"])]
    fn compares_with_a_refusal(#[case] expect: Value, #[case] expected: &[&str]) {
        assert_eq!(problems(expect, &refused()), expected);
    }

    #[rstest]
    #[case(json!({"children": [{"kind": "Pod"}]}), &[])]
    #[case(json!({"children": [{"kind": "Service"}]}), &["children[0]: nothing is like {\"kind\":\"Service\"}"])]
    #[case(json!({"noChildren": [{"kind": "Pod"}]}), &["noChildren: there is Pod p"])]
    #[case(json!({"scale": {"g": 2}}), &["scale: expected {\"g\":2}, it is {\"g\":1}"])]
    #[case(json!({"scale": {"g": 1}, "object": {"a": 1}}), &[])]
    #[case(json!({"object": {"a": 2}}), &["object: a: expected 2, it is 1"])]
    #[case(json!({"errors": [{}]}), &["verdict: expected refuse, it is allowed", "errors: none is of any field"])]
    fn compares_with_an_admission(#[case] expect: Value, #[case] expected: &[&str]) {
        let plan = json!({"children": [{"kind": "Pod", "metadata": {"name": "p"}}], "scale": {"g": 1}});
        let outcome = Outcome {
            object: Some(json!({"a": 1})),
            plan,
            ..Outcome::default()
        };
        assert_eq!(problems(expect, &outcome), expected);
    }

    #[test]
    fn an_empty_expectation_fails() {
        assert!(problems(json!({}), &refused())[0].starts_with("it expects nothing"));
    }
}
