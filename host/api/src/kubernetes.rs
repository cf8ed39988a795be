//! Pod and service specs, which Kubernetes owns: stored as the user wrote them, with the schema of one Kubernetes version.
//!
//! The schemas come from k8s-openapi, which is generated from Kubernetes' OpenAPI document. They are adapted so that a CRD can
//! contain them several times, and so that they stay useful with newer Kubernetes versions:
//!
//! * Descriptions are left out. With them, the CRD of DaskJob, which has three pod specs, would be larger than the 262,144
//!   bytes that `kubectl apply` may write into its last-applied annotation. `kubectl explain pod.spec` shows the descriptions.
//! * Every object preserves unknown fields, so that a field of a newer Kubernetes version reaches the pod. Known fields are
//!   still checked.
//! * Lists that Kubernetes merges by key, and that the CRDs of dask-kubernetes mark accordingly, are marked the same way:
//!   ports and topology spread constraints. A key must be required or have a default, hence `protocol: TCP`. All other lists
//!   are replaced as a whole.
//! * Label selectors are replaced as a whole.
//! * The name in a reference to a ConfigMap or Secret may be missing, as in a pod.
//! * `ephemeralContainers` is left out, because Kubernetes refuses it in a new pod.

use k8s_openapi::api::core::v1;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A Kubernetes PodSpec as the user wrote it, including unknown fields.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct PodSpec(pub Map<String, Value>);

impl JsonSchema for PodSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PodSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        embedded::<v1::PodSpec>(generator)
    }
}

/// A Kubernetes ServiceSpec as the user wrote it, including unknown fields.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ServiceSpec(pub Map<String, Value>);

impl JsonSchema for ServiceSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ServiceSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        embedded::<v1::ServiceSpec>(generator)
    }
}

/// Returns the schema of the pod spec of a job's runner: that of [`PodSpec`], with `restartPolicy: OnFailure` as the default.
pub(crate) fn runner_pod_spec(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = PodSpec::json_schema(generator);
    set_default(&mut schema, "restartPolicy", "OnFailure");
    schema
}

/// Fields of the Kubernetes specs that are left out of the schemas.
const OMITTED_FIELDS: [&str; 1] = ["ephemeralContainers"];

/// Fields with a reference, or a list of references, whose `name` may be missing.
const REFERENCES: [&str; 8] = [
    "configMap",
    "configMapKeyRef",
    "configMapRef",
    "imagePullSecrets",
    "nodePublishSecretRef",
    "secret",
    "secretKeyRef",
    "secretRef",
];

/// The lists that the API server merges by key.
const KEYED_LISTS: [KeyedList; 3] = [
    KeyedList {
        list: "ports",
        keys: ["containerPort", "protocol"],
        default: Some(("protocol", "TCP")),
    },
    KeyedList {
        list: "ports",
        keys: ["port", "protocol"],
        default: Some(("protocol", "TCP")),
    },
    KeyedList {
        list: "topologySpreadConstraints",
        keys: ["topologyKey", "whenUnsatisfiable"],
        default: None,
    },
];

/// A list that the API server merges by key.
struct KeyedList {
    /// Name of the field with the list.
    list: &'static str,
    /// Properties that identify an item. A list whose items lack one of them is a different list.
    keys: [&'static str; 2],
    /// The key that may be left out, and its default. `None` if all keys are required.
    default: Option<(&'static str, &'static str)>,
}

/// Returns the schema of `T`, adapted for a CRD.
fn embedded<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    if let Some(schema) = schema.as_object_mut() {
        adapt(schema);
    }
    schema
}

/// Adapts a schema and all schemas below it for a CRD, as the module documentation describes.
fn adapt(schema: &mut Map<String, Value>) {
    schema.remove("description");
    let mut has_properties = false;
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        has_properties = true;
        properties.retain(|name, _| !OMITTED_FIELDS.contains(&name.as_str()));
        for (name, property) in properties {
            if let Value::Object(property) = property {
                adapt(property);
                mark_keyed_list(name, property);
                if REFERENCES.contains(&name.as_str()) {
                    allow_missing_name(property);
                }
            }
        }
    }
    if has_properties {
        schema.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
    }
    if is_label_selector(schema) {
        schema.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    for below in ["items", "additionalProperties"] {
        if let Some(Value::Object(below)) = schema.get_mut(below) {
            adapt(below);
        }
    }
}

/// Returns whether a schema is that of a LabelSelector.
fn is_label_selector(schema: &Map<String, Value>) -> bool {
    let has = |name| {
        schema
            .get("properties")
            .and_then(|properties| properties.get(name))
            .is_some()
    };
    has("matchLabels") && has("matchExpressions")
}

/// Removes `name` from the required properties of a reference, or of each reference in a list.
fn allow_missing_name(reference: &mut Map<String, Value>) {
    if let Some(Value::Object(items)) = reference.get_mut("items") {
        return allow_missing_name(items);
    }
    let Some(Value::Array(required)) = reference.get_mut("required") else {
        return;
    };
    required.retain(|name| name != "name");
    if required.is_empty() {
        reference.remove("required");
    }
}

/// Marks a list as merged by key if it is one of [`KEYED_LISTS`].
fn mark_keyed_list(name: &str, list: &mut Map<String, Value>) {
    let Some(Value::Object(items)) = list.get_mut("items") else {
        return;
    };
    let Some(Value::Object(properties)) = items.get_mut("properties") else {
        return;
    };
    let has_keys = |keyed: &&KeyedList| keyed.keys.iter().all(|key| properties.contains_key(*key));
    let Some(keyed) = KEYED_LISTS
        .iter()
        .filter(|keyed| keyed.list == name)
        .find(has_keys)
    else {
        return;
    };
    if let Some((key, value)) = keyed.default
        && let Some(Value::Object(key)) = properties.get_mut(key)
    {
        key.insert("default".into(), value.into());
    }
    list.insert("x-kubernetes-list-type".into(), "map".into());
    list.insert("x-kubernetes-list-map-keys".into(), json!(keyed.keys));
}

/// Sets the default of a property.
fn set_default(schema: &mut Schema, property: &str, value: &str) {
    let property = schema
        .get_mut("properties")
        .and_then(|properties| properties.get_mut(property));
    if let Some(Value::Object(property)) = property {
        property.insert("default".into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema<T: JsonSchema>() -> Value {
        let generator =
            schemars::generate::SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
        generator.into_generator().into_root_schema_for::<T>().to_value()
    }

    /// Calls `check` with the path and the content of each schema in `schema`.
    fn walk(schema: &Value, path: &str, check: &mut impl FnMut(&str, &Value)) {
        check(path, schema);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(property, &format!("{path}.{name}"), check);
        }
        for below in ["items", "additionalProperties"] {
            if schema[below].is_object() {
                walk(&schema[below], &format!("{path}[]"), check);
            }
        }
    }

    #[test]
    fn objects_preserve_fields_of_newer_kubernetes_versions() {
        for schema in [schema::<PodSpec>(), schema::<ServiceSpec>()] {
            walk(&schema, "", &mut |path, schema| {
                if schema["properties"].is_object() {
                    assert_eq!(schema["x-kubernetes-preserve-unknown-fields"], true, "{path}");
                }
            });
        }
    }

    #[test]
    fn descriptions_are_left_out() {
        walk(&schema::<PodSpec>(), "", &mut |path, schema| {
            assert!(schema.get("description").is_none() || path.is_empty(), "{path}");
        });
    }

    #[test]
    fn numbers_are_accepted_where_kubernetes_accepts_them() {
        let pod = schema::<PodSpec>();
        let container = &pod["properties"]["containers"]["items"]["properties"];
        let resources = &container["resources"]["properties"];
        let port = &container["livenessProbe"]["properties"]["httpGet"]["properties"]["port"];
        let target = &schema::<ServiceSpec>()["properties"]["ports"]["items"]["properties"]["targetPort"];
        for schema in [&resources["limits"]["additionalProperties"], port, target] {
            assert_eq!(schema["x-kubernetes-int-or-string"], true, "{schema}");
            assert!(schema.get("type").is_none(), "{schema}");
        }
    }

    #[test]
    fn keys_of_keyed_lists_are_required_or_have_a_default() {
        let mut found = Vec::new();
        for schema in [schema::<PodSpec>(), schema::<ServiceSpec>()] {
            walk(&schema, "", &mut |path, schema| {
                let Some(keys) = schema["x-kubernetes-list-map-keys"].as_array() else {
                    return;
                };
                found.push(path.to_owned());
                let items = &schema["items"];
                for key in keys.iter().filter_map(Value::as_str) {
                    let required = items["required"]
                        .as_array()
                        .is_some_and(|names| names.contains(&json!(key)));
                    let has_default = items["properties"][key].get("default").is_some();
                    assert!(required || has_default, "{path}: key {key} may be missing");
                }
            });
        }
        found.sort();
        assert_eq!(
            found,
            [
                ".containers[].ports",
                ".initContainers[].ports",
                ".ports",
                ".topologySpreadConstraints"
            ]
        );
    }

    #[test]
    fn references_do_not_require_a_name() {
        let pod = schema::<PodSpec>();
        let env = &pod["properties"]["containers"]["items"]["properties"]["env"]["items"];
        let reference = &env["properties"]["valueFrom"]["properties"]["secretKeyRef"];
        assert_eq!(reference["required"], json!(["key"]));
        assert_eq!(env["required"], json!(["name"]));
        assert_eq!(
            pod["properties"]["imagePullSecrets"]["items"].get("required"),
            None
        );
    }

    #[test]
    fn label_selectors_are_replaced_as_a_whole() {
        let pod = schema::<PodSpec>();
        let spread = &pod["properties"]["topologySpreadConstraints"]["items"]["properties"]["labelSelector"];
        assert_eq!(spread["x-kubernetes-map-type"], "atomic");
    }

    #[test]
    fn fields_of_the_current_version_are_known() {
        let pod = schema::<PodSpec>();
        let container = &pod["properties"]["initContainers"]["items"]["properties"];
        for schema in [
            &pod["properties"]["schedulingGates"],
            &container["restartPolicy"],
            &container["resizePolicy"],
        ] {
            assert!(schema.is_object());
        }
        assert!(pod["properties"].get("ephemeralContainers").is_none());
    }
}
