//! Specs that Kubernetes owns: kept as they were written, described by the schema of one version.
//!
//! The schemas come from k8s-openapi (generated from Kubernetes' own OpenAPI document), changed in some
//! ways so that they can stand in a CRD, several times, and stay useful when Kubernetes moves on:
//!
//! * Descriptions are left out. With them a DaskJob's CRD, which has three pod specs, would be larger than
//!   the 262,144 bytes that `kubectl apply` may write into its last-applied annotation. `kubectl explain
//!   pod.spec` has them.
//! * Every object keeps fields that the schema doesn't know, so that a field of a newer Kubernetes reaches
//!   the pod. Fields that are known are still checked.
//! * Lists that Kubernetes merges by key, and that today's CRDs mark so, are marked the same way: ports and
//!   topology spread constraints. A key must be required or have a default, hence `protocol: TCP`. All other
//!   lists are replaced as a whole.
//! * Label selectors are replaced as a whole, too.
//! * The name in a reference to a ConfigMap or Secret may be missing, as it may in a pod.
//! * `ephemeralContainers` is left out: Kubernetes refuses it in a new pod.

use k8s_openapi::api::core::v1;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A Kubernetes PodSpec as it was written, with fields that this program doesn't know.
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

/// A Kubernetes ServiceSpec as it was written, with fields that this program doesn't know.
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

/// The pod spec of a job's runner: as [`PodSpec`], restarted on failure by default.
pub(crate) fn runner_pod_spec(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = PodSpec::json_schema(generator);
    set_default(&mut schema, "restartPolicy", "OnFailure");
    schema
}

/// Fields of Kubernetes' specs that make no sense in ours.
const LEFT_OUT: [&str; 1] = ["ephemeralContainers"];

/// Fields that hold references, or lists of references, whose `name` may be missing.
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

/// Lists that are merged by key.
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

/// A list that is merged by key.
struct KeyedList {
    /// The field that holds it.
    list: &'static str,
    /// What identifies an item. A list whose items don't have these properties isn't meant.
    keys: [&'static str; 2],
    /// The key that may be left out, and its value then.
    default: Option<(&'static str, &'static str)>,
}

/// The schema of `T` as it may stand in a CRD.
fn embedded<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    if let Some(schema) = schema.as_object_mut() {
        open(schema);
    }
    schema
}

/// Changes a schema and all below it, see the module's text.
fn open(schema: &mut Map<String, Value>) {
    schema.remove("description");
    let mut has_properties = false;
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        has_properties = true;
        properties.retain(|name, _| !LEFT_OUT.contains(&name.as_str()));
        for (name, property) in properties {
            if let Value::Object(property) = property {
                open(property);
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
            open(below);
        }
    }
}

/// Whether a schema is that of a LabelSelector.
fn is_label_selector(schema: &Map<String, Value>) -> bool {
    let has = |name| {
        schema
            .get("properties")
            .and_then(|properties| properties.get(name))
            .is_some()
    };
    has("matchLabels") && has("matchExpressions")
}

/// Takes `name` out of what a reference, or each one of a list, must have.
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

/// Says that a list is merged by key, if it is one that is.
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

/// Gives a property of a schema a default.
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

    /// Calls `check` with each schema in `schema`, and with where it is.
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
    fn objects_keep_fields_of_newer_kubernetes_versions() {
        for schema in [schema::<PodSpec>(), schema::<ServiceSpec>()] {
            walk(&schema, "", &mut |path, schema| {
                if schema["properties"].is_object() {
                    assert_eq!(schema["x-kubernetes-preserve-unknown-fields"], true, "{path}");
                }
            });
        }
    }

    #[test]
    fn nothing_is_described() {
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
    fn keyed_lists_have_keys_that_are_always_there() {
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
    fn references_need_no_name() {
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
