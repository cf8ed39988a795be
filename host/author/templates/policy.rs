//! Refuses clusters that ask for too many workers.

use dask_operator_plugin::prelude::*;
use dask_operator_plugin::{schemars, serde};

/// Settings. Their comments are what people read about them.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "dask_operator_plugin::serde", default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(crate = "dask_operator_plugin::schemars")]
pub struct Settings {
    /// How many workers a cluster or a worker group may have.
    pub maximum: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { maximum: 100 }
    }
}

/// The policy.
#[derive(Debug)]
pub struct {{type}};

impl Plugin for {{type}} {
    const NAME: &str = "{{name}}";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Refuses clusters that ask for too many workers.";
    type Settings = Settings;
}

/// Where the number of workers stands: in clusters and worker groups, and in jobs.
const PLACES: [(&str, &str); 2] = [
    ("/spec/worker/replicas", "spec.worker.replicas"),
    ("/spec/cluster/spec/worker/replicas", "spec.cluster.spec.worker.replicas"),
];

impl Policy for {{type}} {
    fn admit(request: &AdmissionRequest, settings: &Settings) -> Result<AdmissionResponse, String> {
        if request.operation == Operation::Delete {
            return Ok(AdmissionResponse::allow());
        }
        let object = request.object_json()?;
        for (pointer, field) in PLACES {
            let replicas = object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
            if replicas > settings.maximum {
                let message = format!("{replicas} workers are too many: write at most {}", settings.maximum);
                return Ok(AdmissionResponse::refuse(field, message));
            }
        }
        Ok(AdmissionResponse::allow())
    }
}

export!({{type}}: policy);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_workers_are_refused() {
        let ask = |replicas: u64| {
            let request = AdmissionRequest {
                kind: ResourceKind::new("kubernetes.dask.org/v1", "DaskCluster"),
                operation: Operation::Create,
                object: json!({"spec": {"worker": {"replicas": replicas}}}).to_string(),
                old: None,
                user_info: "{}".to_owned(),
                dry_run: false,
                settings: "{}".to_owned(),
            };
            {{type}}::admit(&request, &Settings::default()).expect("an answer")
        };
        assert_eq!(ask(100), AdmissionResponse::allow());
        let refused = AdmissionResponse::refuse(
            "spec.worker.replicas",
            "101 workers are too many: write at most 100",
        );
        assert_eq!(ask(101), refused);
    }
}
