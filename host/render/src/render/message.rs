//! Result of rendering: the children and the messages about the manifests.

use std::fmt;

use serde_json::Value;

/// Severity of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Information; nothing has to change.
    Note,
    /// The manifest works but is unwise.
    Warning,
    /// The manifest works, but very likely not as its author intends.
    Mistake,
    /// The manifest can't work.
    Error,
}

/// A message about a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The severity.
    pub level: Level,
    /// The file and document that contain the object.
    pub source: String,
    /// The kind and name of the object, such as `DaskCluster simple`; empty if they are unknown.
    pub object: String,
    /// The path of the field; empty if the message is about the whole object.
    pub field: String,
    /// The message itself.
    pub text: String,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Mistake => "mistake",
            Level::Error => "error",
        };
        write!(f, "{level}: {}", self.source)?;
        let parts = [&self.object, &self.field, &self.text];
        parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .try_for_each(|part| write!(f, ": {part}"))
    }
}

/// The children and the messages about the manifests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// All children. A child that is a Dask resource is followed by its own children.
    pub objects: Vec<Value>,
    /// The messages, in the order in which they were found.
    pub messages: Vec<Message>,
}

impl Rendered {
    /// Returns the result with all mistakes turned into errors.
    #[must_use]
    pub fn with_strictness(mut self) -> Self {
        for message in &mut self.messages {
            if message.level == Level::Mistake {
                message.level = Level::Error;
            }
        }
        self
    }

    /// Returns true if there is at least one error.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.messages.iter().any(|message| message.level == Level::Error)
    }
}
