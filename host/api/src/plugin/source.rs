//! Where the component of a plugin comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a component comes from.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginSource {
    /// An image in an OCI registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,
    /// A file that the operator sees.
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
    /// Its name, `registry.example.com/team/policy:1.0.0`, or with the digest of its manifest, `…@sha256:…`.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Secrets of the type `kubernetes.io/dockerconfigjson` with credentials for the registry. The first that has some
    /// counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub pull_secrets: Option<Vec<SecretName>>,
    /// Speak to the registry without TLS. Only together with a digest, because anybody in between could change what
    /// comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
}

/// The name of a Secret.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretName {
    /// Its `metadata.name`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace: wanted in a ClusterDaskPlugin; in a DaskPlugin it is that one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// A file that the operator sees.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileSource {
    /// Its path, below a folder that the operator's `--plugin-folder` names.
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
    /// Its namespace: wanted in a ClusterDaskPlugin; in a DaskPlugin it is that one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The key below `binaryData` that holds the component.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
