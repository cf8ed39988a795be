//! Sends all write requests to the API server.

use std::sync::Arc;
use std::time::Duration;

use dask_operator_core::names::FIELD_MANAGER;
use dask_operator_core::plan::ResourceKind;
use http::header::ACCEPT;
use http::{HeaderValue, Request};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::request::Request as Requests;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::client::error::WriteError;
use crate::client::object::{Object, Retention};
use crate::client::resource::ResourceType;
use crate::leader_election::leadership::Leadership;

/// Time limit for an answer of the API server. The API server itself ends requests after one minute, and calls of
/// webhooks after 30 s at most.
const TIMEOUT: Duration = Duration::from_secs(40);

/// `Accept` header that requests only the metadata of an object, from a server that supports this.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// `Accept` header that requests only the metadata of a list's items.
const METADATA_OF_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// Sender of write requests.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    /// Permits for requests in flight.
    permits: Arc<Semaphore>,
    in_flight: usize,
    leadership: Leadership,
}

/// The `metadata.resourceVersion` for an apply that must create the object. No existing object has this version. The
/// API server compares it with that of an existing object, and ignores it if there is none. So the apply creates the
/// object, with all fields owned by the operator as after any other apply, and does not change an object that another
/// client has created since the lookup.
const NO_OBJECT_VERSION: &str = "1";

/// Condition on the existing object that a write requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precondition<'a> {
    /// The object must not exist.
    Absent,
    /// The object must have this `metadata.resourceVersion`.
    Version(&'a str),
}

impl Writer {
    /// Sends requests with `client`, with at most `in_flight` of them in flight.
    #[must_use]
    pub(crate) fn new(client: Client, in_flight: usize) -> Self {
        Self {
            client,
            permits: Arc::new(Semaphore::new(in_flight)),
            in_flight,
            leadership: Leadership::always(),
        }
    }

    /// Returns a sender that refuses requests while this process is not the leader.
    #[must_use]
    pub(crate) fn only_while(self, leadership: Leadership) -> Self {
        Self { leadership, ..self }
    }

    /// Waits until no request is in flight, for `limit` at most.
    pub(crate) async fn settle(&self, limit: Duration) {
        let all = u32::try_from(self.in_flight).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let _ = tokio::time::timeout(limit, self.permits.acquire_many(all)).await;
    }

    /// Returns the maximum number of requests in flight.
    #[must_use]
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Creates an object with the name `name`; `text` is its JSON. Of a Pod, the API server returns only the metadata, to
    /// which the status of a new Pod is added: its `spec` is known, and omitting it from a thousand answers halves the work.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server does not create the object;
    /// [`dask_operator_core::api_error::ErrorClass::AlreadyExists`] if there is one with that name.
    pub(crate) async fn create(
        &self,
        kind: &ResourceType,
        namespace: &str,
        name: &str,
        text: String,
    ) -> Result<Object, WriteError> {
        let what = format!("create {} {name}", kind.resource.kind);
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let mut request = Requests::new(kind.path(namespace)).create(&parameters, text.into_bytes());
        let is_pod = Retention::of(&kind.resource) == Retention::Pod;
        if let Ok(request) = &mut request
            && is_pod
        {
            request
                .headers_mut()
                .insert(ACCEPT, HeaderValue::from_static(METADATA_ONLY));
        }
        let answer = self.send(&what, request).await?;
        let created = read(what, &answer, &kind.resource)?;
        Ok(if is_pod { created.pending() } else { created })
    }

    /// Looks up the object with this name, and returns its metadata.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server does not answer, or not with a list.
    pub(crate) async fn find(
        &self,
        kind: &ResourceType,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Object>, WriteError> {
        let what = format!("look for {} {name}", kind.resource.kind);
        // A list with one item needs no more permissions than the watch.
        let parameters = ListParams::default().fields(&format!("metadata.name={name}"));
        let mut request = Requests::new(kind.path(namespace)).list(&parameters);
        if let Ok(request) = &mut request {
            let only = HeaderValue::from_static(METADATA_OF_LIST);
            request.headers_mut().insert(ACCEPT, only);
        }
        let answer = self.send(&what, request).await?;
        Object::from_list(&answer, &kind.resource)
            .map_err(|error| WriteError::new(what, &kube::Error::SerdeError(error)))
    }

    /// Applies `object`. Returns the new object, whole and in its stored form.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server does not apply it, or if the precondition does not hold.
    pub(crate) async fn apply(
        &self,
        kind: &ResourceType,
        namespace: &str,
        object: &Value,
        precondition: Precondition<'_>,
    ) -> Result<(Value, Object), WriteError> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let what = format!("apply {} {name}", kind.resource.kind);
        let mut object = object.clone();
        let mut parameters = PatchParams::apply(FIELD_MANAGER);
        let version = match precondition {
            Precondition::Absent => NO_OBJECT_VERSION,
            Precondition::Version(version) => {
                parameters = parameters.force();
                version
            }
        };
        object["metadata"]["resourceVersion"] = version.into();
        let patch = Patch::Apply(&object);
        let request = Requests::new(kind.path(namespace)).patch(name, &parameters, &patch);
        let answer = self.send(&what, request).await?;
        let stored = read(what, &answer, &kind.resource)?;
        Ok((serde_json::from_str(&answer).unwrap_or_default(), stored))
    }

    /// Applies the whole `status` of `object`, if the object has not changed since the observation.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server does not apply it.
    pub(crate) async fn apply_status(
        &self,
        kind: &ResourceType,
        object: &Object,
        status: &Value,
    ) -> Result<Object, WriteError> {
        let what = format!("apply the status of {} {}", kind.resource.kind, object.name);
        let body = json!({
            "apiVersion": kind.resource.api_version,
            "kind": kind.resource.kind,
            "metadata": {
                "name": object.name, "namespace": object.namespace, "resourceVersion": object.resource_version,
            },
            "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let requests = Requests::new(kind.path(&object.namespace));
        let request = requests.patch_subresource("status", &object.name, &parameters, &Patch::Apply(&body));
        let answer = self.send(&what, request).await?;
        read(what, &answer, &kind.resource)
    }

    /// Applies the whole `status` of the object with this name and uid, which may be cluster-scoped and may have changed.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server does not apply it, or if there is no such object.
    pub(crate) async fn apply_status_of(
        &self,
        kind: &ResourceType,
        regarding: &ObjectReference,
        status: &impl Serialize,
    ) -> Result<(), WriteError> {
        /// Apply patch of a status. The status stays typed, because some of its fields are JSON text.
        #[derive(Debug, Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a, S> {
            api_version: &'a str,
            kind: &'a str,
            metadata: Metadata<'a>,
            status: &'a S,
        }
        #[derive(Debug, Serialize)]
        struct Metadata<'a> {
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            namespace: Option<&'a str>,
            uid: Option<&'a str>,
        }
        let name = regarding.name.as_deref().unwrap_or_default();
        let namespace = regarding.namespace.as_deref();
        let what = format!("apply the status of {} {name}", kind.resource.kind);
        let body = Body {
            api_version: &kind.resource.api_version,
            kind: &kind.resource.kind,
            metadata: Metadata {
                name,
                namespace,
                uid: regarding.uid.as_deref(),
            },
            status,
        };
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let requests = Requests::new(kind.collection(namespace));
        let request = requests.patch_subresource("status", name, &parameters, &Patch::Apply(&body));
        self.send(&what, request).await.map(drop)
    }

    /// Sets the replicas of a worker group through its `scale` subresource, if the group has not changed since the
    /// observation.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server does not scale it.
    pub(crate) async fn scale(
        &self,
        kind: &ResourceType,
        object: &Object,
        replicas: u32,
    ) -> Result<(), WriteError> {
        let what = format!("scale {} {} to {replicas}", kind.resource.kind, object.name);
        let body = json!({
            "metadata": {"resourceVersion": object.resource_version},
            "spec": {"replicas": replicas},
        });
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let requests = Requests::new(kind.path(&object.namespace));
        let request = requests.patch_subresource("scale", &object.name, &parameters, &Patch::Merge(&body));
        self.send(&what, request).await.map(drop)
    }

    /// Changes the `metadata` of an object with a merge patch, if the object has not changed since the observation.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server does not change it.
    pub(crate) async fn merge_metadata(
        &self,
        kind: &ResourceType,
        object: &Object,
        mut metadata: Value,
    ) -> Result<Object, WriteError> {
        let what = format!("change the metadata of {} {}", kind.resource.kind, object.name);
        metadata["resourceVersion"] = (*object.resource_version).into();
        metadata["uid"] = (*object.uid).into();
        let body = json!({"metadata": metadata});
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let requests = Requests::new(kind.path(&object.namespace));
        let request = requests.patch(&object.name, &parameters, &Patch::Merge(&body));
        let answer = self.send(&what, request).await?;
        read(what, &answer, &kind.resource)
    }

    /// Deletes an object, and in the background its dependents, if its uid is the observed one; with a `version`, also
    /// only if it still has this resource version.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server does not delete it; [`dask_operator_core::api_error::ErrorClass::Gone`] if it does
    /// not exist.
    pub(crate) async fn delete(
        &self,
        kind: &ResourceType,
        object: &Object,
        version: Option<&str>,
    ) -> Result<(), WriteError> {
        let what = format!("delete {} {}", kind.resource.kind, object.name);
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid: Some(object.uid.to_string()),
                resource_version: version.map(str::to_owned),
            }),
            ..DeleteParams::default()
        };
        let request = Requests::new(kind.path(&object.namespace)).delete(&object.name, &parameters);
        self.send(&what, request).await.map(drop)
    }

    async fn send(
        &self,
        what: &str,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<String, WriteError> {
        let request =
            request.map_err(|error| WriteError::new(what.into(), &kube::Error::BuildRequest(error)))?;
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        if !self.leadership.now() {
            return Err(WriteError::not_leading(what.into()));
        }
        match tokio::time::timeout(TIMEOUT, self.client.request_text(request)).await {
            Ok(answer) => answer.map_err(|error| WriteError::new(what.into(), &error)),
            Err(_) => Err(WriteError::timed_out(what.into(), TIMEOUT.as_secs())),
        }
    }
}

fn read(what: String, answer: &str, kind: &ResourceKind) -> Result<Object, WriteError> {
    Object::from_json(answer, kind).map_err(|error| WriteError::new(what, &kube::Error::SerdeError(error)))
}
