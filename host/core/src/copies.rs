//! Copies of an object that differ only in their names.
//!
//! The thousand workers of a group are one object and a thousand names: the object is checked, completed and kept in memory
//! once.

use crate::raw_object::RawObject;

/// An object whose name is replaced by a stand-in, a text that occurs nowhere else in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// The object, with the stand-in instead of its name.
    pub object: RawObject,
    /// The stand-in.
    pub stand_in: String,
}

/// The JSON text of an object, split at its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyText(Vec<Box<str>>);

/// Maximum length of a name, in bytes.
const MAX_NAME_BYTES: usize = 253;

/// Returns the maximum number of bytes of a copy of an object's text, with the longest name instead of `name`.
#[must_use]
pub fn max_bytes(text: &str, name: &str) -> usize {
    text.len() + text.matches(name).count() * MAX_NAME_BYTES
}

/// Returns a stand-in for the name of an object: a name that does not occur in any of these texts.
///
/// No JSON escape sequence ends in the first letter of a stand-in. So a name in an escape sequence can't be replaced without
/// making the text invalid.
#[must_use]
pub fn stand_in(texts: &[&str]) -> String {
    let mut stand_in = "stand-in".to_owned();
    while texts.iter().any(|text| text.contains(&stand_in)) {
        stand_in.push_str("-x");
    }
    stand_in
}

impl CopyText {
    /// Returns the text of an object in which `stand_in` is the name.
    #[must_use]
    pub fn of(object: &RawObject, stand_in: &str) -> Self {
        Self(object.to_text().split(stand_in).map(Box::from).collect())
    }

    /// Returns the text of the copy with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> String {
        self.0.join(name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn copies_differ_in_their_names() {
        let object =
            json!({"metadata": {"name": "stand-in"}, "spec": {"host": "stand-in.example.com", "x": 1}});
        let object = RawObject::read(&object.to_string()).unwrap_or_else(|error| panic!("{error}"));
        let text = CopyText::of(&object, "stand-in");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text.named("a")).ok(),
            Some(json!({"metadata": {"name": "a"}, "spec": {"host": "a.example.com", "x": 1}}))
        );
    }

    #[test]
    fn a_stand_in_occurs_nowhere() {
        assert_eq!(stand_in(&["a", "{}"]), "stand-in");
        assert_eq!(stand_in(&["a", "the stand-in", "stand-in-x"]), "stand-in-x-x");
    }
}
