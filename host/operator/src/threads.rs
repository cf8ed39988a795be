//! The threads of the process: those that carry requests, and those that may block.

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::{plugins, webhook};

/// Threads that carry requests; components run on others.
const CARRIERS: usize = 4;

/// Threads that may block for what comes seldom and does not take long: what is loaded before anything else, certificates in a
/// folder, the API server's address, metrics.
const SELDOM: usize = 4;

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
        .worker_threads(cores.min(CARRIERS))
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
                tokio::spawn(async move { aside.run(namespace, work).await });
                let (looks, work) = (desk.clone(), blocks());
                tokio::spawn(async move { looks.look(times, work).await });
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
