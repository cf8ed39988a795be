//! Checks of JSON texts that components return. The texts are checked without building values from them.

use serde::de::IgnoredAny;

use dask_operator_core::json::tree_bytes;

use crate::Failure;
use crate::contract::{ChildAction, DesiredChild, Plan, Verdict};

/// Size limits for a JSON text.
struct Bounds {
    /// Length of the text, in bytes.
    text: usize,
    /// Memory of the parsed value, in bytes.
    tree: usize,
}

/// Limits for a Kubernetes object. The API server accepts 1.5 MiB.
const OBJECT: Bounds = Bounds {
    text: 2 << 20,
    tree: 64 << 20,
};

/// Limits for a patch of an object.
const PATCH: Bounds = Bounds {
    text: 256 << 10,
    tree: 16 << 20,
};

/// Limits for a schema of settings.
const SCHEMA: Bounds = Bounds {
    text: 256 << 10,
    tree: 16 << 20,
};

impl Bounds {
    /// Returns an error if a text exceeds the limits. Does not parse the text.
    fn check(&self, text: &str, field: &str) -> Result<(), Failure> {
        let too_large = |problem| Failure::TooLarge {
            field: field.to_owned(),
            problem,
        };
        if text.len() > self.text {
            let problem = format!("has {} bytes; at most {} are allowed", text.len(), self.text);
            return Err(too_large(problem));
        }
        if tree_bytes(text) > self.tree {
            let problem = format!(
                "would take more than {} bytes of memory once it is read",
                self.tree
            );
            return Err(too_large(problem));
        }
        Ok(())
    }
}

/// Checks an object that was defaulted.
pub(crate) fn defaulted(text: &str) -> Result<(), Failure> {
    OBJECT.check(text, "object")?;
    object(text, || "object".to_owned())
}

/// Checks a schema of settings.
pub(crate) fn schema(text: &str) -> Result<(), Failure> {
    SCHEMA.check(text, "settings-schema")?;
    object(text, || "settings-schema".to_owned())
}

/// Returns an error if a text is not a JSON object. `field` returns the path of the text in the answer, for the message.
fn object(text: &str, field: impl FnOnce() -> String) -> Result<(), Failure> {
    check(text, b'{', "object", field)
}

/// Checks the status of a plan. The gate parses the children's objects and limits their total size, so that megabytes are
/// not parsed twice.
pub(crate) fn plan(plan: &Plan) -> Result<(), Failure> {
    object(&plan.status, || "status".to_owned())
}

/// Checks the objects of children that a policy has changed.
pub(crate) fn children(children: &[DesiredChild]) -> Result<(), Failure> {
    for child in children {
        if let ChildAction::Create(text) | ChildAction::Apply(text) = &child.action {
            object(text, || {
                format!("children[{} {}]", child.key.kind, child.key.name)
            })?;
        }
    }
    Ok(())
}

/// Checks the patch of a policy's verdict.
pub(crate) fn verdict(verdict: &Verdict) -> Result<(), Failure> {
    match verdict {
        Verdict::Patch(text) => {
            PATCH.check(text, "verdict.patch")?;
            check(text, b'[', "array", || "verdict.patch".to_owned())
        }
        Verdict::Allow | Verdict::Refuse(_) => Ok(()),
    }
}

/// Returns an error if a text is not JSON that begins with the byte `first`, the start of a value of the type `what`.
fn check(text: &str, first: u8, what: &str, field: impl FnOnce() -> String) -> Result<(), Failure> {
    let problem = match serde_json::from_str::<IgnoredAny>(text) {
        Err(error) => error.to_string(),
        Ok(_) if text.trim_ascii_start().as_bytes().first() != Some(&first) => {
            format!("this is JSON, but no {what}")
        }
        Ok(_) => return Ok(()),
    };
    Err(Failure::InvalidJson {
        field: field(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("{}", None)]
    #[case(" \n{\"a\": [1, null, \"ü\"]} ", None)]
    #[case("[]", Some("this is JSON, but no object"))]
    #[case("null", Some("this is JSON, but no object"))]
    #[case("{\"a\": }", Some("expected value at line 1 column 7"))]
    #[case("{} {}", Some("trailing characters at line 1 column 4"))]
    #[case("", Some("EOF while parsing a value at line 1 column 0"))]
    fn checks_objects(#[case] text: &str, #[case] expected: Option<&str>) {
        let problem = match object(text, || "status".to_owned()) {
            Err(Failure::InvalidJson { problem, .. }) => Some(problem),
            _ => None,
        };
        assert_eq!(problem.as_deref(), expected);
    }

    fn problem(checked: Result<(), Failure>) -> String {
        checked.expect_err("it is too large").to_string()
    }

    #[test]
    fn each_kind_of_text_has_its_limits() {
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(2 << 20));
        assert_eq!(
            problem(defaulted(&long)),
            "`object` of its answer has 2097161 bytes; at most 2097152 are allowed"
        );
        assert!(problem(schema(&long)).starts_with("`settings-schema` of its answer has"));
        let patch = Verdict::Patch(format!("[{long}]"));
        assert!(problem(verdict(&patch)).starts_with("`verdict.patch` of its answer has"));
        let bomb = format!("{{\"a\": [{}0]}}", "{\"\":0}, ".repeat(100_000));
        let heavy = problem(defaulted(&bomb));
        assert!(
            heavy.contains("would take more than 67108864 bytes of memory"),
            "{heavy}"
        );
        let fine = format!("{{\"a\": [{}0]}}", "{\"\":0}, ".repeat(10_000));
        assert!(defaulted(&fine).is_ok());
    }

    #[test]
    fn accepts_deeply_nested_objects() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(object(&deep, String::new).is_ok());
    }
}
