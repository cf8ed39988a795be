//! A policy for tests, whose behaviour is set by its settings.

use std::collections::BTreeMap;

use dask_operator_plugin::prelude::*;
use dask_operator_plugin::{schemars, serde};

/// Label to which each policy appends its word, separated by dots.
const TRACE: &str = "example.com/trace";

/// Behaviour of the policy.
#[derive(Debug, Clone, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(
    crate = "dask_operator_plugin::serde",
    default,
    deny_unknown_fields,
    rename_all = "camelCase"
)]
#[schemars(crate = "dask_operator_plugin::schemars")]
pub struct Settings {
    /// Labels to set on pods.
    pub stamp: BTreeMap<String, String>,
    /// Labels to remove from pods.
    pub remove: Vec<String>,
    /// Word to append to those of the policies that were called before.
    pub word: String,
    /// Message with which every plan is refused. Empty to refuse none.
    pub refuse: String,
    /// Maximum number of workers that is admitted.
    pub most_workers: Option<u64>,
    /// True to trap when a plan is reviewed, unless the resource is named `sample`.
    pub trap: bool,
    /// Prefix of the names of resources for which plan reviews trap. Empty for none.
    pub trap_on: String,
}

/// The policy.
#[derive(Debug)]
pub struct Scripted;

impl Plugin for Scripted {
    const NAME: &str = "scripted";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Behaves as its settings request.";
    type Settings = Settings;

    fn check_settings(settings: &Settings) -> Vec<Finding> {
        if settings.word.contains(' ') {
            vec![Finding::error("word", "it has a space: write one word")]
        } else {
            Vec::new()
        }
    }
}

impl Policy for Scripted {
    fn admit(request: &AdmissionRequest, settings: &Settings) -> Result<AdmissionResponse, String> {
        let object = request.object_json()?;
        let workers = object["spec"]["worker"]["replicas"].as_u64().unwrap_or_default();
        let exceeded = settings.most_workers.filter(|most| workers > *most);
        let finding = |most: u64| Finding::error("spec.worker.replicas", format!("write {most} or less"));
        Ok(AdmissionResponse::of_findings(
            exceeded.map(finding).into_iter().collect(),
        ))
    }

    fn review_plan(request: &ReviewRequest, settings: &Settings) -> Result<Review, String> {
        let parent = request.parent_json()?;
        let name = parent["metadata"]["name"].as_str().unwrap_or_default();
        let trap_on = settings.trap_on.as_str();
        if (settings.trap && name != "sample") || (!trap_on.is_empty() && name.starts_with(trap_on)) {
            panic!("requested by the settings");
        }
        if !settings.refuse.is_empty() {
            return Ok(Review::Refuse(vec![Finding::error("", settings.refuse.clone())]));
        }
        let mut changed = Vec::new();
        for child in request.children.iter().filter(|child| child.key.kind == "Pod") {
            if let Some(mut pod) = child.action.object_json()? {
                change_labels(&mut pod["metadata"]["labels"], settings);
                changed.push(DesiredChild {
                    key: child.key.clone(),
                    action: child.action.with(&pod),
                });
            }
        }
        Ok(Review::Change(changed))
    }
}

/// Changes the labels as the settings request.
fn change_labels(labels: &mut Value, settings: &Settings) {
    for (name, value) in &settings.stamp {
        labels[name] = json!(value);
    }
    for name in &settings.remove {
        if let Some(labels) = labels.as_object_mut() {
            labels.remove(name);
        }
    }
    if !settings.word.is_empty() {
        let before = labels[TRACE]
            .as_str()
            .map(|before| format!("{before}."))
            .unwrap_or_default();
        labels[TRACE] = json!(format!("{before}{}", settings.word));
    }
}

dask_operator_plugin::export!(Scripted: policy);
