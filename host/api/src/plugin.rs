//! DaskPlugin and ClusterDaskPlugin: components that decide in place of the default ones, or policies on
//! top of them.

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
        description = "The version that is in force, also while another one is not accepted",
        json_path = ".status.version"
    ),
    printcolumn(
        name = "Digest",
        type_ = "string",
        description = "The beginning of its digest",
        json_path = ".status.shortDigest"
    ),
    printcolumn(
        name = "Interfaces",
        type_ = "string",
        description = "What it stands for",
        json_path = ".status.interfaceNames"
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        description = "Whether it protects or only monitors",
        json_path = ".spec.mode"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "Whether what the spec asks for is in force",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Why",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = crate::crds::insecure_rule(), validation = crate::crds::own_namespace_rule())]
pub struct DaskPluginSpec {
    /// Where the component comes from: exactly one of `oci`, `file` and `configMap`.
    #[x_kube(validation = crate::crds::one_source_rule())]
    pub source: PluginSource,
    /// The SHA-256 of the component's bytes, as `sha256:` and 64 hexadecimal digits. Bytes with another are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"), length(max = 71))]
    pub digest: Option<String>,
    /// Look again every so many seconds whether the source holds something else now: for a tag that moves, a file or a
    /// ConfigMap that changes. By default 10 for a file, 30 for a ConfigMap, and never for an image, or where
    /// `digest` says which bytes there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 86400))]
    pub refresh_seconds: Option<i64>,
    /// The component's settings, as its schema describes them (`dask-operator plugin inspect`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "settings")]
    pub settings: Option<PluginSettings>,
    /// What a call may use; at most what the operator allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<PluginLimits>,
    /// Its place among others: smaller numbers come first. Policies are asked in this order; of logic the first counts.
    #[serde(default)]
    pub order: i32,
    /// `protect` (the default): what a policy says is done. `monitor`: it is only reported.
    #[serde(default)]
    #[schemars(extend("default" = "protect"))]
    pub mode: PluginMode,
    /// What becomes of a version that fails again and again in operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// Which of its interfaces to use; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 5), extend("x-kubernetes-list-type" = "set"))]
    pub interfaces: Option<Vec<PluginInterface>>,
    /// Only Dask resources with such labels.
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
        description = "The version that is in force, also while another one is not accepted",
        json_path = ".status.version"
    ),
    printcolumn(
        name = "Digest",
        type_ = "string",
        description = "The beginning of its digest",
        json_path = ".status.shortDigest"
    ),
    printcolumn(
        name = "Interfaces",
        type_ = "string",
        description = "What it stands for",
        json_path = ".status.interfaceNames"
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        description = "Whether it protects or only monitors",
        json_path = ".spec.mode"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "Whether what the spec asks for is in force",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Why",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = crate::crds::insecure_rule(), validation = crate::crds::named_namespace_rule())]
pub struct ClusterDaskPluginSpec {
    /// Where the component comes from: exactly one of `oci`, `file` and `configMap`.
    #[x_kube(validation = crate::crds::one_source_rule())]
    pub source: PluginSource,
    /// The SHA-256 of the component's bytes, as `sha256:` and 64 hexadecimal digits. Bytes with another are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"), length(max = 71))]
    pub digest: Option<String>,
    /// Look again every so many seconds whether the source holds something else now: for a tag that moves, a file or a
    /// ConfigMap that changes. By default 10 for a file, 30 for a ConfigMap, and never for an image, or where
    /// `digest` says which bytes there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 86400))]
    pub refresh_seconds: Option<i64>,
    /// The component's settings, as its schema describes them (`dask-operator plugin inspect`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "settings")]
    pub settings: Option<PluginSettings>,
    /// What a call may use; at most what the operator allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<PluginLimits>,
    /// Its place among others: smaller numbers come first. Policies are asked in this order, those of namespaces before
    /// those of the cluster; of logic the first counts, and one of the namespace before any of the cluster.
    #[serde(default)]
    pub order: i32,
    /// `protect` (the default): what a policy says is done. `monitor`: it is only reported.
    #[serde(default)]
    #[schemars(extend("default" = "protect"))]
    pub mode: PluginMode,
    /// What becomes of a version that fails again and again in operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// Which of its interfaces to use; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 5), extend("x-kubernetes-list-type" = "set"))]
    pub interfaces: Option<Vec<PluginInterface>>,
    /// Only in namespaces with such labels; `kubernetes.io/metadata.name` is the namespace's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector")]
    pub namespace_selector: Option<LabelSelector>,
    /// Only Dask resources with such labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector")]
    pub selector: Option<LabelSelector>,
}

impl From<ClusterDaskPluginSpec> for DaskPluginSpec {
    /// The same without its selector of namespaces.
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

/// What a call of a component may use.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginLimits {
    /// Memory, a quantity: `64Mi`; at most 256Mi, of a DaskPlugin 64Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub memory: Option<String>,
    /// Time, in milliseconds; at most 5000, of a DaskPlugin 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60000))]
    pub milliseconds: Option<i64>,
    /// The size of its answer, a quantity: `8Mi`; at most 64Mi, of a DaskPlugin 8Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub output: Option<String>,
}

/// What a policy's word counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginMode {
    /// What it says is done.
    #[default]
    Protect,
    /// What it says is only reported.
    Monitor,
}

/// What becomes of a version that fails again and again in operation: `LastGood` puts the one before in force again, if there
/// is one; `Hold` keeps it, and what it can't decide about is refused and held until it can or the plugin is changed. By
/// default `Hold` for a policy that protects, and `LastGood` for everything else.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OnFailure {
    /// The version before decides again.
    LastGood,
    /// It stays in force, and what it can't decide about is held.
    Hold,
}

/// What a component can stand for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginInterface {
    /// The logic of DaskCluster.
    Cluster,
    /// The logic of DaskWorkerGroup.
    WorkerGroup,
    /// The logic of DaskJob.
    Job,
    /// The logic of DaskAutoscaler.
    Autoscaler,
    /// Rules on top of the logic.
    Policy,
}

impl PluginInterface {
    /// As in the contract: `worker-group`.
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

/// What the operator made of a plugin.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What holds of the plugin, by type. `Ready`: what the spec asks for is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The name that the component in force gives itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The version of the component in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The digest of the component in force, `sha256:…`. Nothing is in force where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its first twelve digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_digest: Option<String>,
    /// The digest of the image's manifest that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// The interfaces that are used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// The same as text, for `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_names: Option<String>,
    /// What is in force, so that it can be so again after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<LastGood>,
    /// Why what the spec asks for is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What is in force.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastGood {
    /// The `metadata.generation` whose spec asked for it.
    pub generation: i64,
    /// The digest of the component's bytes.
    pub digest: String,
    /// Its settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "settings")]
    pub settings: Option<PluginSettings>,
    /// A digest that was in force after it, failed, and was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
}

/// An object that the component describes.
fn settings(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// How many labels a selector may name, and values of one: each Dask resource is compared with all of them.
const SELECTED: u32 = 50;

/// A selector of so many labels.
fn selector(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = LabelSelector::json_schema(generator);
    for (place, bound) in [
        ("/properties/matchExpressions", "maxItems"),
        ("/properties/matchExpressions/items/properties/values", "maxItems"),
        ("/properties/matchLabels", "maxProperties"),
    ] {
        if let Some(serde_json::Value::Object(bounded)) = schema.pointer_mut(place) {
            bounded.insert(bound.to_owned(), SELECTED.into());
        }
    }
    schema
}
