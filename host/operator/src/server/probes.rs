//! Health and metrics.

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::sync::Mutex;

use super::{Answer, Seat, Service, answer};
use crate::aside;
use crate::controller::Controller;
use crate::threads::Load;

/// Answers `/healthz`, `/readyz` and `/metrics`.
pub struct Probes {
    /// Who knows.
    controller: Arc<Controller>,
    /// Held while metrics are written down, which takes the longer the more there are.
    writes: Mutex<()>,
}

impl Probes {
    /// Asks `controller`.
    #[must_use]
    pub fn new(controller: Arc<Controller>) -> Self {
        Self {
            controller,
            writes: Mutex::default(),
        }
    }

    /// The metrics, on one thread however many want them.
    async fn metrics(&self) -> String {
        let _writes = self.writes.lock().await;
        let controller = self.controller.clone();
        aside::run(Load::Light, move || controller.metrics_text()).await
    }
}

impl Service for Probes {
    async fn answer(&self, request: Request<Incoming>, _: &Seat) -> Answer {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        }
        match request.uri().path() {
            "/healthz" | "/livez" => state(&self.controller.stuck()),
            "/readyz" => state(&self.controller.missing()),
            "/metrics" => answer(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                self.metrics().await,
            ),
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /healthz, /readyz and /metrics\n",
            ),
        }
    }
}

/// The time, as the predecessor's probe answers, and what is wrong.
fn state(problems: &[String]) -> Answer {
    let mut body = json!({"now": Timestamp::now().to_string()});
    if problems.is_empty() {
        return answer(StatusCode::OK, "application/json", body.to_string());
    }
    body["problems"] = problems.into();
    answer(
        StatusCode::SERVICE_UNAVAILABLE,
        "application/json",
        body.to_string(),
    )
}

fn text(code: StatusCode, sentence: &'static str) -> Answer {
    answer(code, "text/plain", sentence)
}
