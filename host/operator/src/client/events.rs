//! Kubernetes events about Dask resources.

use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::plan::{Event, EventType};
use dask_operator_core::text;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{self, Recorder, Reporter};
use tracing::debug;

use crate::client::error::words;
use crate::client::object::Object;
use crate::key::ParentKey;
use crate::leader_election::leadership::Leading;

/// Limit of a note's size in bytes, imposed by the API server.
const MAX_NOTE: usize = 1024;

/// Time limit for publishing one event. Events are not essential, so reconciles do not wait longer.
pub(crate) const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Level of the events that are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// All events.
    All,
    /// Warnings only.
    Warnings,
    /// No events.
    None,
}

/// Publishes events as the component `dask-operator`.
#[derive(Clone)]
pub(crate) struct Events {
    client: Client,
    level: Level,
    leading: Leading,
}

impl Events {
    /// Publishes the events that `level` permits with `client`.
    #[must_use]
    pub(crate) fn new(client: Client, level: Level) -> Self {
        Self {
            client,
            level,
            leading: Leading::always(),
        }
    }

    /// Returns a publisher that publishes nothing while this process is not the leader.
    #[must_use]
    pub(crate) fn only_while(self, leading: Leading) -> Self {
        Self { leading, ..self }
    }

    /// Publishes an event about a Dask resource. An event that can't be published is dropped, because the status of the
    /// resource has the same information. Returns false if the API server does not answer; the caller then need not
    /// send other events.
    pub(crate) async fn publish(&self, key: &ParentKey, object: &Object, event: &Event) -> bool {
        let is_permitted = match event.type_ {
            EventType::Normal => self.level == Level::All,
            EventType::Warning => self.level != Level::None,
        };
        if !is_permitted || !self.leading.now() {
            return true;
        }
        let regarding = ObjectReference {
            api_version: Some(DASK_API_VERSION.into()),
            kind: Some(key.kind.kind().into()),
            name: Some(object.name.to_string()),
            namespace: Some(object.namespace.to_string()),
            uid: Some(object.uid.to_string()),
            ..ObjectReference::default()
        };
        let event = events::Event {
            type_: match event.type_ {
                EventType::Normal => events::EventType::Normal,
                EventType::Warning => events::EventType::Warning,
            },
            reason: event.reason.clone(),
            note: Some(text::line(&event.message, MAX_NOTE)),
            action: "Reconcile".into(),
            secondary: None,
        };
        // A recorder counts an event with the same reason as a repetition of an earlier one, and drops the message of
        // the new one, for example why a second attempt failed. So each event has its own recorder.
        let recorder = Recorder::new(self.client.clone(), Reporter::from("dask-operator"));
        let published = tokio::time::timeout(TIMEOUT, recorder.publish(&event, &regarding)).await;
        let why = match &published {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => words(error),
            Err(_) => format!("no answer in {} s", TIMEOUT.as_secs()),
        };
        debug!(object = %key, reason = event.reason, "an event can't be published: {why}");
        published.is_ok()
    }
}
