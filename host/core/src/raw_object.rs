//! JSON objects of which only the metadata is parsed.
//!
//! A thousand pods of 5 kB are checked and sent without a thousand parsed specs in memory.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// Maximum length in bytes of a field that [`RawObject::field`] parses.
const MAX_PARSED_BYTES: usize = 1024;

/// The fields of a JSON object, each as unparsed text.
#[derive(Debug)]
pub struct Fields {
    metadata: Option<Box<RawValue>>,
    others: BTreeMap<String, Box<RawValue>>,
}

impl Fields {
    /// Splits a JSON object into its fields.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not a JSON object. [`serde_json::Error::is_data`] is true if it is another JSON value.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        let mut others: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text)?;
        let metadata = others.remove("metadata");
        Ok(Self { metadata, others })
    }

    /// Returns the number of fields other than `metadata`.
    #[must_use]
    pub fn count(&self) -> usize {
        self.others.len()
    }

    /// Returns the text of `metadata`, or `None` if the object has no such field.
    #[must_use]
    pub fn metadata(&self) -> Option<&str> {
        self.metadata.as_deref().map(RawValue::get)
    }

    /// Parses `metadata`.
    ///
    /// # Errors
    ///
    /// Returns an error if `metadata` is nested too deeply (128 levels).
    pub fn into_object(self) -> serde_json::Result<RawObject> {
        let metadata = self.metadata.map(|metadata| serde_json::from_str(metadata.get()));
        Ok(RawObject {
            metadata: metadata.transpose()?,
            fields: self.others,
        })
    }
}

/// A JSON object whose `metadata` is parsed; all other fields are unparsed text.
#[derive(Clone, Debug)]
pub struct RawObject {
    /// `metadata`, or `None` if the object has no such field.
    pub metadata: Option<Value>,
    fields: BTreeMap<String, Box<RawValue>>,
}

impl RawObject {
    /// Splits a JSON object into its fields and parses `metadata`.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not a JSON object, or if `metadata` is nested too deeply (128 levels).
    /// [`serde_json::Error::is_data`] is true if the text is another JSON value.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        Fields::read(text)?.into_object()
    }

    /// Returns whether the object has this field.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match name {
            "metadata" => self.metadata.is_some(),
            _ => self.fields.contains_key(name),
        }
    }

    /// Returns a field other than `metadata`, or `None` if the object has no such field. The value is null if the text
    /// can't be parsed or is longer than 1024 bytes.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value> {
        let raw = self.fields.get(name)?.get();
        let parsed = (raw.len() <= MAX_PARSED_BYTES).then(|| serde_json::from_str(raw).unwrap_or_default());
        Some(parsed.unwrap_or_default())
    }

    /// Sets a field other than `metadata` to a string.
    pub fn set(&mut self, name: &str, text: &str) {
        // The serialisation of a string never fails.
        let raw = to_raw_value(text).unwrap_or_else(|_| RawValue::NULL.to_owned());
        self.fields.insert(name.to_owned(), raw);
    }

    /// Returns the number of bytes of the values of all fields other than `metadata`.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.fields.values().map(|raw| raw.get().len()).sum()
    }

    /// Returns the object as JSON text.
    #[must_use]
    pub fn to_text(&self) -> String {
        // The serialisation of JSON values never fails.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses all fields and returns the whole object.
    ///
    /// # Errors
    ///
    /// Returns an error if a field is nested too deeply (128 levels).
    pub fn to_map(&self) -> serde_json::Result<Map<String, Value>> {
        let fields = self.fields.iter();
        let mut map = fields
            .map(|(name, raw)| Ok((name.clone(), serde_json::from_str(raw.get())?)))
            .collect::<serde_json::Result<Map<_, _>>>()?;
        map.extend(
            self.metadata
                .clone()
                .map(|metadata| ("metadata".to_owned(), metadata)),
        );
        Ok(map)
    }
}

/// Writes the unparsed fields unchanged, including their white space.
impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self
            .fields
            .iter()
            .map(|(name, raw)| (name.as_str(), Field::Raw(raw)));
        let metadata = self
            .metadata
            .iter()
            .map(|metadata| ("metadata", Field::Parsed(metadata)));
        serializer.collect_map(fields.chain(metadata))
    }
}

/// The value of a field: unparsed text, or the parsed `metadata`.
#[derive(Serialize)]
#[serde(untagged)]
enum Field<'a> {
    Raw(&'a RawValue),
    Parsed(&'a Value),
}

/// Compares `metadata` by value and all other fields by their text.
impl PartialEq for RawObject {
    fn eq(&self, other: &Self) -> bool {
        let texts = |object: &'_ Self| -> Vec<(String, String)> {
            let fields = object.fields.iter();
            fields
                .map(|(name, raw)| (name.clone(), raw.get().to_owned()))
                .collect()
        };
        self.metadata == other.metadata && texts(self) == texts(other)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_other_than_metadata_keep_their_text() {
        let text = r#"{"spec": {"b": 1.0, "a": [ 1e3 ]}, "metadata": {"labels": {"x": "y"}}, "kind":"Pod"}"#;
        let mut object = RawObject::read(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(object.metadata, Some(json!({"labels": {"x": "y"}})));
        assert_eq!(object.field("kind"), Some(json!("Pod")));
        assert!(object.has("spec") && object.has("metadata") && !object.has("status"));
        assert_eq!(object.text_bytes(), r#"{"b": 1.0, "a": [ 1e3 ]}"Pod""#.len());
        object.set("apiVersion", "v1");
        object.metadata = Some(json!({"name": "a"}));
        let written = object.to_text();
        assert_eq!(
            written,
            r#"{"apiVersion":"v1","kind":"Pod","spec":{"b": 1.0, "a": [ 1e3 ]},"metadata":{"name":"a"}}"#
        );
        let parsed: Value = serde_json::from_str(&written).unwrap_or_default();
        assert_eq!(object.to_map().map(Value::Object).ok(), Some(parsed));
    }

    #[rstest]
    #[case("[]", true)]
    #[case("null", true)]
    #[case("{\"a\": }", false)]
    #[case("{} {}", false)]
    #[case("", false)]
    fn rejects_other_texts(#[case] text: &str, #[case] is_json: bool) {
        assert_eq!(
            RawObject::read(text).map_err(|error| error.is_data()),
            Err(is_json)
        );
    }

    #[test]
    fn a_long_field_is_not_parsed() {
        let long = format!(r#"{{"kind": "{}"}}"#, "x".repeat(MAX_PARSED_BYTES));
        let object = RawObject::read(&long).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(object.field("kind"), Some(Value::Null));
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let object = RawObject::read(&deep).unwrap_or_else(|error| panic!("{error}"));
        assert!(object.to_map().is_err());
    }
}
