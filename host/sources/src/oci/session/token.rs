//! What a session proves itself with, and whom it gives that to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dask_operator_core::text;
use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{StatusCode, Url};

use super::super::WORDS;
use super::super::challenge::{bearer, secret};
use super::{Access, REDIRECTS, Session};
use crate::{Credentials, SourceError};

/// The most bytes of what is answered to who asks for a token.
const TOKEN_LIMIT: usize = 64 << 10;

/// Registries whose tokens are to be had at another host of theirs.
const AUTH_HOSTS: [(&str, &str); 2] = [
    ("index.docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
];

impl Session<'_> {
    /// Gets a token: from the registry's own host, or from one that is allowed.
    pub(super) async fn token(&self, realm: &str, service: Option<&str>) -> Result<HeaderValue, SourceError> {
        let scope = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let scope = format!("repository:{}:{scope}", self.image.reference().repository());
        let mut url: Url = realm
            .parse()
            .map_err(|_| self.wrong("it sends for a token to what is no URL"))?;
        url.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        for _ in 0..=REDIRECTS {
            self.check_realm(&url)?;
            let mut request = self.client.get(url.clone());
            if let Some(password) = self.password() {
                request = request.header(AUTHORIZATION, password);
            }
            let mut response = self.send(request).await?;
            if let (true, Some(location)) = (
                response.status().is_redirection(),
                response.headers().get(LOCATION),
            ) {
                let next = location.to_str().ok().and_then(|next| url.join(next).ok());
                url = next.ok_or_else(|| self.elsewhere("it names no place"))?;
                continue;
            }
            let status = response.status();
            if status.is_client_error() {
                return Err(self.unauthorised());
            }
            if status != StatusCode::OK {
                return Err(self.wrong(&format!("{status} to who asked for a token")));
            }
            let answer = self
                .body(&mut response, TOKEN_LIMIT, "the answer to who asked for a token")
                .await?;
            return bearer(&answer).ok_or_else(|| self.wrong("what it gives as a token is none"));
        }
        Err(self.elsewhere("it sends from one place to the next for a token"))
    }

    /// Makes sure that credentials may be sent to this place.
    fn check_realm(&self, url: &Url) -> Result<(), SourceError> {
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
                text::line(host.unwrap_or_default(), WORDS)
            ),
        })
    }

    /// Name and password, where there are any.
    pub(super) fn password(&self) -> Option<HeaderValue> {
        let Credentials::Basic { username, password } = self.credentials else {
            return None;
        };
        let encoded = STANDARD.encode(format!("{username}:{password}"));
        secret(&format!("Basic {encoded}"))
    }
}
