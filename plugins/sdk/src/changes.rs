//! Changes to an object at admission, recorded as a JSON Patch.
//!
//! ```
//! use dask_operator_plugin::prelude::*;
//!
//! let object = json!({"metadata": {"name": "simple"}, "spec": {"worker": {"replicas": 2}}});
//! let mut changes = Changes::of(&object);
//! changes.label("example.com/team", "data")?;
//! changes.set("/spec/worker/replicas", 3)?;
//! assert_eq!(
//!     AdmissionResponse::allow().with_changes(&changes),
//!     AdmissionResponse::patch(&json!([
//!         {"op": "add", "path": "/metadata/labels", "value": {"example.com/team": "data"}},
//!         {"op": "replace", "path": "/spec/worker/replicas", "value": 3},
//!     ]))
//! );
//! # Ok::<(), String>(())
//! ```

use serde_json::{Map, Value, json};

/// A list of changes to one object. Paths are JSON Pointers, such as `/spec/worker/replicas`; use [`escaped`] for names
/// that can contain a slash.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    object: Value,
    operations: Vec<Value>,
}

impl Changes {
    /// Creates an empty list of changes to `object`.
    pub fn of(object: &Value) -> Self {
        Self {
            object: object.clone(),
            operations: Vec::new(),
        }
    }

    /// Sets the value at a path. Missing parents are created: a list if the next part of the path is `-`, which means the
    /// end of a list, otherwise an object. Nothing is recorded if the value is already there.
    ///
    /// # Errors
    ///
    /// Returns an error if a parent is neither an object nor a list, or if a list is too short.
    pub fn set(&mut self, pointer: &str, value: impl Into<Value>) -> Result<(), String> {
        let value = value.into();
        if self.object.pointer(pointer) == Some(&value) {
            return Ok(());
        }
        // The shortest prefix of the path that does not exist.
        let end = pointer
            .match_indices('/')
            .map(|(at, _)| at)
            .skip(1)
            .find(|end| self.object.pointer(&pointer[..*end]).is_none_or(Value::is_null))
            .unwrap_or(pointer.len());
        let (place, rest) = pointer.split_at(end);
        let Some((parent, last)) = place.rsplit_once('/') else {
            return Err(format!(
                "`{pointer}` is no place in an object: write a JSON Pointer, as `/spec/worker/replicas`"
            ));
        };
        let missing = rest.rsplit('/').filter(|name| !name.is_empty());
        let value = missing.fold(value, |inner, name| match name {
            "-" => Value::Array(vec![inner]),
            name => Value::Object(Map::from_iter([(unescaped(name), inner)])),
        });
        let is_there = self.object.pointer(place).is_some();
        match self.object.pointer_mut(parent) {
            Some(Value::Object(fields)) => {
                fields.insert(unescaped(last), value.clone());
            }
            Some(Value::Array(elements)) => match last.parse::<usize>() {
                Ok(at) if is_there => elements[at] = value.clone(),
                Ok(at) if at == elements.len() => elements.push(value.clone()),
                Err(_) if last == "-" => elements.push(value.clone()),
                _ => {
                    let length = elements.len();
                    return Err(format!(
                        "`{pointer}` can't be set: the list {parent} has {length} elements, write `{parent}/-` for its end"
                    ));
                }
            },
            _ => {
                return Err(format!(
                    "`{pointer}` can't be set: {parent} is neither an object nor a list"
                ));
            }
        }
        let operation = if is_there { "replace" } else { "add" };
        self.operations
            .push(json!({"op": operation, "path": place, "value": value}));
        Ok(())
    }

    /// Removes the value at a path. Does nothing if there is none.
    pub fn remove(&mut self, pointer: &str) {
        if self.object.pointer(pointer).is_none() {
            return;
        }
        let Some((parent, last)) = pointer.rsplit_once('/') else {
            return;
        };
        match self.object.pointer_mut(parent) {
            Some(Value::Object(fields)) => {
                fields.remove(&unescaped(last));
            }
            Some(Value::Array(elements)) => {
                if let Ok(at) = last.parse() {
                    elements.remove(at);
                }
            }
            _ => return,
        }
        self.operations.push(json!({"op": "remove", "path": pointer}));
    }

    /// Adds or replaces a label of the object.
    ///
    /// # Errors
    ///
    /// Returns an error if the object's `metadata` or `labels` is not an object.
    pub fn label(&mut self, name: &str, value: &str) -> Result<(), String> {
        self.set(&format!("/metadata/labels/{}", escaped(name)), value)
    }

    /// Adds or replaces an annotation of the object.
    ///
    /// # Errors
    ///
    /// Returns an error if the object's `metadata` or `annotations` is not an object.
    pub fn annotation(&mut self, name: &str, value: &str) -> Result<(), String> {
        self.set(&format!("/metadata/annotations/{}", escaped(name)), value)
    }

    /// Returns the object with all changes applied.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// Returns whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Returns the changes as a JSON Patch.
    pub fn patch(&self) -> Value {
        Value::Array(self.operations.clone())
    }
}

/// Escapes a field name for a JSON Pointer: `escaped("example.com/team")` is `example.com~1team`.
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_missing_parents() {
        let object = json!({"metadata": {"name": "c", "annotations": null}, "spec": {"list": ["a"]}});
        let cases = [
            (
                "/metadata/labels/example.com~1team",
                json!({"op": "add", "path": "/metadata/labels", "value": {"example.com/team": "x"}}),
            ),
            (
                "/metadata/annotations/a~0b",
                json!({"op": "replace", "path": "/metadata/annotations", "value": {"a~b": "x"}}),
            ),
            (
                "/metadata/name",
                json!({"op": "replace", "path": "/metadata/name", "value": "x"}),
            ),
            (
                "/spec/worker/spec/tolerations/-/key",
                json!({"op": "add", "path": "/spec/worker", "value": {"spec": {"tolerations": [{"key": "x"}]}}}),
            ),
            (
                "/spec/list/0",
                json!({"op": "replace", "path": "/spec/list/0", "value": "x"}),
            ),
            (
                "/spec/list/1",
                json!({"op": "add", "path": "/spec/list/1", "value": "x"}),
            ),
            (
                "/spec/list/-",
                json!({"op": "add", "path": "/spec/list/-", "value": "x"}),
            ),
        ];
        for (pointer, expected) in cases {
            let mut changes = Changes::of(&object);
            assert_eq!(changes.set(pointer, "x"), Ok(()), "{pointer}");
            assert_eq!(changes.patch(), json!([expected]), "{pointer}");
            if !pointer.contains("/-") {
                assert_eq!(changes.object().pointer(pointer), Some(&json!("x")), "{pointer}");
            }
        }
    }

    #[test]
    fn later_changes_build_on_earlier_ones() {
        let mut changes = Changes::of(&json!({}));
        assert_eq!(changes.label("a", "1"), Ok(()));
        assert_eq!(changes.label("b", "2"), Ok(()));
        assert_eq!(changes.label("b", "2"), Ok(()), "the label is already set");
        changes.remove("/metadata/labels/a");
        changes.remove("/metadata/labels/c");
        assert_eq!(changes.object(), &json!({"metadata": {"labels": {"b": "2"}}}));
        assert_eq!(
            changes.patch(),
            json!([
                {"op": "add", "path": "/metadata", "value": {"labels": {"a": "1"}}},
                {"op": "add", "path": "/metadata/labels/b", "value": "2"},
                {"op": "remove", "path": "/metadata/labels/a"},
            ])
        );
    }

    #[test]
    fn rejects_invalid_paths() {
        let mut changes = Changes::of(&json!({"spec": {"text": "a", "list": []}}));
        for (pointer, message) in [
            ("", "write a JSON Pointer"),
            ("spec", "write a JSON Pointer"),
            ("/spec/text/a", "/spec/text is neither an object nor a list"),
            ("/spec/list/1", "write `/spec/list/-` for its end"),
            ("/spec/list/a", "write `/spec/list/-` for its end"),
        ] {
            let error = changes.set(pointer, 1).expect_err(pointer);
            assert!(error.contains(message), "{pointer}: {error}");
        }
        assert!(changes.is_empty());
    }
}
