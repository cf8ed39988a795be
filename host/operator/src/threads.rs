//! The threads of the process: those that carry requests, and those that may block.

use std::io;
use std::sync::LazyLock;

use rustix::process::nice;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::warn;

use crate::{plugins, webhook};

/// Threads that carry requests, at least and at most; components run on others. One that decodes something large keeps the
/// other free.
const FEWEST_CARRIERS: usize = 2;
const CARRIERS: usize = 4;

/// Threads that may block for what comes seldom and does not take long: what is loaded before anything else, certificates in a
/// folder, the API server's address, metrics.
const SELDOM: usize = 4;

/// By how much threads are nicer on which work is done that takes long.
const NICE: i32 = 10;

/// Text that takes longer than others may want to wait.
const MUCH: usize = 256 << 10;

/// How long work that blocks takes, as far as that can be told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// As short as most.
    Light,
    /// Longer, because somebody has written much, or brings components of his own. Where processors are short, all other work
    /// is done first.
    Heavy,
}

impl Load {
    /// That of work on so many bytes of text.
    pub(crate) fn of(bytes: usize) -> Self {
        if bytes > MUCH { Self::Heavy } else { Self::Light }
    }

    /// Heavy where that is so.
    pub(crate) fn heavy_if(is_heavy: bool) -> Self {
        if is_heavy { Self::Heavy } else { Self::Light }
    }
}

/// Does `work` on a thread that may block. Must be called from a runtime, which is the current one there, too.
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

/// The runtime whose blocking threads do heavy work.
pub(crate) fn heavy() -> Option<Handle> {
    NICE_THREADS.as_ref().map(|threads| threads.handle().clone())
}

/// Threads of their own, because none that is nice can be otherwise again. The operating system's scheduler does the rest.
static NICE_THREADS: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let threads = Builder::new_current_thread()
        .max_blocking_threads(blocking(cores()))
        .thread_name("nice")
        .on_thread_start(|| {
            // Where the system refuses that, these are as all others.
            let _ = nice(NICE);
        })
        .build();
    threads
        .inspect_err(|error| warn!("all threads are as important as each other: {error}"))
        .ok()
});

/// How many processors there are.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How many threads may block at most: the sum of what each part takes at most. With fewer, one part that takes all that it
/// may, because somebody makes it, would leave none to the others. (Schedulers are reached by address: none looks up a name.)
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
/// When the system has none.
pub(crate) fn runtime(cores: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(cores.clamp(FEWEST_CARRIERS, CARRIERS))
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
    use crate::plugins::Whose;
    use crate::webhook::desk::{Desk, Times, Turn, threads};

    #[tokio::test]
    async fn heavy_work_leaves_the_processors_to_others() -> anyhow::Result<()> {
        let own = nice(0)?;
        assert_eq!(spawn(Load::Light, || nice(0)).await??, own);
        assert_eq!(spawn(Load::Heavy, || nice(0)).await??, (own + NICE).min(19));
        // Requests that it makes are those of the runtime that it came from.
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
            // More than there are places for.
            for number in 0..10 * CORES {
                let (aside, work) = (aside.clone(), blocks());
                let namespace = if number % 2 == 0 { "a" } else { "b" };
                tokio::spawn(async move { aside.run(namespace, Load::Light, work).await });
                let (looks, work) = (desk.clone(), blocks());
                let bytes = if number % 2 == 0 { 0 } else { 2 * MUCH };
                tokio::spawn(async move { looks.look(times, bytes, work).await });
                let (desk, work) = (desk.clone(), blocks());
                let turn = Turn {
                    namespace: number.to_string(),
                    whose: Whose::Operators,
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
