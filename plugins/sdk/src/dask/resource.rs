//! A Dask resource as a plan reads it.

use serde_json::Value;

use super::metadata::Metadata;

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

    /// Whether one of its conditions is true now.
    pub fn condition_holds(&self, type_: &str) -> bool {
        let conditions = self.status["conditions"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        conditions
            .iter()
            .any(|condition| condition["type"] == type_ && condition["status"] == "True")
    }

    /// `metadata.generation`, for `status.observedGeneration`.
    pub fn generation(&self) -> Option<i64> {
        self.object["metadata"]["generation"].as_i64()
    }
}

/// `replicas` of a `spec.worker`; one where it says nothing.
pub fn replicas(worker: &Value) -> u32 {
    let replicas = worker["replicas"].as_u64().unwrap_or(1);
    u32::try_from(replicas).unwrap_or(u32::MAX)
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
