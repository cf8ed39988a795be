//! One call: a fresh store, a fresh instance, limits, an answer or what happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dask_operator_core::text;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Lower};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};

use crate::engine::TICK;
use crate::limits::{MemoryExhausted, MemoryMeter};
use crate::log::GuestLog;
use crate::{CallError, CallReport, Digest, Engine, Failure, Limits, time};

/// What a store holds for the host.
pub(crate) struct State {
    pub(crate) log: GuestLog,
    pub(crate) memory: MemoryMeter,
}

/// Functions of a back trace that a message shows.
const FRAMES: usize = 8;

/// Bytes of a function's name that a message shows.
const NAME: usize = 300;

/// Bytes of a name that is made readable. Longer ones can be made to take very long.
const READABLE: usize = 2000;

/// Bytes of wasmtime's words that a message shows.
const WORDS: usize = 1000;

/// wasmtime's words when a guest returns more than `set_hostcall_fuel` allows; the
/// error has no public type.
const OUTPUT_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";

/// A function of a component, by its names in the contract.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function {
    pub(crate) interface: &'static str,
    pub(crate) name: &'static str,
}

/// Makes calls to one component.
pub(crate) struct Caller {
    pub(crate) engine: Engine,
    pub(crate) pre: InstancePre<State>,
    pub(crate) name: Arc<str>,
    pub(crate) origin: Arc<str>,
    pub(crate) digest: Digest,
    pub(crate) limits: Limits,
}

impl Caller {
    /// Calls a function. The component may have `told` bytes more of memory than
    /// its limit says. `check` looks at the answer before it counts as one.
    pub(crate) fn call<P, R>(
        &self,
        function: Function,
        index: Option<&ComponentExportIndex>,
        told: usize,
        params: P,
        check: impl FnOnce(&R) -> Result<(), Failure>,
    ) -> Result<R, CallError>
    where
        P: ComponentNamedList + Lower,
        R: Lift + 'static,
        (R,): ComponentNamedList + Lift,
    {
        let turn = self.engine.turn(self.digest);
        let started = Instant::now();
        let left = time::left().filter(|left| *left < self.limits.deadline);
        let mut store = self.store(told, left.unwrap_or(self.limits.deadline));
        let answer = match (index, left) {
            (None, _) => Err(Failure::Missing),
            (Some(_), Some(left)) if left.is_zero() => Err(Failure::NoTime { left }),
            (Some(index), _) => self
                .run::<P, R>(&mut store, index, params)
                .map_err(|error| self.failure(&error, left))
                .and_then(|answer| check(&answer).map(|()| answer)),
        };
        let State { log, memory } = store.into_data();
        drop(turn);
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

    /// A store with the component's limits; its `deadline` counts from here.
    fn store(&self, told: usize, deadline: Duration) -> Store<State> {
        let state = State {
            log: GuestLog::new(Arc::clone(&self.name), &self.limits),
            memory: MemoryMeter::new(self.limits.memory.saturating_add(told)),
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

    /// What an error of wasmtime means here, in a call that had no more time than was `left`, where that is something.
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
                    Failure::Malformed(text::line(&message, WORDS))
                }
            }
        }
    }
}

/// Ticks that are at least as long as this: the first may come at once.
fn ticks(limit: Duration) -> u64 {
    let ticks = limit.as_nanos().div_ceil(TICK.as_nanos()) + 1;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// The innermost functions that have names.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    trace
        .frames()
        .iter()
        .filter_map(|frame| frame.func_name())
        .take(FRAMES)
        .map(readable)
        .collect()
}

fn readable(name: &str) -> String {
    if name.len() > READABLE {
        return text::line(name, NAME);
    }
    text::line(&format!("{:#}", rustc_demangle::demangle(name)), NAME)
}
