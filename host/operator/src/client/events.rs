//! Kubernetes events about Dask resources and plugin resources.

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
use crate::leader_election::leadership::Leadership;

/// Limit of a note's size in bytes, imposed by the API server.
const MAX_NOTE: usize = 1024;

/// Time limit for publishing one event. Events are not essential, so reconciles do not wait longer.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

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
    /// The component that publishes, with the name of this pod.
    reporter: Reporter,
    level: Level,
    leadership: Leadership,
}

impl Events {
    /// Publishes the events that `level` permits with `client`.
    #[must_use]
    pub(crate) fn new(client: Client, level: Level) -> Self {
        Self {
            client,
            reporter: Reporter::from("dask-operator"),
            level,
            leadership: Leadership::always(),
        }
    }

    /// Returns a publisher that publishes nothing while this process is not the leader.
    #[must_use]
    pub(crate) fn only_while(self, leadership: Leadership) -> Self {
        Self { leadership, ..self }
    }

    /// Publishes an event about a Dask resource, as [`Events::publish_about`] does.
    pub(crate) async fn publish(&self, key: &ParentKey, object: &Object, event: &Event) -> bool {
        let regarding = ObjectReference {
            api_version: Some(DASK_API_VERSION.into()),
            kind: Some(key.kind.kind().into()),
            name: Some(object.name.to_string()),
            namespace: Some(object.namespace.to_string()),
            uid: Some(object.uid.to_string()),
            ..ObjectReference::default()
        };
        self.publish_about(&regarding, "Reconcile", event).await
    }

    /// Publishes an event about an object, with the action that led to it. An event that can't be published is dropped, because
    /// the status of the object has the same information. Returns false if the API server does not answer; the caller then need
    /// not send other events.
    pub(crate) async fn publish_about(
        &self,
        regarding: &ObjectReference,
        action: &str,
        event: &Event,
    ) -> bool {
        let is_permitted = match event.type_ {
            EventType::Normal => self.level == Level::All,
            EventType::Warning => self.level != Level::None,
        };
        if !is_permitted || !self.leadership.now() {
            return true;
        }
        let event = events::Event {
            type_: match event.type_ {
                EventType::Normal => events::EventType::Normal,
                EventType::Warning => events::EventType::Warning,
            },
            reason: event.reason.clone(),
            note: Some(text::line(&event.message, MAX_NOTE)),
            action: action.into(),
            secondary: None,
        };
        // A recorder counts an event with the same reason as a repetition of an earlier one, and drops the message of
        // the new one, for example why a second attempt failed. So each event has its own recorder.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        let published = tokio::time::timeout(TIMEOUT, recorder.publish(&event, regarding)).await;
        let why = match &published {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => words(error),
            Err(_) => format!("no answer in {} s", TIMEOUT.as_secs()),
        };
        let [kind, namespace, name] = [&regarding.kind, &regarding.namespace, &regarding.name]
            .map(|part| part.as_deref().unwrap_or_default());
        debug!(
            object = format!("{kind} {namespace}/{name}"),
            reason = event.reason,
            "an event can't be published: {why}"
        );
        published.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::client::Body;
    use rstest::rstest;

    use super::*;

    /// The level applies to events about all objects, plugin resources among them.
    #[rstest]
    #[case::all(Level::All, Leadership::always(), 2)]
    #[case::warnings(Level::Warnings, Leadership::always(), 1)]
    #[case::none(Level::None, Leadership::always(), 0)]
    #[case::follower(Level::All, Leadership::not_yet(), 0)]
    #[tokio::test]
    async fn the_level_and_leadership_decide_what_is_published(
        #[case] level: Level,
        #[case] leadership: Leadership,
        #[case] expected: usize,
    ) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let server = tower::service_fn(move |request: Request<Body>| {
            assert!(request.uri().path().ends_with("/events"), "{}", request.uri());
            counter.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, Infallible>(Response::new(Body::from(b"{\"metadata\": {}}".to_vec()))) }
        });
        let events = Events::new(Client::new(server, "default"), level).only_while(leadership);
        let regarding = ObjectReference {
            kind: Some("DaskPlugin".into()),
            name: Some("p".into()),
            namespace: Some("n".into()),
            ..ObjectReference::default()
        };
        for type_ in [EventType::Normal, EventType::Warning] {
            let event = Event {
                type_,
                reason: "InForce".into(),
                message: "p is in force".into(),
            };
            assert!(events.publish_about(&regarding, "Load", &event).await);
        }
        assert_eq!(count.load(Ordering::SeqCst), expected);
    }
}
