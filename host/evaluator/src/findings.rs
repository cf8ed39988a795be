//! Findings of components: their text, their severity, and the selection that an author sees.

use std::collections::HashSet;

use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::Value;

/// Maximum number of findings that one text lists.
const MAX_LISTED: usize = 20;

/// Returns findings as one text, such as `spec.image: it has no tag; …`. If there are many, it lists the first ones and the
/// number of the others.
#[must_use]
pub fn to_text<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> String {
    let sentence = |finding: &Finding| match finding.field.as_str() {
        "" => finding.message.clone(),
        field => format!("{field}: {}", finding.message),
    };
    let mut findings = findings.into_iter();
    let mut sentences: Vec<String> = findings.by_ref().take(MAX_LISTED).map(sentence).collect();
    match findings.count() {
        0 => {}
        more => sentences.push(format!("and {more} more")),
    }
    sentences.join("; ")
}

/// Turns mistakes into errors if `strict` is true, which the administrator sets.
#[must_use]
pub fn apply_strictness(mut findings: Vec<Finding>, strict: bool) -> Vec<Finding> {
    for finding in &mut findings {
        if strict && finding.severity == Severity::Mistake {
            finding.severity = Severity::Error;
        }
    }
    findings
}

/// Removes warnings that do not help the author: those about fields that were filled in (`written` is the object as it was
/// sent, `filled` the defaulted object), and those that repeat a message for another field.
pub fn retain_for_author(findings: &mut Vec<Finding>, written: &Value, filled: &Value) {
    let is_filled_in = |field: &str| at(written, field).is_none() && at(filled, field).is_some();
    let mut seen: HashSet<String> = HashSet::new();
    findings.retain(|finding| {
        finding.severity != Severity::Warning
            || (!is_filled_in(&finding.field) && seen.insert(finding.message.clone()))
    });
}

/// Returns the value at a field path in kubectl's notation, such as `spec.worker.spec.containers[0].image`; `None` if it is
/// missing or null.
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
    fn a_text_lists_the_first_findings_and_counts_the_others() {
        let found = vec![finding(Severity::Error, "a", "b"); 22];
        assert!(to_text(&found).ends_with("a: b; a: b; and 2 more"));
        assert_eq!(to_text(&found[..2]), "a: b; a: b");
    }

    #[test]
    fn mistakes_become_errors_only_in_strict_mode() {
        let found = [Severity::Error, Severity::Mistake, Severity::Warning].map(|s| finding(s, "a", "b"));
        let severities = |strict| {
            apply_strictness(found.to_vec(), strict)
                .into_iter()
                .map(|f| f.severity)
        };
        assert!(severities(false).eq([Severity::Error, Severity::Mistake, Severity::Warning]));
        assert!(severities(true).eq([Severity::Error, Severity::Error, Severity::Warning]));
    }

    #[test]
    fn warnings_about_filled_in_fields_and_repeated_warnings_are_removed() {
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
        retain_for_author(&mut found, &written, &filled);
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
