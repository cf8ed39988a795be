//! Every request that changes something in the cluster is sent from here.

use std::sync::Arc;
use std::time::Duration;

use dask_operator_core::draft::Draft;
use dask_operator_core::names::FIELD_MANAGER;
use dask_operator_core::plan::ResourceKind;
use http::header::ACCEPT;
use http::{HeaderValue, Request};
use kube::Client;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::request::Request as Requests;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::errors::WriteError;
use crate::kinds::Kind;
use crate::leading::Leading;
use crate::object::{Keep, Object};

/// How long the API server may take for an answer. It ends what takes longer
/// than a minute itself; webhooks have 30 s at most.
const TIMEOUT: Duration = Duration::from_secs(40);

/// Asks for no more than an object's metadata, of a server that can leave out the rest.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// The same of a list.
const METADATA_OF_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// Sends what changes something.
#[derive(Clone)]
pub struct Writes {
    client: Client,
    /// Requests that may be under way at once.
    permits: Arc<Semaphore>,
    in_flight: usize,
    leading: Leading,
}

/// The `metadata.resourceVersion` of an object that is to be made: none that exists has it. The API server compares it with
/// that of the object that is there, and takes no notice of it where none is. So an apply with it creates the object, with all
/// fields the operator's as in any other apply, and changes nothing that somebody has made since it was looked for.
const OF_NONE: &str = "1";

/// What an object has to be still, for a write to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition<'a> {
    /// There shall be none.
    Absent,
    /// It shall have this `metadata.resourceVersion`.
    Version(&'a str),
}

impl Writes {
    /// Sends with `client`, with at most `in_flight` requests under way at once.
    #[must_use]
    pub fn new(client: Client, in_flight: usize) -> Self {
        Self {
            client,
            permits: Arc::new(Semaphore::new(in_flight)),
            in_flight,
            leading: Leading::always(),
        }
    }

    /// The same, that refuses while this process does not lead.
    #[must_use]
    pub fn only_while(self, leading: Leading) -> Self {
        Self { leading, ..self }
    }

    /// Waits until no request is under way, at most for `limit`.
    pub async fn settle(&self, limit: Duration) {
        let all = u32::try_from(self.in_flight).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let _ = tokio::time::timeout(limit, self.permits.acquire_many(all)).await;
    }

    /// How many requests may be under way at once.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Creates `object`, which is called `name`. Of a Pod only the metadata comes back, and the
    /// status that every new one has: what its `spec` says is known, and a thousand answers less
    /// are half the work.
    ///
    /// # Errors
    ///
    /// When the API server does not; [`dask_operator_core::category::Cause::AlreadyExists`]
    /// when there is one of that name.
    pub async fn create(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        object: &Draft,
    ) -> Result<Object, WriteError> {
        let what = format!("create {} {name}", kind.resource.kind);
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let body = serde_json::to_vec(object)
            .map_err(|error| WriteError::new(what.clone(), &kube::Error::SerdeError(error)))?;
        let mut request = Requests::new(kind.path(namespace)).create(&parameters, body);
        let is_pod = Keep::of(&kind.resource) == Keep::Pod;
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

    /// Looks whether there is an object of this name; gives its metadata.
    ///
    /// # Errors
    ///
    /// When the API server does not say.
    pub async fn look(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Object>, WriteError> {
        let what = format!("look for {} {name}", kind.resource.kind);
        // By a list of one, for which the rights of a watch are enough.
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

    /// Applies `object`. Gives it as it is now, whole and as it is kept.
    ///
    /// # Errors
    ///
    /// When the API server does not, or the precondition does not hold.
    pub async fn apply(
        &self,
        kind: &Kind,
        namespace: &str,
        object: &Value,
        precondition: Precondition<'_>,
    ) -> Result<(Value, Object), WriteError> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let what = format!("apply {} {name}", kind.resource.kind);
        let mut object = object.clone();
        let mut parameters = PatchParams::apply(FIELD_MANAGER);
        let version = match precondition {
            Precondition::Absent => OF_NONE,
            Precondition::Version(version) => {
                parameters = parameters.force();
                version
            }
        };
        object["metadata"]["resourceVersion"] = version.into();
        let patch = Patch::Apply(&object);
        let request = Requests::new(kind.path(namespace)).patch(name, &parameters, &patch);
        let answer = self.send(&what, request).await?;
        let kept = read(what, &answer, &kind.resource)?;
        Ok((serde_json::from_str(&answer).unwrap_or_default(), kept))
    }

    /// Applies the whole `status` of `object`, if that is as it was observed.
    ///
    /// # Errors
    ///
    /// When the API server does not.
    pub async fn apply_status(
        &self,
        kind: &Kind,
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

    /// Sets the replicas of a worker group through its `scale` subresource, if
    /// that is as it was observed.
    ///
    /// # Errors
    ///
    /// When the API server does not.
    pub async fn scale(&self, kind: &Kind, object: &Object, replicas: u32) -> Result<(), WriteError> {
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

    /// Changes `metadata` of an object by a merge patch, if it is as it was
    /// observed.
    ///
    /// # Errors
    ///
    /// When the API server does not.
    pub async fn merge_metadata(
        &self,
        kind: &Kind,
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

    /// Deletes an object, and in the background what it owns, if it is the one
    /// that was observed; and still that `version` of it, where there is one.
    ///
    /// # Errors
    ///
    /// When the API server does not; [`dask_operator_core::category::Cause::Gone`]
    /// when it is not there.
    pub async fn delete(
        &self,
        kind: &Kind,
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
        if !self.leading.now() {
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
