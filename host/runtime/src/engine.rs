//! What all components share: the compiler, its cache, and the clock that keeps
//! deadlines.

use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::artefacts::Artefacts;
use crate::call::State;
use crate::contract::log;
use crate::limits::{CORE_INSTANCES, MEMORIES, TABLE_ENTRIES, TABLES};
use crate::turns::{Turn, Turns};
use crate::uncompiled::Uncompiled;
use crate::{CallObserver, Compiler, Digest, EngineError};

/// How often the clock ticks. Deadlines are kept to within two ticks.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// How an engine is set up.
#[derive(Clone, Default)]
pub struct EngineConfig {
    /// Where compiled components are kept; without it they are compiled at every
    /// start, by this process.
    pub cache: Option<Cache>,
    /// Where instances get their memory from.
    pub allocation: Allocation,
    /// Told about every call.
    pub observer: Option<Arc<dyn CallObserver>>,
}

/// Where compiled components are kept.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The directory. It is made if it isn't there; it must be for our user alone (mode 0700), and
    /// nothing else should be in it.
    pub dir: PathBuf,
    /// Who compiles into it; this process does, where nobody else is named.
    pub compiler: Option<Compiler>,
}

impl From<PathBuf> for Cache {
    fn from(dir: PathBuf) -> Self {
        Self { dir, compiler: None }
    }
}

/// Where instances get their memory from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// From the system, for each instance.
    OnDemand,
    /// From places that are used again and again, which saves a quarter of a call's time. They
    /// take addresses (8 GiB for each instance) but only the memory that is in use, and 512 KiB
    /// of what was. Where there are not enough addresses, memory comes on demand.
    Pooling {
        /// How many components can run at a time; a call beyond that waits for its turn.
        instances: u32,
    },
}

impl Default for Allocation {
    fn default() -> Self {
        Self::Pooling { instances: 16 }
    }
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
    compiler: Option<Compiler>,
    /// Whether somebody compiles what has an owner.
    compiles: Mutex<bool>,
    /// Told when that has ended.
    compiled: Condvar,
    /// What of that could not be compiled.
    uncompiled: Mutex<Uncompiled>,
    observer: Option<Arc<dyn CallObserver>>,
    /// Who may use the pool; none where there is no pool.
    turns: Option<Turns>,
    /// The clock stops when this is dropped.
    _clock: Sender<()>,
}

impl Engine {
    /// Makes an engine and starts its clock, which ends with the last clone and
    /// the last component of it.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let unusable = |error: wasmtime::Error| EngineError::Wasmtime(format!("{error:#}"));
        let (wasmtime, turns) = match config.allocation {
            Allocation::OnDemand => (on_demand().map_err(unusable)?, None),
            Allocation::Pooling { instances } => match pooling(instances) {
                Ok(engine) => (engine, Some(Turns::new(instances))),
                Err(error) => {
                    tracing::warn!("components get their memory on demand, which is slower: {error:#}");
                    (on_demand().map_err(unusable)?, None)
                }
            },
        };
        let (dir, compiler) = config.cache.map(|cache| (cache.dir, cache.compiler)).unzip();
        let artefacts = dir.map(|dir| Artefacts::open(&dir, &wasmtime)).transpose()?;
        let mut linker = Linker::new(&wasmtime);
        log::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut State| &mut state.log)
            .map_err(unusable)?;
        let clock = start_clock(wasmtime.clone()).map_err(EngineError::Clock)?;
        let inner = Inner {
            wasmtime,
            linker,
            artefacts,
            compiler: compiler.flatten(),
            compiles: Mutex::default(),
            compiled: Condvar::default(),
            uncompiled: Mutex::default(),
            observer: config.observer,
            turns,
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

    pub(crate) fn compiler(&self) -> Option<&Compiler> {
        self.inner.compiler.as_ref()
    }

    /// Waits until nobody else compiles what has an owner: together they would take several times the memory.
    pub(crate) fn compiles(&self) -> CompileTurn {
        let compiles = self.inner.compiles.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.inner.compiled.wait_while(compiles, |compiles| *compiles);
        *free.unwrap_or_else(PoisonError::into_inner) = true;
        CompileTurn(self.clone())
    }

    /// What has an owner and could not be compiled of late.
    pub(crate) fn uncompiled(&self) -> MutexGuard<'_, Uncompiled> {
        self.inner
            .uncompiled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an instance of a component can be made. It can, as long as the turn is kept.
    pub(crate) fn turn(&self, component: Digest) -> Option<Turn<'_>> {
        let turns = self.inner.turns.as_ref();
        turns.map(|turns| turns.take(component))
    }

    pub(crate) fn observer(&self) -> Option<&dyn CallObserver> {
        self.inner.observer.as_deref()
    }
}

/// The right to compile what has an owner. Nobody else has it until this is dropped.
#[derive(Debug)]
pub struct CompileTurn(Engine);

impl Drop for CompileTurn {
    fn drop(&mut self) {
        let inner = &self.0.inner;
        *inner.compiles.lock().unwrap_or_else(PoisonError::into_inner) = false;
        inner.compiled.notify_one();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("artefacts", &self.inner.artefacts)
            .finish_non_exhaustive()
    }
}

fn on_demand() -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&settings())
}

fn pooling(instances: u32) -> wasmtime::Result<wasmtime::Engine> {
    let mut pool = PoolingAllocationConfig::new();
    // Whoever has a turn finds room, whatever the others have: what one component may consist of, times
    // the turns. One that needs more is refused when it is loaded.
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .total_memories(instances.saturating_mul(MEMORIES))
        .max_memories_per_component(MEMORIES)
        .total_tables(instances.saturating_mul(TABLES))
        .max_tables_per_component(TABLES)
        .table_elements(TABLE_ENTRIES)
        // What the host keeps of all parts of a component together; no meter sees it.
        .max_core_instance_size(INSTANCE)
        .max_component_instance_size(INSTANCE)
        // Only pages that were written are cleaned afterwards, and stay: without that, a quarter of
        // a call is spent on getting them from the system again.
        .linear_memory_keep_resident(KEPT_MEMORY)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(WARM);
    let mut config = settings();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    wasmtime::Engine::new(&config)
}

/// Bytes that the host keeps of an instance beside its memory and its tables: globals, imports, functions.
const INSTANCE: usize = 8 << 20;

/// Memory that a place of the pool keeps, in bytes. A plan for one pod of 5 kB uses about half
/// of it.
const KEPT_MEMORY: usize = 512 << 10;

/// Places that keep their memory beyond those that are in use: enough for each component to find
/// its own.
const WARM: u32 = 8;

/// The same input must give the same output on every machine: what WebAssembly
/// leaves open is fixed or switched off.
fn settings() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // Which instruction of the component failed nobody is told, only in which function: a third
        // of an artefact would say that.
        .generate_address_map(false)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .concurrency_support(false);
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
