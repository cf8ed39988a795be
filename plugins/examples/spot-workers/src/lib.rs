//! Lets workers run on spot nodes, and nothing but workers.
//!
//! If a worker is lost, the operator replaces it and Dask repeats its work. If a scheduler is lost, the whole computation
//! is lost. Therefore planned worker pods get the tolerations of spot nodes, and a scheduler or a job runner that
//! tolerates spot nodes is refused.

use std::collections::BTreeMap;

use dask_operator_plugin::dask::pods::{PodSpecField, pod_spec_mut, pods};
use dask_operator_plugin::dask::role::Role;
use dask_operator_plugin::prelude::*;
use dask_operator_plugin::{schemars, serde};

/// Settings of the plugin.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(
    crate = "dask_operator_plugin::serde",
    default,
    deny_unknown_fields,
    rename_all = "camelCase"
)]
#[schemars(crate = "dask_operator_plugin::schemars")]
pub struct Settings {
    /// Tolerations that worker pods get, for the taints of spot nodes. The default is those of Google and Azure.
    pub tolerations: Vec<Toleration>,
    /// Labels of spot nodes. Workers prefer nodes that have all of them.
    pub node_labels: BTreeMap<String, String>,
    /// Require `nodeLabels`: workers run only on nodes with these labels.
    pub require: bool,
    /// Name of a label. Clusters and worker groups that have it, with any value, do not use spot nodes.
    pub on_demand_label: String,
}

/// A toleration, as in a pod's spec.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(crate = "dask_operator_plugin::serde", deny_unknown_fields)]
#[schemars(crate = "dask_operator_plugin::schemars")]
pub struct Toleration {
    /// The taint's key.
    pub key: String,
    /// The operator: `Exists`, or `Equal` with a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The taint's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The effect: `NoSchedule`, `PreferNoSchedule` or `NoExecute`; all effects if it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let toleration = |key: &str, value: &str| Toleration {
            key: key.to_owned(),
            operator: Some("Equal".to_owned()),
            value: Some(value.to_owned()),
            effect: Some("NoSchedule".to_owned()),
        };
        Self {
            tolerations: vec![
                toleration("cloud.google.com/gke-spot", "true"),
                toleration("kubernetes.azure.com/scalesetpriority", "spot"),
            ],
            node_labels: BTreeMap::new(),
            require: false,
            on_demand_label: "example.com/on-demand".to_owned(),
        }
    }
}

/// The policy component.
#[derive(Debug)]
pub struct SpotWorkers;

impl Plugin for SpotWorkers {
    const NAME: &str = "spot-workers";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Lets workers run on spot nodes, and nothing but workers.";
    type Settings = Settings;

    fn check_settings(settings: &Settings) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (i, toleration) in settings.tolerations.iter().enumerate() {
            if toleration.key.is_empty() {
                let message =
                    "it is empty, which would tolerate every taint: write the key of the spot nodes' taint";
                findings.push(Finding::error(format!("tolerations[{i}].key"), message));
            }
            if toleration.operator.as_deref() == Some("Exists") && toleration.value.is_some() {
                let message = "`Exists` takes no value: leave it out, or write `operator: Equal`";
                findings.push(Finding::error(format!("tolerations[{i}].value"), message));
            }
        }
        if settings.require && settings.node_labels.is_empty() {
            let message =
                "there are no `nodeLabels` to require: write the labels of spot nodes, or leave this out";
            findings.push(Finding::error("require", message));
        }
        findings
    }
}

impl Policy for SpotWorkers {
    fn admit(request: &AdmissionRequest, settings: &Settings) -> Result<AdmissionResponse, String> {
        if request.operation == Operation::Delete {
            return Ok(AdmissionResponse::allow());
        }
        let check = |object: &Value| -> Vec<Finding> {
            let others = pods(&request.kind.kind, object)
                .into_iter()
                .filter(|pod| pod.role != Role::Worker);
            others.flat_map(|pod| on_spot_nodes(&pod, settings)).collect()
        };
        let before = request.old_json()?.as_ref().map(check).unwrap_or_default();
        Ok(AdmissionResponse::of_new_findings(
            check(&request.object_json()?),
            &before,
        ))
    }

    fn review_plan(request: &ReviewRequest, settings: &Settings) -> Result<Review, String> {
        let parent = request.parent_json()?;
        if parent["metadata"]["labels"]
            .get(&settings.on_demand_label)
            .is_some()
        {
            return Ok(Review::Allow);
        }
        let mut changed = Vec::new();
        for child in &request.children {
            let Some(mut object) = child.action.object_json()? else {
                continue;
            };
            if Role::of(&object) != Some(Role::Worker) {
                continue;
            }
            let Some(pod_spec) = pod_spec_mut(&child.key.kind, &mut object) else {
                continue;
            };
            if to_spot_nodes(pod_spec, settings) {
                let action = child.action.with(&object);
                changed.push(DesiredChild {
                    key: child.key.clone(),
                    action,
                });
            }
        }
        Ok(if changed.is_empty() {
            Review::Allow
        } else {
            Review::Change(changed)
        })
    }
}

/// Returns a finding for each toleration of spot nodes, for a pod that must not run on them.
fn on_spot_nodes(pod: &PodSpecField<'_>, settings: &Settings) -> Vec<Finding> {
    let tolerates_spot = |toleration: &Value| match toleration["key"].as_str() {
        Some(key) if !key.is_empty() => settings.tolerations.iter().any(|spot| spot.key == key),
        // A toleration without a key tolerates every taint.
        _ => toleration["operator"] == "Exists",
    };
    let tolerations = pod
        .list("tolerations")
        .filter(|place| tolerates_spot(place.value));
    tolerations
        .map(|place| {
            let message = format!(
                "it lets the {role} run on a spot node, and when that node goes all work of the cluster is lost: remove this \
                 toleration; workers get theirs by themselves",
                role = pod.role
            );
            Finding::error(place.field, message)
        })
        .collect()
}

/// Adds the missing tolerations and node labels to a worker's pod spec. Returns whether the spec changed.
fn to_spot_nodes(pod_spec: &mut Value, settings: &Settings) -> bool {
    let before = pod_spec.clone();
    for toleration in &settings.tolerations {
        push_new(&mut pod_spec["tolerations"], json!(toleration));
    }
    if settings.require {
        for (name, value) in &settings.node_labels {
            pod_spec["nodeSelector"][name] = json!(value);
        }
    } else if !settings.node_labels.is_empty() {
        let labels = settings.node_labels.iter();
        let expressions: Vec<Value> = labels
            .map(|(name, value)| json!({"key": name, "operator": "In", "values": [value]}))
            .collect();
        let term = json!({"weight": 100, "preference": {"matchExpressions": expressions}});
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        push_new(&mut pod_spec["affinity"]["nodeAffinity"][preferred], term);
    }
    *pod_spec != before
}

/// Adds an element to a list unless the list contains it. Creates the list if it does not exist.
fn push_new(list: &mut Value, element: Value) {
    match list {
        Value::Array(elements) if elements.contains(&element) => {}
        Value::Array(elements) => elements.push(element),
        _ => *list = json!([element]),
    }
}

export!(SpotWorkers: policy);

#[cfg(test)]
mod tests {
    use dask_operator_plugin::dask::kinds;
    use dask_operator_plugin::testing::yaml;

    use super::*;

    fn review(parent: &str, role: &str, pod_spec: &Value, settings: &Settings) -> Option<Value> {
        let object = json!({"metadata": {"labels": {"dask.org/component": role}}, "spec": pod_spec});
        let kept = DesiredChild {
            key: kinds::pod().key("kept"),
            action: ChildAction::Keep,
        };
        let request = ReviewRequest {
            parent_kind: kinds::worker_group(),
            parent: yaml(parent).to_string(),
            children: vec![kept, DesiredChild::create(kinds::pod().key("new"), object)],
            now: 0,
            settings: "{}".to_owned(),
        };
        match SpotWorkers::review_plan(&request, settings).expect("a review") {
            Review::Change(children) => {
                assert_eq!(
                    children.len(),
                    1,
                    "children with the action `Keep` are not changed"
                );
                Some(
                    children[0]
                        .action
                        .object_json()
                        .expect("JSON")
                        .expect("an object")["spec"]
                        .clone(),
                )
            }
            Review::Allow => None,
            Review::Refuse(findings) => panic!("{findings:?}"),
        }
    }

    #[test]
    fn adds_the_tolerations_to_workers() {
        let settings = Settings::default();
        let spec = review(
            "{}",
            "worker",
            &json!({"tolerations": [{"key": "gpu"}]}),
            &settings,
        )
        .expect("changed");
        let keys: Vec<_> = spec["tolerations"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| one["key"].clone())
            .collect();
        assert_eq!(
            keys,
            [
                "gpu",
                "cloud.google.com/gke-spot",
                "kubernetes.azure.com/scalesetpriority"
            ]
        );
        assert_eq!(
            review("{}", "worker", &spec, &settings),
            None,
            "nothing to add to a changed spec"
        );
        assert_eq!(review("{}", "scheduler", &json!({}), &settings), None);
        assert_eq!(
            review(
                "{metadata: {labels: {example.com/on-demand: ''}}}",
                "worker",
                &json!({}),
                &settings
            ),
            None
        );
    }

    #[test]
    fn prefers_or_requires_nodes() {
        let labels = BTreeMap::from([("pool".to_owned(), "spot".to_owned())]);
        let prefer = Settings {
            tolerations: Vec::new(),
            node_labels: labels,
            ..Settings::default()
        };
        let spec = review("{}", "worker", &json!({}), &prefer).expect("changed");
        assert_eq!(
            spec.pointer(
                "/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/preference"
            ),
            Some(&json!({"matchExpressions": [{"key": "pool", "operator": "In", "values": ["spot"]}]}))
        );
        let require = Settings {
            require: true,
            ..prefer
        };
        let spec =
            review("{}", "worker", &json!({"nodeSelector": {"zone": "a"}}), &require).expect("changed");
        assert_eq!(spec, json!({"nodeSelector": {"zone": "a", "pool": "spot"}}));
    }

    #[test]
    fn refuses_other_pods_on_spot_nodes() {
        let cluster = |tolerations: Value| {
            let request = AdmissionRequest {
                kind: kinds::cluster(),
                operation: Operation::Create,
                object: json!({"spec": {
                    "scheduler": {"spec": {"tolerations": tolerations}},
                    "worker": {"spec": {"tolerations": [{"operator": "Exists"}]}},
                }})
                .to_string(),
                old: None,
                user_info: "{}".to_owned(),
                dry_run: false,
                settings: "{}".to_owned(),
            };
            match SpotWorkers::admit(&request, &Settings::default())
                .expect("a response")
                .verdict
            {
                Verdict::Refuse(findings) => findings.into_iter().map(|finding| finding.field).collect(),
                Verdict::Allow | Verdict::Patch(_) => Vec::new(),
            }
        };
        assert_eq!(cluster(json!([{"key": "gpu", "operator": "Exists"}])), [""; 0]);
        assert_eq!(
            cluster(json!([{"key": "gpu"}, {"key": "cloud.google.com/gke-spot"}, {"operator": "Exists"}])),
            [
                "spec.scheduler.spec.tolerations[1]",
                "spec.scheduler.spec.tolerations[2]"
            ]
        );
    }

    #[test]
    fn reports_invalid_settings() {
        let settings = Settings {
            tolerations: vec![Toleration {
                key: String::new(),
                operator: Some("Exists".to_owned()),
                value: Some("x".to_owned()),
                effect: None,
            }],
            require: true,
            ..Settings::default()
        };
        let fields: Vec<_> = SpotWorkers::check_settings(&settings)
            .into_iter()
            .map(|finding| finding.field)
            .collect();
        assert_eq!(fields, ["tolerations[0].key", "tolerations[0].value", "require"]);
    }
}
