//! Threads of the process: those that serve requests, and those that may block.

use std::io;
use std::sync::LazyLock;

use rustix::process::nice;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::warn;

use crate::{plugins, webhook};

/// Minimum and maximum number of threads that serve requests. Components run on others. With two, one is free while the other
/// decodes something large.
const MIN_CARRIERS: usize = 2;
const CARRIERS: usize = 4;

/// Number of threads for rare and short blocking operations: loading at the start, certificates in a folder, the
/// address of the API server, metrics.
const SELDOM: usize = 4;

/// Nice value of the threads for heavy work, relative to the process.
const NICE: i32 = 10;

/// Bytes of text above which work on it is heavy.
const HEAVY: usize = 256 << 10;

/// Expected duration of blocking work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// As short as most work.
    Light,
    /// Longer, because of a large object or a tenant's component. If the processors are busy, light work goes first.
    Heavy,
}

impl Load {
    /// Returns the load of work on this number of bytes of text.
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
    load: Load,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    match &*NICE_THREADS {
        Some(threads) if load == Load::Heavy => {
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
        .max_blocking_threads(blocking(cores()))
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
fn blocking(cores: usize) -> usize {
    let plans_and_reviews = plugins::places(cores);
    let requests = webhook::desk::threads(cores);
    let passes = plugins::places(cores);
    let loads = plugins::LOADS;
    let answers_of_schedulers = dask_operator_scheduler::DECODERS;
    let names_of_registries = dask_operator_sources::oci::LOOKUPS;
    plans_and_reviews + requests + passes + loads + answers_of_schedulers + names_of_registries + SELDOM
}

/// Starts the threads.
///
/// # Errors
///
/// Returns an error if the system can't create threads.
pub(crate) fn runtime(cores: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(cores.clamp(MIN_CARRIERS, CARRIERS))
        .max_blocking_threads(blocking(cores))
        .enable_all()
        .build()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, RwLock};
    use std::time::Duration;

    use tokio::task::spawn_blocking;
    use tokio::time::{Instant, sleep, timeout};

    use super::*;
    use crate::aside::Aside;
    use crate::webhook::desk::{Desk, Times, Turn, threads};
    use dask_operator_evaluator::logic::PluginOwner;

    #[tokio::test]
    async fn heavy_work_leaves_the_processors_to_others() -> anyhow::Result<()> {
        let own = nice(0)?;
        assert_eq!(spawn(Load::Light, || nice(0)).await??, own);
        assert_eq!(spawn(Load::Heavy, || nice(0)).await??, (own + NICE).min(19));
        // Heavy work uses the I/O and the timers of the runtime that started it.
        let asks = || Handle::current().block_on(sleep(Duration::from_millis(1)));
        spawn(Load::Heavy, asks).await?;
        Ok(())
    }

    #[test]
    fn all_who_may_block_can_do_so_at_the_same_time() -> anyhow::Result<()> {
        const CORES: usize = 2;
        const PLACES: usize = plugins::places(CORES);
        const OTHERS: usize = PLACES
            + plugins::LOADS
            + dask_operator_scheduler::DECODERS
            + dask_operator_sources::oci::LOOKUPS
            + SELDOM;
        let runtime = runtime(CORES)?;
        let (gate, taken) = (Arc::new(RwLock::new(())), Arc::new(AtomicUsize::new(0)));
        let closed = gate.write();
        let blocks = || {
            let (gate, taken) = (gate.clone(), taken.clone());
            move || {
                taken.fetch_add(1, Ordering::SeqCst);
                drop(gate.read());
            }
        };
        let done = runtime.block_on(async {
            let (aside, desk) = (Aside::new(CORES), Arc::new(Desk::new(CORES)));
            let far = Instant::now() + Duration::from_secs(3600);
            let times = Times {
                end: far,
                deadline: far,
            };
            // More tasks than there are permits.
            for number in 0..10 * CORES {
                let (aside, work) = (aside.clone(), blocks());
                let namespace = if number % 2 == 0 { "a" } else { "b" };
                tokio::spawn(async move { aside.run(namespace, Load::Light, work).await });
                let (looks, work) = (desk.clone(), blocks());
                let bytes = if number % 2 == 0 { 0 } else { 2 * HEAVY };
                tokio::spawn(async move { looks.look(times, bytes, work).await });
                let (desk, work) = (desk.clone(), blocks());
                let turn = Turn {
                    namespace: number.to_string(),
                    owner: PluginOwner::Administrator,
                    text: 0,
                    tree: 0,
                };
                tokio::spawn(async move { desk.run(turn, far, times, work).await });
            }
            for _ in 0..OTHERS {
                spawn_blocking(blocks());
            }
            let all = async {
                while taken.load(Ordering::SeqCst) < PLACES + threads(CORES) + OTHERS {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(Duration::from_secs(60), all).await
        });
        drop(closed);
        Ok(done?)
    }
}
