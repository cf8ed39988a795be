//! What all components share: the compiler, its cache, and the clock that keeps
//! deadlines.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::artefacts::Artefacts;
use crate::call::State;
use crate::contract::log;
use crate::{CallObserver, EngineError};

/// How often the clock ticks. Deadlines are kept to within two ticks.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// How an engine is set up.
#[derive(Clone, Default)]
pub struct EngineConfig {
    /// Where compiled components are kept; without it they are compiled at every
    /// start. The directory is made if it isn't there; it must be for our user
    /// alone (mode 0700), and nothing else should be in it.
    pub cache_dir: Option<PathBuf>,
    /// Where instances get their memory from.
    pub allocation: Allocation,
    /// Told about every call.
    pub observer: Option<Arc<dyn CallObserver>>,
}

/// Where instances get their memory from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// From the system, for each instance.
    #[default]
    OnDemand,
    /// From places set aside when the engine is made, for so many instances at a
    /// time; a call beyond that fails.
    Pooling {
        /// How many components can run at a time.
        instances: u32,
    },
}

/// Compiles and runs components. A clone is the same engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    wasmtime: wasmtime::Engine,
    linker: Linker<State>,
    artefacts: Option<Artefacts>,
    observer: Option<Arc<dyn CallObserver>>,
    /// The clock stops when this is dropped.
    _clock: Sender<()>,
}

impl Engine {
    /// Makes an engine and starts its clock, which ends with the last clone and
    /// the last component of it.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let unusable = |error: wasmtime::Error| EngineError::Wasmtime(format!("{error:#}"));
        let wasmtime = wasmtime::Engine::new(&settings(config.allocation)).map_err(unusable)?;
        let artefacts = config
            .cache_dir
            .as_deref()
            .map(|dir| Artefacts::open(dir, &wasmtime))
            .transpose()?;
        let mut linker = Linker::new(&wasmtime);
        log::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut State| &mut state.log)
            .map_err(unusable)?;
        let clock = start_clock(wasmtime.clone()).map_err(EngineError::Clock)?;
        let inner = Inner {
            wasmtime,
            linker,
            artefacts,
            observer: config.observer,
            _clock: clock,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner.wasmtime
    }

    pub(crate) fn linker(&self) -> &Linker<State> {
        &self.inner.linker
    }

    pub(crate) fn artefacts(&self) -> Option<&Artefacts> {
        self.inner.artefacts.as_ref()
    }

    pub(crate) fn observer(&self) -> Option<&dyn CallObserver> {
        self.inner.observer.as_deref()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("artefacts", &self.inner.artefacts)
            .finish_non_exhaustive()
    }
}

/// The same input must give the same output on every machine: what WebAssembly
/// leaves open is fixed or switched off.
fn settings(allocation: Allocation) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .concurrency_support(false);
    if let Allocation::Pooling { instances } = allocation {
        let mut pool = PoolingAllocationConfig::new();
        // One component consists of several core instances, memories and tables.
        pool.total_component_instances(instances)
            .total_core_instances(8 * instances)
            .total_memories(instances)
            .total_tables(4 * instances)
            .max_unused_warm_slots(1);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// Ticks until the sender that it returns is dropped, whether anybody runs or not:
/// a deadline is then kept whatever happens in between.
fn start_clock(engine: wasmtime::Engine) -> std::io::Result<Sender<()>> {
    let (sender, receiver) = mpsc::channel::<()>();
    thread::Builder::new()
        .name("plugin-clock".to_owned())
        .spawn(move || {
            while receiver.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        })?;
    Ok(sender)
}
