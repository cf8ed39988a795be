//! Engine that all components share: the compiler, its cache, the instance pool, and the
//! clock that enforces deadlines.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::artefacts::Artefacts;
use crate::contract::log;
use crate::failed_compilations::FailedCompilations;
use crate::fair_semaphore::{FairSemaphore, Permit};
use crate::limits::{CORE_INSTANCES, MEMORIES, TABLE_ENTRIES, TABLES};
use crate::state::State;
use crate::{CallObserver, CompilerProgram, Digest, EngineError};

/// Interval of the clock's ticks. Deadlines are accurate to within two ticks.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Configuration of an engine.
#[derive(Clone, Default)]
pub struct EngineConfig {
    /// Cache of compiled components. If `None`, this process compiles them at every
    /// start.
    pub cache: Option<Cache>,
    /// Source of the instances' memory.
    pub allocation: Allocation,
    /// Observer of every call, if any.
    pub observer: Option<Arc<dyn CallObserver>>,
}

/// Cache of compiled components.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The directory. It is created if it does not exist. It must be accessible only to this process's
    /// user (mode 0700) and should contain nothing else.
    pub dir: PathBuf,
    /// The program that compiles into the cache. If `None`, this process compiles, but no components of tenants.
    pub compiler: Option<CompilerProgram>,
}

impl From<PathBuf> for Cache {
    fn from(dir: PathBuf) -> Self {
        Self { dir, compiler: None }
    }
}

/// Source of the instances' memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Allocates memory from the system for each instance.
    OnDemand,
    /// Allocates memory from a pool of reused slots, which saves a quarter of a call's time. The
    /// pool reserves 8 GiB of address space for each instance, but uses only the memory that is in
    /// use, and retains 512 KiB of a slot that was used. If there is not enough address space, the
    /// engine allocates on demand.
    Pooling {
        /// Maximum number of concurrent calls; a further call waits for a permit.
        instances: u32,
    },
}

impl Default for Allocation {
    fn default() -> Self {
        Self::Pooling { instances: 16 }
    }
}

/// Engine that compiles and runs components. Clones share the same engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    wasmtime: wasmtime::Engine,
    linker: Linker<State>,
    artefacts: Option<Artefacts>,
    compiler: Option<CompilerProgram>,
    /// True while a component that has an owner is compiled.
    is_compiling: Mutex<bool>,
    /// Notified when such a compilation ends.
    compile_ended: Condvar,
    /// Recent failures to compile a component that has an owner.
    failed_compilations: Mutex<FailedCompilations>,
    observer: Option<Arc<dyn CallObserver>>,
    /// Permits for the slots of the pool; `None` if there is no pool.
    permits: Option<FairSemaphore>,
    /// The clock stops when this is dropped.
    _clock: Sender<()>,
}

impl Engine {
    /// Creates an engine and starts its clock, which stops when the last clone and
    /// the last component of the engine are dropped.
    ///
    /// # Errors
    ///
    /// Returns an error if WebAssembly can't run on this machine, the cache directory
    /// can't be used, or the clock's thread can't be started.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let unusable = |error: wasmtime::Error| EngineError::Wasmtime(format!("{error:#}"));
        let (wasmtime, permits) = match config.allocation {
            Allocation::OnDemand => (on_demand().map_err(unusable)?, None),
            Allocation::Pooling { instances } => match pooling(instances) {
                Ok(engine) => (engine, Some(FairSemaphore::new(instances))),
                Err(error) => {
                    tracing::warn!(
                        "no instance pool; memory is allocated on demand, which is slower: {error:#}"
                    );
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
            is_compiling: Mutex::default(),
            compile_ended: Condvar::default(),
            failed_compilations: Mutex::default(),
            observer: config.observer,
            permits,
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

    pub(crate) fn compiler(&self) -> Option<&CompilerProgram> {
        self.inner.compiler.as_ref()
    }

    /// Waits for the permit to compile a component that has an owner. There is one permit, because concurrent compilations
    /// would use several times the memory.
    pub(crate) fn compile_permit(&self) -> CompilePermit {
        let mut is_compiling = self.inner.is_compiling.lock();
        self.inner
            .compile_ended
            .wait_while(&mut is_compiling, |is_compiling| *is_compiling);
        *is_compiling = true;
        CompilePermit(self.clone())
    }

    /// Returns the recent failures to compile a component that has an owner, locked.
    pub(crate) fn failed_compilations(&self) -> MutexGuard<'_, FailedCompilations> {
        self.inner.failed_compilations.lock()
    }

    /// Waits for the permit to create an instance of a component. The pool has a free slot while the permit is held.
    /// Returns `None` if there is no pool.
    pub(crate) fn call_permit(&self, component: Digest) -> Option<Permit<'_>> {
        let permits = self.inner.permits.as_ref();
        permits.map(|permits| permits.acquire(component))
    }

    pub(crate) fn observer(&self) -> Option<&dyn CallObserver> {
        self.inner.observer.as_deref()
    }
}

/// Exclusive permit to compile a component that has an owner, released on drop.
#[derive(Debug)]
pub struct CompilePermit(Engine);

impl Drop for CompilePermit {
    fn drop(&mut self) {
        let inner = &self.0.inner;
        *inner.is_compiling.lock() = false;
        inner.compile_ended.notify_one();
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
    // The pool has room for the largest allowed component, times the number of permits, so a call with a permit always
    // finds a slot. A component that needs more is refused when it is loaded.
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .total_memories(instances.saturating_mul(MEMORIES))
        .max_memories_per_component(MEMORIES)
        .total_tables(instances.saturating_mul(TABLES))
        .max_tables_per_component(TABLES)
        .table_elements(TABLE_ENTRIES)
        // Host metadata of all parts of a component together, which the memory meter does not count.
        .max_core_instance_size(MAX_INSTANCE_BYTES)
        .max_component_instance_size(MAX_INSTANCE_BYTES)
        // After a call, only written pages are reset, and they stay resident. Otherwise a quarter of
        // a call's time is spent on requesting them from the system again.
        .linear_memory_keep_resident(RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(WARM_SLOTS);
    let mut config = settings();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    wasmtime::Engine::new(&config)
}

/// Maximum size of the host's metadata of an instance, in bytes: globals, imports and functions, without its memory and
/// tables.
const MAX_INSTANCE_BYTES: usize = 8 << 20;

/// Memory that stays resident in an unused slot of the pool, in bytes. A plan for one pod of 5 kB
/// uses about half of it.
const RESIDENT_BYTES: usize = 512 << 10;

/// Number of unused slots whose memory stays resident: enough for each component to find its own
/// slot again.
const WARM_SLOTS: u32 = 8;

/// Returns the common settings of wasmtime. The same input must give the same output on
/// every machine, so the parts of WebAssembly that are not deterministic are fixed or
/// disabled.
fn settings() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // Errors name the function that failed, not the instruction: the address map would make up a
        // third of an artefact.
        .generate_address_map(false)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .concurrency_support(false);
    config
}

/// Starts the clock, which ticks until the returned sender is dropped. The clock also
/// ticks while no component runs, so that deadlines do not depend on starting it in time.
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
