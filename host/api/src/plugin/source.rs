//! Sources of a plugin's component.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Source of the component.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginSource {
    /// An image in an OCI registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,
    /// A file in the operator's file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSource>,
    /// A key of a ConfigMap's `binaryData`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapSource>,
}

/// An image in an OCI registry.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OciSource {
    /// Name of the image, such as `registry.example.com/team/policy:1.0.0`, or with the digest of its manifest, `…@sha256:…`.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Secrets of the type `kubernetes.io/dockerconfigjson` with credentials for the registry. The first that has
    /// credentials for it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub pull_secrets: Option<Vec<SecretName>>,
    /// True to connect to the registry without TLS. Requires a digest, because the component could be changed on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
}

/// The name of a Secret.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretName {
    /// The Secret's `metadata.name`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The Secret's namespace. Required in a ClusterDaskPlugin. A DaskPlugin can only use its own namespace, and the field
    /// must be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// A file in the operator's file system.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileSource {
    /// Path of the file, below a folder that the operator's `--plugin-folder` names.
    #[schemars(length(min = 1, max = 4096))]
    pub path: String,
}

/// A key of a ConfigMap's `binaryData`.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapSource {
    /// The ConfigMap's `metadata.name`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The ConfigMap's namespace. Required in a ClusterDaskPlugin. A DaskPlugin can only use its own namespace, and the field
    /// must be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The key in `binaryData` that holds the component.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
