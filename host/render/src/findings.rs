//! What components find wrong, as sentences.

use dask_operator_runtime::contract::Finding;

/// Findings as one text: `spec.image: it has no tag; …`.
#[must_use]
pub fn sentences<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> String {
    let sentence = |finding: &Finding| match finding.field.as_str() {
        "" => finding.message.clone(),
        field => format!("{field}: {}", finding.message),
    };
    findings.into_iter().map(sentence).collect::<Vec<_>>().join("; ")
}
