//! The CustomResourceDefinitions of all kinds, as objects and as files. Pure.
//!
//! The definitions are derived from the types and then adapted to Kubernetes. Optional fields are not `nullable`, so that the
//! API server drops a `null` that a client sends and fills in the default, as with the CRDs of dask-kubernetes.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use kube::core::{Message, Rule};

use crate::{ClusterDaskPlugin, DaskAutoscaler, DaskCluster, DaskJob, DaskPlugin, DaskWorkerGroup};

/// A CRD cannot be serialised as YAML.
#[derive(Debug, thiserror::Error)]
#[error("CRD {name} can't be written as YAML")]
pub struct CrdError {
    /// Name of the CRD.
    name: String,
    /// The error of the serialiser.
    #[source]
    source: serde_saphyr::ser::Error,
}

/// A file of the folder `crds/`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CrdFile {
    /// Name of the file, such as `daskcluster.yaml`.
    pub name: String,
    /// Content of the file: a comment and one CustomResourceDefinition as YAML.
    pub text: String,
}

/// Returns the definitions of DaskCluster, DaskWorkerGroup, DaskJob, DaskAutoscaler, DaskPlugin and ClusterDaskPlugin, in this
/// order.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        DaskCluster::crd(),
        DaskWorkerGroup::crd(),
        DaskJob::crd(),
        DaskAutoscaler::crd(),
        DaskPlugin::crd(),
        ClusterDaskPlugin::crd(),
    ];
    let versions = crds.iter_mut().flat_map(|crd| &mut crd.spec.versions);
    for schema in versions.filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut()) {
        refuse_null(schema);
        one_line_paragraphs(schema);
    }
    crds
}

/// Returns the definitions as the files of the folder `crds/`.
///
/// # Errors
///
/// Returns an error if a definition cannot be serialised as YAML.
pub fn crd_files() -> Result<Vec<CrdFile>, CrdError> {
    crds().iter().map(crd_file).collect()
}

fn crd_file(crd: &CustomResourceDefinition) -> Result<CrdFile, CrdError> {
    let yaml = serde_saphyr::to_string(crd).map_err(|source| CrdError {
        name: crd.metadata.name.clone().unwrap_or_default(),
        source,
    })?;
    Ok(CrdFile {
        name: format!("{}.yaml", crd.spec.names.kind.to_lowercase()),
        text: format!("# Generated from the types in host/api by `make generate`.\n{yaml}"),
    })
}

/// Removes `nullable` from a schema and all schemas below it.
fn refuse_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    below(schema).for_each(refuse_null);
}

/// Puts each paragraph of a description on one line, which `kubectl explain` wraps to the width of the terminal.
fn one_line_paragraphs(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        let paragraphs: Vec<_> = description
            .split("\n\n")
            .map(|paragraph| paragraph.replace('\n', " "))
            .collect();
        *description = paragraphs.join("\n\n");
    }
    below(schema).for_each(one_line_paragraphs);
}

/// Returns the schemas directly below a schema.
fn below(schema: &mut JSONSchemaProps) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let items = match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(&mut **items),
        _ => None,
    };
    let values = match &mut schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => Some(&mut **values),
        _ => None,
    };
    let properties = schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut());
    properties.chain(items).chain(values)
}

/// Maximum length of a label value and of the name of a Service.
const MAX_LABEL_LENGTH: usize = 63;

/// Suffix that makes the scheduler's name from the name of its cluster.
const SCHEDULER_SUFFIX: &str = "-scheduler";

/// Returns the rule for names of clusters, and of jobs, whose clusters have the job's name. The rule applies to new objects
/// only, so that objects that are older than the rule can still be changed and deleted.
pub(crate) fn cluster_name_rule(kind: &str) -> Rule {
    let longest = MAX_LABEL_LENGTH - SCHEDULER_SUFFIX.len();
    Rule::new(format!(
        "oldSelf.hasValue() || (self.metadata.name.size() <= {longest} && \
         self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))"
    ))
    .optional_old_self(true)
    .message(Message::Message(format!(
        "metadata.name of a {kind} must be at most {longest} characters long (the scheduler's Service is called \
         <name>{SCHEDULER_SUFFIX}), hold only lower-case letters, digits and '-', and begin and end with a letter or digit"
    )))
}

/// Returns the rule for names of worker groups, which become a label of their workers. The rule applies to new objects only.
pub(crate) fn group_name_rule() -> Rule {
    Rule::new(format!("oldSelf.hasValue() || self.metadata.name.size() <= {MAX_LABEL_LENGTH}"))
        .optional_old_self(true)
        .message(Message::Message(format!(
            "metadata.name of a DaskWorkerGroup must be at most {MAX_LABEL_LENGTH} characters long, because its workers \
             have it as a label"
        )))
}

/// Returns the rule for an immutable field. `instead` tells the user what to do instead.
pub(crate) fn immutable_rule(instead: &str) -> Rule {
    Rule::new("self == oldSelf").message(Message::Message(format!("can't be changed; {instead}")))
}

/// Returns the rule for the bounds of an autoscaler.
pub(crate) fn bounds_rule() -> Rule {
    Rule::new("self.minimum <= self.maximum")
        .message("spec.minimum must not be greater than spec.maximum; raise maximum or lower minimum")
}

/// Returns the rule for the source of a plugin.
pub(crate) fn one_source_rule() -> Rule {
    Rule::new("[has(self.oci), has(self.file), has(self.configMap)].filter(given, given).size() == 1")
        .message("spec.source must hold exactly one of oci, file and configMap")
}

/// Returns the rule for plugins that are pulled without TLS.
pub(crate) fn insecure_rule() -> Rule {
    Rule::new(
        "!has(self.source.oci) || !has(self.source.oci.insecure) || !self.source.oci.insecure || has(self.digest) || \
         self.source.oci.image.contains('@sha256:')",
    )
    .message(
        "spec.source.oci.insecure needs spec.digest: without TLS, the component could be changed on its way; write its \
         digest, or remove insecure",
    )
}

/// Returns the rule that a DaskPlugin must not name namespaces.
pub(crate) fn own_namespace_rule() -> Rule {
    Rule::new(
        "(!has(self.source.configMap) || !has(self.source.configMap.namespace)) && (!has(self.source.oci) || \
         !has(self.source.oci.pullSecrets) || self.source.oci.pullSecrets.all(secret, !has(secret.namespace)))",
    )
    .message("a DaskPlugin takes ConfigMaps and Secrets from its own namespace: leave namespace out")
}

/// Returns the rule that a ClusterDaskPlugin must name the namespaces of its ConfigMap and its Secrets.
pub(crate) fn named_namespace_rule() -> Rule {
    Rule::new(
        "(!has(self.source.configMap) || has(self.source.configMap.namespace)) && (!has(self.source.oci) || \
         !has(self.source.oci.pullSecrets) || self.source.oci.pullSecrets.all(secret, has(secret.namespace)))",
    )
    .message("a ClusterDaskPlugin is in no namespace: say with namespace where its ConfigMap or Secret is")
}
