//! Dry runs of templates by the API server, which knows best what it will refuse: [`super::templates`] says of what.

use std::time::Duration;

use dask_operator_core::names::FIELD_MANAGER;
use dask_operator_core::parent::DaskKind;
use dask_operator_render::admission::{Outcome, Said};
use futures::future::join_all;
use kube::Client;
use kube::api::PostParams;
use kube::core::request::{Error::BuildRequest, Request};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::templates::{self, Template};

/// How long the API server may take at most. What it has not said by then is not waited for: the resource is let through with a
/// warning.
const PATIENCE: Duration = Duration::from_secs(2);

/// Dry runs that are under way at once; others wait.
const AT_ONCE: usize = 16;

/// Sends templates to the API server, which stores none of them.
pub struct DryRun {
    client: Client,
    permits: Semaphore,
}

impl DryRun {
    /// Sends with `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            permits: Semaphore::new(AT_ONCE),
        }
    }

    /// Adds to `outcome` what the API server says, before `end`, of the templates of a resource that are not as in `old`.
    pub async fn check(
        &self,
        kind: DaskKind,
        object: &Value,
        old: Option<&Value>,
        end: Instant,
        outcome: &mut Outcome,
    ) {
        let templates = templates::changed(kind, object, old);
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let patience = end.saturating_duration_since(Instant::now()).min(PATIENCE);
        let answers = templates
            .iter()
            .map(|template| tokio::time::timeout(patience, self.send(namespace, template)));
        for (template, answer) in templates.iter().zip(join_all(answers).await) {
            let why = match answer {
                Ok(Ok(())) => continue,
                Ok(Err(kube::Error::Api(status))) => {
                    templates::refused(template, &status, outcome);
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!(
                    "the API server has not answered within {} ms",
                    patience.as_millis()
                ),
            };
            outcome
                .warnings
                .push(Said::new("", template.field, templates::untried(&why)));
        }
    }

    async fn send(&self, namespace: &str, template: &Template) -> Result<(), kube::Error> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let parameters = PostParams {
            dry_run: true,
            field_manager: Some(FIELD_MANAGER.to_owned()),
        };
        let body = serde_json::to_vec(&template.object).map_err(kube::Error::SerdeError)?;
        let mut request = Request::new(template.kind.path(namespace))
            .create(&parameters, body)
            .map_err(kube::Error::BuildRequest)?;
        if template.is_strict() {
            let uri = format!("{}&fieldValidation=Strict", request.uri());
            *request.uri_mut() = uri
                .parse()
                .map_err(|error: http::uri::InvalidUri| BuildRequest(error.into()))
                .map_err(kube::Error::BuildRequest)?;
        }
        self.client.request_text(request).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    fn group() -> Value {
        json!({"metadata": {"namespace": "n"}, "spec": {"worker": {"spec": {"containers": []}}}})
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(8)
    }

    #[tokio::test]
    async fn a_template_is_sent_and_nothing_is_stored() {
        let (service, mut handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let server = tokio::spawn(async move {
            let (request, respond) = handle.next_request().await?;
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422, "reason": "Invalid", "message": "no",
                "details": {"causes": [{"field": "spec.containers", "message": "Required value"}]},
            });
            let body = Body::from(status.to_string().into_bytes());
            let answer = http::Response::builder().status(422).body(body).ok()?;
            respond.send_response(answer);
            Some(request.uri().to_string())
        });
        let mut outcome = Outcome::default();
        let dry_run = DryRun::new(Client::new(service, "default"));
        dry_run
            .check(DaskKind::WorkerGroup, &group(), None, later(), &mut outcome)
            .await;
        assert_eq!(
            server.await.ok().flatten().as_deref(),
            Some("/api/v1/namespaces/n/pods?&dryRun=All&fieldManager=dask-operator")
        );
        assert_eq!(outcome.refusal(), "spec.worker.spec.containers: Required value");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_api_server_is_not_waited_for() {
        let (service, _handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let mut outcome = Outcome::default();
        let dry_run = DryRun::new(Client::new(service, "default"));
        dry_run
            .check(DaskKind::WorkerGroup, &group(), None, later(), &mut outcome)
            .await;
        assert!(outcome.is_allowed());
        assert_eq!(
            outcome.notices(),
            [
                "spec.worker.spec: whether the API server takes it is not known yet: the API server has not answered within 2000 ms"
            ]
        );
        // The API server waits for the webhook no longer than it said.
        let mut outcome = Outcome::default();
        let end = Instant::now() + Duration::from_millis(600);
        dry_run
            .check(DaskKind::WorkerGroup, &group(), None, end, &mut outcome)
            .await;
        assert!(outcome.is_allowed() && Instant::now() <= end + Duration::from_millis(1));
    }
}
