//! Parsing of an `AdmissionReview`, into an outline or into the input of a decision. No I/O.

use dask_operator_core::json::tree_bytes;
use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::Operation;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::input::{AdmissionInput, Step, Target};
use super::{admission_review, scale};

/// Maximum bytes of memory of a parsed request. An object has at most 1.5 MiB as text, which is the API server's limit for storing
/// it. A usual pod takes less than twenty times its text, and a request contains two objects.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// Error of a request that can't be decided.
#[derive(Debug, Error)]
pub(crate) enum ParseError {
    /// The body is no valid `AdmissionReview`. Contains the reason.
    #[error("the body must be an AdmissionReview of admission.k8s.io/v1 in JSON: {0}")]
    Body(String),
    /// The parsed request would take too much memory. Contains the MiB.
    #[error(
        "the request would take {0} MiB of memory, more than {most}: write the resource with fewer fields and items. An \
         update counts as it was and as it will be: if the former is too large, delete the resource and create it anew",
        most = MOST_BYTES >> 20
    )]
    Large(usize),
    /// The webhook does not support this kind. Contains the kind.
    #[error(
        "this webhook is about {DASK_API_VERSION} {kinds} and plugins, not about {0}: take that out of the webhook configuration's rules",
        kinds = DaskKind::ALL.map(DaskKind::kind).join(", ")
    )]
    Kind(String),
    /// The webhook does not support the operation.
    #[error("this webhook is about CREATE, UPDATE and DELETE, not about CONNECT")]
    Operation,
    /// The request has no object.
    #[error("the request has no object")]
    NoObject,
}

/// Outline of a request, as known before its objects are parsed.
#[derive(Debug)]
pub(crate) enum Outline {
    /// The request is admitted without a decision. Either a Dask resource is being deleted, which must not be blocked by its
    /// size, or the operator itself updates a resource that is too large to be parsed.
    Skip {
        /// ID of the request.
        uid: String,
        /// Kind of the resource.
        kind: DaskKind,
    },
    /// The request needs a decision.
    Decide {
        /// Namespace of the object. Empty for cluster-scoped objects.
        namespace: String,
        /// Bytes of memory that the parsed request takes.
        bytes: usize,
    },
}

/// Classifies a request without parsing its objects. Blocks for a moment, and takes almost no memory. `own_user` is the user name
/// of the operator, if it is known.
///
/// # Errors
///
/// Returns an error if the request is invalid, or too large to be parsed.
pub(crate) fn outline(body: &[u8], own_user: Option<&str>) -> Result<Outline, ParseError> {
    let request = request::<admission_review::ObjectOutline>(body)?;
    let bytes = tree_bytes(body);
    let is_update = request.operation == admission_review::Operation::Update && request.old_object.is_some();
    let is_being_deleted = || {
        request
            .object
            .as_ref()
            .is_some_and(admission_review::ObjectOutline::is_being_deleted)
    };
    let user = || serde_json::from_str::<admission_review::User>(request.user_info);
    let is_own = || own_user.is_some_and(|own| user().is_ok_and(|user| user.username == own));
    if let Target::Dask(kind) = target(&request)?
        && is_update
        && (is_being_deleted() || (bytes > MOST_BYTES && is_own()))
    {
        let uid = request.uid;
        return Ok(Outline::Skip { uid, kind });
    }
    let namespace = request.namespace.unwrap_or_default();
    let bytes = check_bytes(bytes)?;
    Ok(Outline::Decide { namespace, bytes })
}

/// Returns `bytes`, which is the memory that a parsed request takes.
///
/// # Errors
///
/// Returns an error if `bytes` exceeds the maximum for a request.
pub(crate) fn check_bytes(bytes: usize) -> Result<usize, ParseError> {
    if bytes > MOST_BYTES {
        Err(ParseError::Large(bytes >> 20))
    } else {
        Ok(bytes)
    }
}

/// A parsed request.
#[derive(Debug)]
pub(crate) struct ParsedRequest {
    /// Input of the decision.
    pub(crate) input: AdmissionInput,
    /// ID of the request, which the response must repeat.
    pub(crate) uid: String,
}

/// Returns the request in a review.
fn request<'a, O: Deserialize<'a>>(body: &'a [u8]) -> Result<admission_review::Request<'a, O>, ParseError> {
    let review: admission_review::Review<'a, O> =
        serde_json::from_slice(body).map_err(|error| body_error(&error))?;
    if review.kind != admission_review::KIND || review.api_version != admission_review::API_VERSION {
        return Err(body_error(&format!(
            "it is {} {}",
            review.api_version, review.kind
        )));
    }
    review.request.ok_or_else(|| body_error(&"it has no `request`"))
}

fn body_error(error: &dyn ToString) -> ParseError {
    ParseError::Body(error.to_string())
}

/// Parses a request. The caller must have reserved the memory that [`outline`] returned. Blocks for a time that grows with the
/// size of the request.
///
/// # Errors
///
/// Returns an error if the request is invalid or not supported.
pub(crate) fn parse(step: Step, body: &[u8]) -> Result<ParsedRequest, ParseError> {
    let request = request::<Value>(body)?;
    let target = target(&request)?;
    let namespace = request.namespace.as_deref();
    let (object, old) = (request.object, request.old_object);
    let (operation, object, old) = match request.operation {
        admission_review::Operation::Create => (Operation::Create, object, None),
        admission_review::Operation::Update => (Operation::Update, object, old),
        admission_review::Operation::Delete => (Operation::Delete, old, None),
        admission_review::Operation::Connect => return Err(ParseError::Operation),
    };
    let object = object.ok_or(ParseError::NoObject)?;
    let (step, object, old) = match target {
        // A scale request has no defaults.
        Target::Scale(_) => {
            let name = request.name.as_deref().unwrap_or_default();
            (Step::Validate, scale::reduced(&object, old.as_ref(), name), None)
        }
        _ => (step, object, old),
    };
    let user: admission_review::User =
        serde_json::from_str(request.user_info).map_err(|error| body_error(&error))?;
    let input = AdmissionInput {
        step,
        target,
        operation,
        object: normalized(object, namespace)?,
        old: old.map(|old| normalized(old, namespace)).transpose()?,
        user: user.username,
        user_info: request.user_info.to_owned(),
        dry_run: request.dry_run,
    };
    let uid = request.uid;
    Ok(ParsedRequest { input, uid })
}

/// Returns the type of object that a request is about.
fn target<O>(request: &admission_review::Request<'_, O>) -> Result<Target, ParseError> {
    let (kind, resource) = (&request.kind, &request.resource);
    let kind_version = format!("{}/{}", kind.group, kind.version);
    let subresource = request.sub_resource.as_deref().unwrap_or_default();
    let target = match subresource {
        "" => Target::of_kind(&kind.kind).filter(|_| kind_version == DASK_API_VERSION),
        "scale" if kind.kind == "Scale" && request.operation == admission_review::Operation::Update => {
            let version = format!("{}/{}", resource.group, resource.version);
            scale::kind(&resource.resource)
                .filter(|_| version == DASK_API_VERSION)
                .map(Target::Scale)
        }
        _ => None,
    };
    target.ok_or_else(|| {
        ParseError::Kind(match subresource {
            "" => format!("{kind_version} {}", kind.kind),
            subresource => format!(
                "{kind_version} {} of {}/{subresource}",
                kind.kind, resource.resource
            ),
        })
    })
}

/// Returns an object as components receive it: with the namespace of the request, by which the request is counted, and without
/// `managedFields` and null members of the metadata.
fn normalized(mut object: Value, namespace: Option<&str>) -> Result<Value, ParseError> {
    if !object.is_object() {
        return Err(ParseError::Body("the object is no JSON object".to_owned()));
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
