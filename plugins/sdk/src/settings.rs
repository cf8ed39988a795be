//! Deserialisation of settings into a struct, with a finding for each invalid setting.

use serde_json::{Map, Value};

use crate::contract::Finding;
use crate::plugin::ComponentSettings;

/// Returns the JSON Schema of settings, as text.
pub(crate) fn schema<S: ComponentSettings>() -> String {
    schemars::schema_for!(S).to_value().to_string()
}

/// Deserialises settings that were checked before.
///
/// # Errors
///
/// Returns an error if the settings do not match `S`.
pub fn read<S: ComponentSettings>(settings: &str) -> Result<S, String> {
    let settings = settings.trim();
    if settings.is_empty() || settings == "{}" {
        return Ok(S::default());
    }
    serde_json::from_str(settings).map_err(|error| format!("the settings could not be read: {error}"))
}

/// Deserialises settings and checks their names and types.
///
/// # Errors
///
/// Returns a finding for each invalid setting.
pub fn check<S: ComponentSettings>(settings: &str) -> Result<S, Vec<Finding>> {
    let value: Value = serde_json::from_str(settings).map_err(|error| {
        vec![Finding::error(
            "",
            format!("settings must be a JSON object: {error}"),
        )]
    })?;
    let Value::Object(settings) = value else {
        return Err(vec![Finding::error(
            "",
            "settings must be an object, as `{\"name\": \"value\"}`",
        )]);
    };
    let schema = schemars::schema_for!(S).to_value();
    let known: Vec<&str> = match schema["properties"].as_object() {
        Some(properties) => properties.keys().map(String::as_str).collect(),
        None => Vec::new(),
    };
    let findings: Vec<Finding> = settings
        .iter()
        .filter_map(|(name, value)| setting_problem::<S>(name, value, &known))
        .collect();
    if !findings.is_empty() {
        return Err(findings);
    }
    serde_json::from_value(Value::Object(settings))
        .map_err(|error| vec![Finding::error("", error.to_string())])
}

/// Returns the problem with one setting. All other settings have defaults, so a single one can be deserialised.
fn setting_problem<S: ComponentSettings>(name: &str, value: &Value, known: &[&str]) -> Option<Finding> {
    if !known.contains(&name) {
        return Some(Finding::error(name, unknown_setting(name, known)));
    }
    let alone = Map::from_iter([(name.to_owned(), value.clone())]);
    let error = serde_json::from_value::<S>(Value::Object(alone)).err()?;
    Some(Finding::error(name, format!("this value can't be used: {error}")))
}

fn unknown_setting(name: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|known| {
            (
                strsim::jaro_winkler(&name.to_lowercase(), &known.to_lowercase()),
                known,
            )
        })
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match (near, known.is_empty()) {
        (Some((_, near)), _) => format!("there is no setting `{name}`; did you mean `{near}`?"),
        (None, true) => format!("there is no setting `{name}`: this component has none"),
        (None, false) => format!("there is no setting `{name}`; there are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::*;
    use crate::plugin::NoSettings;

    #[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields, rename_all = "camelCase")]
    struct Example {
        /// Maximum batch size.
        batch_size: Option<u32>,
        image: String,
    }

    #[test]
    fn accepts_valid_settings() {
        assert_eq!(
            check::<Example>(r#"{"batchSize": 3}"#),
            Ok(Example {
                batch_size: Some(3),
                image: String::new()
            })
        );
        assert_eq!(check::<Example>("{}"), Ok(Example::default()));
        assert_eq!(read::<Example>("{}"), Ok(Example::default()));
    }

    #[test]
    fn findings_contain_the_field_and_the_remedy() {
        let cases = [
            (r#"{"batchsize": 3}"#, "batchsize", "did you mean `batchSize`?"),
            (r#"{"colour": 3}"#, "colour", "there are batchSize, image"),
            (
                r#"{"batchSize": "three"}"#,
                "batchSize",
                "invalid type: string \"three\"",
            ),
            ("[]", "", "must be an object"),
            ("{", "", "must be a JSON object"),
        ];
        for (settings, field, message) in cases {
            let findings = check::<Example>(settings).expect_err(settings);
            assert_eq!(findings[0].field, field, "{settings}");
            assert!(
                findings[0].message.contains(message),
                "{settings}: {}",
                findings[0].message
            );
        }
        let findings = check::<NoSettings>(r#"{"a": 1}"#).expect_err("none");
        assert!(findings[0].message.contains("this component has none"));
    }

    #[test]
    fn the_schema_contains_the_descriptions() {
        assert!(schema::<Example>().contains("Maximum batch size."));
    }
}
