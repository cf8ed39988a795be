//! What can go wrong, and how it is said.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::interface::{CONTRACT_VERSION, PACKAGE};
use crate::{Digest, Interface};

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The directory for compiled components can't be used.
    #[error("cache directory {}: {problem}", dir.display())]
    CacheDir {
        /// Which one.
        dir: PathBuf,
        /// Why, and what to do.
        problem: String,
    },
    /// WebAssembly can't run here.
    #[error("WebAssembly engine: {0}")]
    Wasmtime(String),
    /// The thread that keeps deadlines can't be started.
    #[error("can't start the thread that keeps deadlines")]
    Clock(#[source] std::io::Error),
}

/// Why a component can't be used. Says where it came from.
#[derive(Debug, thiserror::Error)]
#[error("{origin} ({}): {reason}", digest.short())]
pub struct LoadError {
    /// Where the bytes came from, as given to [`Component::load`](crate::Component::load).
    pub origin: String,
    /// Of the bytes.
    pub digest: Digest,
    /// Why.
    pub reason: Box<Unfit>,
}

/// What is wrong with a component.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It has not even WebAssembly's magic number.
    #[error("not WebAssembly{}", hint.map(|hint| format!(": {hint}")).unwrap_or_default())]
    NotWasm {
        /// What it looks like instead.
        hint: Option<&'static str>,
    },
    /// It is a core module.
    #[error(
        "a WebAssembly core module, not a component: turn it into one, with `wasm-tools component new` for \
         instance"
    )]
    CoreModule,
    /// It is broken, or uses a part of WebAssembly that this host does not have.
    #[error("not valid: {0}")]
    Invalid(String),
    /// It could not be compiled.
    #[error("{0}")]
    Compiler(String),
    /// It could not be compiled a while ago, and was not tried again since.
    #[error("{0}")]
    NotAgain(String),
    /// Whoever compiles could not do so. That is nothing that the component did.
    #[error("it was not compiled: {0}")]
    NotCompiled(String),
    /// It was not compiled in time, which what else there was to do may have brought about.
    #[error("{0}")]
    Late(String),
    /// There was not enough memory to compile it.
    #[error("{0}")]
    NoMemory(String),
    /// It wants something that no component gets.
    #[error(
        "imports `{import}`, but a component gets nothing except `{PACKAGE}/log`{}",
        hint(import)
    )]
    ForbiddenImport {
        /// What it wants.
        import: String,
    },
    /// It was made for another version of the contract.
    #[error("`{name}` is of version {version} of {PACKAGE}, but this host speaks {CONTRACT_VERSION}")]
    OtherVersion {
        /// The import or export that says so.
        name: String,
        /// Its version.
        version: String,
    },
    /// It has no interface that the host could call.
    #[error(
        "exports none of the interfaces that this host calls ({}); it exports {}",
        Interface::ALL.map(|interface| interface.to_string()).join(", "),
        if exports.is_empty() { "nothing".to_owned() } else { first(exports) }
    )]
    NoInterface {
        /// What it exports.
        exports: Vec<String>,
    },
    /// A function is missing or has another type than in the contract.
    #[error("`{function}` is not as in the contract: {problem}")]
    Shape {
        /// Interface and function.
        function: String,
        /// What differs.
        problem: String,
    },
    /// It did not say what it is, or not properly.
    #[error("its description: {0}")]
    Description(String),
    /// It failed while it was asked what it is.
    #[error("{}.{}: {}", .0.interface, .0.function, .0.failure)]
    Call(CallError),
}

impl Unfit {
    /// One word in CamelCase, for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Late(_) => "PluginDeadlineExceeded",
            Self::NoMemory(_) | Self::NotCompiled(_) => "HostExhausted",
            Self::Call(error) if error.failure.may_be_of_load() => error.failure.reason(),
            _ => "Unfit",
        }
    }
}

/// The first few names, and how many there are beside.
fn first(names: &[String]) -> String {
    const NAMED: usize = 10;
    match names.len().checked_sub(NAMED) {
        Some(more) if more > 0 => format!("{} and {more} more", names[..NAMED].join(", ")),
        _ => names.join(", "),
    }
}

/// What an author can do about an import that is not there.
fn hint(import: &str) -> &'static str {
    if import.starts_with("wasi:") {
        ": build it for wasm32-unknown-unknown, or stub WASI (componentize-py has --stub-wasi, \
         componentize-js disables features)"
    } else if import.starts_with(PACKAGE) {
        ": that interface is for components to export"
    } else {
        ""
    }
}

/// A call that gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("component {component} ({}), {interface}.{function}: {failure}", digest.short())]
pub struct CallError {
    /// The component's own name; where it came from, as long as that isn't known.
    pub component: String,
    /// Its code.
    pub digest: Digest,
    /// The interface, by its name in the contract.
    pub interface: &'static str,
    /// The function, by its name in the contract.
    pub function: &'static str,
    /// What happened.
    pub failure: Box<Failure>,
}

/// What happened in a call that gave no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The component can't do that at all.
    #[error("it has no such interface")]
    Missing,
    /// It stopped itself, or did what no program may.
    #[error("it trapped: {message}{}", place(said.as_deref(), frames))]
    Trap {
        /// The kind of trap, in WebAssembly's words.
        message: String,
        /// The last error that it logged in this call: a panic's message, if the
        /// component was made with the SDK.
        said: Option<String>,
        /// Names of the functions it was in, innermost first.
        frames: Vec<String>,
    },
    /// It did not come to an end.
    #[error("not done after {} ms", limit.as_millis())]
    Deadline {
        /// What it was given.
        limit: Duration,
    },
    /// Whoever asked has no more time, because all who were asked before have used it.
    #[error("not done within the {} ms that were left of the time for the whole request", left.as_millis())]
    NoTime {
        /// What was left when the call began.
        left: Duration,
    },
    /// It wanted too much memory.
    #[error("it wanted more than {} of memory", Bytes(*limit))]
    Memory {
        /// What it was given.
        limit: usize,
    },
    /// It returned or logged too much at once.
    #[error("its answer is larger than {}", Bytes(*limit))]
    Output {
        /// What it may return.
        limit: usize,
    },
    /// A part of its answer is larger than such a thing may be.
    #[error("`{field}` of its answer {problem}")]
    TooLarge {
        /// Which part.
        field: String,
        /// How large it is, and how large it may be.
        problem: String,
    },
    /// The host had no room for an instance. That is nothing that the component did.
    #[error("this host has no room for it at the moment: {0}")]
    Exhausted(String),
    /// It returned something that should be JSON and isn't.
    #[error("invalid JSON in `{field}`: {problem}")]
    InvalidJson {
        /// Where in its answer.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// It returned something that its types do not allow.
    #[error("its answer makes no sense: {0}")]
    Malformed(String),
}

impl Failure {
    /// Returns whether the component is to blame, and not the host or who asked it.
    #[must_use]
    pub fn is_of_component(&self) -> bool {
        !matches!(self, Self::Exhausted(_) | Self::NoTime { .. })
    }

    /// Returns whether what else there was to do may have brought it about.
    #[must_use]
    pub fn may_be_of_load(&self) -> bool {
        matches!(
            self,
            Self::Deadline { .. } | Self::NoTime { .. } | Self::Exhausted(_)
        )
    }

    /// One word in CamelCase, for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "PluginInterfaceMissing",
            Self::Trap { .. } => "PluginTrapped",
            Self::Deadline { .. } => "PluginDeadlineExceeded",
            Self::NoTime { .. } => "NoTimeLeft",
            Self::Memory { .. } => "PluginMemoryExceeded",
            Self::Output { .. } | Self::TooLarge { .. } => "PluginOutputExceeded",
            Self::Exhausted(_) => "HostExhausted",
            Self::InvalidJson { .. } => "PluginInvalidJson",
            Self::Malformed(_) => "PluginMalformedAnswer",
        }
    }
}

/// What it said, which has file and line, or else the functions that it was in.
fn place(said: Option<&str>, frames: &[String]) -> String {
    match (said, frames) {
        (Some(said), _) => format!("; it said: {said}"),
        (None, []) => String::new(),
        (None, frames) => format!("; in {}", frames.join(" < ")),
    }
}

/// A size as people write it.
struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(usize, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS
            .iter()
            .find(|(size, _)| self.0 >= *size && self.0.is_multiple_of(*size))
        {
            Some((size, unit)) => write!(f, "{} {unit}", self.0 / size),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_says_who_and_what() {
        let error = CallError {
            component: "cluster".to_owned(),
            digest: Digest::of(b""),
            interface: "cluster",
            function: "plan",
            failure: Box::new(Failure::Trap {
                message: "wasm `unreachable` instruction executed".to_owned(),
                said: Some("panicked at src/plan.rs:7".to_owned()),
                frames: vec!["abort".to_owned(), "plan".to_owned()],
            }),
        };
        assert_eq!(
            error.to_string(),
            "component cluster (e3b0c44298fc), cluster.plan: it trapped: wasm `unreachable` instruction \
             executed; it said: panicked at src/plan.rs:7"
        );
        let silent = Failure::Trap {
            message: "out of bounds".to_owned(),
            said: None,
            frames: vec!["read".to_owned(), "plan".to_owned()],
        };
        assert_eq!(silent.to_string(), "it trapped: out of bounds; in read < plan");
        assert_eq!(
            Failure::Memory { limit: 256 << 20 }.to_string(),
            "it wanted more than 256 MiB of memory"
        );
    }

    /// What is late, or has no room, says nothing of the component.
    #[test]
    fn what_else_there_was_to_do_makes_nothing_unfit() {
        let call = |failure| {
            Unfit::Call(CallError {
                component: "cluster".to_owned(),
                digest: Digest::of(b""),
                interface: "describe",
                function: "describe",
                failure: Box::new(failure),
            })
        };
        let limit = Duration::from_secs(1);
        for (unfit, expected) in [
            (call(Failure::Deadline { limit }), "PluginDeadlineExceeded"),
            (call(Failure::Exhausted("full".into())), "HostExhausted"),
            (call(Failure::Missing), "Unfit"),
            (Unfit::Late("late".into()), "PluginDeadlineExceeded"),
            (Unfit::NoMemory("none".into()), "HostExhausted"),
            (Unfit::NotCompiled("no compiler".into()), "HostExhausted"),
            (Unfit::Compiler("it traps".into()), "Unfit"),
        ] {
            assert_eq!(unfit.reason(), expected, "{unfit}");
        }
    }

    #[test]
    fn imports_come_with_advice() {
        let error = Unfit::ForbiddenImport {
            import: "wasi:cli/environment@0.2.3".to_owned(),
        };
        assert!(error.to_string().contains("--stub-wasi"), "{error}");
    }
}
