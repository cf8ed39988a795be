//! The baseline: a server with the same libraries that reads a request and sends a fixed answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::body::Step;
use super::certificate;

/// Number of threads, the same as the operator has for requests.
pub(crate) const THREADS: usize = 4;

/// Arguments of the server, which answers all requests with fixed texts over TLS.
#[derive(Args, Clone)]
pub(crate) struct Bare {
    /// Address to listen on.
    #[arg(long)]
    address: SocketAddr,
    /// Folder with `tls.crt`, `tls.key`, and the answers `mutate.json` and `validate.json`.
    #[arg(long)]
    folder: PathBuf,
}

impl Bare {
    /// Serves requests until the process is killed.
    pub(crate) async fn serve(self) -> Result<()> {
        let acceptor = certificate::acceptor(&self.folder)?;
        let answer = |step: Step| -> Result<Bytes> {
            let file = self.folder.join(step.name()).with_extension("json");
            let text = std::fs::read(&file).with_context(|| format!("{}", file.display()))?;
            Ok(Bytes::from(text))
        };
        let answers = [answer(Step::Mutate)?, answer(Step::Validate)?];
        let listener = TcpListener::bind(self.address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let (acceptor, answers) = (acceptor.clone(), answers.clone());
            tokio::spawn(async move {
                // The client reports a failed connection.
                let _ = connection(stream, &acceptor, &answers).await;
            });
        }
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: &tokio_rustls::TlsAcceptor,
    answers: &[Bytes; 2],
) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(request, answers).await));
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

async fn answer(request: Request<Incoming>, [mutate, validate]: &[Bytes; 2]) -> Response<Full<Bytes>> {
    let body = match request.uri().path() {
        "/mutate" => mutate.clone(),
        _ => validate.clone(),
    };
    let mut answer = Response::new(Full::new(body));
    if request.into_body().collect().await.is_err() {
        *answer.status_mut() = StatusCode::BAD_REQUEST;
    }
    let json = header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}
