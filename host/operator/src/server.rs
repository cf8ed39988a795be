//! Health and metrics over HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::net::TcpListener;
use tracing::debug;

use crate::controller::Controller;

type Answer = Response<Full<Bytes>>;

/// Binds the address.
///
/// # Errors
///
/// When it can't be had.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves `/healthz`, `/readyz` and `/metrics` for ever.
pub async fn serve(listener: TcpListener, controller: Arc<Controller>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!("health and metrics: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let controller = controller.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: Request<_>| {
                let answer = answer(&controller, request.method(), request.uri().path());
                async { Ok::<_, Infallible>(answer) }
            });
            if let Err(error) = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
            {
                debug!("health and metrics: {error}");
            }
        });
    }
}

fn answer(controller: &Controller, method: &Method, path: &str) -> Answer {
    if method != Method::GET && method != Method::HEAD {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "only GET and HEAD\n".into(),
        );
    }
    match path {
        "/healthz" | "/livez" => state(&controller.stuck()),
        "/readyz" => state(&controller.missing()),
        "/metrics" => text(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            controller.metrics_text(),
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "text/plain",
            "there are /healthz, /readyz and /metrics\n".into(),
        ),
    }
}

/// The time, as the predecessor's probe answers, and what is wrong.
fn state(problems: &[String]) -> Answer {
    let mut body = json!({"now": Timestamp::now().to_string()});
    if problems.is_empty() {
        return text(StatusCode::OK, "application/json", body.to_string());
    }
    body["problems"] = problems.into();
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        "application/json",
        body.to_string(),
    )
}

fn text(code: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = code;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    answer
}
