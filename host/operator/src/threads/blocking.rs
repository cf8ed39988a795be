//! Execution of work whose cost depends on tenants' input, on threads other than those of the lease, health checks and
//! watches.

use tracing::Span;

use dask_operator_evaluator::logic::PluginOwner;

use crate::threads::fair_permits::FairPermits;
use crate::threads::{self, Weight, cores};

/// Runs `work` on a thread that may block. Propagates a panic of `work`.
pub(crate) async fn run<T: Send + 'static>(weight: Weight, work: impl FnOnce() -> T + Send + 'static) -> T {
    let span = Span::current();
    match threads::spawn(weight, move || span.in_scope(work)).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The task was canceled, because the process exits.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Blocking threads that are shared among namespaces like the threads that call components.
#[derive(Clone)]
pub(crate) struct BlockingThreads(FairPermits);

impl Default for BlockingThreads {
    fn default() -> Self {
        Self::new(cores())
    }
}

impl BlockingThreads {
    /// Returns the threads of a machine with `cores` processors.
    pub(crate) fn new(cores: usize) -> Self {
        Self(FairPermits::new(cores))
    }

    /// Runs `work` for a namespace as [`run`] does, after it has acquired a permit.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        namespace: &str,
        weight: Weight,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        // The operator's own work is never refused. Work that has started keeps its permit until it has ended, even if
        // the caller has gone.
        let permit = self.0.permit(namespace, PluginOwner::Administrator, weight).await;
        run(weight, move || {
            let _permit = permit;
            work()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn it_is_done_on_another_thread() {
        let here = std::thread::current().id();
        let there = BlockingThreads::default()
            .run("a", Weight::Light, || std::thread::current().id())
            .await;
        assert_ne!(here, there);
    }

    /// The panic itself is propagated to the waiting caller.
    #[tokio::test]
    #[should_panic(expected = "a bug")]
    async fn a_panic_is_passed_on() {
        let work: fn() = || panic!("a bug");
        BlockingThreads::default().run("a", Weight::Light, work).await;
    }

    /// The number of running tasks without a waiting caller must be limited.
    #[tokio::test]
    async fn what_is_given_up_keeps_its_place_until_it_has_ended() {
        let blocking = BlockingThreads::new(1);
        let (end, ended) = mpsc::channel::<()>();
        let (begin, begun) = oneshot::channel();
        let work = tokio::spawn({
            let blocking = blocking.clone();
            let work = move || begin.send(()).is_ok() && ended.recv().is_ok();
            async move { blocking.run("a", Weight::Light, work).await }
        });
        assert!(begun.await.is_ok());
        work.abort();
        assert!(work.await.is_err());
        let mut next = std::pin::pin!(blocking.run("a", Weight::Light, || ()));
        let soon = Duration::from_millis(20);
        assert!(timeout(soon, &mut next).await.is_err());
        assert!(end.send(()).is_ok());
        next.await;
    }

    #[tokio::test]
    async fn no_namespace_keeps_others_waiting() {
        let blocking = BlockingThreads::new(2);
        let blocked = |_| {
            let (end, ended) = mpsc::channel::<()>();
            let blocking = blocking.clone();
            tokio::spawn(async move {
                blocking
                    .run("a", Weight::Light, move || ended.recv().is_ok())
                    .await
            });
            end
        };
        let ends: Vec<_> = (0..5).map(blocked).collect();
        tokio::task::yield_now().await;
        let long = Duration::from_secs(60);
        assert!(
            timeout(long, blocking.run("b", Weight::Light, || ()))
                .await
                .is_ok()
        );
        drop(ends);
    }
}
