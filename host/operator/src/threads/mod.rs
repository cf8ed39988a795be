//! Threads of the process: those that serve requests, and those that may block. No I/O.
//!
//! * [`fair_permits`]: permits for calls of components, shared out between namespaces by the time that they used. A
//!   [`leaky_bucket`] measures it.
//! * [`blocking`]: work whose cost depends on tenants' input.
//! * [`tasks`]: tasks that run as long as the process.

pub(crate) mod blocking;
pub(crate) mod fair_permits;
pub(crate) mod leaky_bucket;
pub(crate) mod tasks;

use std::io;
use std::sync::LazyLock;

use rustix::process::nice;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::warn;

/// Minimum and maximum number of threads that serve requests. Components run on others. With two, one is free while the other
/// decodes something large.
const MIN_CARRIERS: usize = 2;
const CARRIERS: usize = 4;

/// Number of threads for rare and short blocking operations: loading at the start, certificates in a folder, the
/// address of the API server, metrics.
pub(crate) const RARE: usize = 4;

/// Threads per processor on which light requests of the webhook are classified, and as many again for heavy ones. The cost grows
/// only with their text.
pub(crate) const CLASSIFICATIONS: usize = 1;

/// Threads per processor on which requests of the webhook are decided.
pub(crate) const DECISIONS: usize = 2;

/// Number of attempts that run at once. Each keeps at most one thread busy.
pub(crate) const LOADS: usize = 3;

/// Nice value of the threads for heavy work, relative to the process.
const NICE: i32 = 10;

/// Bytes of text above which work on it is heavy.
pub(crate) const HEAVY: usize = 256 << 10;

/// Weight of blocking work: its expected duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// As short as most work.
    Light,
    /// Longer, because of a large object or a tenant's component. If the processors are busy, light work goes first.
    Heavy,
}

impl Weight {
    /// Returns the weight of work on this number of bytes of text.
    pub(crate) fn of(bytes: usize) -> Self {
        if bytes > HEAVY { Self::Heavy } else { Self::Light }
    }

    /// Returns `Heavy` if the condition is true, otherwise `Light`.
    pub(crate) fn heavy_if(is_heavy: bool) -> Self {
        if is_heavy { Self::Heavy } else { Self::Light }
    }
}

/// Runs `work` on a thread that may block. Must be called within a runtime, which is also the current one on that thread.
pub(crate) fn spawn<T: Send + 'static>(
    weight: Weight,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    match &*NICE_THREADS {
        Some(threads) if weight == Weight::Heavy => {
            let here = Handle::current();
            threads.spawn_blocking(move || {
                let _here = here.enter();
                work()
            })
        }
        _ => spawn_blocking(work),
    }
}

/// Returns the runtime whose blocking threads do heavy work, or `None` if it could not be built.
pub(crate) fn heavy() -> Option<Handle> {
    NICE_THREADS.as_ref().map(|threads| threads.handle().clone())
}

/// Threads for heavy work. They are separate because a thread can't lower its nice value again without a privilege.
static NICE_THREADS: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let threads = Builder::new_current_thread()
        .max_blocking_threads(max_blocking_threads(cores()))
        .thread_name("nice")
        .on_thread_start(|| {
            // If the system refuses, heavy work competes with all other work.
            let _ = nice(NICE);
        })
        .build();
    threads
        .inspect_err(|error| warn!("heavy work runs with the same priority as other work: {error}"))
        .ok()
});

/// Returns the number of processors.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Returns the maximum number of blocking threads: the sum of the maxima of all parts. With fewer, a part that uses all
/// its threads, because a client causes that, would leave none for the others. (Schedulers are reached by IP address,
/// without name lookups.)
fn max_blocking_threads(cores: usize) -> usize {
    let plans_and_reviews = fair_permits::permits(cores);
    let requests = (2 * CLASSIFICATIONS + DECISIONS) * cores;
    let reconciles = fair_permits::permits(cores);
    let answers_of_schedulers = dask_operator_scheduler::DECODERS;
    let names_of_registries = dask_operator_sources::oci::LOOKUPS;
    plans_and_reviews + requests + reconciles + LOADS + answers_of_schedulers + names_of_registries + RARE
}

/// Starts the threads.
///
/// # Errors
///
/// Returns an error if the system can't create threads.
pub(crate) fn runtime(cores: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(cores.clamp(MIN_CARRIERS, CARRIERS))
        .max_blocking_threads(max_blocking_threads(cores))
        .enable_all()
        .build()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn heavy_work_leaves_the_processors_to_others() -> anyhow::Result<()> {
        let own = nice(0)?;
        assert_eq!(spawn(Weight::Light, || nice(0)).await??, own);
        assert_eq!(spawn(Weight::Heavy, || nice(0)).await??, (own + NICE).min(19));
        // Heavy work uses the I/O and the timers of the runtime that started it.
        let asks = || Handle::current().block_on(sleep(Duration::from_millis(1)));
        spawn(Weight::Heavy, asks).await?;
        Ok(())
    }
}
