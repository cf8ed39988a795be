//! Authorization headers of a session, and the check of the hosts that receive credentials.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dask_operator_core::text;
use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{StatusCode, Url};

use super::super::MAX_TEXT_BYTES;
use super::super::challenge::{bearer_header, sensitive_header};
use super::{Access, REDIRECTS, Session};
use crate::{Credentials, SourceError};

/// Maximum size of a token server's response, in bytes.
const TOKEN_LIMIT: usize = 64 << 10;

/// Registries whose token server is on another host, and that host.
const AUTH_HOSTS: [(&str, &str); 2] = [
    ("index.docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
];

impl Session<'_> {
    /// Gets a token from a token server on the registry's own host or on an allowed host, and returns the authorization
    /// header with it.
    pub(super) async fn token(&self, realm: &str, service: Option<&str>) -> Result<HeaderValue, SourceError> {
        let scope = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let scope = format!("repository:{}:{scope}", self.image.reference().repository());
        let mut url: Url = realm
            .parse()
            .map_err(|_| self.registry_error("the URL of its token server is not valid"))?;
        url.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        for _ in 0..=REDIRECTS {
            self.check_token_server(&url)?;
            let mut request = self.client.get(url.clone());
            if let Some(authorization) = self.basic_authorization() {
                request = request.header(AUTHORIZATION, authorization);
            }
            let mut response = self.send(request).await?;
            if let (true, Some(location)) = (
                response.status().is_redirection(),
                response.headers().get(LOCATION),
            ) {
                let next = location.to_str().ok().and_then(|next| url.join(next).ok());
                url = next.ok_or_else(|| self.redirect_error("there is no valid Location header"))?;
                continue;
            }
            let status = response.status();
            if status.is_client_error() {
                return Err(self.unauthorised());
            }
            if status != StatusCode::OK {
                return Err(self.registry_error(&format!("{status} to the request for a token")));
            }
            let body = self
                .read_body(
                    &mut response,
                    TOKEN_LIMIT,
                    "the response to the request for a token",
                )
                .await?;
            return bearer_header(&body)
                .ok_or_else(|| self.registry_error("the response contains no valid token"));
        }
        Err(self.redirect_error("there are too many redirects for a token"))
    }

    /// Checks that credentials may be sent to this URL.
    fn check_token_server(&self, url: &Url) -> Result<(), SourceError> {
        let (registry, host) = (self.registry.host_str(), url.host_str());
        let is_same = host.is_some() && host == registry;
        let is_safe = url.scheme() == "https" || (self.options.insecure && is_same && url.scheme() == "http");
        let is_known = AUTH_HOSTS
            .iter()
            .any(|(of_registry, known)| registry == Some(*of_registry) && host == Some(*known));
        let is_allowed =
            host.is_some_and(|host| self.options.auth_hosts.iter().any(|allowed| allowed == host));
        if is_safe && (is_same || is_known || is_allowed) {
            return Ok(());
        }
        Err(SourceError::AuthHost {
            registry: self.name(),
            host: format!(
                "{}://{}",
                url.scheme(),
                text::line(host.unwrap_or_default(), MAX_TEXT_BYTES)
            ),
        })
    }

    /// Returns the header for basic authentication, or `None` if there are no credentials.
    pub(super) fn basic_authorization(&self) -> Option<HeaderValue> {
        let Credentials::Basic { username, password } = self.credentials else {
            return None;
        };
        let encoded = STANDARD.encode(format!("{username}:{password}"));
        sensitive_header(&format!("Basic {encoded}"))
    }
}
