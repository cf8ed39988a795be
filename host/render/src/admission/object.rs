//! An object while it is decided about: as a value for the host, as text for components.

use std::cell::OnceCell;

use serde_json::Value;

use super::Request;

/// An object. Each of its texts is made once, however many are asked about it.
pub(super) struct Object<'a> {
    given: &'a Value,
    changed: Option<Value>,
    text: String,
    before: Option<(&'a Value, OnceCell<String>)>,
}

impl<'a> Object<'a> {
    /// A request's object, as it was sent.
    pub(super) fn of(request: &Request<'a>) -> Self {
        Self {
            given: request.object,
            changed: None,
            text: text(request.object),
            before: request.before().map(|old| (old, OnceCell::new())),
        }
    }

    /// It, as it is now.
    pub(super) fn value(&self) -> &Value {
        self.changed.as_ref().unwrap_or(self.given)
    }

    /// It, as it is now, as JSON.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// It, as it was before an update, as JSON.
    pub(super) fn before(&self) -> Option<&str> {
        let (old, text) = self.before.as_ref()?;
        Some(text.get_or_init(|| self::text(old)))
    }

    /// Whether it is another than the one that was sent.
    pub(super) fn is_changed(&self) -> bool {
        self.changed.as_ref().is_some_and(|changed| changed != self.given)
    }

    /// It is this from now on.
    pub(super) fn replace(&mut self, value: Value) {
        // Not the text that a component gave: who reads it next shall see what the host sees.
        self.text = text(&value);
        self.changed = Some(value);
    }

    /// What it was changed to; none where it is as it was sent.
    pub(super) fn into_changed(self) -> Option<Value> {
        self.changed.filter(|changed| changed != self.given)
    }
}

/// A value as JSON; its own `to_string` is many times slower.
pub(super) fn text(value: &Value) -> String {
    // A value is always JSON.
    serde_json::to_string(value).unwrap_or_default()
}
