//! Checks of JSON texts that components return, without building values of them.

use serde::de::IgnoredAny;

use dask_operator_core::json::tree_bytes;

use crate::Failure;
use crate::contract::{ChildAction, DesiredChild, Plan, Verdict};

/// How large a text may be.
struct Bounds {
    /// In bytes.
    text: usize,
    /// As a tree, in bytes of memory.
    tree: usize,
}

/// An object of the API server, which takes 1.5 MiB.
const OBJECT: Bounds = Bounds {
    text: 2 << 20,
    tree: 64 << 20,
};

/// A patch of one.
const PATCH: Bounds = Bounds {
    text: 256 << 10,
    tree: 16 << 20,
};

/// A schema of settings.
const SCHEMA: Bounds = Bounds {
    text: 256 << 10,
    tree: 16 << 20,
};

impl Bounds {
    /// Checks a text before anything of it is read.
    fn hold(&self, text: &str, field: &str) -> Result<(), Failure> {
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

/// An object that was defaulted.
pub(crate) fn defaulted(text: &str) -> Result<(), Failure> {
    OBJECT.hold(text, "object")?;
    object(text, || "object".to_owned())
}

/// A schema of settings.
pub(crate) fn schema(text: &str) -> Result<(), Failure> {
    SCHEMA.hold(text, "settings-schema")?;
    object(text, || "settings-schema".to_owned())
}

/// A text must be a JSON object. `field` says where it stood, for the message.
fn object(text: &str, field: impl FnOnce() -> String) -> Result<(), Failure> {
    check(text, b'{', "object", field)
}

/// The status. Children's objects are the gate's to read: megabytes are not read twice. How large all of them may be
/// the gate says, too.
pub(crate) fn plan(plan: &Plan) -> Result<(), Failure> {
    object(&plan.status, || "status".to_owned())
}

/// The objects of children that a policy has changed.
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

/// The patch of a policy.
pub(crate) fn verdict(verdict: &Verdict) -> Result<(), Failure> {
    match verdict {
        Verdict::Patch(text) => {
            PATCH.hold(text, "verdict.patch")?;
            check(text, b'[', "array", || "verdict.patch".to_owned())
        }
        Verdict::Allow | Verdict::Refuse(_) => Ok(()),
    }
}

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
    fn objects(#[case] text: &str, #[case] expected: Option<&str>) {
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
    fn each_kind_of_text_has_its_bounds() {
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
    fn depth_does_no_harm() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(object(&deep, String::new).is_ok());
    }
}
