//! Refuses resources with too many workers and adds labels to the admitted ones.

use std::collections::BTreeMap;

use dask_operator_plugin::prelude::*;
use dask_operator_plugin::{schemars, serde};

/// Settings of the plugin. Users see these comments as the description of each setting.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "dask_operator_plugin::serde", default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(crate = "dask_operator_plugin::schemars")]
pub struct Settings {
    /// Maximum number of workers of a cluster or a worker group.
    pub maximum: u64,
    /// Labels that are added to every admitted resource.
    pub labels: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            maximum: 100,
            labels: BTreeMap::new(),
        }
    }
}

/// The policy component.
#[derive(Debug)]
pub struct {{type}};

impl Plugin for {{type}} {
    const NAME: &str = "{{name}}";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Refuses clusters that ask for too many workers, and gives labels to all others.";
    type Settings = Settings;
}

/// Fields that contain a number of workers, as JSON Pointer and as field path: one of clusters and worker groups, one of jobs.
const FIELDS: [(&str, &str); 2] = [
    ("/spec/worker/replicas", "spec.worker.replicas"),
    ("/spec/cluster/spec/worker/replicas", "spec.cluster.spec.worker.replicas"),
];

/// Returns a finding if the resource requests more workers than the settings allow.
fn too_many(object: &Value, settings: &Settings) -> Option<Finding> {
    FIELDS.into_iter().find_map(|(pointer, field)| {
        let replicas = object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        (replicas > settings.maximum).then(|| {
            let message = format!("{replicas} workers are too many: write at most {}", settings.maximum);
            Finding::error(field, message)
        })
    })
}

impl Policy for {{type}} {
    fn admit(request: &AdmissionRequest, settings: &Settings) -> Result<AdmissionResponse, String> {
        if request.operation == Operation::Delete {
            return Ok(AdmissionResponse::allow());
        }
        let object = request.object_json()?;
        if let Some(finding) = too_many(&object, settings) {
            return Ok(AdmissionResponse::refuse(finding.field, finding.message));
        }
        let mut changes = Changes::of(&object);
        for (name, value) in &settings.labels {
            changes.label(name, value)?;
        }
        Ok(AdmissionResponse::allow().with_changes(&changes))
    }

    /// Refuses plans of resources with too many workers. This covers resources that were created before the policy.
    fn review_plan(request: &ReviewRequest, settings: &Settings) -> Result<Review, String> {
        Ok(match too_many(&request.parent_json()?, settings) {
            Some(finding) => Review::Refuse(vec![finding]),
            None => Review::Allow,
        })
    }
}

export!({{type}}: policy);

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(replicas: u64, settings: &Settings) -> AdmissionResponse {
        let request = AdmissionRequest {
            kind: ResourceKind::new("kubernetes.dask.org/v1", "DaskCluster"),
            operation: Operation::Create,
            object: json!({"metadata": {"name": "c"}, "spec": {"worker": {"replicas": replicas}}}).to_string(),
            old: None,
            user_info: "{}".to_owned(),
            dry_run: false,
            settings: "{}".to_owned(),
        };
        {{type}}::admit(&request, settings).expect("a response")
    }

    #[test]
    fn refuses_too_many_workers() {
        let admit = |replicas| admit(replicas, &Settings::default());
        assert_eq!(admit(100), AdmissionResponse::allow());
        let refused = AdmissionResponse::refuse(
            "spec.worker.replicas",
            "101 workers are too many: write at most 100",
        );
        assert_eq!(admit(101), refused);
        let request = ReviewRequest {
            parent_kind: ResourceKind::new("kubernetes.dask.org/v1", "DaskWorkerGroup"),
            parent: json!({"spec": {"worker": {"replicas": 101}}}).to_string(),
            children: Vec::new(),
            now: 0,
            settings: "{}".to_owned(),
        };
        let review = {{type}}::review_plan(&request, &Settings::default()).expect("a review");
        assert!(matches!(review, Review::Refuse(_)), "{review:?}");
    }

    #[test]
    fn adds_the_labels_to_admitted_resources() {
        let labels = BTreeMap::from([("example.com/team".to_owned(), "data".to_owned())]);
        let settings = Settings {
            labels,
            ..Settings::default()
        };
        let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"example.com/team": "data"}}]);
        assert_eq!(admit(1, &settings), AdmissionResponse::patch(&patch));
    }
}
