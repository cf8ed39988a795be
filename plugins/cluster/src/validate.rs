//! Validation of a `DaskCluster`.

use dask_operator_plugin::dask::checks::Checks;
use dask_operator_plugin::dask::metadata::{Ignored, Metadata};
use dask_operator_plugin::dask::names;
use dask_operator_plugin::prelude::*;

/// Returns the findings for the whole object, after defaulting.
pub(crate) fn cluster(object: &Value) -> Vec<Finding> {
    let mut checks = Checks::of(object);
    let name = &names::of(object);
    if let Some(message) = names::wrong_cluster_name("DaskCluster", name) {
        checks.error("metadata.name", message);
    }
    checks.cluster_spec(
        &object["spec"],
        "spec",
        name,
        &Metadata::of(object, &Ignored::default()),
    );
    checks.into_findings()
}

#[cfg(test)]
mod tests {
    use dask_operator_plugin::{Cluster, Logic};

    use super::*;
    use crate::{DefaultCluster, Settings};

    #[test]
    fn reports_invalid_names_and_specs() {
        let settings = Settings {
            default_image: Some("dask:2026.1.0".into()),
            ..Settings::default()
        };
        let fields = |name: &str, spec: Value| -> Vec<String> {
            let object = json!({"metadata": {"name": name}, "spec": spec});
            let object = <DefaultCluster as Logic<Cluster>>::default(object, &settings).expect("defaulted");
            cluster(&object)
                .into_iter()
                .map(|finding| finding.field)
                .collect()
        };
        assert_eq!(fields("simple", json!({})), [""; 0]);
        assert_eq!(fields("a.b", json!({})), ["metadata.name"]);
        assert_eq!(fields(&"a".repeat(54), json!({})), ["metadata.name"]);
        assert_eq!(fields("simple", json!("x")), ["spec"]);
        assert_eq!(
            fields("simple", json!({"worker": {"replicas": -2}})),
            ["spec.worker.replicas"]
        );
    }
}
