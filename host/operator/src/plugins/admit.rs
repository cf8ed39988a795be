//! What is wrong with a plugin resource before anything is fetched.

use dask_operator_api::{ClusterDaskPlugin, DaskPlugin};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fetch::Sources;
use super::prepare;
use super::resource::{PluginKind, Resource};

/// Says why a `DaskPlugin`, or a `ClusterDaskPlugin` if it is one `of_cluster`, could never be in force
/// here: a source that is not allowed, limits or a selector that make no sense. For each the field,
/// empty where the sentence names it, and the sentence.
#[must_use]
pub fn refusals(sources: &Sources, object: &Value, of_cluster: bool) -> Vec<(&'static str, String)> {
    let resource = if of_cluster {
        read::<ClusterDaskPlugin>(object)
    } else {
        read::<DaskPlugin>(object)
    };
    let resource = match resource {
        Ok(resource) => resource,
        Err(refusal) => return vec![refusal],
    };
    let source = sources.check(&resource).err();
    let limits = prepare::limits(resource.spec.limits.as_ref()).err();
    let source = source.map(|failure| ("spec.source", failure.message));
    let limits = limits.map(|failure| ("", failure.message));
    source.into_iter().chain(limits).collect()
}

fn read<K: PluginKind + DeserializeOwned>(object: &Value) -> Result<Resource, (&'static str, String)> {
    let object: K = serde_json::from_value(object.clone())
        .map_err(|error| ("", format!("it can't be read as a {}: {error}", K::kind(&()))))?;
    object
        .read()
        .map_err(|error| ("", format!("a selector makes no sense: {error}")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::fine(json!({"source": {"configMap": {"name": "a", "key": "b"}}}), &[])]
    #[case::source(
        json!({"source": {"oci": {"image": "ghcr.io/other/policy:1"}}, "limits": {"memory": "much"}}),
        &["spec.source: ", ": spec.limits.memory: \"much\" is no amount of bytes: write it as 64Mi"]
    )]
    #[case::selector(
        json!({"source": {"file": {"path": "/a"}}, "selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}),
        &[": a selector makes no sense"]
    )]
    #[case::no_source(json!({}), &[": it can't be read as a DaskPlugin: missing field `source`"])]
    fn what_can_never_be_in_force(#[case] spec: Value, #[case] expected: &[&str]) {
        let configmap = "configmap".parse().unwrap_or_else(|error| panic!("{error}"));
        let sources = Sources {
            tenants: vec![configmap],
            ..Sources::default()
        };
        let object = json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskPlugin",
            "metadata": {"name": "p", "namespace": "n"}, "spec": spec});
        let said = refusals(&sources, &object, false);
        let said: Vec<_> = said
            .iter()
            .map(|(field, text)| format!("{field}: {text}"))
            .collect();
        assert_eq!(said.len(), expected.len(), "{said:?}");
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.starts_with(expected), "{said}");
        }
    }
}
