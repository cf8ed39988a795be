//! What is said of manifests, and what comes of them.

use std::fmt;

use serde_json::Value;

/// How bad a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It is good to know.
    Note,
    /// It works but is unwise.
    Warning,
    /// It runs and is very likely not what its author wants.
    Mistake,
    /// It can't work.
    Error,
}

/// What there is to say about a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How bad it is.
    pub level: Level,
    /// Where the object stands.
    pub source: String,
    /// The object, as `DaskCluster simple`; empty where it isn't known.
    pub object: String,
    /// The field; empty for the whole object.
    pub field: String,
    /// A sentence.
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

/// The children, and what there is to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// All children, each Dask resource among them followed by its own.
    pub objects: Vec<Value>,
    /// What there is to say, in the order of the documents.
    pub messages: Vec<Message>,
}

impl Rendered {
    /// The same with mistakes as errors.
    #[must_use]
    pub fn strictly(mut self) -> Self {
        for message in &mut self.messages {
            if message.level == Level::Mistake {
                message.level = Level::Error;
            }
        }
        self
    }

    /// Whether something can't work.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.messages.iter().any(|message| message.level == Level::Error)
    }
}
