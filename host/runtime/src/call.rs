//! A single call of a component: a new store and instance with limits, and the answer or the failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dask_operator_core::text;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Lower};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};

use crate::engine::TICK;
use crate::limits::{MemoryExhausted, MemoryMeter};
use crate::log::GuestLog;
use crate::state::State;
use crate::{CallError, CallLimits, CallReport, Digest, Engine, Failure, time};

/// Maximum number of functions of a back trace in a message.
const MAX_FRAMES: usize = 8;

/// Maximum length of a function's name in a message, in bytes.
const MAX_NAME_BYTES: usize = 300;

/// Maximum length of a name that is demangled, in bytes. A crafted longer name can take very long to demangle.
const MAX_DEMANGLED_BYTES: usize = 2000;

/// Maximum length of wasmtime's error text in a message, in bytes.
const MAX_ERROR_BYTES: usize = 1000;

/// Error text of wasmtime when a guest returns more than `set_hostcall_fuel` allows. The
/// error has no public type.
const OUTPUT_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";

/// Function of a component, by its names in the contract.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function {
    pub(crate) interface: &'static str,
    pub(crate) name: &'static str,
}

/// Caller of one component's functions.
pub(crate) struct Caller {
    pub(crate) engine: Engine,
    pub(crate) pre: InstancePre<State>,
    pub(crate) name: Arc<str>,
    pub(crate) origin: Arc<str>,
    pub(crate) digest: Digest,
    pub(crate) limits: CallLimits,
}

impl Caller {
    /// Calls a function and returns its answer after `check` has accepted it. The
    /// component may use `input_bytes` more memory than its limit.
    pub(crate) fn call<P, R>(
        &self,
        function: Function,
        index: Option<&ComponentExportIndex>,
        input_bytes: usize,
        params: P,
        check: impl FnOnce(&R) -> Result<(), Failure>,
    ) -> Result<R, CallError>
    where
        P: ComponentNamedList + Lower,
        R: Lift + 'static,
        (R,): ComponentNamedList + Lift,
    {
        let permit = self.engine.call_permit(self.digest);
        let started = Instant::now();
        let left = time::left().filter(|left| *left < self.limits.deadline);
        let mut store = self.store(input_bytes, left.unwrap_or(self.limits.deadline));
        let answer = match (index, left) {
            (None, _) => Err(Failure::Missing),
            (Some(_), Some(left)) if left.is_zero() => Err(Failure::NoTime { left }),
            (Some(index), _) => self
                .run::<P, R>(&mut store, index, params)
                .map_err(|error| self.failure(&error, left))
                .and_then(|answer| check(&answer).map(|()| answer)),
        };
        let State { log, memory } = store.into_data();
        drop(permit);
        let last_error = log.finish();
        let answer = answer.map_err(|failure| match failure {
            Failure::Trap { message, frames, .. } => Failure::Trap {
                message,
                said: last_error,
                frames,
            },
            other => other,
        });
        if let Some(observer) = self.engine.observer() {
            observer.called(&CallReport {
                component: &self.name,
                origin: &self.origin,
                digest: self.digest,
                interface: function.interface,
                function: function.name,
                duration: started.elapsed(),
                memory: memory.used(),
                failure: answer.as_ref().err(),
            });
        }
        answer.map_err(|failure| CallError {
            component: self.name.to_string(),
            digest: self.digest,
            interface: function.interface,
            function: function.name,
            failure: Box::new(failure),
        })
    }

    /// Returns a store with the component's limits. The `deadline` starts now.
    fn store(&self, input_bytes: usize, deadline: Duration) -> Store<State> {
        let state = State {
            log: GuestLog::new(Arc::clone(&self.name), &self.limits),
            memory: MemoryMeter::new(self.limits.memory.saturating_add(input_bytes)),
        };
        let mut store = Store::new(self.engine.wasmtime(), state);
        store.limiter(|state| &mut state.memory);
        store.set_epoch_deadline(ticks(deadline));
        store.set_hostcall_fuel(self.limits.output);
        store
    }

    fn run<P, R>(
        &self,
        store: &mut Store<State>,
        index: &ComponentExportIndex,
        params: P,
    ) -> wasmtime::Result<R>
    where
        P: ComponentNamedList + Lower,
        (R,): ComponentNamedList + Lift,
    {
        let instance = self.pre.instantiate(&mut *store)?;
        let function = instance.get_typed_func::<P, (R,)>(&mut *store, index)?;
        function.call(store, params).map(|(answer,)| answer)
    }

    /// Converts an error of wasmtime into a failure. `left` is the time that the call had, if that was less than the
    /// component's own deadline.
    fn failure(&self, error: &wasmtime::Error, left: Option<Duration>) -> Failure {
        if error.is::<MemoryExhausted>() {
            return Failure::Memory {
                limit: self.limits.memory,
            };
        }
        if let Some(full) = error.downcast_ref::<PoolConcurrencyLimitError>() {
            return Failure::Exhausted(full.to_string());
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => match left {
                Some(left) => Failure::NoTime { left },
                None => Failure::Deadline {
                    limit: self.limits.deadline,
                },
            },
            Some(trap) => Failure::Trap {
                message: trap.to_string(),
                said: None,
                frames: frames(error),
            },
            None => {
                let message = error.root_cause().to_string();
                if message.contains(OUTPUT_EXHAUSTED) {
                    Failure::Output {
                        limit: self.limits.output,
                    }
                } else {
                    Failure::Malformed(text::line(&message, MAX_ERROR_BYTES))
                }
            }
        }
    }
}

/// Returns a number of ticks that lasts at least `limit`. One tick is added because the first may occur immediately.
fn ticks(limit: Duration) -> u64 {
    let ticks = limit.as_nanos().div_ceil(TICK.as_nanos()) + 1;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Returns the names of the innermost functions of the back trace that have one.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    trace
        .frames()
        .iter()
        .filter_map(|frame| frame.func_name())
        .take(MAX_FRAMES)
        .map(demangled)
        .collect()
}

/// Returns a function's name, demangled unless it is too long, and truncated.
fn demangled(name: &str) -> String {
    if name.len() > MAX_DEMANGLED_BYTES {
        return text::line(name, MAX_NAME_BYTES);
    }
    text::line(&format!("{:#}", rustc_demangle::demangle(name)), MAX_NAME_BYTES)
}
