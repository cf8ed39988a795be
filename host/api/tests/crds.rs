//! Tests of the CRDs as a whole: structure, sizes, descriptions, and the files in `crds/`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::LazyLock;

use dask_operator_api::crd_files;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use rstest::rstest;
use serde_json::{Value, json};

/// The CRDs, which are generated once because that is slow.
static CRDS: LazyLock<Vec<CustomResourceDefinition>> = LazyLock::new(dask_operator_api::crds);

fn crd(kind: &str) -> &CustomResourceDefinition {
    CRDS.iter().find(|crd| crd.spec.names.kind == kind).unwrap()
}

fn schema(crd: &CustomResourceDefinition) -> JSONSchemaProps {
    crd.spec.versions[0]
        .schema
        .as_ref()
        .unwrap()
        .open_api_v3_schema
        .clone()
        .unwrap()
}

/// Returns the schema at a path of property names.
fn at(kind: &str, path: &str) -> JSONSchemaProps {
    path.split('.').fold(schema(crd(kind)), |schema, name| {
        schema
            .properties
            .unwrap()
            .get(name)
            .unwrap_or_else(|| panic!("{path}: no {name}"))
            .clone()
    })
}

/// Calls `check` with the path and the content of each schema. `check` returns whether to descend into the schema.
fn walk(schema: &JSONSchemaProps, path: &str, check: &mut impl FnMut(&str, &JSONSchemaProps) -> bool) {
    if !check(path, schema) {
        return;
    }
    for (name, property) in schema.properties.iter().flatten() {
        walk(property, &format!("{path}.{name}"), check);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        walk(items, &format!("{path}[]"), check);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        walk(values, &format!("{path}{{}}"), check);
    }
}

#[test]
fn checked_in_files_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    let files = crd_files().unwrap();
    for file in &files {
        let text = std::fs::read_to_string(folder.join(&file.name)).unwrap_or_default();
        assert!(
            text == file.text,
            "crds/{} differs from the types; run `make generate`",
            file.name
        );
    }
    let others = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let unknown: Vec<_> = others
        .filter(|name| !files.iter().any(|file| *name == *file.name))
        .collect();
    assert!(
        unknown.is_empty(),
        "crds/ holds files that are not generated: {unknown:?}"
    );
}

#[test]
fn crds_fit_into_the_annotation_of_kubectl_apply() {
    for crd in CRDS.iter() {
        let size = serde_json::to_vec(crd).unwrap().len();
        assert!(
            size < 200_000,
            "{}: {size} bytes as JSON; annotations hold 262144",
            crd.spec.names.kind
        );
    }
}

#[rstest]
#[case("DaskCluster", "daskclusters", "daskcluster", &["daskcluster", "dsk"])]
#[case("DaskWorkerGroup", "daskworkergroups", "daskworkergroup", &["daskworkers"])]
#[case("DaskJob", "daskjobs", "daskjob", &["djb"])]
#[case("DaskAutoscaler", "daskautoscalers", "daskautoscaler", &[])]
fn names_match_dask_kubernetes(
    #[case] kind: &str,
    #[case] plural: &str,
    #[case] singular: &str,
    #[case] short: &[&str],
) {
    let crd = crd(kind);
    assert_eq!(
        crd.metadata.name.as_deref(),
        Some(format!("{plural}.kubernetes.dask.org").as_str())
    );
    assert_eq!(crd.spec.group, "kubernetes.dask.org");
    assert_eq!(crd.spec.names.plural, plural);
    assert_eq!(crd.spec.names.singular.as_deref(), Some(singular));
    assert_eq!(crd.spec.names.short_names.clone().unwrap_or_default(), short);
    assert_eq!(crd.spec.versions.len(), 1);
    assert_eq!(crd.spec.versions[0].name, "v1");
}

#[test]
fn all_kinds_but_cluster_dask_plugin_are_namespaced() {
    for crd in CRDS.iter() {
        let expected = if crd.spec.names.kind == "ClusterDaskPlugin" {
            "Cluster"
        } else {
            "Namespaced"
        };
        assert_eq!(crd.spec.scope, expected, "{}", crd.spec.names.kind);
    }
}

#[rstest]
#[case("DaskPlugin", &["In Force", "Digest", "Interfaces", "Mode", "Ready", "Age"], &["Reason"])]
#[case("ClusterDaskPlugin", &["In Force", "Digest", "Interfaces", "Mode", "Ready", "Age"], &["Reason"])]
#[case("DaskCluster", &["Workers", "Ready", "Status", "Available", "Age"], &["Scheduler", "Existing", "Idle Timeout"])]
#[case("DaskWorkerGroup", &["Workers", "Ready", "Cluster", "Age"], &["Existing", "Scale Down Blocked"])]
#[case("DaskJob", &["Status", "Number Of Workers", "Age"], &["Started", "Ended", "Runner"])]
#[case("DaskAutoscaler", &["Cluster", "Minimum", "Maximum", "Current", "Desired", "Age"], &["Group", "Last Scaled"])]
fn printer_columns(#[case] kind: &str, #[case] always: &[&str], #[case] wide: &[&str]) {
    let columns = crd(kind).spec.versions[0]
        .additional_printer_columns
        .clone()
        .unwrap();
    let names = |is_wide| {
        let columns = columns
            .iter()
            .filter(move |column| (column.priority == Some(1)) == is_wide);
        columns.map(|column| column.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(names(false), always);
    assert_eq!(names(true), wide);
}

#[rstest]
#[case("DaskCluster", true)]
#[case("DaskWorkerGroup", true)]
#[case("DaskJob", false)]
#[case("DaskAutoscaler", false)]
fn subresources(#[case] kind: &str, #[case] scales: bool) {
    let subresources = crd(kind).spec.versions[0].subresources.clone().unwrap();
    assert!(subresources.status.is_some());
    assert_eq!(subresources.scale.is_some(), scales);
    if let Some(scale) = subresources.scale {
        assert_eq!(scale.spec_replicas_path, ".spec.worker.replicas");
        assert_eq!(scale.status_replicas_path, ".status.replicas");
        assert_eq!(scale.label_selector_path.as_deref(), Some(".status.selector"));
        for path in ["spec.worker.replicas", "status.replicas", "status.selector"] {
            at(kind, path);
        }
    }
}

#[rstest]
#[case("DaskCluster", "spec.idleTimeout", json!(0))]
#[case("DaskCluster", "spec.worker.replicas", json!(1))]
#[case("DaskWorkerGroup", "spec.worker.replicas", json!(1))]
#[case("DaskJob", "spec.cluster.spec.idleTimeout", json!(0))]
#[case("DaskJob", "spec.cluster.spec.worker.replicas", json!(1))]
#[case("DaskJob", "spec.job.spec.restartPolicy", json!("OnFailure"))]
#[case("DaskAutoscaler", "spec.minimum", json!(0))]
#[case("DaskPlugin", "spec.order", json!(0))]
#[case("ClusterDaskPlugin", "spec.mode", json!("protect"))]
fn defaults(#[case] kind: &str, #[case] path: &str, #[case] value: Value) {
    assert_eq!(at(kind, path).default.unwrap().0, value);
}

#[rstest]
#[case("DaskCluster", "", &["spec"])]
#[case("DaskCluster", "spec", &["scheduler", "worker"])]
#[case("DaskCluster", "spec.scheduler", &["service", "spec"])]
#[case("DaskCluster", "spec.worker", &["spec"])]
#[case("DaskCluster", "spec.worker.spec", &["containers"])]
#[case("DaskWorkerGroup", "spec", &["cluster", "worker"])]
#[case("DaskJob", "spec", &["cluster", "job"])]
#[case("DaskJob", "spec.cluster", &["spec"])]
#[case("DaskJob", "spec.job", &["spec"])]
#[case("DaskJob", "status", &[])]
#[case("DaskAutoscaler", "spec", &["cluster", "maximum"])]
#[case("DaskPlugin", "spec", &["source"])]
#[case("ClusterDaskPlugin", "spec.source.configMap", &["key", "name"])]
fn required_fields(#[case] kind: &str, #[case] path: &str, #[case] names: &[&str]) {
    let schema = if path.is_empty() {
        schema(crd(kind))
    } else {
        at(kind, path)
    };
    assert_eq!(schema.required.unwrap_or_default(), names);
}

#[rstest]
#[case("DaskCluster", &["spec.scheduler.metadata", "spec.worker.metadata"])]
#[case("DaskWorkerGroup", &["spec.worker.metadata"])]
#[case("DaskJob", &["spec.job.metadata", "spec.cluster.metadata", "spec.cluster.spec.worker.metadata"])]
fn embedded_metadata_has_labels_and_annotations(#[case] kind: &str, #[case] paths: &[&str]) {
    for path in paths {
        let metadata = at(kind, path).properties.unwrap();
        assert_eq!(
            metadata.keys().collect::<Vec<_>>(),
            ["annotations", "labels"],
            "{path}"
        );
    }
}

/// The API server requires a type everywhere, and refuses references, unions and nulls.
#[test]
fn schemas_are_structural() {
    for crd in CRDS.iter() {
        walk(&schema(crd), &crd.spec.names.kind, &mut |path, schema| {
            let open = schema.x_kubernetes_int_or_string.is_some();
            assert!(
                schema.type_.is_some() != open,
                "{path}: type and int-or-string exclude each other"
            );
            assert!(schema.ref_path.is_none(), "{path}: $ref");
            assert!(
                schema.any_of.is_none() && schema.one_of.is_none() && schema.all_of.is_none(),
                "{path}: union"
            );
            assert!(
                schema.nullable.is_none(),
                "{path}: null would be stored instead of being dropped"
            );
            assert!(
                schema.properties.is_none() || schema.additional_properties.is_none(),
                "{path}: properties and additionalProperties"
            );
            true
        });
    }
}

/// Fields of this project have descriptions. Only the specs of Kubernetes and the status that logic writes preserve unknown
/// fields.
#[test]
fn own_fields_have_descriptions_and_reject_unknown_fields() {
    for crd in CRDS.iter() {
        walk(&schema(crd), &crd.spec.names.kind, &mut |path, schema| {
            let whole_map = path.ends_with("{}") || path.ends_with("[]");
            assert!(
                schema.description.is_some() || whole_map,
                "{path}: no description"
            );
            // Kubernetes defines selectors, and plugins define their settings.
            let leaf = path.rsplit('.').next().unwrap_or_default();
            if matches!(leaf, "selector" | "namespaceSelector" | "settings") {
                return false;
            }
            let kubernetes = ["containers", "clusterIP"];
            let ours = !schema
                .properties
                .iter()
                .flatten()
                .any(|(name, _)| kubernetes.contains(&name.as_str()));
            let open = schema.x_kubernetes_preserve_unknown_fields == Some(true);
            assert_eq!(
                open,
                !ours || (path == format!("{}.status", crd.spec.names.kind) && !path.contains("Plugin")),
                "{path}: unknown fields"
            );
            ours
        });
    }
}

/// Each Dask resource is compared with all labels of a selector.
#[rstest]
#[case("DaskPlugin", "spec.selector")]
#[case("ClusterDaskPlugin", "spec.selector")]
#[case("ClusterDaskPlugin", "spec.namespaceSelector")]
fn selectors_have_a_limited_number_of_labels(#[case] kind: &str, #[case] path: &str) {
    let mut bounds = Vec::new();
    walk(&at(kind, path), "", &mut |_, schema| {
        bounds.extend(schema.max_items.or(schema.max_properties));
        true
    });
    assert_eq!(bounds, [50; 3]);
}

/// `kubectl explain` would show the line breaks of the source.
#[test]
fn paragraphs_of_descriptions_are_single_lines() {
    for crd in CRDS.iter() {
        walk(&schema(crd), &crd.spec.names.kind, &mut |path, schema| {
            let text = schema.description.as_deref().unwrap_or_default();
            assert!(
                text.split("\n\n").all(|paragraph| !paragraph.contains('\n')),
                "{path}: {text}"
            );
            true
        });
    }
}

#[test]
fn conditions_are_merged_by_type() {
    for crd in CRDS.iter() {
        let kind = crd.spec.names.kind.as_str();
        let conditions = at(kind, "status.conditions");
        assert_eq!(conditions.x_kubernetes_list_type.as_deref(), Some("map"));
        assert_eq!(conditions.x_kubernetes_list_map_keys.unwrap(), ["type"]);
    }
}
