//! Wire format of `AdmissionReview`. Only the needed fields are read, in one pass over the text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Kind of an admission review.
pub(crate) const KIND: &str = "AdmissionReview";

/// API version of an admission review.
pub(crate) const API_VERSION: &str = "admission.k8s.io/v1";

/// An admission review as the API server sends it, with objects of the type `O`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Review<'a, O> {
    /// API version, which must be [`API_VERSION`].
    #[serde(default)]
    pub(crate) api_version: String,
    /// Kind, which must be [`KIND`].
    #[serde(default)]
    pub(crate) kind: String,
    /// The admission request. `None` if the field is missing.
    #[serde(borrow)]
    pub(crate) request: Option<Request<'a, O>>,
}

/// An admission request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request<'a, O> {
    /// ID of the request, which the response must repeat.
    pub(crate) uid: String,
    /// Kind of the object.
    pub(crate) kind: GroupVersionKind,
    /// Resource that the request is sent to, as in paths.
    #[serde(default)]
    pub(crate) resource: Resource,
    /// Subresource, such as `scale`. Missing or empty for the resource itself.
    pub(crate) sub_resource: Option<String>,
    /// Name of the object. Missing or empty if the API server is yet to generate it.
    pub(crate) name: Option<String>,
    /// Namespace of the object. Missing or empty for cluster-scoped objects.
    pub(crate) namespace: Option<String>,
    /// Requested operation.
    pub(crate) operation: Operation,
    /// User who sent the request, as JSON.
    #[serde(borrow, deserialize_with = "raw_json")]
    pub(crate) user_info: &'a str,
    /// The new object. `None` for deletions.
    pub(crate) object: Option<O>,
    /// The existing object. `None` for creations.
    pub(crate) old_object: Option<O>,
    /// True if the request is a dry run, which stores nothing.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// An object of which only the deletion timestamp is read. Takes no memory, regardless of the size of the object.
#[derive(Debug, Deserialize)]
pub(crate) struct ObjectOutline {
    metadata: Option<OutlineMetadata>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutlineMetadata {
    deletion_timestamp: Option<IgnoredAny>,
}

impl ObjectOutline {
    /// Returns whether the object is being deleted.
    #[must_use]
    pub(crate) fn is_being_deleted(&self) -> bool {
        let metadata = self.metadata.as_ref();
        metadata.is_some_and(|metadata| metadata.deletion_timestamp.is_some())
    }
}

/// Group, version and kind of an object.
#[derive(Debug, Deserialize)]
pub(crate) struct GroupVersionKind {
    /// API group. Empty for the core group.
    pub(crate) group: String,
    /// API version, such as `v1`.
    pub(crate) version: String,
    /// Kind, such as `DaskCluster`.
    pub(crate) kind: String,
}

/// Group, version and resource, as in paths.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Resource {
    /// API group. Empty for the core group.
    pub(crate) group: String,
    /// API version, such as `v1`.
    pub(crate) version: String,
    /// Plural of the kind, such as `daskclusters`.
    pub(crate) resource: String,
}

/// Requested operation.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Operation {
    /// Creation of an object.
    Create,
    /// Update of an object.
    Update,
    /// Deletion of an object.
    Delete,
    /// Connection to an object.
    Connect,
}

/// The user who sent a request.
#[derive(Debug, Deserialize)]
pub(crate) struct User {
    /// User name. Empty if the user is unknown.
    #[serde(default)]
    pub(crate) username: String,
}

/// Deserializes a value as its JSON text.
fn raw_json<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<&'de str, D::Error> {
    <&RawValue>::deserialize(deserializer).map(RawValue::get)
}

/// An admission response.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    /// Warnings for the user who sent the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
}

/// The reason for a refusal.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// Message for the user.
    pub(crate) message: String,
    /// Reason in Kubernetes' terms, such as `Invalid`.
    pub(crate) reason: &'static str,
    /// HTTP status code.
    pub(crate) code: u16,
}

impl<'a> Response<'a> {
    /// Creates a response that admits the request with this UID unchanged.
    #[must_use]
    pub(crate) fn allowed(uid: &'a str) -> Self {
        Self {
            uid,
            allowed: true,
            status: None,
            warnings: Vec::new(),
            patch: None,
            patch_type: None,
        }
    }

    /// Refuses the request for this reason.
    pub(crate) fn refuse(&mut self, why: Status) {
        self.allowed = false;
        self.status = Some(why);
    }

    /// Adds a patch to the object.
    ///
    /// # Errors
    ///
    /// Returns an error if the patch can't be serialized.
    pub(crate) fn patch(&mut self, patch: &json_patch::Patch) -> serde_json::Result<()> {
        self.patch = Some(STANDARD.encode(serde_json::to_vec(patch)?));
        self.patch_type = Some("JSONPatch");
        Ok(())
    }

    /// Returns the response as an `AdmissionReview` in JSON.
    ///
    /// # Errors
    ///
    /// Returns an error if the response can't be serialized.
    pub(crate) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Review<'a> {
            api_version: &'static str,
            kind: &'static str,
            response: &'a Response<'a>,
        }
        serde_json::to_vec(&Review {
            api_version: API_VERSION,
            kind: KIND,
            response: self,
        })
    }
}
