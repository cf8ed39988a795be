//! What components find wrong: as sentences, and what of it is said to people.

use std::collections::HashSet;

use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::Value;

/// How many findings one text has.
const SPELLED_OUT: usize = 20;

/// Findings as one text: `spec.image: it has no tag; …`. Of many it has the first ones.
#[must_use]
pub fn sentences<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> String {
    let sentence = |finding: &Finding| match finding.field.as_str() {
        "" => finding.message.clone(),
        field => format!("{field}: {}", finding.message),
    };
    let mut findings = findings.into_iter();
    let mut sentences: Vec<String> = findings.by_ref().take(SPELLED_OUT).map(sentence).collect();
    match findings.count() {
        0 => {}
        more => sentences.push(format!("and {more} more")),
    }
    sentences.join("; ")
}

/// Findings with mistakes as errors, where the administrator wants it so.
#[must_use]
pub fn strictly(mut findings: Vec<Finding>, strict: bool) -> Vec<Finding> {
    for finding in &mut findings {
        if strict && finding.severity == Severity::Mistake {
            finding.severity = Severity::Error;
        }
    }
    findings
}

/// Takes out warnings that tell an author nothing: about fields that were filled in (`written` is the object as it was
/// sent, `filled` what it became), and those that say the same of another place.
pub fn keep_for_author(findings: &mut Vec<Finding>, written: &Value, filled: &Value) {
    let is_filled_in = |field: &str| at(written, field).is_none() && at(filled, field).is_some();
    let mut said: HashSet<String> = HashSet::new();
    findings.retain(|finding| {
        finding.severity != Severity::Warning
            || (!is_filled_in(&finding.field) && said.insert(finding.message.clone()))
    });
}

/// What stands in a field that is written as kubectl does, `spec.worker.spec.containers[0].image`; none where nothing
/// does, or null.
fn at<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    let mut value = object;
    for part in field.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
        value = match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            other => other.get(part)?,
        };
    }
    Some(value).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finding(severity: Severity, field: &str, message: &str) -> Finding {
        Finding {
            severity,
            field: field.to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_text_has_the_first_of_many_findings() {
        let found = vec![finding(Severity::Error, "a", "b"); 22];
        assert!(sentences(&found).ends_with("a: b; a: b; and 2 more"));
        assert_eq!(sentences(&found[..2]), "a: b; a: b");
    }

    #[test]
    fn mistakes_are_errors_where_it_is_strict() {
        let found = [Severity::Error, Severity::Mistake, Severity::Warning].map(|s| finding(s, "a", "b"));
        let severities = |strict| strictly(found.to_vec(), strict).into_iter().map(|f| f.severity);
        assert!(severities(false).eq([Severity::Error, Severity::Mistake, Severity::Warning]));
        assert!(severities(true).eq([Severity::Error, Severity::Error, Severity::Warning]));
    }

    #[test]
    fn authors_are_told_of_what_they_wrote_and_once() {
        let written = json!({"spec": {"a": [{"image": "i"}, {}], "b": {"image": null}}});
        let filled = json!({"spec": {"a": [{"image": "i"}, {"image": "i"}], "b": {"image": "i"}, "c": {"image": "i"}}});
        let mut found = vec![
            finding(Severity::Warning, "spec.b.image", "`i` is old"),
            finding(Severity::Warning, "spec.a[1].image", "`i` is old"),
            finding(Severity::Warning, "spec.a[0].image", "`i` is old"),
            finding(Severity::Warning, "spec.a[0].image", "`i` is old"),
            finding(Severity::Warning, "spec.a[0].probe", "there is none"),
            finding(Severity::Warning, "", "as a whole"),
            finding(Severity::Error, "spec.c.image", "is wrong"),
            finding(Severity::Mistake, "spec.c.image", "is odd"),
        ];
        keep_for_author(&mut found, &written, &filled);
        let fields: Vec<&str> = found.iter().map(|finding| finding.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.a[0].image",
                "spec.a[0].probe",
                "",
                "spec.c.image",
                "spec.c.image"
            ]
        );
    }
}
