//! Poll loop for one scheduler, and the retirement of its workers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dask_operator_core::backoff::Backoff;
use dask_operator_scheduler::ErrorKind;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, info};

use super::{Answers, ClusterKey, Endpoint, Inner, LastResult, combined_query, endpoint};
use crate::metrics::SUCCESS;
use crate::schedulers::client::{Failure, FailureKind, Session};

/// Minimum time from the end of a query to the next one, unless that was requested early.
const MIN_PERIOD: Duration = Duration::from_secs(1);
/// Maximum back-off for a scheduler that does not answer. A longer period that plans request still applies.
const MAX_BACKOFF: Duration = Duration::from_secs(15);
/// Time from the end of a query to the next one if that was requested early.
const EARLY_DELAY: Duration = Duration::from_millis(200);

/// Time after which a query gives back its permit, so that a slow scheduler does not delay others.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Polls the scheduler of `cluster` until no resource requests facts from it.
pub(super) async fn poll(inner: Arc<Inner>, cluster: ClusterKey, wake: Arc<Notify>) {
    let mut connection: Option<(Endpoint, Box<dyn Session>)> = None;
    let mut backoff = Backoff::new(MIN_PERIOD, MAX_BACKOFF);
    loop {
        let query = {
            let mut all = inner.polled.lock();
            let query = all.get(&cluster).and_then(combined_query);
            if query.is_none() {
                all.remove(&cluster);
                inner.budget.lock().release(&cluster);
            }
            query
        };
        let Some((questions, tls, period)) = query else {
            return;
        };
        inner.rate_limiter.acquire().await;
        let result = match endpoint::find(&inner.stores, &cluster, tls) {
            Err(message) => Err(Failure::no_scheduler(message)),
            Ok(endpoint) => {
                if connection.as_ref().is_none_or(|(known, _)| *known != endpoint) {
                    connection = Some((endpoint.clone(), inner.client.session(&endpoint)));
                }
                match &mut connection {
                    Some((_, session)) => query_scheduler(&inner, session.as_mut(), &questions).await,
                    None => continue,
                }
            }
        };
        let ended = Instant::now();
        let wait = match &result {
            Ok(_) => {
                backoff.reset();
                MIN_PERIOD
            }
            Err(_) => backoff.failed(),
        };
        inner.record(&cluster, result);
        tokio::select! {
            () = tokio::time::sleep_until(ended + wait.max(period)) => {}
            () = wake.notified() => tokio::time::sleep_until(ended + EARLY_DELAY).await,
        }
    }
}

/// Queries a scheduler with one of the shared permits.
async fn query_scheduler(
    inner: &Inner,
    session: &mut dyn Session,
    questions: &super::Questions,
) -> Result<Answers, Failure> {
    // The semaphore is never closed.
    let permit = inner.permits.acquire().await;
    let start = Instant::now();
    let mut query = session.query(questions);
    let result = match tokio::time::timeout(PERMIT_TIMEOUT, &mut query).await {
        Ok(result) => result,
        Err(_) => {
            drop(permit);
            query.await
        }
    };
    inner
        .metrics
        .requested("facts", outcome(&result), start.elapsed());
    result
}

/// Returns the outcome of a call to a scheduler, for the label of a metric: `success` or the kind of the failure.
fn outcome<T>(result: &Result<T, Failure>) -> &'static str {
    match result {
        Ok(_) => SUCCESS,
        Err(failure) => failure.kind.as_str(),
    }
}

/// Retires workers of `cluster` and requeues the resources that requested facts from its scheduler.
pub(super) async fn retire(inner: Arc<Inner>, cluster: ClusterKey, tls: bool, addresses: Vec<String>) {
    let start = Instant::now();
    let result = match endpoint::find(&inner.stores, &cluster, tls) {
        Ok(endpoint) => inner.client.session(&endpoint).retire(&addresses).await,
        Err(message) => Err(Failure::no_scheduler(message)),
    };
    inner
        .metrics
        .requested("retire", outcome(&result), start.elapsed());
    let retired: Vec<String> = match result {
        Ok(retired) if retired.len() == addresses.len() => {
            info!(%cluster, workers = retired.len(), duration = ?start.elapsed(), "retired workers");
            retired
        }
        Ok(retired) => {
            info!(
                %cluster, requested = addresses.len(), workers = retired.len(), duration = ?start.elapsed(),
                "retired only some of the workers: the others still hold results"
            );
            retired
        }
        Err(failure) => {
            info!(%cluster, "failed to retire workers: {}", failure.message);
            Vec::new()
        }
    };
    let all_retired = retired.len() >= addresses.len();
    if let Some(scheduler) = inner.polled.lock().get_mut(&cluster) {
        scheduler.retiring.retain(|address| !retired.contains(address));
        scheduler.retired.extend(retired);
        scheduler.version += 1;
        scheduler.notify(&inner.requeue);
    }
    if !all_retired {
        // A plan may request the retirement of the remaining workers again, but not at once.
        tokio::time::sleep(MAX_BACKOFF / 3).await;
        if let Some(scheduler) = inner.polled.lock().get_mut(&cluster) {
            scheduler.retiring.retain(|address| !addresses.contains(address));
            scheduler.version += 1;
            scheduler.notify(&inner.requeue);
        }
    }
}

impl Inner {
    /// Stores the result of a query, and requeues the resources that have not received the current version.
    fn record(&self, cluster: &ClusterKey, result: Result<Answers, Failure>) {
        let bytes = result.as_ref().map_or(0, Answers::bytes);
        let mut all = self.polled.lock();
        let Some(scheduler) = all.get_mut(cluster) else {
            return;
        };
        let fits = self.budget.lock().reserve(cluster, bytes);
        let result = result.and_then(|answers| if fits { Ok(answers) } else { Err(out_of_memory()) });
        let (result, changed) = match (result, &scheduler.last_result) {
            (Ok(answers), LastResult::Answered(before)) => {
                let changed = !answers.is_equivalent(before);
                (LastResult::Answered(Arc::new(answers)), changed)
            }
            (Ok(answers), _) => {
                scheduler.answers_since = answers.queried_at;
                (LastResult::Answered(Arc::new(answers)), true)
            }
            (Err(failure), LastResult::Failed(before)) => {
                let changed = failure.message != *before;
                (LastResult::Failed(failure.message), changed)
            }
            (Err(failure), _) => {
                debug!(%cluster, "the scheduler does not answer: {}", failure.message);
                (LastResult::Failed(failure.message), true)
            }
        };
        if let LastResult::Answered(answers) = &result {
            let listed: BTreeSet<&String> = answers.workers.iter().map(|worker| &worker.address).collect();
            scheduler.retired.retain(|address| listed.contains(address));
        }
        let before = std::mem::replace(&mut scheduler.last_result, result);
        scheduler.version += u64::from(changed);
        scheduler.notify(&self.requeue);
        drop(all);
        // The answers may be large, so they are freed after the lock is released.
        drop(before);
    }
}

/// Returns the failure for an answer that does not fit into the memory for cached answers. The message must be the same each
/// time, because a changed message leads to a reconcile.
fn out_of_memory() -> Failure {
    Failure {
        kind: FailureKind::Client(ErrorKind::Busy),
        message: "there is no memory left for its answer beside those of other schedulers: the answers of one namespace may take \
                  only as much as they leave free for all others; it is queried again. If this persists, run fewer workers in this \
                  namespace"
            .to_owned(),
    }
}
