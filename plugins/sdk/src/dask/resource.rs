//! A Dask resource as a plan reads it.

use serde_json::Value;

use super::metadata::{CLUSTER_REPLICAS, Metadata};

/// The parts of an object that every component reads.
#[derive(Debug)]
pub struct Resource<'a> {
    /// The object.
    pub object: &'a Value,
    /// `metadata.name`.
    pub name: &'a str,
    /// `metadata.namespace`; `default` where there is none, as on a command line.
    pub namespace: &'a str,
    /// `spec`.
    pub spec: &'a Value,
    /// `status`, null where nothing was written yet.
    pub status: &'a Value,
}

impl<'a> Resource<'a> {
    /// Reads an object.
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

    /// Returns the condition of this type that its status has.
    pub fn condition(&self, type_: &str) -> Option<&'a Value> {
        let conditions = self.status["conditions"].as_array()?;
        conditions.iter().find(|condition| condition["type"] == type_)
    }

    /// Whether one of its conditions is true now.
    pub fn condition_holds(&self, type_: &str) -> bool {
        self.condition(type_)
            .is_some_and(|condition| condition["status"] == "True")
    }

    /// `metadata.generation`, for `status.observedGeneration`.
    pub fn generation(&self) -> Option<i64> {
        self.object["metadata"]["generation"].as_i64()
    }
}

/// Workers that a group can have: as many children as a plan may have.
pub const MOST_WORKERS: usize = 20_000;

/// `replicas` of a `spec.worker`; one where it says nothing.
pub fn replicas(worker: &Value) -> u32 {
    let replicas = worker["replicas"].as_u64().unwrap_or(1);
    u32::try_from(replicas).unwrap_or(u32::MAX)
}

/// How many workers a child shall have whose owner says `wanted`: the default group of a cluster, or the cluster of a job.
/// The owner's number is passed on when it changes, as the child's annotation [`CLUSTER_REPLICAS`] tells; in between the
/// child belongs to whoever scales it. One without the annotation, of an operator before this one, keeps its number.
pub fn passed_on_replicas(wanted: u32, existing: Option<&Value>) -> u32 {
    let Some(child) = existing else { return wanted };
    let passed_on = child["metadata"]["annotations"][CLUSTER_REPLICAS].as_str();
    match passed_on {
        Some(passed_on) if passed_on != wanted.to_string() => wanted,
        _ => replicas(&child["spec"]["worker"]),
    }
}

/// An object of these two parts, without nulls.
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

/// Takes members that are null out of an object and everything in it. To Kubernetes they say nothing, but they would
/// look like a difference to what the API server stores.
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
    fn replicas_go_one_way_and_only_when_they_change() {
        let child = |passed_on: Option<&str>, replicas: u32| json!({"metadata": {"annotations": {CLUSTER_REPLICAS: passed_on}}, "spec": {"worker": {"replicas": replicas}}});
        assert_eq!(passed_on_replicas(3, None), 3, "a new child");
        assert_eq!(
            passed_on_replicas(3, Some(&child(Some("3"), 7))),
            7,
            "somebody scaled the child"
        );
        assert_eq!(
            passed_on_replicas(4, Some(&child(Some("3"), 7))),
            4,
            "somebody changed the owner"
        );
        assert_eq!(
            passed_on_replicas(3, Some(&child(None, 7))),
            7,
            "a child of the operator before"
        );
    }

    #[test]
    fn nulls_say_nothing() {
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
    fn one_replica_where_nothing_is_said() {
        assert_eq!((replicas(&json!({})), replicas(&json!({"replicas": 0}))), (1, 0));
    }
}
