//! Settings of a component, which only the component interprets.

use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Settings of a component, a JSON object.
///
/// The object is stored as unparsed text, because a parsed megabyte may take a hundred megabytes of memory. Clones share the
/// text.
#[derive(Clone, Debug)]
pub struct PluginSettings(Arc<RawValue>);

impl PluginSettings {
    /// Returns the object as text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Returns whether the object has no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text()
            .strip_prefix('{')
            .is_some_and(|fields| fields.trim_start() == "}")
    }
}

/// Compares the texts, which is enough because the API server serialises equal objects to equal texts.
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
    fn settings_are_stored_unchanged(
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
    fn accepts_objects_only() -> serde_json::Result<()> {
        assert!(serde_json::from_value::<PluginSettings>(json!([])).is_err());
        assert!(serde_json::from_str::<PluginSettings>("{ }")?.is_empty());
        assert!(!serde_json::from_value::<PluginSettings>(json!({"a": {}}))?.is_empty());
        Ok(())
    }
}
