//! Requests to one registry about one image, and who asks.
//!
//! Nothing that a registry says is trusted: what it sends is bounded, credentials and tokens go to whom they are for, and where
//! it sends to is looked at ([`Places`]).

mod token;

use std::time::Duration;

use bytes::Bytes;
use dask_operator_core::text::{self, innermost};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use super::challenge::Challenge;
use super::places::Places;
use super::{Image, Options, WORDS};
use crate::{Credentials, SourceError};

/// How often a request is sent elsewhere at most.
const REDIRECTS: usize = 5;

/// The most bytes that are read of an error.
const ERROR_LIMIT: usize = 16 << 10;

/// What is asked for: to read, or to write too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Pull,
    Push,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    method: Method,
    url: Url,
    accept: Option<&'static str>,
    /// A body, and its type.
    body: Option<(Bytes, &'static str)>,
}

impl Ask {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            accept: None,
            body: None,
        }
    }

    /// What is understood.
    pub(super) fn accept(mut self, types: &'static str) -> Self {
        self.accept = Some(types);
        self
    }

    /// With a body.
    pub(super) fn body(mut self, body: Bytes, content_type: &'static str) -> Self {
        self.body = Some((body, content_type));
        self
    }
}

/// Speaks to the registry of one image.
pub(super) struct Session<'a> {
    image: &'a Image,
    credentials: &'a Credentials,
    options: &'a Options,
    access: Access,
    registry: Url,
    places: Places,
    /// How long an answer is waited for.
    silence: Duration,
    client: Client,
    /// What the registry has asked for.
    authorization: Option<HeaderValue>,
}

impl<'a> Session<'a> {
    /// Begins; nothing is sent yet.
    pub(super) fn new(
        image: &'a Image,
        credentials: &'a Credentials,
        options: &'a Options,
        access: Access,
    ) -> Result<Self, SourceError> {
        // The first one that is installed counts; they are all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let scheme = if options.insecure { "http" } else { "https" };
        let host = image.reference().resolve_registry();
        let registry: Url = format!("{scheme}://{host}/")
            .parse()
            .map_err(|_| SourceError::Reference {
                image: image.to_string(),
                problem: format!("{host} is no host"),
            })?;
        let failed = |error: reqwest::Error| SourceError::Registry {
            registry: image.registry().to_owned(),
            problem: innermost(&error),
        };
        let roots = options.roots.0.iter().map(|der| Certificate::from_der(der));
        let roots = roots.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let places = Places::of(registry.clone());
        // While a component is pushed, the registry has nothing to say.
        let silence = match access {
            Access::Pull => options.silence.min(options.deadline),
            Access::Push => options.deadline,
        };
        let client = Client::builder()
            .user_agent(concat!("dask-operator/", env!("CARGO_PKG_VERSION")))
            .tls_certs_merge(roots)
            .connect_timeout(super::CONNECT.min(options.deadline))
            .read_timeout(silence)
            .redirect(Policy::none())
            .dns_resolver(places.clone())
            .build()
            .map_err(failed)?;
        Ok(Self {
            image,
            credentials,
            options,
            access,
            registry,
            places,
            silence,
            client,
            authorization: None,
        })
    }

    /// The URL of something of the image's repository: `manifests/1.0.0` for instance.
    pub(super) fn url(&self, what: &str) -> Result<Url, SourceError> {
        let repository = self.image.reference().repository();
        let url = self.registry.join(&format!("/v2/{repository}/{what}"));
        url.map_err(|error| SourceError::Reference {
            image: self.image.to_string(),
            problem: error.to_string(),
        })
    }

    /// Asks, and says who asks if the registry wants to know. The answer may be an error: [`Self::refused`] says which.
    pub(super) async fn ask(&mut self, ask: &Ask) -> Result<Response, SourceError> {
        let response = self.follow(ask).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !self.places.is_registry(response.url()) {
            return Ok(response);
        }
        let wants = Challenge::of(response.headers());
        let authorization = match wants {
            Some(Challenge::Bearer { realm, service }) => Some(self.token(&realm, service.as_deref()).await?),
            Some(Challenge::Basic) => self.password(),
            None => None,
        };
        if authorization.is_none() {
            return Ok(response);
        }
        self.authorization = authorization;
        self.follow(ask).await
    }

    /// Asks, and then where the registry sends to. What has a body stays where it was sent.
    async fn follow(&self, ask: &Ask) -> Result<Response, SourceError> {
        let may_follow = ask.method == Method::GET || ask.method == Method::HEAD;
        let mut url = ask.url.clone();
        for _ in 0..=REDIRECTS {
            let response = self.send(self.request(ask, &url)).await?;
            match self.sent_to(&response)? {
                Some(next) if may_follow => url = next,
                _ => return Ok(response),
            }
        }
        Err(self.elsewhere("it sends from one place to the next"))
    }

    fn request(&self, ask: &Ask, url: &Url) -> RequestBuilder {
        let mut request = self.client.request(ask.method.clone(), url.clone());
        if let Some(types) = ask.accept {
            request = request.header(ACCEPT, types);
        }
        match &ask.body {
            Some((body, content_type)) => {
                request = request.header(CONTENT_TYPE, *content_type).body(body.clone());
            }
            None if ask.method == Method::POST || ask.method == Method::PUT => {
                request = request.header(CONTENT_LENGTH, "0");
            }
            None => {}
        }
        if let Some(authorization) = self
            .authorization
            .as_ref()
            .filter(|_| self.places.is_registry(url))
        {
            request = request.header(AUTHORIZATION, authorization);
        }
        request
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, SourceError> {
        request.send().await.map_err(|error| self.failed(&error))
    }

    /// Where an answer sends to, if it does.
    fn sent_to(&self, response: &Response) -> Result<Option<Url>, SourceError> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        self.location(response).map(Some)
    }

    /// The place that an answer names, if the registry may send there.
    pub(super) fn location(&self, response: &Response) -> Result<Url, SourceError> {
        let location = response.headers().get(LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let url = location.and_then(|location| response.url().join(location).ok());
        let url = url.ok_or_else(|| self.elsewhere("it names no place"))?;
        self.places.check(&url).map_err(|why| self.elsewhere(&why))?;
        Ok(url)
    }

    /// Reads a body, which has at most `limit` bytes. `what` it is, for the error.
    pub(super) async fn body(
        &self,
        response: &mut Response,
        limit: usize,
        what: &str,
    ) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        self.pieces(response, limit, what, |piece| bytes.extend_from_slice(piece))
            .await?;
        Ok(bytes)
    }

    /// Reads a body piece by piece, `limit` bytes at most.
    pub(super) async fn pieces(
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
        while let Some(piece) = response.chunk().await.map_err(|error| self.failed(&error))? {
            size += piece.len();
            if size > limit {
                return Err(too_large());
            }
            take(&piece);
        }
        Ok(())
    }

    /// What an answer means that is none of success.
    pub(super) async fn refused(&self, mut response: Response) -> SourceError {
        let status = response.status();
        // Of what others answer, nothing is told: it is none of the registry's.
        let reported = if self.places.is_registry(response.url()) {
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
                Some(Reported { code, message }) => self.wrong(&format!("{status}, {code}: {message}")),
                None => self.wrong(&status.to_string()),
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

    /// The registry does what none does.
    pub(super) fn wrong(&self, problem: &str) -> SourceError {
        SourceError::Registry {
            registry: self.name(),
            problem: text::line(problem, WORDS),
        }
    }

    fn elsewhere(&self, problem: &str) -> SourceError {
        SourceError::Elsewhere {
            registry: self.name(),
            problem: text::line(problem, WORDS),
        }
    }

    /// What it means that there is no answer.
    fn failed(&self, error: &reqwest::Error) -> SourceError {
        let registry = self.name();
        let problem = innermost(error);
        let text = problem.to_lowercase();
        if text.contains("certificate") || text.contains("unknownissuer") {
            return SourceError::Tls { registry, problem };
        }
        if error.is_timeout() || text.contains("timed out") {
            let seconds = self.silence.as_secs();
            return SourceError::Deadline { registry, seconds };
        }
        if error.is_builder() {
            return self.wrong(&problem);
        }
        SourceError::Unreachable { registry, problem }
    }
}

/// An error, as registries report them.
#[derive(Deserialize)]
struct Reported {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What is wrong in the registry's own words, as far as they are short.
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
