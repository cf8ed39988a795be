//! Results of admission requests in metrics. No I/O.

/// Result of an admission request: the label `outcome` of `dask_operator_webhook_requests_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdmissionResult {
    /// The components admitted the request.
    Allowed,
    /// The components refused the request.
    Refused,
    /// The request was admitted without a call of any component.
    Skipped,
    /// The components could not decide.
    Failed,
    /// The components did not decide in time.
    Late,
    /// There were too many requests at once.
    Busy,
    /// The namespace's own plugins had used up their time.
    Overdrawn,
    /// The request was invalid or too large.
    Unreadable,
}

impl AdmissionResult {
    /// Returns the result as a word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Skipped => "unasked",
            Self::Failed => "failed",
            Self::Late => "late",
            Self::Busy => "busy",
            Self::Overdrawn => "overdrawn",
            Self::Unreadable => "unreadable",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const ALL: [AdmissionResult; 8] = [
        AdmissionResult::Allowed,
        AdmissionResult::Refused,
        AdmissionResult::Skipped,
        AdmissionResult::Failed,
        AdmissionResult::Late,
        AdmissionResult::Busy,
        AdmissionResult::Overdrawn,
        AdmissionResult::Unreadable,
    ];

    /// Returns the words in backticks that follow `label` in the row of the metric, for each page with such a row.
    fn documented(label: &str) -> Vec<BTreeSet<String>> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let mut found = Vec::new();
        for page in std::fs::read_dir(docs).expect("docs") {
            let page = page.expect("a page").path();
            let text = std::fs::read_to_string(&page).unwrap_or_default();
            let rows = text
                .lines()
                .filter(|line| line.starts_with("| `dask_operator_webhook_requests_total` |"));
            for row in rows {
                if let Some((_, words)) = row.split_once(label) {
                    found.push(words.split('`').skip(1).step_by(2).map(str::to_owned).collect());
                }
            }
        }
        found
    }

    #[test]
    fn the_documentation_lists_all_results() {
        let expected: BTreeSet<_> = ALL.map(|result| result.as_str().to_owned()).into();
        assert_eq!(expected.len(), ALL.len());
        let documented = documented("`outcome`:");
        assert!(!documented.is_empty(), "a table in docs/ lists the results");
        for words in documented {
            assert_eq!(words, expected);
        }
    }
}
