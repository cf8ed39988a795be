//! Requests of dry runs to the API server, with limits for their number, size and time.

use futures::future::join_all;
use kube::Client;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::breaker::{DryRunBreaker, TIMEOUT};
use super::{DryRunRequest, DryRunResponse, DryRunResult, TOO_MANY, TOO_SLOW, skip};

/// Number of dry runs that are in flight at the same time. Others wait.
const AT_ONCE: usize = 16;

/// Maximum bytes of all dry runs that are in flight or waiting. Beyond that, dry runs are skipped.
const ROOM: usize = 32 << 20;

/// Bytes per permit of the semaphore that counts bytes.
const PERMIT_BYTES: usize = 1 << 10;

/// Sender of dry-run requests for templates. The API server stores none of the objects.
pub(crate) struct DryRunClient {
    client: Client,
    permits: Semaphore,
    memory: Semaphore,
    breaker: Mutex<DryRunBreaker>,
}

impl DryRunClient {
    /// Creates a sender that uses `client`.
    #[must_use]
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            permits: Semaphore::new(AT_ONCE),
            memory: Semaphore::new(ROOM / PERMIT_BYTES),
            breaker: Mutex::default(),
        }
    }

    fn breaker(&self) -> MutexGuard<'_, DryRunBreaker> {
        self.breaker.lock()
    }

    /// Sends these requests, of which there must be at least one. Returns the result of each of them, not later than at `end`.
    pub(crate) async fn send(&self, requests: Vec<DryRunRequest>, end: Instant) -> Vec<DryRunResult> {
        let start = Instant::now();
        let bytes = requests.iter().map(DryRunRequest::bytes).sum::<usize>();
        let permits = bytes.div_ceil(PERMIT_BYTES);
        let Ok(_permits) = self
            .memory
            .try_acquire_many(u32::try_from(permits).unwrap_or(u32::MAX))
        else {
            return skip(requests, TOO_MANY);
        };
        if !self.breaker().admits(start) {
            return skip(requests, TOO_SLOW);
        }
        let timeout = end.saturating_duration_since(start).min(TIMEOUT);
        let responses = requests
            .into_iter()
            .map(|DryRunRequest { template, request }| async move {
                let response = match tokio::time::timeout(timeout, self.request(request)).await {
                    Ok(response) => DryRunResponse::Received(response),
                    Err(_) => DryRunResponse::TimedOut(timeout),
                };
                DryRunResult { template, response }
            });
        let results = join_all(responses).await;
        let is_timeout = |result: &DryRunResult| matches!(result.response, DryRunResponse::TimedOut(_));
        if !results.iter().all(is_timeout) {
            self.breaker().record_response();
        } else if timeout > TIMEOUT / 2 {
            // A shorter timeout is no sign of overload of the API server: most of the time was used before the dry run.
            self.breaker().record_timeout(Instant::now());
        }
        results
    }

    async fn request(&self, request: kube::Result<http::Request<Vec<u8>>>) -> kube::Result<()> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        self.client.request_text(request?).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::client::Body;
    use serde_json::json;

    use dask_operator_core::parent::DaskKind;
    use dask_operator_evaluator::admission::AdmissionOutcome;
    use serde_json::Value;

    use super::super::breaker::{MAX_TIMEOUTS, OPEN_TIME};
    use super::super::{add_results, requests};
    use super::*;

    fn group() -> Value {
        json!({"metadata": {"namespace": "n"}, "spec": {"worker": {"spec": {"containers": []}}}})
    }

    async fn check(dry_run: &DryRunClient, end: Instant, outcome: &mut AdmissionOutcome) {
        let requests = requests(DaskKind::WorkerGroup, &group(), None);
        add_results(&dry_run.send(requests, end).await, outcome);
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(8)
    }

    #[tokio::test]
    async fn a_template_is_sent_as_a_dry_run() {
        let (service, mut handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let server = tokio::spawn(async move {
            let (request, respond) = handle.next_request().await?;
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422, "reason": "Invalid", "message": "no",
                "details": {"causes": [{"field": "spec.containers", "message": "Required value"}]},
            });
            let body = Body::from(status.to_string().into_bytes());
            let response = http::Response::builder().status(422).body(body).ok()?;
            respond.send_response(response);
            Some(request.uri().to_string())
        });
        let mut outcome = AdmissionOutcome::default();
        let dry_run = DryRunClient::new(Client::new(service, "default"));
        check(&dry_run, later(), &mut outcome).await;
        assert_eq!(
            server.await.ok().flatten().as_deref(),
            Some("/api/v1/namespaces/n/pods?&dryRun=All&fieldManager=dask-operator")
        );
        assert_eq!(outcome.refusal(), "spec.worker.spec.containers: Required value");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dry_run_times_out() {
        let (service, _handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let mut outcome = AdmissionOutcome::default();
        let dry_run = DryRunClient::new(Client::new(service, "default"));
        check(&dry_run, later(), &mut outcome).await;
        assert!(outcome.is_allowed());
        assert_eq!(
            outcome.notices(),
            [
                "spec.worker.spec: whether the API server takes it is not known yet: the API server has not answered within 2000 ms"
            ]
        );
        // The API server waits for the webhook only until the end that it named.
        let mut outcome = AdmissionOutcome::default();
        let end = Instant::now() + Duration::from_millis(600);
        check(&dry_run, end, &mut outcome).await;
        assert!(outcome.is_allowed() && Instant::now() <= end + Duration::from_millis(1));
    }

    /// Returns the seconds that the webhook waits for a dry run, and its warnings.
    async fn waits(dry_run: &DryRunClient) -> (u64, String) {
        let (start, mut outcome) = (Instant::now(), AdmissionOutcome::default());
        check(dry_run, later(), &mut outcome).await;
        assert!(outcome.is_allowed(), "the request is not refused for that");
        (start.elapsed().as_secs(), outcome.notices().join("; "))
    }

    #[tokio::test(start_paused = true)]
    async fn dry_runs_are_skipped_while_the_api_server_is_overloaded() {
        let (service, handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let dry_run = DryRunClient::new(Client::new(service, "default"));
        for request in 0..MAX_TIMEOUTS {
            assert_eq!(waits(&dry_run).await.0, 2, "request {request}");
        }
        for _ in 0..100 {
            let (seconds, warnings) = waits(&dry_run).await;
            assert_eq!(seconds, 0);
            assert!(warnings.ends_with(TOO_SLOW), "{warnings}");
        }
        // Then one request tries again, and the others don't wait for it.
        tokio::time::sleep(OPEN_TIME).await;
        let (tries, others) = tokio::join!(waits(&dry_run), waits(&dry_run));
        assert_eq!((tries.0, others.0), (2, 0));
        assert_eq!(waits(&dry_run).await.0, 0);

        // As soon as the API server responds in time, all dry runs are sent again.
        let answering = tokio::spawn(answer_everything(handle));
        tokio::time::sleep(OPEN_TIME).await;
        for _ in 0..3 {
            assert_eq!(waits(&dry_run).await, (0, String::new()));
        }
        answering.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn pending_dry_runs_take_bounded_memory() {
        let (service, _handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let dry_run = DryRunClient::new(Client::new(service, "default"));
        let mut large = group();
        large["spec"]["worker"]["spec"]["x"] = "x".repeat(ROOM).into();
        let mut outcome = AdmissionOutcome::default();
        let requests = requests(DaskKind::WorkerGroup, &large, None);
        add_results(&dry_run.send(requests, later()).await, &mut outcome);
        let warnings = outcome.notices().join("; ");
        assert!(outcome.is_allowed() && warnings.ends_with(TOO_MANY), "{warnings}");
        assert!(waits(&dry_run).await.1.contains("within 2000 ms"));
    }

    type Handle = tower_test::mock::Handle<http::Request<Body>, http::Response<Body>>;

    async fn answer_everything(mut handle: Handle) {
        while let Some((_, respond)) = handle.next_request().await {
            respond.send_response(http::Response::new(Body::from(b"{}".to_vec())));
        }
    }
}
