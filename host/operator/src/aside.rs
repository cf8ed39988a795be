//! Work that grows with what tenants write, away from the threads that carry the lease, health and watches.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tracing::Span;

use crate::threads::cores;

/// Does `work` on a thread that may be kept busy. If it panics, so does this.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let span = Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The process ends.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Threads that may be kept busy, as many as there are processors.
#[derive(Clone)]
pub(crate) struct Aside(Arc<Semaphore>);

impl Default for Aside {
    fn default() -> Self {
        Self::new(cores())
    }
}

impl Aside {
    /// So many threads.
    pub(crate) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }

    /// Does `work` as [`run`], when it is its turn.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // The semaphore is never closed. What has begun keeps its place until it has ended, even if nobody waits any more.
        let permit = self.0.clone().acquire_owned().await;
        run(move || {
            let _permit = permit;
            work()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_done_on_another_thread() {
        let here = std::thread::current().id();
        let there = Aside::default().run(|| std::thread::current().id()).await;
        assert_ne!(here, there);
    }

    /// Who waits is told of a bug by the panic itself.
    #[tokio::test]
    #[should_panic(expected = "a bug")]
    async fn a_panic_is_passed_on() {
        let work: fn() = || panic!("a bug");
        Aside::default().run(work).await;
    }

    /// Of what nobody waits for any more there must not be ever more.
    #[tokio::test]
    async fn what_is_given_up_keeps_its_place_until_it_has_ended() {
        let aside = Aside::new(1);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let work = tokio::spawn({
            let aside = aside.clone();
            async move { aside.run(move || ended.recv().is_ok()).await }
        });
        while aside.0.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        work.abort();
        assert!(work.await.is_err());
        assert_eq!(aside.0.available_permits(), 0);
        assert!(end.send(()).is_ok());
        aside.run(|| ()).await;
    }
}
