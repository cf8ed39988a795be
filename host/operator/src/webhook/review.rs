//! From an `AdmissionReview` to what is to be decided.

use dask_operator_core::json::tree_bytes;
use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::Operation;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::{scale, wire};

/// Bytes of memory of a request once it is read. An object has 1.5 MiB as text at most, as the API server stores it, a pod of the
/// usual kind takes less than twenty times its text, and a request has two objects.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// What the webhook is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Fill in and change.
    Mutate,
    /// Check.
    Validate,
}

impl Step {
    /// The step of a path.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        match path.trim_end_matches('/') {
            "/mutate" => Some(Self::Mutate),
            "/validate" => Some(Self::Validate),
            _ => None,
        }
    }

    /// In metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// A request that is none.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// The body.
    #[error("the body must be an AdmissionReview of admission.k8s.io/v1 in JSON: {0}")]
    Body(String),
    /// It has too many parts.
    #[error(
        "the request would take {0} MiB of memory, more than {most}: write the resource with fewer fields and items. An \
         update counts as it was and as it shall be: where the former is too large, delete the resource and create it anew",
        most = MOST_BYTES >> 20
    )]
    Large(usize),
    /// What it is about.
    #[error(
        "this webhook is about {DASK_API_VERSION} {kinds} and plugins, not about {0}: take that out of the webhook configuration's rules",
        kinds = DaskKind::ALL.map(DaskKind::kind).join(", ")
    )]
    Kind(String),
    /// What shall be done.
    #[error("this webhook is about CREATE, UPDATE and DELETE, not about CONNECT")]
    Operation,
    /// The object is missing.
    #[error("the request has no object")]
    NoObject,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A Dask resource: components decide.
    Dask(DaskKind),
    /// The number of a Dask resource's workers, as `kubectl scale` sets it: see [`scale`].
    Scale(DaskKind),
    /// A plugin of a namespace.
    Plugin,
    /// A plugin of the cluster.
    ClusterPlugin,
}

impl About {
    const PLUGIN: &str = "DaskPlugin";
    const CLUSTER_PLUGIN: &str = "ClusterDaskPlugin";

    fn of_kind(kind: &str) -> Option<Self> {
        match kind {
            Self::PLUGIN => Some(Self::Plugin),
            Self::CLUSTER_PLUGIN => Some(Self::ClusterPlugin),
            kind => DaskKind::from_kind(kind).map(Self::Dask),
        }
    }

    /// The kind, as in a manifest.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Dask(kind) | Self::Scale(kind) => kind.kind(),
            Self::Plugin => Self::PLUGIN,
            Self::ClusterPlugin => Self::CLUSTER_PLUGIN,
        }
    }
}

/// What is to be decided.
#[derive(Debug)]
pub struct Question {
    /// What for.
    pub step: Step,
    /// What about.
    pub about: About,
    /// What shall be done.
    pub operation: Operation,
    /// The object as it shall be; for a deletion, as it is. Without `metadata.managedFields`. Where the workers are scaled, what
    /// [`scale::reduced`] gives.
    pub object: Value,
    /// As it was before an update.
    pub old: Option<Value>,
    /// Who asks.
    pub user: String,
    /// The same with groups and so on, JSON.
    pub user_info: String,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

impl Question {
    /// For metrics: `create`, `update`, `delete` or `scale`.
    #[must_use]
    pub fn operation_name(&self) -> &'static str {
        match (self.about, self.operation) {
            (About::Scale(_), _) => "scale",
            (_, Operation::Create) => "create",
            (_, Operation::Update) => "update",
            (_, Operation::Delete) => "delete",
        }
    }
}

/// What is known of a request before its objects are read.
#[derive(Debug)]
pub enum Outline {
    /// Nobody needs to be asked: a Dask resource is being deleted, and however large it is, what waits for that goes on; or the
    /// operator itself updates one that is too large to be read.
    Goes {
        /// What stands in the answer.
        uid: String,
        /// Which kind of resource.
        kind: DaskKind,
    },
    /// It is to be decided.
    Asks {
        /// The namespace that it is about; empty for the cluster.
        namespace: String,
        /// Bytes of memory that it takes once it is read.
        bytes: usize,
    },
}

/// Looks at a request. Blocks for a moment, and takes no memory. `own_user` is the operator itself, if that is known.
///
/// # Errors
///
/// When it is none, or too large to be read.
pub fn outline(body: &[u8], own_user: Option<&str>) -> Result<Outline, ReviewError> {
    let request = request::<wire::Sketch>(body)?;
    let bytes = tree_bytes(body);
    let is_update = request.operation == wire::Operation::Update && request.old_object.is_some();
    let is_going = || request.object.as_ref().is_some_and(wire::Sketch::is_going);
    let user = || serde_json::from_str::<wire::User>(request.user_info);
    let is_own = || own_user.is_some_and(|own| user().is_ok_and(|user| user.username == own));
    if let About::Dask(kind) = about(&request)?
        && is_update
        && (is_going() || (bytes > MOST_BYTES && is_own()))
    {
        let uid = request.uid;
        return Ok(Outline::Goes { uid, kind });
    }
    let namespace = request.namespace.unwrap_or_default();
    let bytes = fitting(bytes)?;
    Ok(Outline::Asks { namespace, bytes })
}

/// Returns the bytes that something takes as a tree.
///
/// # Errors
///
/// When that is more than anything may take.
pub fn fitting(bytes: usize) -> Result<usize, ReviewError> {
    if bytes > MOST_BYTES {
        Err(ReviewError::Large(bytes >> 20))
    } else {
        Ok(bytes)
    }
}

/// A request that was read.
#[derive(Debug)]
pub struct Asked {
    /// What is to be decided.
    pub question: Question,
    /// What stands in its answer.
    pub uid: String,
}

/// The request in a review.
fn request<'a, O: Deserialize<'a>>(body: &'a [u8]) -> Result<wire::Request<'a, O>, ReviewError> {
    let review: wire::Review<'a, O> = serde_json::from_slice(body).map_err(|error| wrong(&error))?;
    if review.kind != wire::KIND || review.api_version != wire::API_VERSION {
        return Err(wrong(&format!("it is {} {}", review.api_version, review.kind)));
    }
    review.request.ok_or_else(|| wrong(&"it has no `request`"))
}

fn wrong(error: &dyn ToString) -> ReviewError {
    ReviewError::Body(error.to_string())
}

/// Reads a request, of which [`outline`] has said how much memory that takes. Blocks for as long as it takes.
///
/// # Errors
///
/// When it is none that this webhook can answer.
pub fn read(step: Step, body: &[u8]) -> Result<Asked, ReviewError> {
    let request = request::<Value>(body)?;
    let about = about(&request)?;
    let namespace = request.namespace.as_deref();
    let (object, old) = (request.object, request.old_object);
    let (operation, object, old) = match request.operation {
        wire::Operation::Create => (Operation::Create, object, None),
        wire::Operation::Update => (Operation::Update, object, old),
        wire::Operation::Delete => (Operation::Delete, old, None),
        wire::Operation::Connect => return Err(ReviewError::Operation),
    };
    let object = object.ok_or(ReviewError::NoObject)?;
    let (step, object, old) = match about {
        // There is nothing to fill in.
        About::Scale(_) => {
            let name = request.name.as_deref().unwrap_or_default();
            (Step::Validate, scale::reduced(&object, old.as_ref(), name), None)
        }
        _ => (step, object, old),
    };
    let user: wire::User = serde_json::from_str(request.user_info).map_err(|error| wrong(&error))?;
    let question = Question {
        step,
        about,
        operation,
        object: shown(object, namespace)?,
        old: old.map(|old| shown(old, namespace)).transpose()?,
        user: user.username,
        user_info: request.user_info.to_owned(),
        dry_run: request.dry_run,
    };
    let uid = request.uid;
    Ok(Asked { question, uid })
}

/// What a request is about.
fn about<O>(request: &wire::Request<'_, O>) -> Result<About, ReviewError> {
    let (kind, resource) = (&request.kind, &request.resource);
    let kind_version = format!("{}/{}", kind.group, kind.version);
    let part = request.sub_resource.as_deref().unwrap_or_default();
    let about = match part {
        "" => About::of_kind(&kind.kind).filter(|_| kind_version == DASK_API_VERSION),
        "scale" if kind.kind == "Scale" && request.operation == wire::Operation::Update => {
            let version = format!("{}/{}", resource.group, resource.version);
            scale::kind(&resource.resource)
                .filter(|_| version == DASK_API_VERSION)
                .map(About::Scale)
        }
        _ => None,
    };
    about.ok_or_else(|| {
        ReviewError::Kind(match part {
            "" => format!("{kind_version} {}", kind.kind),
            part => format!("{kind_version} {} of {}/{part}", kind.kind, resource.resource),
        })
    })
}

/// An object as components see it: with the namespace of the request, by which it is counted, and without what only the API
/// server cares about.
fn shown(mut object: Value, namespace: Option<&str>) -> Result<Value, ReviewError> {
    if !object.is_object() {
        return Err(ReviewError::Body("the object is no JSON object".to_owned()));
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, value| name != "managedFields" && !value.is_null());
        if let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
    }
    Ok(object)
}

#[cfg(test)]
mod tests;
