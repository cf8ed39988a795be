//! The DaskPlugin and ClusterDaskPlugin resources: components that replace the default logic, or policies in addition to
//! it.

mod source;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{Condition, PluginSettings};
pub use source::{ConfigMapSource, FileSource, OciSource, PluginSource, SecretName};

/// A WebAssembly component for the Dask resources of one namespace.
#[allow(clippy::duplicated_attributes, reason = "several columns have the same type")]
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "kubernetes.dask.org",
    version = "v1",
    kind = "DaskPlugin",
    plural = "daskplugins",
    shortname = "dpl",
    category = "dask",
    doc = "A WebAssembly component that decides about the Dask resources of its namespace.",
    namespaced,
    status = "PluginStatus",
    derive = "PartialEq",
    printcolumn(
        name = "In Force",
        type_ = "string",
        description = "The active version, which stays active while another one is not accepted",
        json_path = ".status.version"
    ),
    printcolumn(
        name = "Digest",
        type_ = "string",
        description = "The first digits of the active component's digest",
        json_path = ".status.shortDigest"
    ),
    printcolumn(
        name = "Interfaces",
        type_ = "string",
        description = "The interfaces that are used",
        json_path = ".status.interfaceNames"
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        description = "Effect of a policy: protect or monitor",
        json_path = ".spec.mode"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "True if the spec is active",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Reason of the Ready condition",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = crate::crds::insecure_rule(), validation = crate::crds::own_namespace_rule())]
pub struct DaskPluginSpec {
    /// Source of the component: exactly one of `oci`, `file` and `configMap`.
    #[x_kube(validation = crate::crds::one_source_rule())]
    pub source: PluginSource,
    /// The SHA-256 of the component's bytes, as `sha256:` and 64 hexadecimal digits. A component with another
    /// digest is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"), length(max = 71))]
    pub digest: Option<String>,
    /// Number of seconds between two checks of the source for changes: a tag that was moved, or a file or a ConfigMap that was
    /// changed. Defaults to 10 for a file and 30 for a ConfigMap. By default, an image is never checked again, nor is any
    /// source if `digest` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 86400))]
    pub refresh_seconds: Option<i64>,
    /// Settings of the component, as its schema describes them (`dask-operator plugin inspect`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "settings")]
    pub settings: Option<PluginSettings>,
    /// Limits of a call, up to the maximum that the operator allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<PluginLimits>,
    /// Order among plugins: smaller numbers come first. Policies are called in this order. Of several logic plugins, only the
    /// first is used.
    #[serde(default)]
    pub order: i32,
    /// Effect of a policy. `protect` (the default): its decisions are enforced. `monitor`: its decisions are only reported.
    #[serde(default)]
    #[schemars(extend("default" = "protect"))]
    pub mode: PluginMode,
    /// Handling of a version that fails repeatedly in operation. `LastGood`: the previous version becomes active again, if there
    /// is one. `Hold`: the version stays active, and what it can't decide about is refused and blocked until it can decide or the
    /// plugin is changed. Defaults to `Hold` for a policy that protects, and to `LastGood` for all other plugins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// Interfaces of the component to use. Defaults to all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 5), extend("x-kubernetes-list-type" = "set"))]
    pub interfaces: Option<Vec<PluginInterface>>,
    /// Restricts the plugin to Dask resources with matching labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector")]
    pub selector: Option<LabelSelector>,
}

/// A WebAssembly component for the Dask resources of all namespaces, or of some.
#[allow(clippy::duplicated_attributes, reason = "several columns have the same type")]
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "kubernetes.dask.org",
    version = "v1",
    kind = "ClusterDaskPlugin",
    plural = "clusterdaskplugins",
    shortname = "cdpl",
    category = "dask",
    doc = "A WebAssembly component that decides about the Dask resources of all namespaces, or of some.",
    status = "PluginStatus",
    derive = "PartialEq",
    printcolumn(
        name = "In Force",
        type_ = "string",
        description = "The active version, which stays active while another one is not accepted",
        json_path = ".status.version"
    ),
    printcolumn(
        name = "Digest",
        type_ = "string",
        description = "The first digits of the active component's digest",
        json_path = ".status.shortDigest"
    ),
    printcolumn(
        name = "Interfaces",
        type_ = "string",
        description = "The interfaces that are used",
        json_path = ".status.interfaceNames"
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        description = "Effect of a policy: protect or monitor",
        json_path = ".spec.mode"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "True if the spec is active",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Reason of the Ready condition",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = crate::crds::insecure_rule(), validation = crate::crds::named_namespace_rule())]
pub struct ClusterDaskPluginSpec {
    /// Source of the component: exactly one of `oci`, `file` and `configMap`.
    #[x_kube(validation = crate::crds::one_source_rule())]
    pub source: PluginSource,
    /// The SHA-256 of the component's bytes, as `sha256:` and 64 hexadecimal digits. A component with another
    /// digest is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"), length(max = 71))]
    pub digest: Option<String>,
    /// Number of seconds between two checks of the source for changes: a tag that was moved, or a file or a ConfigMap that was
    /// changed. Defaults to 10 for a file and 30 for a ConfigMap. By default, an image is never checked again, nor is any
    /// source if `digest` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 86400))]
    pub refresh_seconds: Option<i64>,
    /// Settings of the component, as its schema describes them (`dask-operator plugin inspect`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "settings")]
    pub settings: Option<PluginSettings>,
    /// Limits of a call, up to the maximum that the operator allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<PluginLimits>,
    /// Order among plugins: smaller numbers come first. Policies are called in this order, those of DaskPlugins before those
    /// of ClusterDaskPlugins. Of several logic plugins, only the first is used, and a DaskPlugin comes before any
    /// ClusterDaskPlugin.
    #[serde(default)]
    pub order: i32,
    /// Effect of a policy. `protect` (the default): its decisions are enforced. `monitor`: its decisions are only reported.
    #[serde(default)]
    #[schemars(extend("default" = "protect"))]
    pub mode: PluginMode,
    /// Handling of a version that fails repeatedly in operation. `LastGood`: the previous version becomes active again, if there
    /// is one. `Hold`: the version stays active, and what it can't decide about is refused and blocked until it can decide or the
    /// plugin is changed. Defaults to `Hold` for a policy that protects, and to `LastGood` for all other plugins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// Interfaces of the component to use. Defaults to all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 5), extend("x-kubernetes-list-type" = "set"))]
    pub interfaces: Option<Vec<PluginInterface>>,
    /// Restricts the plugin to namespaces with matching labels. The label `kubernetes.io/metadata.name` is the name of the
    /// namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector")]
    pub namespace_selector: Option<LabelSelector>,
    /// Restricts the plugin to Dask resources with matching labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector")]
    pub selector: Option<LabelSelector>,
}

impl From<ClusterDaskPluginSpec> for DaskPluginSpec {
    /// Converts the spec, without its namespace selector.
    fn from(spec: ClusterDaskPluginSpec) -> Self {
        Self {
            source: spec.source,
            digest: spec.digest,
            refresh_seconds: spec.refresh_seconds,
            settings: spec.settings,
            limits: spec.limits,
            order: spec.order,
            mode: spec.mode,
            on_failure: spec.on_failure,
            interfaces: spec.interfaces,
            selector: spec.selector,
        }
    }
}

/// Limits of a call of the component.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginLimits {
    /// Memory as a quantity, such as `64Mi`. At most 256Mi, in a DaskPlugin 64Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub memory: Option<String>,
    /// Time in milliseconds. At most 5000, in a DaskPlugin 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60000))]
    pub milliseconds: Option<i64>,
    /// Size of the component's answer as a quantity, such as `8Mi`. At most 64Mi, in a DaskPlugin 8Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub output: Option<String>,
}

/// Effect of a policy. `protect` (the default): its decisions are enforced. `monitor`: its decisions are only reported.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginMode {
    /// The decisions of the policy are enforced.
    #[default]
    Protect,
    /// The decisions of the policy are only reported.
    Monitor,
}

/// Handling of a version that fails repeatedly in operation. `LastGood`: the previous version becomes active again, if there
/// is one. `Hold`: the version stays active, and what it can't decide about is refused and blocked until it can decide or the
/// plugin is changed. Defaults to `Hold` for a policy that protects, and to `LastGood` for all other plugins.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OnFailure {
    /// The previous version becomes active again.
    LastGood,
    /// The version stays active, and what it can't decide about is blocked.
    Hold,
}

/// Interface of the plugin contract.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginInterface {
    /// The logic of DaskClusters.
    Cluster,
    /// The logic of DaskWorkerGroups.
    WorkerGroup,
    /// The logic of DaskJobs.
    Job,
    /// The logic of DaskAutoscalers.
    Autoscaler,
    /// A policy, in addition to the logic.
    Policy,
}

impl PluginInterface {
    /// Returns the name of the interface in the contract, such as `worker-group`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::WorkerGroup => "worker-group",
            Self::Job => "job",
            Self::Autoscaler => "autoscaler",
            Self::Policy => "policy",
        }
    }
}

/// Observed state of a plugin.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginStatus {
    /// The `metadata.generation` that this status is based on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions of the plugin, by type. `Ready` is true if the spec is active.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Name of the active component, as the component reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Version of the active component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Digest of the active component, `sha256:…`. Missing if no component is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The first twelve digits of the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_digest: Option<String>,
    /// Digest of the manifest of the image that the active component came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// The interfaces that are used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// The interfaces that are used, as text for `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_names: Option<String>,
    /// The active component and its settings, which become active again after a restart of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<LastGood>,
    /// The reason why the spec is not active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The active component and its settings.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastGood {
    /// The `metadata.generation` whose spec the active component belongs to.
    pub generation: i64,
    /// Digest of the component's bytes.
    pub digest: String,
    /// Settings of the component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "settings")]
    pub settings: Option<PluginSettings>,
    /// Digest of a later component that was active, failed and was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
}

/// Returns the schema of settings, an object with any fields: only the component knows its settings.
fn settings(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Maximum number of labels in a selector and of values for a label. Each Dask resource is compared with all of them.
const MAX_SELECTED: u32 = 50;

/// Returns the schema of a label selector with at most [`MAX_SELECTED`] entries in each list.
fn selector(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = LabelSelector::json_schema(generator);
    for (pointer, bound) in [
        ("/properties/matchExpressions", "maxItems"),
        ("/properties/matchExpressions/items/properties/values", "maxItems"),
        ("/properties/matchLabels", "maxProperties"),
    ] {
        if let Some(serde_json::Value::Object(bounded)) = schema.pointer_mut(pointer) {
            bounded.insert(bound.to_owned(), MAX_SELECTED.into());
        }
    }
    schema
}
