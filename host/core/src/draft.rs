//! An object of which only the metadata is looked at: a thousand pods of 5 kB are
//! checked and sent without a thousand trees of their specs.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// A field that is longer than this, in bytes, is not looked at.
const LOOKED_AT: usize = 1024;

/// A JSON object's fields, each as the text that it was read from.
#[derive(Debug)]
pub struct Fields {
    metadata: Option<Box<RawValue>>,
    others: BTreeMap<String, Box<RawValue>>,
}

impl Fields {
    /// Reads a JSON object.
    ///
    /// # Errors
    ///
    /// When the text is something else; [`serde_json::Error::is_data`] when it is JSON all the same.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        let mut others: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text)?;
        let metadata = others.remove("metadata");
        Ok(Self { metadata, others })
    }

    /// Returns how many there are beside `metadata`.
    #[must_use]
    pub fn count(&self) -> usize {
        self.others.len()
    }

    /// Returns the text of `metadata`; none where the object has none.
    #[must_use]
    pub fn metadata(&self) -> Option<&str> {
        self.metadata.as_deref().map(RawValue::get)
    }

    /// Reads `metadata`.
    ///
    /// # Errors
    ///
    /// When it is nested deeper than a tree may be (128 levels).
    pub fn into_draft(self) -> serde_json::Result<Draft> {
        let metadata = self.metadata.map(|metadata| serde_json::from_str(metadata.get()));
        Ok(Draft {
            metadata: metadata.transpose()?,
            fields: self.others,
        })
    }
}

/// A JSON object whose `metadata` can be changed; all else is the text that it was read from.
#[derive(Clone, Debug)]
pub struct Draft {
    /// `metadata`; none where the object has none.
    pub metadata: Option<Value>,
    fields: BTreeMap<String, Box<RawValue>>,
}

impl Draft {
    /// Reads a JSON object.
    ///
    /// # Errors
    ///
    /// When the text is something else; [`serde_json::Error::is_data`] when it is JSON all the same.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        Fields::read(text)?.into_draft()
    }

    /// Whether it has this field.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match name {
            "metadata" => self.metadata.is_some(),
            _ => self.fields.contains_key(name),
        }
    }

    /// A field other than `metadata`, null if it can't be read or is longer than a name or a word can be.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value> {
        let raw = self.fields.get(name)?.get();
        let read = (raw.len() <= LOOKED_AT).then(|| serde_json::from_str(raw).unwrap_or_default());
        Some(read.unwrap_or_default())
    }

    /// Sets a field other than `metadata` to a text.
    pub fn set(&mut self, name: &str, text: &str) {
        // A text is always JSON.
        let raw = to_raw_value(text).unwrap_or_else(|_| RawValue::NULL.to_owned());
        self.fields.insert(name.to_owned(), raw);
    }

    /// Returns how many bytes of text it has beside `metadata`.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.fields.values().map(|raw| raw.get().len()).sum()
    }

    /// The whole object as a tree.
    ///
    /// # Errors
    ///
    /// When a field is nested deeper than a tree may be (128 levels).
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

/// As text; no spaces are added, none are taken away.
impl Serialize for Draft {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self
            .fields
            .iter()
            .map(|(name, raw)| (name.as_str(), Field::Text(raw)));
        let metadata = self
            .metadata
            .iter()
            .map(|metadata| ("metadata", Field::Tree(metadata)));
        serializer.collect_map(fields.chain(metadata))
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Field<'a> {
    Text(&'a RawValue),
    Tree(&'a Value),
}

/// Equal if the texts are.
impl PartialEq for Draft {
    fn eq(&self, other: &Self) -> bool {
        let texts = |draft: &'_ Self| -> Vec<(String, String)> {
            let fields = draft.fields.iter();
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
    fn all_but_the_metadata_stays_as_it_was_written() {
        let text = r#"{"spec": {"b": 1.0, "a": [ 1e3 ]}, "metadata": {"labels": {"x": "y"}}, "kind":"Pod"}"#;
        let mut draft = Draft::read(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(draft.metadata, Some(json!({"labels": {"x": "y"}})));
        assert_eq!(draft.field("kind"), Some(json!("Pod")));
        assert!(draft.has("spec") && draft.has("metadata") && !draft.has("status"));
        assert_eq!(draft.text_bytes(), r#"{"b": 1.0, "a": [ 1e3 ]}"Pod""#.len());
        draft.set("apiVersion", "v1");
        draft.metadata = Some(json!({"name": "a"}));
        let written = serde_json::to_string(&draft).unwrap_or_default();
        assert_eq!(
            written,
            r#"{"apiVersion":"v1","kind":"Pod","spec":{"b": 1.0, "a": [ 1e3 ]},"metadata":{"name":"a"}}"#
        );
        let tree: Value = serde_json::from_str(&written).unwrap_or_default();
        assert_eq!(draft.to_map().map(Value::Object).ok(), Some(tree));
    }

    #[rstest]
    #[case("[]", true)]
    #[case("null", true)]
    #[case("{\"a\": }", false)]
    #[case("{} {}", false)]
    #[case("", false)]
    fn other_texts(#[case] text: &str, #[case] is_json: bool) {
        assert_eq!(Draft::read(text).map_err(|error| error.is_data()), Err(is_json));
    }

    #[test]
    fn a_long_field_is_not_looked_at() {
        let long = format!(r#"{{"kind": "{}"}}"#, "x".repeat(LOOKED_AT));
        let draft = Draft::read(&long).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(draft.field("kind"), Some(Value::Null));
    }

    #[test]
    fn depth_does_no_harm() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let draft = Draft::read(&deep).unwrap_or_else(|error| panic!("{error}"));
        assert!(draft.to_map().is_err());
    }
}
