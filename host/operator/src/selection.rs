//! Selection of the managed namespaces by their labels.
//!
//! Dask resources in other namespaces are left to the operators that manage those: nothing of them is written, not even
//! a status.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use dask_operator_yaml as yaml;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use parking_lot::RwLock;

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// The managed namespaces.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// `None` if all namespaces that the operator watches are managed.
    selector: Option<Selector>,
    chosen: RwLock<BTreeSet<Box<str>>>,
}

impl Selection {
    /// Manages the namespaces whose labels match `selector`, as soon as the labels are known; all namespaces if there
    /// is none.
    #[must_use]
    pub(crate) fn new(selector: Option<Selector>) -> Self {
        Self {
            selector,
            chosen: RwLock::default(),
        }
    }

    /// Returns whether labels select the namespaces.
    #[must_use]
    pub(crate) fn is_by_labels(&self) -> bool {
        self.selector.is_some()
    }

    /// Returns whether a namespace is managed.
    #[must_use]
    pub(crate) fn has(&self, namespace: &str) -> bool {
        let chosen = || self.chosen.read();
        self.selector.is_none() || chosen().contains(namespace)
    }

    /// Records the labels of a namespace; `None` if it is gone. Returns whether the namespace has become managed or
    /// unmanaged.
    pub(crate) fn labelled(&self, namespace: &str, labels: Option<&Labels>) -> bool {
        let Some(selector) = &self.selector else {
            return false;
        };
        let mut chosen = self.chosen.write();
        if labels.is_some_and(|labels| selector.matches(labels)) {
            chosen.insert(namespace.into())
        } else {
            chosen.remove(namespace)
        }
    }
}

/// Parses a selector as in a manifest.
///
/// # Errors
///
/// Returns an error if the text is not a selector, or if the selector selects everything.
pub(crate) fn selector(text: &str) -> Result<Selector, String> {
    const REMEDY: &str = "write it as in a manifest: {matchLabels: {team: data}}, or {matchExpressions: [{key: team, operator: Exists}]}";
    let value = yaml::document(text).map_err(|error| format!("{error}; {REMEDY}"))?;
    let fields: Vec<_> = value
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::keys)
        .collect();
    if let Some(other) = fields
        .iter()
        .find(|field| !matches!(field.as_str(), "matchLabels" | "matchExpressions"))
    {
        return Err(format!("a selector has no field `{other}`; {REMEDY}"));
    }
    let selector: LabelSelector =
        serde_json::from_value(value).map_err(|error| format!("{error}; {REMEDY}"))?;
    let selector = Selector::try_from(selector).map_err(|error| format!("{error}; {REMEDY}"))?;
    if selector.selects_all() {
        return Err(format!(
            "it selects all namespaces, which is the default: leave it out, or {REMEDY}"
        ));
    }
    Ok(selector)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn labels(team: &str) -> Labels {
        Labels::from([("team".to_owned(), team.to_owned())])
    }

    #[test]
    fn labels_select_the_namespaces() {
        let selection = Selection::new(selector("{matchLabels: {team: data}}").ok());
        assert!(
            selection.is_by_labels() && !selection.has("a"),
            "nothing is known yet"
        );
        assert!(selection.labelled("a", Some(&labels("data"))) && selection.has("a"));
        assert!(
            !selection.labelled("a", Some(&labels("data"))),
            "it was selected before"
        );
        assert!(!selection.labelled("b", Some(&labels("web"))) && !selection.has("b"));
        assert!(selection.labelled("a", Some(&labels("web"))) && !selection.has("a"));
        assert!(
            selection.labelled("b", Some(&labels("data")))
                && selection.labelled("b", None)
                && !selection.has("b")
        );
    }

    #[test]
    fn all_namespaces_are_managed_without_a_selector() {
        let selection = Selection::default();
        assert!(!selection.is_by_labels() && selection.has("a") && !selection.labelled("a", None));
    }

    #[rstest]
    #[case::empty("", "write it as in a manifest")]
    #[case::all("{}", "it selects all namespaces")]
    #[case::labels_alone("{team: data}", "a selector has no field `team`")]
    #[case::text("team=data", "write it as in a manifest")]
    #[case::operator(
        "{matchExpressions: [{key: team, operator: Equals}]}",
        "Invalid expression operator"
    )]
    #[case::no_yaml("{", "write it as in a manifest")]
    fn invalid_selectors_are_explained(#[case] text: &str, #[case] expected: &str) {
        let error = selector(text);
        assert!(
            error.as_ref().is_err_and(|error| error.contains(expected)),
            "{error:?}"
        );
    }

    #[test]
    fn match_expressions_are_supported() {
        let selection = Selection::new(
            selector(
                r#"{"matchExpressions": [{"key": "team", "operator": "In", "values": ["data", "ml"]}]}"#,
            )
            .ok(),
        );
        assert!(
            selection.labelled("a", Some(&labels("ml"))) && !selection.labelled("b", Some(&labels("web")))
        );
    }
}
