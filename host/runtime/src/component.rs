//! Loaded components: checked, compiled, linked and ready to be called.

mod exports;

use std::fmt;
use std::sync::Arc;

use dask_operator_core::rfc1123;
use wasmtime::component::{ComponentExportIndex, Lift, Lower};

use crate::call::{Caller, Function};
use crate::compiling::{Compiled, Compiling, invalid, machine_code};
use crate::contract::{
    AdmissionRequest, AdmissionResponse, Answer, Finding, Observation, ObservedObject, Plan, RawDescription,
    ResourceKind, Review, ReviewRequest,
};
use crate::engine::CompilePermit;
use crate::{
    CallError, CallLimits, Digest, Engine, Failure, Interface, LoadError, LoadErrorKind, answer, inspect,
    json,
};
use exports::{Exports, LogicExports};

/// Component that is ready to be called from any thread. Clones share the same component.
///
/// Each call gets its own instance, so calls do not affect each other. A call blocks
/// the calling thread. The component's log lines become events of `tracing` within
/// the caller's current spans.
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

/// Description that a component returns of itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    /// Short name like `cluster`, for logs, events and metrics: at most 63 lower-case
    /// letters, digits and hyphens.
    pub name: String,
    /// Version of the component.
    pub version: String,
    /// Purpose of the component, in one sentence.
    pub summary: String,
    /// JSON Schema of the component's settings, a JSON object.
    pub settings_schema: String,
}

impl Component {
    /// Returns the interfaces that a component exports. Only reads its bytes and does not compile or call it.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes are not a component, or if its imports and exports do not fit this host.
    pub fn interfaces_of(origin: &str, wasm: &[u8]) -> Result<Vec<Interface>, LoadError> {
        inspect::interfaces(wasm).map_err(|reason| LoadError {
            origin: origin.to_owned(),
            digest: Digest::of(wasm),
            reason: Box::new(reason),
        })
    }

    /// Loads a component: checks its imports and exports, compiles it or loads it from
    /// the cache, links it, and calls it for its description.
    ///
    /// `origin` is the source of the bytes, for error messages. The limits apply to
    /// each call.
    ///
    /// # Errors
    ///
    /// Returns an error if the component does not fit this host, can't be compiled, or
    /// returns no valid description.
    pub fn load(engine: &Engine, origin: &str, wasm: &[u8], limits: CallLimits) -> Result<Self, LoadError> {
        Self::load_known(engine, origin, wasm, Digest::of(wasm), limits)
    }

    /// Loads a component as [`Component::load`] does, with these settings for its compilation.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`Component::load`].
    pub fn load_compiled(
        engine: &Engine,
        origin: &str,
        wasm: &[u8],
        limits: CallLimits,
        compiling: &Compiling,
    ) -> Result<Self, LoadError> {
        Self::load_with_permit(engine, origin, wasm, limits, compiling, None)
    }

    /// Loads a component as [`Component::load_compiled`] does. `permit` is the permit to compile that the caller may
    /// already hold, from [`compile_permit`](crate::compile_permit).
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`Component::load`].
    pub fn load_with_permit(
        engine: &Engine,
        origin: &str,
        wasm: &[u8],
        limits: CallLimits,
        compiling: &Compiling,
        permit: Option<CompilePermit>,
    ) -> Result<Self, LoadError> {
        let digest = Digest::of(wasm);
        load(engine, origin, wasm, digest, limits, (compiling, permit)).map_err(|reason| LoadError {
            origin: origin.to_owned(),
            digest,
            reason: Box::new(reason),
        })
    }

    /// Loads a component as [`Component::load`] does, from bytes whose digest is already known. If the compiled component
    /// is in the cache, only a small part of the bytes is read.
    ///
    /// `digest` must be the digest of `wasm`, because it is the key of the cache.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`Component::load`].
    pub fn load_known(
        engine: &Engine,
        origin: &str,
        wasm: &[u8],
        digest: Digest,
        limits: CallLimits,
    ) -> Result<Self, LoadError> {
        let compiling = Compiling::default();
        load(engine, origin, wasm, digest, limits, (&compiling, None)).map_err(|reason| LoadError {
            origin: origin.to_owned(),
            digest,
            reason: Box::new(reason),
        })
    }

    /// Returns the source of the component, as given to [`Component::load`].
    pub fn origin(&self) -> &str {
        &self.inner.origin
    }

    /// Returns the component's description of itself.
    pub fn description(&self) -> &Description {
        &self.inner.description
    }

    /// Returns the name from the component's description.
    pub fn name(&self) -> &str {
        &self.inner.description.name
    }

    /// Returns the digest of the component's bytes.
    pub fn digest(&self) -> Digest {
        self.inner.caller.digest
    }

    /// Returns the interfaces that the component exports; at least one.
    pub fn interfaces(&self) -> &[Interface] {
        &self.inner.interfaces
    }

    /// Returns whether the component exports this interface.
    pub fn has(&self, interface: Interface) -> bool {
        self.inner.interfaces.contains(&interface)
    }

    /// Returns the resource limits of a call.
    pub fn limits(&self) -> CallLimits {
        self.inner.caller.limits
    }

    /// Returns the source of the component's machine code.
    pub fn compiled(&self) -> Compiled {
        self.inner.compiled
    }

    /// Validates settings, a JSON object, before they are used. The `field` of a finding
    /// is relative to the root of the settings.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
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

    /// Returns the kinds of children that the component's plans may contain, with these settings.
    ///
    /// # Errors
    ///
    /// Returns an error if the component does not have the interface or the call fails.
    pub fn child_kinds(&self, interface: Interface, settings: &str) -> Result<Vec<ResourceKind>, CallError> {
        let function = Function {
            interface: interface.name(),
            name: "child-kinds",
        };
        let export = self.logic(interface).map(|logic| &logic.child_kinds);
        self.call(function, export, (settings,), |kinds: &Vec<ResourceKind>| {
            answer::check_kinds(kinds)
        })
    }

    /// Sets the defaults of an object (JSON) and returns the whole object.
    ///
    /// # Errors
    ///
    /// Returns an error if the component does not have the interface or the call fails.
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

    /// Validates an object (JSON) after defaulting and returns the findings. `old` is the
    /// object before an update, and `None` for a new object.
    ///
    /// # Errors
    ///
    /// Returns an error if the component does not have the interface or the call fails.
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

    /// Plans the children of an object. The plan's status is a valid JSON object. The
    /// gate checks the children's objects and whether they may be written.
    ///
    /// # Errors
    ///
    /// Returns an error if the component does not have the interface or the call fails.
    pub fn plan(&self, interface: Interface, observation: &Observation) -> Result<Answer<Plan>, CallError> {
        let function = Function {
            interface: interface.name(),
            name: "plan",
        };
        let export = self.logic(interface).map(|logic| &logic.plan);
        let given = self.inner.caller.call(
            function,
            export,
            observed_bytes(observation),
            (observation,),
            |answer: &Answer<Plan>| match answer {
                Ok(plan) => json::plan(plan),
                Err(_) => Ok(()),
            },
        );
        given.map(|given| given.map_err(answer::error))
    }

    /// Calls a policy to decide about an admission request. The inner error is the
    /// reason why the policy could not decide.
    ///
    /// # Errors
    ///
    /// Returns an error if the component is not a policy or the call fails.
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
        .map(|given| given.map(answer::response).map_err(answer::message))
    }

    /// Calls a policy to review planned children. The inner error is the reason why the
    /// policy could not decide.
    ///
    /// # Errors
    ///
    /// Returns an error if the component is not a policy or the call fails.
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
        .map(|given| given.map(answer::review).map_err(answer::message))
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
    limits: CallLimits,
    (compiling, permit): (&Compiling, Option<CompilePermit>),
) -> Result<Component, LoadErrorKind> {
    let interfaces = inspect::interfaces(wasm)?;
    let (component, compiled) = machine_code(engine, wasm, &digest, compiling, permit)?;
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

fn describe(caller: &Caller, exports: &Exports) -> Result<Description, LoadErrorKind> {
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
        .map_err(LoadErrorKind::Call)?;
    if !rfc1123::is_label(&raw.name) {
        return Err(LoadErrorKind::Description(format!(
            "its name is {:?}; a name consists of lower-case letters, digits and hyphens, starts and ends with a \
             letter or digit, and has at most 63 of them",
            truncated(&raw.name)
        )));
    }
    if raw.version.is_empty() || raw.version.len() > 63 || raw.version.contains(char::is_whitespace) {
        return Err(LoadErrorKind::Description(format!(
            "its version is {:?}; a version is like 1.2.3, at most 63 characters",
            truncated(&raw.version)
        )));
    }
    Ok(Description {
        name: raw.name,
        version: raw.version,
        summary: answer::message(raw.summary),
        settings_schema: raw.settings_schema,
    })
}

/// Maximum memory that an observed object takes in a component in addition to its texts,
/// in bytes: the record, and the allocator's overhead for each text.
const RECORD_BYTES: usize = 256;

/// Returns the memory that the objects of an observation take in a component, in bytes.
fn observed_bytes(observation: &Observation) -> usize {
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
            + RECORD_BYTES
    };
    objects.map(bytes).sum()
}

/// Returns the beginning of a text, at most 80 bytes.
fn truncated(text: &str) -> &str {
    &text[..text.floor_char_boundary(80)]
}
