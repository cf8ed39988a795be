//! What is wrong with a `DaskWorkerGroup`.

use dask_operator_plugin::dask::checks::Checks;
use dask_operator_plugin::dask::names;
use dask_operator_plugin::prelude::*;

/// Findings for the whole object, after defaulting.
pub(crate) fn worker_group(object: &Value, old: Option<&Value>) -> Vec<Finding> {
    let mut checks = Checks::default();
    if let Some(message) = names::wrong_group_name(object["metadata"]["name"].as_str().unwrap_or_default()) {
        checks.error("metadata.name", message);
    }
    let Some(spec) = checks
        .object(object, "spec", "")
        .map(|spec| Value::Object(spec.clone()))
    else {
        return checks.into_findings();
    };
    if spec["cluster"].as_str().is_none_or(str::is_empty) {
        checks.error(
            "spec.cluster",
            "it says which cluster the workers join: write the name of a DaskCluster in this namespace",
        );
    }
    if let Some(old) = old.map(|old| &old["spec"]["cluster"])
        && *old != spec["cluster"]
    {
        checks.error(
            "spec.cluster",
            format!("workers can't move to another cluster: leave it at {old}, or make another group"),
        );
    }
    if let Some(worker) = checks.object(&spec, "worker", "spec") {
        checks.worker(&Value::Object(worker.clone()), "spec.worker");
    }
    checks.into_findings()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Value {
        json!({"metadata": {"name": "g"}, "spec": {"cluster": "c", "worker": {"replicas": 1, "spec": {
            "containers": [{"name": "worker", "image": "i", "args": ["--name", "$(DASK_WORKER_NAME)"]}]}}}})
    }

    fn fields(object: &Value, old: Option<&Value>) -> Vec<String> {
        worker_group(object, old)
            .into_iter()
            .map(|finding| finding.field)
            .collect()
    }

    #[test]
    fn mistakes() {
        assert_eq!(fields(&group(), Some(&group())), [""; 0]);
        let mut long = group();
        long["metadata"]["name"] = json!("g".repeat(64));
        assert_eq!(fields(&long, None), ["metadata.name"]);
        let mut moved = group();
        moved["spec"]["cluster"] = json!("d");
        assert_eq!(fields(&moved, Some(&group())), ["spec.cluster"]);
        assert_eq!(
            fields(&json!({"metadata": {"name": "g"}, "spec": {}}), None),
            ["spec.cluster", "spec.worker"]
        );
        assert_eq!(fields(&json!({"metadata": {"name": "g"}}), None), ["spec"]);
    }
}
