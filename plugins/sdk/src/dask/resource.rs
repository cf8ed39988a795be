//! A Dask resource as a plan reads it.

use serde_json::Value;

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
