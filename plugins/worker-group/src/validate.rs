//! Validation of a `DaskWorkerGroup`.

use dask_operator_plugin::dask::checks::Checks;
use dask_operator_plugin::dask::metadata::ANNOTATION_RESTARTED_AT;
use dask_operator_plugin::dask::{fields, names, time};
use dask_operator_plugin::prelude::*;

/// Returns the findings for the whole object, after defaulting.
pub(crate) fn worker_group(object: &Value, old: Option<&Value>) -> Vec<Finding> {
    let mut checks = Checks::of(object);
    if let Some(message) = names::wrong_group_name(&names::of(object)) {
        checks.error("metadata.name", message);
    }
    let Some(spec) = checks.object(object, "spec", "") else {
        return checks.into_findings();
    };
    checks.cluster_name(
        &spec[fields::worker_group::CLUSTER],
        "which cluster the workers join",
    );
    if let Some(old) = old.map(|old| &old["spec"][fields::worker_group::CLUSTER])
        && *old != spec[fields::worker_group::CLUSTER]
    {
        checks.error(
            "spec.cluster",
            format!("workers can't move to another cluster: leave it at {old}, or make another group"),
        );
    }
    let restarted_at = &object["metadata"]["annotations"][ANNOTATION_RESTARTED_AT];
    if let Some(text) = restarted_at.as_str().filter(|text| time::parse(text).is_none()) {
        checks.warning(
            format!("metadata.annotations[{ANNOTATION_RESTARTED_AT}]"),
            format!(
                "`{text}` is no time, so that no worker is replaced: write one like 2026-01-31T12:00:00Z"
            ),
        );
    }
    if let Some(worker) = checks.object(spec, fields::worker_group::WORKER, "spec") {
        checks.worker(
            worker,
            "spec.worker",
            spec[fields::worker_group::CLUSTER].as_str().unwrap_or_default(),
        );
    }
    checks.into_findings()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Value {
        json!({"metadata": {"name": "g"}, "spec": {"cluster": "c", "worker": {"replicas": 1, "spec": {
            "containers": [{"name": "worker", "image": "i:1", "args": ["--name", "$(DASK_WORKER_NAME)"]}]}}}})
    }

    fn fields(object: &Value, old: Option<&Value>) -> Vec<String> {
        worker_group(object, old)
            .into_iter()
            .map(|finding| finding.field)
            .collect()
    }

    #[test]
    fn reports_invalid_fields() {
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
        let mut soon = group();
        soon["metadata"]["annotations"] = json!({ANNOTATION_RESTARTED_AT: "now"});
        assert_eq!(
            fields(&soon, None),
            ["metadata.annotations[kubernetes.dask.org/restarted-at]"]
        );
        let mut many = group();
        many["spec"]["worker"]["replicas"] = json!(20_001);
        assert_eq!(fields(&many, None), ["spec.worker.replicas"]);
        let mut invalid = group();
        invalid["spec"]["worker"]["updateStrategy"] = json!({"maxSurge": "many"});
        assert_eq!(fields(&invalid, None), ["spec.worker.updateStrategy.maxSurge"]);
    }
}
