//! Status of plugin resources, and events about them.

use std::time::Duration;

use dask_operator_api::{ClusterDaskPlugin, DaskPlugin, LastGood, PluginStatus};
use dask_operator_core::names::{DASK_API_VERSION, FIELD_MANAGER};
use dask_operator_core::plan::{Condition, ConditionStatus};
use dask_operator_core::{status, text};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::failure::{LoadFailure, ROLLED_BACK};
use super::prepare::Good;
use super::resource::Resource;
use crate::client::error::words;
use crate::client::events;

/// Longest message of a condition, in bytes. `NOTE` is the longest one of an event.
const MESSAGE: usize = 4096;
const NOTE: usize = 1024;

/// Timeout for writing a status. All plugins wait meanwhile.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the status that reports the active version, and why the spec of `resource` is not active. `holds` is true if the
/// plugin blocks its scope untried and its status names no version that was active.
pub(super) fn status(
    resource: &Resource,
    good: Option<&Good>,
    rolled_back: Option<&String>,
    failure: Option<&LoadFailure>,
    holds: bool,
) -> PluginStatus {
    let mut wanted = PluginStatus {
        // Until the component has been tried, the generation does not count as observed, so that the next start blocks, too.
        observed_generation: if holds {
            resource
                .status
                .observed_generation
                .filter(|observed| *observed != resource.generation)
        } else {
            Some(resource.generation)
        },
        error: failure.map(|failure| text::line(&failure.message, MESSAGE)),
        ..PluginStatus::default()
    };
    if let Some(good) = good {
        wanted.name = Some(good.name.clone());
        wanted.version = Some(good.version.clone());
        wanted.digest = Some(good.digest.clone());
        wanted.short_digest = good
            .digest
            .get("sha256:".len()..)
            .and_then(|digits| digits.get(..12))
            .map(str::to_owned);
        wanted.image_digest = good.image_digest.clone();
        wanted.interfaces = good.interfaces.iter().map(|name| (*name).to_owned()).collect();
        wanted.interface_names = Some(good.interfaces.join(","));
        wanted.last_good = Some(LastGood {
            generation: good.asked.generation,
            digest: good.digest.clone(),
            settings: good.asked.spec.settings.clone(),
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
    let was = |status: &PluginStatus| status.digest.is_some();
    let (state, reason, message) = match (failure, good) {
        (None, Some(good)) => (
            ConditionStatus::True,
            "InForce",
            format!("{} is in force", good.title()),
        ),
        (None, None) => (
            ConditionStatus::Unknown,
            "Loading",
            "it is being loaded".to_owned(),
        ),
        (Some(failure), Some(good)) => {
            let goes_on = if failure.reason == ROLLED_BACK {
                "is in force again"
            } else {
                "is still in force"
            };
            (
                ConditionStatus::False,
                failure.reason,
                format!("{failure}; {} {goes_on}", good.title()),
            )
        }
        (Some(failure), None) if was(&resource.status) => (
            ConditionStatus::False,
            failure.reason,
            format!(
                "{failure}; what was in force can't be loaded either, and what it looks after is held until it can be \
                 or this plugin is deleted"
            ),
        ),
        (Some(failure), None) if holds => (
            ConditionStatus::False,
            failure.reason,
            format!(
                "{failure}; it is not known yet what it says, and what it is for is held until that is known or this plugin \
                 is deleted"
            ),
        ),
        (Some(failure), None) => (
            ConditionStatus::False,
            failure.reason,
            format!("{failure}; it has not been in force yet, and changes nothing"),
        ),
    };
    let ready = Condition {
        type_: "Ready".to_owned(),
        status: state,
        reason: reason.to_owned(),
        message: text::line(&message, MESSAGE),
    };
    stamped(resource, wanted, ready)
}

/// Adds a condition with its times to the status.
fn stamped(resource: &Resource, mut wanted: PluginStatus, ready: Condition) -> PluginStatus {
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

/// Apply patch of a resource's status.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    api_version: &'a str,
    kind: Option<String>,
    metadata: Value,
    status: &'a PluginStatus,
}

/// Writes a status, unless it is unchanged. Returns the resulting status.
pub(super) async fn write(client: &Client, resource: &Resource, wanted: PluginStatus) -> PluginStatus {
    if wanted == resource.status {
        return wanted;
    }
    let reference = resource.reference();
    let mut metadata = json!({"name": resource.id.name, "uid": resource.uid});
    if let Some(namespace) = &resource.id.namespace {
        metadata["namespace"] = namespace.as_str().into();
    }
    let patch = Written {
        api_version: DASK_API_VERSION,
        kind: reference.kind,
        metadata,
        status: &wanted,
    };
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&patch);
    let name = &resource.id.name;
    let written = async {
        match &resource.id.namespace {
            Some(namespace) => {
                let api: Api<DaskPlugin> = Api::namespaced(client.clone(), namespace);
                api.patch_status(name, &parameters, &patch).await.map(drop)
            }
            None => {
                let api: Api<ClusterDaskPlugin> = Api::all(client.clone());
                api.patch_status(name, &parameters, &patch).await.map(drop)
            }
        }
    };
    let why = match tokio::time::timeout(TIMEOUT, written).await {
        Ok(Ok(())) => return wanted,
        Ok(Err(error)) => words(&error),
        Err(_) => format!("no answer in {} s", TIMEOUT.as_secs()),
    };
    warn!(plugin = %resource.id, "can't write the status: {why}");
    resource.status.clone()
}

/// Publishes an event about a plugin.
pub(super) async fn publish(
    client: &Client,
    resource: &Resource,
    type_: EventType,
    reason: &str,
    note: &str,
) {
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(text::line(note, NOTE)),
        action: "Load".to_owned(),
        secondary: None,
    };
    let recorder = Recorder::new(client.clone(), Reporter::from("dask-operator"));
    let why =
        match tokio::time::timeout(events::TIMEOUT, recorder.publish(&event, &resource.reference())).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => words(&error),
            Err(_) => format!("no answer in {} s", events::TIMEOUT.as_secs()),
        };
    debug!(plugin = %resource.id, reason, "can't publish an event: {why}");
}
