//! A component: loaded, checked, compiled, linked, ready to be called.

mod exports;

use std::fmt;
use std::sync::Arc;

use wasmtime::component::{ComponentExportIndex, Lift, Lower};

use crate::call::{Caller, Function};
use crate::compiling::{Compiled, Compiling, invalid, machine_code};
use crate::contract::{
    AdmissionRequest, AdmissionResponse, Answer, Finding, Observation, ObservedObject, Plan, RawDescription,
    ResourceKind, Review, ReviewRequest,
};
use crate::engine::CompileTurn;
use crate::{CallError, Digest, Engine, Failure, Interface, Limits, LoadError, Unfit, answer, inspect, json};
use exports::{Exports, LogicExports};

/// A component, ready to be called from any thread. A clone is the same component.
///
/// Each call gets an instance of its own, so calls know nothing of each other; they
/// block the thread they are made on. What the component logs goes to `tracing`
/// within the spans that are entered when the call is made.
#[derive(Clone)]
pub struct Component {
    inner: Arc<Inner>,
}

struct Inner {
    origin: String,
    description: Description,
    interfaces: Vec<Interface>,
    compiled: Compiled,
    caller: Caller,
    exports: Exports,
}

/// What a component says about itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    /// A short name like `cluster`, for logs, events and metrics: lower-case letters,
    /// digits and hyphens, at most 63.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does, in a sentence.
    pub summary: String,
    /// A JSON Schema of its settings, an object.
    pub settings_schema: String,
}

impl Component {
    /// The interfaces that a component has, read from its bytes: nothing of it is compiled or called.
    pub fn interfaces_of(origin: &str, wasm: &[u8]) -> Result<Vec<Interface>, LoadError> {
        inspect::interfaces(wasm).map_err(|reason| LoadError {
            origin: origin.to_owned(),
            digest: Digest::of(wasm),
            reason: Box::new(reason),
        })
    }

    /// Loads a component: checks what it imports and exports, compiles it or takes it
    /// from the cache, links it, and asks it what it is.
    ///
    /// `origin` says where the bytes are from and stands in error messages. The limits
    /// hold for all calls.
    pub fn load(engine: &Engine, origin: &str, wasm: &[u8], limits: Limits) -> Result<Self, LoadError> {
        Self::load_known(engine, origin, wasm, Digest::of(wasm), limits)
    }

    /// The same, compiled so.
    pub fn load_compiled(
        engine: &Engine,
        origin: &str,
        wasm: &[u8],
        limits: Limits,
        compiling: &Compiling,
    ) -> Result<Self, LoadError> {
        Self::load_in_turn(engine, origin, wasm, limits, compiling, None)
    }

    /// The same for those who may have waited for their turn to compile, as [`compile_turn`](crate::compile_turn) does.
    pub fn load_in_turn(
        engine: &Engine,
        origin: &str,
        wasm: &[u8],
        limits: Limits,
        compiling: &Compiling,
        turn: Option<CompileTurn>,
    ) -> Result<Self, LoadError> {
        let digest = Digest::of(wasm);
        load(engine, origin, wasm, digest, limits, (compiling, turn)).map_err(|reason| LoadError {
            origin: origin.to_owned(),
            digest,
            reason: Box::new(reason),
        })
    }

    /// The same for bytes whose digest is known: where they were compiled before, hardly any of them is read.
    ///
    /// `digest` must be that of `wasm`, because what was compiled is found by it.
    pub fn load_known(
        engine: &Engine,
        origin: &str,
        wasm: &[u8],
        digest: Digest,
        limits: Limits,
    ) -> Result<Self, LoadError> {
        let compiling = Compiling::default();
        load(engine, origin, wasm, digest, limits, (&compiling, None)).map_err(|reason| LoadError {
            origin: origin.to_owned(),
            digest,
            reason: Box::new(reason),
        })
    }

    /// Where it is from, as given to [`Component::load`].
    pub fn origin(&self) -> &str {
        &self.inner.origin
    }

    /// What it says about itself.
    pub fn description(&self) -> &Description {
        &self.inner.description
    }

    /// Its own name.
    pub fn name(&self) -> &str {
        &self.inner.description.name
    }

    /// The digest of its bytes.
    pub fn digest(&self) -> Digest {
        self.inner.caller.digest
    }

    /// The interfaces that it has; at least one.
    pub fn interfaces(&self) -> &[Interface] {
        &self.inner.interfaces
    }

    /// Whether it has this interface.
    pub fn has(&self, interface: Interface) -> bool {
        self.inner.interfaces.contains(&interface)
    }

    /// What it may use in a call.
    pub fn limits(&self) -> Limits {
        self.inner.caller.limits
    }

    /// How its machine code was come by.
    pub fn compiled(&self) -> Compiled {
        self.inner.compiled
    }

    /// Checks settings, a JSON object, before they are used. `field` of a finding
    /// counts from the settings' root.
    pub fn validate_settings(&self, settings: &str) -> Result<Vec<Finding>, CallError> {
        let function = Function {
            interface: "describe",
            name: "validate-settings",
        };
        self.call(
            function,
            Some(&self.inner.exports.validate_settings),
            (settings,),
            |_: &Vec<Finding>| Ok(()),
        )
        .map(answer::findings)
    }

    /// The kinds of children that its plans may hold, with these settings.
    pub fn child_kinds(&self, interface: Interface, settings: &str) -> Result<Vec<ResourceKind>, CallError> {
        let function = Function {
            interface: interface.name(),
            name: "child-kinds",
        };
        let export = self.logic(interface).map(|logic| &logic.child_kinds);
        self.call(function, export, (settings,), |kinds: &Vec<ResourceKind>| {
            answer::kinds(kinds)
        })
    }

    /// Fills in what the author of an object (JSON) left out; gives the whole object.
    pub fn default(
        &self,
        interface: Interface,
        object: &str,
        settings: &str,
    ) -> Result<Answer<String>, CallError> {
        let function = Function {
            interface: interface.name(),
            name: "default",
        };
        let export = self.logic(interface).map(|logic| &logic.default);
        self.call(
            function,
            export,
            (object, settings),
            |answer: &Answer<String>| match answer {
                Ok(object) => json::defaulted(object),
                Err(_) => Ok(()),
            },
        )
        .map(|given| given.map_err(answer::error))
    }

    /// Says what is wrong with an object (JSON), after defaulting. `old` is the object
    /// before an update.
    pub fn validate(
        &self,
        interface: Interface,
        object: &str,
        old: Option<&str>,
        settings: &str,
    ) -> Result<Vec<Finding>, CallError> {
        let function = Function {
            interface: interface.name(),
            name: "validate",
        };
        let export = self.logic(interface).map(|logic| &logic.validate);
        self.call(function, export, (object, old, settings), |_: &Vec<Finding>| {
            Ok(())
        })
        .map(answer::findings)
    }

    /// Plans an object's children. The status is a valid JSON object. What the children's
    /// objects are, and whether they may be written, is for the gate to say.
    pub fn plan(&self, interface: Interface, observation: &Observation) -> Result<Answer<Plan>, CallError> {
        let function = Function {
            interface: interface.name(),
            name: "plan",
        };
        let export = self.logic(interface).map(|logic| &logic.plan);
        let given = self.inner.caller.call(
            function,
            export,
            told(observation),
            (observation,),
            |answer: &Answer<Plan>| match answer {
                Ok(plan) => json::plan(plan),
                Err(_) => Ok(()),
            },
        );
        given.map(|given| given.map_err(answer::error))
    }

    /// Asks a policy about a request at admission. The text of an inner error says why
    /// it could not decide.
    pub fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, CallError> {
        let function = Function {
            interface: "policy",
            name: "admit",
        };
        let export = self.inner.exports.policy.as_ref().map(|policy| &policy.admit);
        self.call(
            function,
            export,
            (request,),
            |answer: &Result<AdmissionResponse, String>| match answer {
                Ok(response) => json::verdict(&response.verdict),
                Err(_) => Ok(()),
            },
        )
        .map(|given| given.map(answer::response).map_err(answer::sentence))
    }

    /// Asks a policy about planned children. The text of an inner error says why it
    /// could not decide.
    pub fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, CallError> {
        let function = Function {
            interface: "policy",
            name: "review-plan",
        };
        let export = self
            .inner
            .exports
            .policy
            .as_ref()
            .map(|policy| &policy.review_plan);
        self.call(
            function,
            export,
            (request,),
            |answer: &Result<Review, String>| match answer {
                Ok(Review::Change(children)) => json::children(children),
                Ok(Review::Allow | Review::Refuse(_)) | Err(_) => Ok(()),
            },
        )
        .map(|given| given.map(answer::review).map_err(answer::sentence))
    }

    fn logic(&self, interface: Interface) -> Option<&LogicExports> {
        self.inner
            .exports
            .logic
            .iter()
            .find_map(|(of, logic)| (*of == interface).then_some(logic))
    }

    fn call<P, R>(
        &self,
        function: Function,
        export: Option<&ComponentExportIndex>,
        params: P,
        check: impl FnOnce(&R) -> Result<(), Failure>,
    ) -> Result<R, CallError>
    where
        P: wasmtime::component::ComponentNamedList + Lower,
        R: Lift + 'static,
    {
        self.inner.caller.call(function, export, 0, params, check)
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.name())
            .field("digest", &self.digest())
            .field("interfaces", &self.interfaces())
            .finish_non_exhaustive()
    }
}

fn load(
    engine: &Engine,
    origin: &str,
    wasm: &[u8],
    digest: Digest,
    limits: Limits,
    (compiling, turn): (&Compiling, Option<CompileTurn>),
) -> Result<Component, Unfit> {
    let interfaces = inspect::interfaces(wasm)?;
    let (component, compiled) = machine_code(engine, wasm, &digest, compiling, turn)?;
    let pre = engine.linker().instantiate_pre(&component).map_err(invalid)?;
    let exports = Exports::find(&pre, &interfaces)?;
    let mut caller = Caller {
        engine: engine.clone(),
        pre,
        name: origin.into(),
        origin: origin.into(),
        digest,
        limits,
    };
    let description = describe(&caller, &exports)?;
    caller.name = description.name.as_str().into();
    let origin = origin.to_owned();
    let inner = Inner {
        origin,
        description,
        interfaces,
        compiled,
        caller,
        exports,
    };
    Ok(Component {
        inner: Arc::new(inner),
    })
}

fn describe(caller: &Caller, exports: &Exports) -> Result<Description, Unfit> {
    let function = Function {
        interface: "describe",
        name: "describe",
    };
    let raw = caller
        .call(
            function,
            Some(&exports.describe),
            0,
            (),
            |raw: &RawDescription| json::schema(&raw.settings_schema),
        )
        .map_err(Unfit::Call)?;
    if !is_name(&raw.name) {
        return Err(Unfit::Description(format!(
            "its name is {:?}; a name consists of lower-case letters, digits and hyphens, starts and ends with a \
             letter or digit, and has at most 63 of them",
            truncated(&raw.name)
        )));
    }
    if raw.version.is_empty() || raw.version.len() > 63 || raw.version.contains(char::is_whitespace) {
        return Err(Unfit::Description(format!(
            "its version is {:?}; a version is like 1.2.3, at most 63 characters",
            truncated(&raw.version)
        )));
    }
    Ok(Description {
        name: raw.name,
        version: raw.version,
        summary: answer::sentence(raw.summary),
        settings_schema: raw.settings_schema,
    })
}

/// What an observed object takes of a component's memory beside its texts, at
/// most: the record, and what an allocator adds to each text.
const RECORD: usize = 256;

/// What the objects of an observation take of a component's memory, in bytes.
fn told(observation: &Observation) -> usize {
    let children = observation.children.iter().flat_map(|kind| &kind.objects);
    let objects = children.chain(&observation.related);
    let bytes = |object: &ObservedObject| {
        let key = &object.key;
        [
            &object.object,
            &object.uid,
            &key.name,
            &key.kind,
            &key.api_version,
        ]
        .into_iter()
        .map(String::len)
        .sum::<usize>()
            + RECORD
    };
    objects.map(bytes).sum()
}

/// A label of DNS, as names in Kubernetes are.
fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= 63
        && name.bytes().all(inner)
        && !name.is_empty()
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Enough of a text to recognise it.
fn truncated(text: &str) -> &str {
    &text[..text.floor_char_boundary(80)]
}
