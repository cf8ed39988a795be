//! The chart knows the settings of the default components, so that helm refuses what these would refuse.

use dask_operator_components::ALL;
use dask_operator_golden_tests::files;
use dask_operator_runtime::{Component, Engine, EngineConfig, Limits};
use serde_json::{Map, Value, json};

/// The chart's schema of values.
fn schema() -> Value {
    let file = files::folder("../../charts/dask-kubernetes-operator/values.schema.json");
    serde_json::from_str(&std::fs::read_to_string(file).expect("a file")).expect("JSON")
}

/// What the chart says of the settings of a kind whose component is the default one.
fn known(schema: &Value, kind: &str) -> Value {
    let conditions = schema["allOf"].as_array().expect("conditions");
    let condition = conditions
        .iter()
        .find(|condition| condition["if"]["properties"]["plugins"]["required"] == json!([kind]))
        .unwrap_or_else(|| panic!("no condition for {kind}"));
    condition["else"]["properties"]["settings"]["properties"][kind].clone()
}

/// A component's schema of one value, without what is for people, as the chart has it.
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
    for word in ["type", "minimum"] {
        if let Some(said) = schema.get(word) {
            bare_schema.insert(word.to_owned(), said.clone());
        }
    }
    if let Some(items) = schema.get("items") {
        bare_schema.insert("items".to_owned(), bare(items, definitions));
    }
    Value::Object(bare_schema)
}

#[test]
fn the_schema_of_values_has_the_settings_of_the_default_components() {
    let schema = schema();
    let engine = Engine::new(EngineConfig::default()).expect("an engine");
    for embedded in ALL {
        let kind = embedded.name;
        let component = Component::load(&engine, kind, embedded.bytes, Limits::default()).expect("it loads");
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
            known(&schema, kind),
            wanted,
            "values.schema.json: settings of {kind} are other ones, write\n{wanted:#}"
        );
        // The component's own check knows the same names.
        for name in properties.keys() {
            let findings = component
                .validate_settings(&json!({ name: {"no": "setting is an object"} }).to_string())
                .expect("it answers");
            assert!(
                findings
                    .iter()
                    .all(|finding| !finding.message.contains("there is no setting")),
                "{kind}.{name}: {findings:?}"
            );
        }
    }
}
