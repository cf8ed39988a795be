//! Kubernetes events about Dask resources.

use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::plan::{Event, EventType};
use dask_operator_core::text;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{self, Recorder, Reporter};
use tracing::debug;

use crate::errors::words;
use crate::leading::Leading;
use crate::object::Object;
use crate::routes::ParentKey;

/// How many bytes of a note the API server takes.
const NOTE: usize = 1024;

/// How long the API server may take for one. Nobody waits longer for what need not be said.
pub(crate) const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Which events are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All.
    All,
    /// Warnings.
    Warnings,
    /// None.
    None,
}

/// Publishes events as the component `dask-operator`.
#[derive(Clone)]
pub struct Events {
    client: Client,
    level: Level,
    leading: Leading,
}

impl Events {
    /// Publishes with `client` what `level` lets through.
    #[must_use]
    pub fn new(client: Client, level: Level) -> Self {
        Self {
            client,
            level,
            leading: Leading::always(),
        }
    }

    /// The same, that publishes nothing while this process does not lead.
    #[must_use]
    pub fn only_while(self, leading: Leading) -> Self {
        Self { leading, ..self }
    }

    /// Publishes an event about a Dask resource. One that can't be published is
    /// lost: it tells what is in the resource's status too. Gives whether the API server answers: where it does not,
    /// it need not be asked for others.
    pub async fn publish(&self, key: &ParentKey, object: &Object, event: &Event) -> bool {
        let lets_through = match event.type_ {
            EventType::Normal => self.level == Level::All,
            EventType::Warning => self.level != Level::None,
        };
        if !lets_through || !self.leading.now() {
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
            note: Some(text::line(&event.message, NOTE)),
            action: "Reconcile".into(),
            secondary: None,
        };
        // A recorder counts an event of the same reason as one that it knows, and drops what the new one says: that the
        // second attempt failed, and why. So each event has a recorder of its own.
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
