//! HTTP session with one registry for one image, with authentication and redirects.
//!
//! The registry is not trusted: the size of its responses is limited, credentials and tokens are sent only to the hosts
//! that they are for, and redirects are checked ([`RedirectGuard`]).

mod token;

use std::time::Duration;

use bytes::Bytes;
use dask_operator_core::text::{self, innermost};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use super::challenge::Challenge;
use super::redirect_guard::RedirectGuard;
use super::{Image, MAX_TEXT_BYTES, RegistryOptions};
use crate::{Credentials, SourceError};

/// Maximum number of redirects of a request.
const REDIRECTS: usize = 5;

/// Maximum size of an error response that is read, in bytes.
const ERROR_LIMIT: usize = 16 << 10;

/// Access to the image's repository that a session requests. Access to push includes access to pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Pull,
    Push,
}

/// Request to a registry.
#[derive(Clone, Debug)]
pub(super) struct Request {
    method: Method,
    url: Url,
    /// Accepted media types, for the header `Accept`.
    accept: Option<&'static str>,
    /// Body, and its media type.
    body: Option<(Bytes, &'static str)>,
}

impl Request {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            accept: None,
            body: None,
        }
    }

    /// Sets the accepted media types.
    pub(super) fn accept(mut self, types: &'static str) -> Self {
        self.accept = Some(types);
        self
    }

    /// Sets the body and its media type.
    pub(super) fn body(mut self, body: Bytes, content_type: &'static str) -> Self {
        self.body = Some((body, content_type));
        self
    }
}

/// Session with the registry of one image.
pub(super) struct Session<'a> {
    image: &'a Image,
    credentials: &'a Credentials,
    options: &'a RegistryOptions,
    access: Access,
    registry: Url,
    guard: RedirectGuard,
    /// Maximum time to wait for the next piece of a response.
    read_timeout: Duration,
    client: Client,
    /// Authorization header that answers the registry's challenge; `None` before the first challenge.
    authorization: Option<HeaderValue>,
}

impl<'a> Session<'a> {
    /// Creates a session. Does not send a request.
    pub(super) fn new(
        image: &'a Image,
        credentials: &'a Credentials,
        options: &'a RegistryOptions,
        access: Access,
    ) -> Result<Self, SourceError> {
        // Installing fails if a provider is already installed, which is always the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let scheme = if options.insecure { "http" } else { "https" };
        let host = image.reference().resolve_registry();
        let registry: Url = format!("{scheme}://{host}/")
            .parse()
            .map_err(|_| SourceError::Reference {
                image: image.to_string(),
                problem: format!("{host} is not a valid host"),
            })?;
        let failed = |error: reqwest::Error| SourceError::Registry {
            registry: image.registry().to_owned(),
            problem: innermost(&error),
        };
        let roots = options.roots.0.iter().map(|der| Certificate::from_der(der));
        let roots = roots.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let guard = RedirectGuard::new(registry.clone());
        // During the upload of a component, the registry sends nothing.
        let read_timeout = match access {
            Access::Pull => options.silence.min(options.deadline),
            Access::Push => options.deadline,
        };
        let client = Client::builder()
            .user_agent(concat!("dask-operator/", env!("CARGO_PKG_VERSION")))
            .tls_certs_merge(roots)
            .connect_timeout(super::CONNECT_TIMEOUT.min(options.deadline))
            .read_timeout(read_timeout)
            .redirect(Policy::none())
            .dns_resolver(guard.clone())
            .build()
            .map_err(failed)?;
        Ok(Self {
            image,
            credentials,
            options,
            access,
            registry,
            guard,
            read_timeout,
            client,
            authorization: None,
        })
    }

    /// Returns the URL of a resource of the image's repository, for example `manifests/1.0.0`.
    pub(super) fn url(&self, what: &str) -> Result<Url, SourceError> {
        let repository = self.image.reference().repository();
        let url = self.registry.join(&format!("/v2/{repository}/{what}"));
        url.map_err(|error| SourceError::Reference {
            image: self.image.to_string(),
            problem: error.to_string(),
        })
    }

    /// Sends a request, and authenticates if the registry requires it. The response may have an error status:
    /// [`Self::response_error`] converts it.
    pub(super) async fn execute(&mut self, request: &Request) -> Result<Response, SourceError> {
        let response = self.follow_redirects(request).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !self.guard.is_registry(response.url()) {
            return Ok(response);
        }
        let challenge = Challenge::from_headers(response.headers());
        let authorization = match challenge {
            Some(Challenge::Bearer { realm, service }) => Some(self.token(&realm, service.as_deref()).await?),
            Some(Challenge::Basic) => self.basic_authorization(),
            None => None,
        };
        if authorization.is_none() {
            return Ok(response);
        }
        self.authorization = authorization;
        self.follow_redirects(request).await
    }

    /// Sends a request and follows redirects, but only of the methods GET and HEAD.
    async fn follow_redirects(&self, request: &Request) -> Result<Response, SourceError> {
        let may_follow = request.method == Method::GET || request.method == Method::HEAD;
        let mut url = request.url.clone();
        for _ in 0..=REDIRECTS {
            let response = self.send(self.build(request, &url)).await?;
            match self.redirect_target(&response)? {
                Some(next) if may_follow => url = next,
                _ => return Ok(response),
            }
        }
        Err(self.redirect_error("there are too many redirects"))
    }

    /// Builds the HTTP request to this URL, with the authorization header if the URL is at the registry.
    fn build(&self, request: &Request, url: &Url) -> RequestBuilder {
        let mut builder = self.client.request(request.method.clone(), url.clone());
        if let Some(types) = request.accept {
            builder = builder.header(ACCEPT, types);
        }
        match &request.body {
            Some((body, content_type)) => {
                builder = builder.header(CONTENT_TYPE, *content_type).body(body.clone());
            }
            None if request.method == Method::POST || request.method == Method::PUT => {
                builder = builder.header(CONTENT_LENGTH, "0");
            }
            None => {}
        }
        if let Some(authorization) = self
            .authorization
            .as_ref()
            .filter(|_| self.guard.is_registry(url))
        {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        builder
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, SourceError> {
        request.send().await.map_err(|error| self.transport_error(&error))
    }

    /// Returns the target of a redirect, or `None` if the response is not a redirect.
    fn redirect_target(&self, response: &Response) -> Result<Option<Url>, SourceError> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        self.location(response).map(Some)
    }

    /// Returns the URL of a response's `Location` header. Returns an error if the registry may not redirect there.
    pub(super) fn location(&self, response: &Response) -> Result<Url, SourceError> {
        let location = response.headers().get(LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let url = location.and_then(|location| response.url().join(location).ok());
        let url = url.ok_or_else(|| self.redirect_error("there is no valid Location header"))?;
        self.guard
            .check(&url)
            .map_err(|reason| self.redirect_error(&reason))?;
        Ok(url)
    }

    /// Reads a body of at most `limit` bytes. Errors name the body `what`.
    pub(super) async fn read_body(
        &self,
        response: &mut Response,
        limit: usize,
        what: &str,
    ) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        self.read_pieces(response, limit, what, |piece| bytes.extend_from_slice(piece))
            .await?;
        Ok(bytes)
    }

    /// Reads a body of at most `limit` bytes piece by piece. Errors name the body `what`.
    pub(super) async fn read_pieces(
        &self,
        response: &mut Response,
        limit: usize,
        what: &str,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), SourceError> {
        let too_large = || SourceError::TooLarge {
            name: what.to_owned(),
            limit,
        };
        let announced = response.content_length().unwrap_or(0);
        if announced > limit as u64 {
            return Err(too_large());
        }
        let mut size = 0;
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| self.transport_error(&error))?
        {
            size += piece.len();
            if size > limit {
                return Err(too_large());
            }
            take(&piece);
        }
        Ok(())
    }

    /// Converts a response with an error status to an error.
    pub(super) async fn response_error(&self, mut response: Response) -> SourceError {
        let status = response.status();
        // The body of another host's response is not reported, because it is not the registry's.
        let reported = if self.guard.is_registry(response.url()) {
            reported(&mut response).await
        } else {
            Vec::new()
        };
        let has = |codes: &[&str]| reported.iter().any(|error| codes.contains(&&*error.code));
        if has(&["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN"]) {
            return self.not_found();
        }
        if has(&["UNAUTHORIZED", "DENIED"]) {
            return self.unauthorised();
        }
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.unauthorised(),
            StatusCode::NOT_FOUND => self.not_found(),
            status => match reported.first() {
                Some(Reported { code, message }) => {
                    self.registry_error(&format!("{status}, {code}: {message}"))
                }
                None => self.registry_error(&status.to_string()),
            },
        }
    }

    fn name(&self) -> String {
        self.image.registry().to_owned()
    }

    fn unauthorised(&self) -> SourceError {
        SourceError::Unauthorised {
            registry: self.name(),
            anonymous: *self.credentials == Credentials::Anonymous,
        }
    }

    fn not_found(&self) -> SourceError {
        SourceError::NotFound {
            image: self.image.to_string(),
        }
    }

    /// Returns an error about an unexpected response of the registry.
    pub(super) fn registry_error(&self, problem: &str) -> SourceError {
        SourceError::Registry {
            registry: self.name(),
            problem: text::line(problem, MAX_TEXT_BYTES),
        }
    }

    /// Returns an error about a redirect that is not followed.
    fn redirect_error(&self, problem: &str) -> SourceError {
        SourceError::Elsewhere {
            registry: self.name(),
            problem: text::line(problem, MAX_TEXT_BYTES),
        }
    }

    /// Converts an error of the HTTP client.
    fn transport_error(&self, error: &reqwest::Error) -> SourceError {
        let registry = self.name();
        let problem = innermost(error);
        let text = problem.to_lowercase();
        if text.contains("certificate") || text.contains("unknownissuer") {
            return SourceError::Tls { registry, problem };
        }
        if error.is_timeout() || text.contains("timed out") {
            let seconds = self.read_timeout.as_secs();
            return SourceError::Deadline { registry, seconds };
        }
        if error.is_builder() {
            return self.registry_error(&problem);
        }
        SourceError::Unreachable { registry, problem }
    }
}

/// Error in the format of the OCI distribution specification.
#[derive(Deserialize)]
struct Reported {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Reads the errors of a response. Returns an empty list if the body is too large, incomplete or not in the expected format.
async fn reported(response: &mut Response) -> Vec<Reported> {
    #[derive(Deserialize)]
    struct Envelope {
        errors: Vec<Reported>,
    }
    let mut bytes = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        if bytes.len() + piece.len() > ERROR_LIMIT {
            return Vec::new();
        }
        bytes.extend_from_slice(&piece);
    }
    serde_json::from_slice(&bytes).map_or_else(|_| Vec::new(), |envelope: Envelope| envelope.errors)
}
