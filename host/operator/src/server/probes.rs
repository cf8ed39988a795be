//! Health and metrics.

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::{Answer, Seat, Service, answer};
use crate::controller::Controller;

/// Answers `/healthz`, `/readyz` and `/metrics`.
pub struct Probes {
    /// Who knows.
    pub controller: Arc<Controller>,
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
                self.controller.metrics_text(),
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
