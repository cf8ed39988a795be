//! Status of plugin resources.

use dask_operator_api::{LastGood, PluginStatus};
use dask_operator_core::digest::Digest;
use dask_operator_core::plan::{ConditionStatus, DesiredCondition};
use dask_operator_core::{status, text};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::plugins::error::{LoadFailure, LoadReason};
use crate::plugins::loaded::LoadedPlugin;
use crate::plugins::resource::Resource;

/// Longest message of a condition, in bytes.
const MAX_MESSAGE: usize = 4096;

dask_operator_core::reasons! {
    /// Reason of the condition `Ready`.
    pub(crate) enum ReadyReason {
        /// Nothing to do: the plugin is active.
        InForce => "InForce",
        /// Nothing to do: the plugin is being loaded.
        Loading => "Loading",
    } containing {
        /// The spec is not active.
        Failed(LoadReason),
    }
}

impl ReadyReason {
    /// Type of the condition.
    pub(crate) const CONDITION: &'static str = "Ready";
}

impl From<LoadReason> for ReadyReason {
    fn from(reason: LoadReason) -> Self {
        Self::Failed(reason)
    }
}

/// Returns the status that reports the active version, and why the spec of `resource` is not active. `blocks` is true if the
/// plugin blocks its scope untried and its status names no version that was active.
pub(super) fn desired(
    resource: &Resource,
    active: Option<&LoadedPlugin>,
    rolled_back: Option<&String>,
    failure: Option<&LoadFailure>,
    blocks: bool,
) -> PluginStatus {
    let mut wanted = PluginStatus {
        // Until the component has been tried, the generation does not count as observed, so that the next start blocks, too.
        observed_generation: if blocks {
            resource
                .status
                .observed_generation
                .filter(|observed| *observed != resource.generation)
        } else {
            Some(resource.generation)
        },
        error: failure.map(|failure| text::line(&failure.message, MAX_MESSAGE)),
        ..PluginStatus::default()
    };
    if let Some(active) = active {
        wanted.name = Some(active.name.clone());
        wanted.version = Some(active.version.clone());
        wanted.digest = Some(active.digest.clone());
        wanted.short_digest = active.digest.parse().ok().map(|digest: Digest| digest.short());
        wanted.image_digest = active.image_digest.clone();
        wanted.interfaces = active.interfaces.iter().map(|name| (*name).to_owned()).collect();
        wanted.interface_names = Some(active.interfaces.join(","));
        wanted.last_good = Some(LastGood {
            generation: active.requested_by.generation,
            digest: active.digest.clone(),
            settings: active.requested_by.spec.settings.clone(),
            rolled_back: rolled_back.cloned(),
        });
    } else {
        // The former version stays in the status, so that it is not forgotten.
        let before = resource.status.clone();
        wanted = PluginStatus {
            observed_generation: wanted.observed_generation,
            error: wanted.error,
            conditions: Vec::new(),
            ..before
        };
    }
    let was_active = |status: &PluginStatus| status.digest.is_some();
    let (state, reason, message) = match (failure, active) {
        (None, Some(active)) => (
            ConditionStatus::True,
            ReadyReason::InForce,
            format!("{} is in force", active.title()),
        ),
        (None, None) => (
            ConditionStatus::Unknown,
            ReadyReason::Loading,
            "it is being loaded".to_owned(),
        ),
        (Some(failure), Some(active)) => {
            let goes_on = if failure.reason == LoadReason::RolledBack {
                "is in force again"
            } else {
                "is still in force"
            };
            (
                ConditionStatus::False,
                failure.reason.into(),
                format!("{failure}; {} {goes_on}", active.title()),
            )
        }
        (Some(failure), None) if was_active(&resource.status) => (
            ConditionStatus::False,
            failure.reason.into(),
            format!(
                "{failure}; what was in force can't be loaded either, and what it looks after is held until it can be \
                 or this plugin is deleted"
            ),
        ),
        (Some(failure), None) if blocks => (
            ConditionStatus::False,
            failure.reason.into(),
            format!(
                "{failure}; it is not known yet what it says, and what it is for is held until that is known or this plugin \
                 is deleted"
            ),
        ),
        (Some(failure), None) => (
            ConditionStatus::False,
            failure.reason.into(),
            format!("{failure}; it has not been in force yet, and changes nothing"),
        ),
    };
    let ready = DesiredCondition {
        type_: ReadyReason::CONDITION.to_owned(),
        status: state,
        reason: reason.as_str().to_owned(),
        message: text::line(&message, MAX_MESSAGE),
    };
    stamped(resource, wanted, ready)
}

/// Adds a condition with its times to the status.
fn stamped(resource: &Resource, mut wanted: PluginStatus, ready: DesiredCondition) -> PluginStatus {
    // Settings stay text and are not converted to JSON values.
    let last_good = wanted.last_good.take();
    let observed = json!({"metadata": {"generation": resource.generation},
                          "status": {"conditions": resource.status.conditions}});
    let fields = match serde_json::to_value(wanted) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = status::desired(&fields, &[ready], &observed, &now);
    PluginStatus {
        last_good,
        ..serde_json::from_value(status).unwrap_or_default()
    }
}
