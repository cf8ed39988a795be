//! Writes the status of plugin resources, and publishes events about them.

use std::time::Duration;

use dask_operator_api::{ClusterDaskPlugin, DaskPlugin, PluginStatus};
use dask_operator_core::names::{DASK_API_VERSION, FIELD_MANAGER};
use dask_operator_core::text;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::{debug, warn};

use crate::client::error::words;
use crate::client::events;
use crate::plugins::resource::Resource;

/// Longest message of an event, in bytes.
const NOTE: usize = 1024;

/// Timeout for writing a status. All plugins wait meanwhile.
const TIMEOUT: Duration = Duration::from_secs(10);

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
