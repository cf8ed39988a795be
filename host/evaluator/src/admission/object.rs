//! The object of an admission request, as a value for the host and as JSON text for the components.

use std::cell::OnceCell;

use serde_json::Value;

use super::Request;

/// An object that plugins can change. Each version is serialized once and not again for each call.
pub(super) struct Object<'a> {
    given: &'a Value,
    /// The changed object; `None` if no plugin changed it.
    changed: Option<Value>,
    text: String,
    /// The object before an update and its text, which is computed on first use.
    before: Option<(&'a Value, OnceCell<String>)>,
}

impl<'a> Object<'a> {
    /// Creates the object of a request, without changes.
    pub(super) fn of(request: &Request<'a>) -> Self {
        Self {
            given: request.object,
            changed: None,
            text: text(request.object),
            before: request.before().map(|old| (old, OnceCell::new())),
        }
    }

    /// Returns the current state.
    pub(super) fn value(&self) -> &Value {
        self.changed.as_ref().unwrap_or(self.given)
    }

    /// Returns the current state as JSON.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the state before an update as JSON; `None` if the request is no update.
    pub(super) fn before(&self) -> Option<&str> {
        let (old, text) = self.before.as_ref()?;
        Some(text.get_or_init(|| self::text(old)))
    }

    /// Returns true if the current state differs from the object in the request.
    pub(super) fn is_changed(&self) -> bool {
        self.changed.as_ref().is_some_and(|changed| changed != self.given)
    }

    /// Replaces the current state.
    pub(super) fn replace(&mut self, value: Value) {
        // The text that a component returned is not reused, so that the next plugin reads exactly the value of the host.
        self.text = text(&value);
        self.changed = Some(value);
    }

    /// Returns the changed object; `None` if it equals the object in the request.
    pub(super) fn into_changed(self) -> Option<Value> {
        self.changed.filter(|changed| changed != self.given)
    }
}

/// Returns a value as JSON. `Value::to_string` is many times slower.
pub(super) fn text(value: &Value) -> String {
    // Serialization of a value can't fail.
    serde_json::to_string(value).unwrap_or_default()
}
