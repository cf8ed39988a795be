//! Connection to the API server. Counts all requests, and limits the time for their answers.
//!
//! * [`resource`]: API resources of kinds; [`discovery`]: whether the API server has them.
//! * [`object`]: objects with the fields that the operator searches by.
//! * [`writer`]: write requests; [`events`]: events; [`crds`]: the definitions of the Dask resources.
//! * [`watch`]: the loop of all watches.
//! * [`error`]: errors of write requests.

pub(crate) mod crds;
pub(crate) mod discovery;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod metrics;
pub(crate) mod object;
pub(crate) mod resource;
pub(crate) mod watch;
pub(crate) mod writer;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Response, header};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::{BoxError, Layer, Service};

use crate::client::metrics::{ApiMetrics, Request};
use crate::health::Health;
use crate::health::WATCH_SECONDS;

/// Time limit to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit for the start of an answer. The API server itself ends requests after one minute; a longer wait means
/// that the connection was lost without notice.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(65);

/// Longest pause within an answer. An idle watch receives a bookmark each minute, and ends after [`WATCH_SECONDS`].
const READ_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 60);

/// Connects to the cluster of a kubeconfig (`KUBECONFIG`, or the default file) or of the pod's service account.
/// `context` selects one of the contexts of the kubeconfig. Sends no request yet.
///
/// # Errors
///
/// Returns an error if there is no such configuration.
pub(crate) async fn connect(
    context: Option<&str>,
    metrics: ApiMetrics,
    health: Arc<Health>,
) -> anyhow::Result<Client> {
    let mut config = match context {
        Some(context) => {
            let options = KubeConfigOptions {
                context: Some(context.to_owned()),
                ..KubeConfigOptions::default()
            };
            Config::from_kubeconfig(&options)
                .await
                .with_context(|| format!("the kubeconfig's context {context}"))?
        }
        None if std::env::var_os("KUBECONFIG").is_some() => {
            // An invalid file must be reported, and not be replaced by a configuration from elsewhere.
            let kubeconfig = Kubeconfig::from_env().context("the file that KUBECONFIG names")?;
            let kubeconfig = kubeconfig.unwrap_or_default();
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .context("the file that KUBECONFIG names")?
        }
        None => Config::infer()
            .await
            .context("no cluster: set KUBECONFIG to a kubeconfig, or run in a pod with a service account")?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // Retries are decided in one place, by the cause of an error.
    config.default_retry = false;
    let client = ClientBuilder::try_from(config).context("the connection's settings")?;
    Ok(client.with_layer(&CountLayer { metrics, health }).build())
}

/// Layer that counts requests.
#[derive(Clone, Debug)]
pub(crate) struct CountLayer {
    /// Metrics of the requests.
    pub(crate) metrics: ApiMetrics,
    /// Health state, which is notified of the start of watches.
    pub(crate) health: Arc<Health>,
}

impl<S> Layer<S> for CountLayer {
    type Service = CountService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountService {
            inner,
            counted: self.clone(),
        }
    }
}

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub(crate) struct CountService<S> {
    inner: S,
    counted: CountLayer,
}

impl<S, B> Service<http::Request<Body>> for CountService<S>
where
    S: Service<http::Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (verb, namespace, resource) = describe(&request);
        if matches!(verb, "list" | "watch") {
            self.counted.health.watch_begins(&resource, namespace);
        }
        let metrics = self.counted.metrics.clone();
        let start = Instant::now();
        let answer = self.inner.call(request);
        async move {
            let answer = match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err(format!(
                    "the API server has not begun to answer within {} s",
                    ANSWER_TIMEOUT.as_secs()
                )
                .into()),
            };
            let code = answer.as_ref().map_or_else(
                |_| "none".to_owned(),
                |answer| answer.status().as_str().to_owned(),
            );
            metrics.requested(&Request { verb, resource, code }, start.elapsed());
            answer
        }
        .boxed()
    }
}

/// Returns verb, namespace and resource of a request, named as in the metrics of Kubernetes.
fn describe<B>(request: &http::Request<B>) -> (&'static str, Option<&str>, String) {
    let mut parts = request.uri().path().split('/').filter(|part| !part.is_empty());
    // /api/VERSION/… or /apis/GROUP/VERSION/…
    let skipped = match parts.next() {
        Some("api") => 1,
        Some("apis") => 2,
        other => return (verb(request, false), None, other.unwrap_or("/").to_owned()),
    };
    let mut parts = parts.skip(skipped).peekable();
    let mut resource = parts.next().unwrap_or_default();
    let mut namespace = None;
    if resource == "namespaces" && parts.clone().nth(1).is_some() {
        namespace = parts.next();
        resource = parts.next().unwrap_or_default();
    }
    let named = parts.next().is_some();
    let resource = match parts.next() {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => resource.to_owned(),
    };
    (verb(request, named), namespace, resource)
}

fn verb<B>(request: &http::Request<B>, named: bool) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    let content_type = request.headers().get(header::CONTENT_TYPE);
    match *request.method() {
        Method::GET if query.contains("watch=true") => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::DELETE => "delete",
        Method::PATCH if content_type.is_some_and(|type_| type_ == "application/apply-patch+yaml") => "apply",
        Method::PATCH => "patch",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::metrics::Registry;

    #[rstest]
    #[case("GET", "/api/v1/pods?watch=true&x=y", "watch", None, "pods")]
    #[case("GET", "/api/v1/pods?limit=500", "list", None, "pods")]
    #[case("GET", "/api/v1/namespaces/n/pods?watch=true", "watch", Some("n"), "pods")]
    #[case("GET", "/api/v1/namespaces/n/pods/p", "get", Some("n"), "pods")]
    #[case("GET", "/api/v1/namespaces/n", "get", None, "namespaces")]
    #[case("POST", "/api/v1/namespaces/n/pods?", "create", Some("n"), "pods")]
    #[case(
        "DELETE",
        "/apis/apps/v1/namespaces/n/deployments/d",
        "delete",
        Some("n"),
        "deployments"
    )]
    #[case(
        "PATCH",
        "/apis/kubernetes.dask.org/v1/namespaces/n/daskclusters/c/status",
        "patch",
        Some("n"),
        "daskclusters/status"
    )]
    #[case("GET", "/version", "list", None, "version")]
    fn requests_are_described_like_in_kubernetes_metrics(
        #[case] method: &str,
        #[case] uri: &str,
        #[case] verb: &str,
        #[case] namespace: Option<&str>,
        #[case] resource: &str,
    ) {
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .body(())
            .unwrap_or_default();
        assert_eq!(describe(&request), (verb, namespace, resource.to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_silent_server_is_limited() {
        let silent = tower::service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<Response<Body>, BoxError>>()
        });
        let counted = CountLayer {
            metrics: ApiMetrics::register(&mut Registry::default()),
            health: Arc::default(),
        };
        let request = http::Request::get("/api/v1/pods").body(Body::empty());
        let request = request.unwrap_or_else(|error| panic!("{error}"));
        let answer = tokio::time::timeout(Duration::from_secs(120), counted.layer(silent).call(request));
        let error = answer
            .await
            .ok()
            .and_then(Result::err)
            .map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("the API server has not begun to answer within 65 s")
        );
    }

    #[test]
    fn server_side_apply_is_distinguished_from_other_patches() {
        let request = http::Request::patch("/api/v1/namespaces/n/services/s?fieldManager=x")
            .header(header::CONTENT_TYPE, "application/apply-patch+yaml")
            .body(())
            .unwrap_or_default();
        assert_eq!(describe(&request), ("apply", Some("n"), "services".to_owned()));
    }
}
