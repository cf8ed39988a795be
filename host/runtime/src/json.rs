//! Checks of JSON texts that components return, without building values of them.

use serde::de::IgnoredAny;

use crate::Failure;
use crate::contract::{ChildAction, DesiredChild, Plan, Verdict};

/// A text must be a JSON object. `field` says where it stood, for the message.
pub(crate) fn object(text: &str, field: impl FnOnce() -> String) -> Result<(), Failure> {
    check(text, b'{', "object", field)
}

/// The status. Children's objects are the gate's to read: megabytes are not read twice.
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
        Verdict::Patch(text) => check(text, b'[', "array", || "verdict.patch".to_owned()),
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

    #[test]
    fn depth_does_no_harm() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(object(&deep, String::new).is_ok());
    }
}
