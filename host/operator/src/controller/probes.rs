//! Health and metrics endpoints.

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::sync::Mutex;

use crate::controller::Controller;
use crate::metrics::Registry;
use crate::server::{ConnectionSlot, HttpResponse, Service, http_response};
use crate::threads::Weight;
use crate::threads::blocking;

/// Handler of `/healthz`, `/livez`, `/readyz` and `/metrics`.
pub(crate) struct Probes {
    /// Source of the health state.
    controller: Arc<Controller>,
    registry: Arc<Registry>,
    /// Locked while metrics are encoded, which takes longer the more there are.
    encoding: Mutex<()>,
}

impl Probes {
    /// Creates a handler that reports the state of `controller`, and the metrics in `registry`.
    #[must_use]
    pub(crate) fn new(controller: Arc<Controller>, registry: Registry) -> Self {
        Self {
            controller,
            registry: Arc::new(registry),
            encoding: Mutex::default(),
        }
    }

    /// Returns the metrics as text. Concurrent requests are encoded one after another, on one thread at a time.
    async fn metrics(&self) -> String {
        let _encoding = self.encoding.lock().await;
        let (controller, registry) = (self.controller.clone(), self.registry.clone());
        blocking::run(Weight::Light, move || {
            controller.update_metrics();
            registry.text()
        })
        .await
    }
}

impl Service for Probes {
    async fn respond(&self, request: Request<Incoming>, _: &ConnectionSlot) -> HttpResponse {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed\n");
        }
        match request.uri().path() {
            "/healthz" | "/livez" => state(&self.controller.stuck()),
            "/readyz" => state(&self.controller.missing()),
            "/metrics" => http_response(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                self.metrics().await,
            ),
            _ => text(
                StatusCode::NOT_FOUND,
                "not found: the endpoints are /healthz, /readyz and /metrics\n",
            ),
        }
    }
}

/// Returns the response of a health endpoint: the current time, as in the predecessor's probe, and the problems.
fn state(problems: &[String]) -> HttpResponse {
    let mut body = json!({"now": Timestamp::now().to_string()});
    if problems.is_empty() {
        return http_response(StatusCode::OK, "application/json", body.to_string());
    }
    body["problems"] = problems.into();
    http_response(
        StatusCode::SERVICE_UNAVAILABLE,
        "application/json",
        body.to_string(),
    )
}

fn text(code: StatusCode, message: &'static str) -> HttpResponse {
    http_response(code, "text/plain", message)
}
