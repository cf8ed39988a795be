//! Tests that the chart's schema has the settings of the default components, so that Helm refuses the same settings.

use dask_operator_components::ALL;
use dask_operator_golden_tests::files;
use dask_operator_runtime::{CallLimits, Component, Engine, EngineConfig};
use serde_json::{Map, Value, json};

/// Reads the chart's schema of values.
fn schema() -> Value {
    let file = files::folder("../../charts/dask-kubernetes-operator/values.schema.json");
    serde_json::from_str(&std::fs::read_to_string(file).expect("a file")).expect("JSON")
}

/// Returns the chart's schema of the settings of a kind with the default component.
fn chart_settings(schema: &Value, kind: &str) -> Value {
    let conditions = schema["allOf"].as_array().expect("conditions");
    let condition = conditions
        .iter()
        .find(|condition| condition["if"]["properties"]["plugins"]["required"] == json!([kind]))
        .unwrap_or_else(|| panic!("no condition for {kind}"));
    condition["else"]["properties"]["settings"]["properties"][kind].clone()
}

/// Reduces a component's schema of one value to the form that the chart uses, without descriptions.
fn bare(schema: &Value, definitions: &Value) -> Value {
    let definition = schema["$ref"]
        .as_str()
        .and_then(|path| path.strip_prefix("#/$defs/"));
    if let Some(name) = definition {
        return bare(&definitions[name], definitions);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let choices: Vec<_> = choices.iter().map(|choice| choice["const"].clone()).collect();
        return json!({ "enum": choices });
    }
    let mut bare_schema = Map::new();
    for keyword in ["type", "minimum"] {
        if let Some(value) = schema.get(keyword) {
            bare_schema.insert(keyword.to_owned(), value.clone());
        }
    }
    if let Some(items) = schema.get("items") {
        bare_schema.insert("items".to_owned(), bare(items, definitions));
    }
    Value::Object(bare_schema)
}

#[test]
fn values_schema_has_the_settings_of_the_default_components() {
    let schema = schema();
    let engine = Engine::new(EngineConfig::default()).expect("an engine");
    for embedded in ALL {
        let kind = embedded.name;
        let component = Component::load(&engine, kind, embedded.bytes, CallLimits::default())
            .expect("the component loads");
        let settings: Value =
            serde_json::from_str(&component.description().settings_schema).expect("a schema");
        let properties: Map<String, Value> = settings["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, setting)| (name.clone(), bare(setting, &settings["$defs"])))
            .collect();
        let wanted = json!({"additionalProperties": false, "properties": properties});
        assert_eq!(
            chart_settings(&schema, kind),
            wanted,
            "values.schema.json: the settings of {kind} differ, write\n{wanted:#}"
        );
        // The component's own check accepts the same names.
        for name in properties.keys() {
            let findings = component
                .validate_settings(&json!({ name: {"no": "setting is an object"} }).to_string())
                .expect("the call succeeds");
            assert!(
                findings
                    .iter()
                    .all(|finding| !finding.message.contains("there is no setting")),
                "{kind}.{name}: {findings:?}"
            );
        }
    }
}
