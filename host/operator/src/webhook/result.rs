//! Results of admission requests in metrics. No I/O.

dask_operator_core::reasons! {
    /// Result of an admission request: the label `outcome` of `dask_operator_webhook_requests_total`.
    pub(crate) enum AdmissionResult {
        /// The components admitted the request.
        Allowed => "allowed",
        /// The components refused the request.
        Refused => "refused",
        /// The request was admitted without a call of any component.
        Skipped => "unasked",
        /// The components could not decide.
        Failed => "failed",
        /// The components did not decide in time.
        Late => "late",
        /// There were too many requests at once.
        Busy => "busy",
        /// The namespace's own plugins had used up their time.
        Overdrawn => "overdrawn",
        /// The request was invalid or too large.
        Unreadable => "unreadable",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

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
        let all = AdmissionResult::all().into_iter();
        let expected: BTreeSet<_> = all.map(|result| result.as_str().to_owned()).collect();
        assert_eq!(expected.len(), 8);
        let documented = documented("`outcome`:");
        assert!(!documented.is_empty(), "a table in docs/ lists the results");
        for words in documented {
            assert_eq!(words, expected);
        }
    }
}
