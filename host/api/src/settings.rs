//! Settings of components, which only the component reads.

use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A component's settings, a JSON object. They stay the text that they are: read, a megabyte may take a hundred. A clone
/// is the same text.
#[derive(Clone, Debug)]
pub struct PluginSettings(Arc<RawValue>);

impl PluginSettings {
    /// The object, as text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Returns whether it has no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text()
            .strip_prefix('{')
            .is_some_and(|fields| fields.trim_start() == "}")
    }
}

/// The same text. The API server writes the same object in the same way.
impl PartialEq for PluginSettings {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for PluginSettings {}

impl<'de> Deserialize<'de> for PluginSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        if !text.get().starts_with('{') {
            return Err(D::Error::custom("settings are an object"));
        }
        Ok(Self(text.into()))
    }
}

impl Serialize for PluginSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::LastGood;

    #[rstest]
    #[case::nothing(r#"{"generation": 1, "digest": "d"}"#, None)]
    #[case::null(r#"{"generation": 1, "digest": "d", "settings": null}"#, None)]
    #[case::text(
        r#"{"generation": 1, "digest": "d", "settings": {"b": 1.50, "a": "\u003c"}}"#,
        Some(r#"{"b": 1.50, "a": "\u003c"}"#)
    )]
    fn they_stay_as_they_are_written(
        #[case] text: &str,
        #[case] expected: Option<&str>,
    ) -> serde_json::Result<()> {
        let read: LastGood = serde_json::from_str(text)?;
        assert_eq!(read.settings.as_ref().map(PluginSettings::text), expected);
        let written = serde_json::to_string(&read)?;
        assert!(written.contains(expected.unwrap_or_default()), "{written}");
        assert_eq!(serde_json::from_str::<LastGood>(&written)?, read);
        Ok(())
    }

    #[test]
    fn they_are_an_object() -> serde_json::Result<()> {
        assert!(serde_json::from_value::<PluginSettings>(json!([])).is_err());
        assert!(serde_json::from_str::<PluginSettings>("{ }")?.is_empty());
        assert!(!serde_json::from_value::<PluginSettings>(json!({"a": {}}))?.is_empty());
        Ok(())
    }
}
