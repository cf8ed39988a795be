//! Errors of the engine, of loading and of calls, with their messages.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::interface::{CONTRACT_VERSION, PACKAGE};
use crate::{Digest, Interface};

/// Error of the creation of an engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The directory for compiled components can't be used.
    #[error("cache directory {}: {problem}", dir.display())]
    CacheDir {
        /// Path of the directory.
        dir: PathBuf,
        /// The reason, and a remedy.
        problem: String,
    },
    /// WebAssembly can't run on this machine.
    #[error("WebAssembly engine: {0}")]
    Wasmtime(String),
    /// The thread that enforces deadlines can't be started.
    #[error("can't start the thread that enforces deadlines")]
    Clock(#[source] std::io::Error),
}

/// Error of loading a component, with its source.
#[derive(Debug, thiserror::Error)]
#[error("{origin} ({}): {reason}", digest.short())]
pub struct LoadError {
    /// Source of the bytes, as given to [`Component::load`](crate::Component::load).
    pub origin: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// Reason for the failure.
    pub reason: Box<LoadErrorKind>,
}

/// Reason why a component can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadErrorKind {
    /// The bytes do not start with the magic number of WebAssembly.
    #[error("not WebAssembly{}", hint.map(|hint| format!(": {hint}")).unwrap_or_default())]
    NotWasm {
        /// The format that the bytes seem to have instead, if it is recognised.
        hint: Option<&'static str>,
    },
    /// The bytes are a core module.
    #[error(
        "a WebAssembly core module, not a component: turn it into one, with `wasm-tools component new` for \
         instance"
    )]
    CoreModule,
    /// The component is malformed, or uses a feature of WebAssembly that this host does not support.
    #[error("not valid: {0}")]
    Invalid(String),
    /// The component could not be compiled.
    #[error("{0}")]
    Compiler(String),
    /// A recent attempt to compile the component failed, and was not repeated.
    #[error("{0}")]
    NotAgain(String),
    /// The compiler failed for a reason that the component did not cause.
    #[error("it was not compiled: {0}")]
    NotCompiled(String),
    /// The component was not compiled in time. Other load may have caused this.
    #[error("{0}")]
    Late(String),
    /// There was not enough memory to compile it.
    #[error("{0}")]
    NoMemory(String),
    /// The component imports something that the host does not provide.
    #[error(
        "imports `{import}`, but a component gets nothing except `{PACKAGE}/log`{}",
        hint(import)
    )]
    ForbiddenImport {
        /// Name of the import.
        import: String,
    },
    /// The component was built for another version of the contract.
    #[error("`{name}` is of version {version} of {PACKAGE}, but this host speaks {CONTRACT_VERSION}")]
    OtherVersion {
        /// Name of the import or export with that version.
        name: String,
        /// Version of the import or export.
        version: String,
    },
    /// The component has no interface that the host calls.
    #[error(
        "exports none of the interfaces that this host calls ({}); it exports {}",
        Interface::ALL.map(|interface| interface.to_string()).join(", "),
        if exports.is_empty() { "nothing".to_owned() } else { first_names(exports) }
    )]
    NoInterface {
        /// Names of the component's exports.
        exports: Vec<String>,
    },
    /// A function is missing or has another type than in the contract.
    #[error("`{function}` is not as in the contract: {problem}")]
    Shape {
        /// Names of the interface and the function.
        function: String,
        /// The difference.
        problem: String,
    },
    /// The component's description is invalid.
    #[error("its description: {0}")]
    Description(String),
    /// The call for the component's description failed.
    #[error("{}.{}: {}", .0.interface, .0.function, .0.failure)]
    Call(CallError),
}

impl LoadErrorKind {
    /// Returns the reason, for conditions and metrics.
    pub fn reason(&self) -> LoadErrorReason {
        match self {
            Self::Late(_) => FailureReason::DeadlineExceeded.into(),
            Self::NoMemory(_) | Self::NotCompiled(_) => FailureReason::HostExhausted.into(),
            Self::Call(error) if error.failure.may_be_of_load() => error.failure.reason().into(),
            _ => LoadErrorReason::Unfit,
        }
    }
}

dask_operator_core::reasons! {
    /// Reason why a component can't be loaded.
    pub enum LoadErrorReason {
        /// The bytes are not a component that this operator can run: check them with `dask-operator plugin inspect FILE`.
        Unfit => "Unfit",
    } containing {
        /// Load on the host may be the cause, or a call failed.
        Failure(FailureReason),
    }
}

impl From<FailureReason> for LoadErrorReason {
    fn from(reason: FailureReason) -> Self {
        Self::Failure(reason)
    }
}

/// Lists the first names, and the number of further ones.
fn first_names(names: &[String]) -> String {
    const NAMED: usize = 10;
    match names.len().checked_sub(NAMED) {
        Some(more) if more > 0 => format!("{} and {more} more", names[..NAMED].join(", ")),
        _ => names.join(", "),
    }
}

/// Returns advice for the author of a component with a forbidden import; empty if there is none.
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

/// Error of a call that returned no answer.
#[derive(Debug, thiserror::Error)]
#[error("component {component} ({}), {interface}.{function}: {failure}", digest.short())]
pub struct CallError {
    /// Name from the component's description; the source of the component before that name is known.
    pub component: String,
    /// Digest of the component's bytes.
    pub digest: Digest,
    /// Name of the interface in the contract.
    pub interface: &'static str,
    /// Name of the function in the contract.
    pub function: &'static str,
    /// The failure.
    pub failure: Box<Failure>,
}

/// Failure of a call that returned no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The component does not have the interface.
    #[error("it has no such interface")]
    Missing,
    /// The component trapped.
    #[error("it trapped: {message}{}", detail(said.as_deref(), frames))]
    Trap {
        /// WebAssembly's description of the trap.
        message: String,
        /// The last error that the component logged in this call, if any: a panic's
        /// message, if the component was built with the SDK.
        said: Option<String>,
        /// Names of the functions of the back trace, innermost first.
        frames: Vec<String>,
    },
    /// The call did not end before the component's deadline.
    #[error("not done after {} ms", limit.as_millis())]
    Deadline {
        /// Time that the call had.
        limit: Duration,
    },
    /// The caller's own deadline passed, because earlier calls had used most of the time.
    #[error("not done within the {} ms that were left of the time for the whole request", left.as_millis())]
    NoTime {
        /// Time that was left when the call began.
        left: Duration,
    },
    /// The component requested more memory than its limit.
    #[error("it wanted more than {} of memory", Bytes(*limit))]
    Memory {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The component returned too much, or logged too much at once.
    #[error("its answer is larger than {}", Bytes(*limit))]
    Output {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A part of the answer exceeds its own limit.
    #[error("`{field}` of its answer {problem}")]
    TooLarge {
        /// Name of the part.
        field: String,
        /// The size and its limit.
        problem: String,
    },
    /// The host had no free slot for an instance. The component did not cause this.
    #[error("this host has no free slot for it at the moment: {0}")]
    Exhausted(String),
    /// The component returned invalid JSON.
    #[error("invalid JSON in `{field}`: {problem}")]
    InvalidJson {
        /// Path of the text in the answer.
        field: String,
        /// The syntax error or the unexpected type.
        problem: String,
    },
    /// The component returned a value that its type does not allow.
    #[error("its answer is malformed: {0}")]
    Malformed(String),
}

impl Failure {
    /// Returns whether the component caused the failure, and not the host or the caller.
    #[must_use]
    pub fn is_of_component(&self) -> bool {
        !matches!(self, Self::Exhausted(_) | Self::NoTime { .. })
    }

    /// Returns whether other load on the host may have caused the failure.
    #[must_use]
    pub fn may_be_of_load(&self) -> bool {
        self.reason().may_be_of_load()
    }

    /// Returns the reason, for conditions, events and metrics.
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Missing => FailureReason::InterfaceMissing,
            Self::Trap { .. } => FailureReason::Trapped,
            Self::Deadline { .. } => FailureReason::DeadlineExceeded,
            Self::NoTime { .. } => FailureReason::NoTimeLeft,
            Self::Memory { .. } => FailureReason::MemoryExceeded,
            Self::Output { .. } | Self::TooLarge { .. } => FailureReason::OutputExceeded,
            Self::Exhausted(_) => FailureReason::HostExhausted,
            Self::InvalidJson { .. } => FailureReason::InvalidJson,
            Self::Malformed(_) => FailureReason::MalformedAnswer,
        }
    }
}

dask_operator_core::reasons! {
    /// Reason why a call returned no answer.
    pub enum FailureReason {
        /// The component does not have the interface: tell its author.
        InterfaceMissing => "PluginInterfaceMissing",
        /// The component trapped: tell its author.
        Trapped => "PluginTrapped",
        /// The component did not answer before its deadline, or was not compiled in time: tell its author. You can raise the
        /// limit `milliseconds` of a call up to that of the operator.
        DeadlineExceeded => "PluginDeadlineExceeded",
        /// Earlier calls have used up the time: of the request, of the review of a plan, or of the trial on a sample. The
        /// operator retries. `dask_operator_plugin_call_duration_seconds` shows which components are slow.
        NoTimeLeft => "NoTimeLeft",
        /// The component requested more memory than its limit: tell its author. You can raise the limit `memory` up to that of
        /// the operator.
        MemoryExceeded => "PluginMemoryExceeded",
        /// The answer exceeds a limit: tell the author of the component. You can raise the limit `output` up to that of the
        /// operator.
        OutputExceeded => "PluginOutputExceeded",
        /// The operator had no room for the call, or no memory or no process to compile the component, through no fault of the
        /// component. The message says which. The operator retries. If this continues, give it more memory.
        HostExhausted => "HostExhausted",
        /// The answer contains invalid JSON: tell the author of the component.
        InvalidJson => "PluginInvalidJson",
        /// The answer is not of its type: tell the author of the component.
        MalformedAnswer => "PluginMalformedAnswer",
    }
}

impl FailureReason {
    /// Returns whether other load on the host may have caused the failure.
    #[must_use]
    pub fn may_be_of_load(self) -> bool {
        matches!(
            self,
            Self::DeadlineExceeded | Self::NoTimeLeft | Self::HostExhausted
        )
    }
}

/// Returns the end of a trap's message: the logged error, which has file and line, or else the back trace.
fn detail(said: Option<&str>, frames: &[String]) -> String {
    match (said, frames) {
        (Some(said), _) => format!("; it said: {said}"),
        (None, []) => String::new(),
        (None, frames) => format!("; in {}", frames.join(" < ")),
    }
}

/// Size that is displayed in the largest unit that divides it.
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
    fn call_errors_name_the_component_and_the_failure() {
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

    /// Failures by a timeout or for lack of resources say nothing about the component.
    #[test]
    fn load_on_the_host_does_not_make_a_component_unfit() {
        let call = |failure| {
            LoadErrorKind::Call(CallError {
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
            (LoadErrorKind::Late("late".into()), "PluginDeadlineExceeded"),
            (LoadErrorKind::NoMemory("none".into()), "HostExhausted"),
            (LoadErrorKind::NotCompiled("no compiler".into()), "HostExhausted"),
            (LoadErrorKind::Compiler("it traps".into()), "Unfit"),
        ] {
            assert_eq!(unfit.reason().as_str(), expected, "{unfit}");
        }
    }

    #[test]
    fn forbidden_imports_come_with_advice() {
        let error = LoadErrorKind::ForbiddenImport {
            import: "wasi:cli/environment@0.2.3".to_owned(),
        };
        assert!(error.to_string().contains("--stub-wasi"), "{error}");
    }
}
