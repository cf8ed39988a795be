//! `AdmissionReview` as it stands on the wire, of which only what is needed is read, and all once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Its kind.
pub const KIND: &str = "AdmissionReview";

/// Its version.
pub const API_VERSION: &str = "admission.k8s.io/v1";

/// What an API server sends, with objects as an `O`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review<'a, O> {
    /// Must be [`API_VERSION`].
    #[serde(default)]
    pub api_version: String,
    /// Must be [`KIND`].
    #[serde(default)]
    pub kind: String,
    /// What it asks.
    #[serde(borrow)]
    pub request: Option<Request<'a, O>>,
}

/// What it asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a, O> {
    /// Stands in the answer, too.
    pub uid: String,
    /// Of the object.
    pub kind: GroupVersionKind,
    /// What it is sent to, as in a path.
    #[serde(default)]
    pub resource: Resource,
    /// The part of the resource that it is sent to, as `scale`; missing or empty where it is the resource itself.
    pub sub_resource: Option<String>,
    /// Of the object; missing or empty where the API server is still to give it one.
    pub name: Option<String>,
    /// Of the object; missing or empty where it is in none.
    pub namespace: Option<String>,
    /// What shall be done.
    pub operation: Operation,
    /// Who asks, JSON.
    #[serde(borrow, deserialize_with = "text")]
    pub user_info: &'a str,
    /// As it shall be.
    pub object: Option<O>,
    /// As it is.
    pub old_object: Option<O>,
    /// Whether nothing will be stored.
    #[serde(default)]
    pub dry_run: bool,
}

/// An object of which only is read whether it is being deleted. Takes no memory, however large it is.
#[derive(Debug, Deserialize)]
pub struct Sketch {
    metadata: Option<SketchOfMetadata>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SketchOfMetadata {
    deletion_timestamp: Option<IgnoredAny>,
}

impl Sketch {
    /// Whether it is being deleted.
    #[must_use]
    pub fn is_going(&self) -> bool {
        let metadata = self.metadata.as_ref();
        metadata.is_some_and(|metadata| metadata.deletion_timestamp.is_some())
    }
}

/// A kind.
#[derive(Debug, Deserialize)]
pub struct GroupVersionKind {
    /// Empty for Kubernetes' oldest kinds.
    pub group: String,
    /// As `v1`.
    pub version: String,
    /// As `DaskCluster`.
    pub kind: String,
}

/// A kind, as in paths.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Resource {
    /// Empty for Kubernetes' oldest kinds.
    pub group: String,
    /// As `v1`.
    pub version: String,
    /// As `daskclusters`.
    pub resource: String,
}

/// What shall be done.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// Create it.
    Create,
    /// Change it.
    Update,
    /// Delete it.
    Delete,
    /// Open a connection to it.
    Connect,
}

/// Who asks.
#[derive(Debug, Deserialize)]
pub struct User {
    /// Empty where nobody is known.
    #[serde(default)]
    pub username: String,
}

/// A part of the text as it stands there.
fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<&'de str, D::Error> {
    <&RawValue>::deserialize(deserializer).map(RawValue::get)
}

/// What the API server is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    /// What whoever asks is told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
}

/// Why not.
#[derive(Debug, Serialize)]
pub struct Status {
    /// A sentence.
    pub message: String,
    /// A word, as `Invalid`.
    pub reason: &'static str,
    /// As of HTTP.
    pub code: u16,
}

impl<'a> Answer<'a> {
    /// The request with this uid is let through as it is.
    #[must_use]
    pub fn allowed(uid: &'a str) -> Self {
        Self {
            uid,
            allowed: true,
            status: None,
            warnings: Vec::new(),
            patch: None,
            patch_type: None,
        }
    }

    /// It is not.
    pub fn refuse(&mut self, why: Status) {
        self.allowed = false;
        self.status = Some(why);
    }

    /// It is, with these changes.
    ///
    /// # Errors
    ///
    /// When they can't be written as JSON.
    pub fn patch(&mut self, patch: &json_patch::Patch) -> serde_json::Result<()> {
        self.patch = Some(STANDARD.encode(serde_json::to_vec(patch)?));
        self.patch_type = Some("JSONPatch");
        Ok(())
    }

    /// The body of the answer.
    ///
    /// # Errors
    ///
    /// When it can't be written as JSON.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Review<'a> {
            api_version: &'static str,
            kind: &'static str,
            response: &'a Answer<'a>,
        }
        serde_json::to_vec(&Review {
            api_version: API_VERSION,
            kind: KIND,
            response: self,
        })
    }
}
