//! Access to the fields of a Dask resource.

use serde_json::Value;

use super::fields;
use super::metadata::{ANNOTATION_CLUSTER_REPLICAS, Metadata};

/// The fields of a Dask resource that every component reads.
#[derive(Debug)]
pub struct Resource<'a> {
    /// The whole object.
    pub object: &'a Value,
    /// `metadata.name`.
    pub name: &'a str,
    /// `metadata.namespace`; `default` if it is missing.
    pub namespace: &'a str,
    /// `spec`.
    pub spec: &'a Value,
    /// `status`; null if it has not been written yet.
    pub status: &'a Value,
}

impl<'a> Resource<'a> {
    /// Reads the fields of an object.
    pub fn of(object: &'a Value) -> Self {
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        let namespace = metadata["namespace"].as_str().unwrap_or("default");
        Self {
            object,
            name,
            namespace,
            spec: &object["spec"],
            status: &object["status"],
        }
    }

    /// Returns the condition of this type from the status, or `None` if there is none.
    pub fn condition(&self, type_: &str) -> Option<&'a Value> {
        let conditions = self.status["conditions"].as_array()?;
        conditions.iter().find(|condition| condition["type"] == type_)
    }

    /// Returns whether the condition of this type is true.
    pub fn condition_holds(&self, type_: &str) -> bool {
        self.condition(type_)
            .is_some_and(|condition| condition["status"] == "True")
    }

    /// Returns `metadata.generation`, for `status.observedGeneration`.
    pub fn generation(&self) -> Option<i64> {
        self.object["metadata"]["generation"].as_i64()
    }
}

/// Returns the items of a list; empty if the value is no list.
pub fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Maximum number of workers of a group, which is the maximum number of children of a plan.
pub const MOST_WORKERS: usize = 20_000;

/// Returns `replicas` of a `spec.worker`; 1 if it is not set.
pub fn replicas(worker: &Value) -> u32 {
    let replicas = worker[fields::worker::REPLICAS].as_u64().unwrap_or(1);
    u32::try_from(replicas).unwrap_or(u32::MAX)
}

/// Returns the number of workers of a child whose owner has `wanted` workers: the default group of a cluster, or the cluster of a
/// job. The owner's number is passed on when it differs from the one in the child's annotation [`ANNOTATION_CLUSTER_REPLICAS`];
/// otherwise the child can be scaled on its own. A child without the annotation, from an earlier operator, keeps its number.
pub fn passed_on_replicas(wanted: u32, existing: Option<&Value>) -> u32 {
    let Some(child) = existing else { return wanted };
    let passed_on = child["metadata"]["annotations"][ANNOTATION_CLUSTER_REPLICAS].as_str();
    match passed_on {
        Some(passed_on) if passed_on != wanted.to_string() => wanted,
        _ => replicas(&child["spec"][fields::cluster::WORKER]),
    }
}

/// Creates an object from metadata and a spec, without nulls.
#[must_use]
pub fn object(metadata: &Metadata, spec: Value) -> Value {
    let parts = [("metadata", metadata.to_json()), ("spec", spec)];
    let mut object = Value::Object(
        parts
            .map(|(name, part)| (name.to_owned(), part))
            .into_iter()
            .collect(),
    );
    drop_nulls(&mut object);
    object
}

/// Removes members that are null from an object, recursively. Kubernetes ignores them, but they would look like a
/// difference from the stored object.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => members.retain(|_, member| {
            drop_nulls(member);
            !member.is_null()
        }),
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replicas_are_passed_on_only_when_they_change() {
        let child = |passed_on: Option<&str>, replicas: u32| json!({"metadata": {"annotations": {ANNOTATION_CLUSTER_REPLICAS: passed_on}}, "spec": {"worker": {"replicas": replicas}}});
        assert_eq!(passed_on_replicas(3, None), 3, "a new child");
        assert_eq!(
            passed_on_replicas(3, Some(&child(Some("3"), 7))),
            7,
            "the child was scaled"
        );
        assert_eq!(
            passed_on_replicas(4, Some(&child(Some("3"), 7))),
            4,
            "the owner was changed"
        );
        assert_eq!(
            passed_on_replicas(3, Some(&child(None, 7))),
            7,
            "a child of an earlier operator"
        );
    }

    #[test]
    fn drops_nulls() {
        let mut value = json!({"a": null, "b": [{"c": null, "d": 0}, null], "e": {"f": null}});
        drop_nulls(&mut value);
        assert_eq!(value, json!({"b": [{"d": 0}, null], "e": {}}));
        let metadata = Metadata::default();
        assert_eq!(
            object(&metadata, json!({"a": null})),
            json!({"metadata": {"labels": {}}, "spec": {}})
        );
    }

    #[test]
    fn the_default_is_one_replica() {
        assert_eq!((replicas(&json!({})), replicas(&json!({"replicas": 0}))), (1, 0));
    }
}
