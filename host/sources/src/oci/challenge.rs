//! Authentication challenges of a registry, and the headers that answer them.

use http_auth::parser::ChallengeParser;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;

/// Authentication that a registry requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token from a token server.
    Bearer {
        /// URL of the token server.
        realm: String,
        /// Service for which the token is requested, if the challenge names one.
        service: Option<String>,
    },
    /// A user name and a password.
    Basic,
}

impl Challenge {
    /// Returns the challenge of a response, or `None` if it has none that is supported. A token is preferred over a password.
    pub(super) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let challenges = ChallengeParser::new(value.to_str().unwrap_or_default());
            for challenge in challenges.map_while(Result::ok) {
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
                let param = |name: &str| {
                    let mut params = challenge.params.iter();
                    let found = params.find(|(param, _)| param.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = param("realm")
                {
                    let service = param("service");
                    return Some(Self::Bearer { realm, service });
                }
            }
        }
        basic
    }
}

/// Response of a token server.
#[derive(Deserialize)]
struct TokenResponse {
    token: Option<String>,
    access_token: Option<String>,
}

/// Returns the authorization header for the token of a token server's response. Returns `None` if the response has no
/// token, or one with characters that are invalid in a header.
pub(super) fn bearer_header(response: &[u8]) -> Option<HeaderValue> {
    let response: TokenResponse = serde_json::from_slice(response).ok()?;
    let token = response
        .token
        .or(response.access_token)
        .filter(|token| !token.is_empty())?;
    sensitive_header(&format!("Bearer {token}"))
}

/// Returns a header value that is hidden in debug output. Returns `None` if the text has characters that are invalid in a
/// header.
pub(super) fn sensitive_header(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&["Basic realm=\"tests\""], Some(Challenge::Basic))]
    #[case(
        &["Basic realm=\"tests\"", "bearer realm=\"https://a.example/token\",service=\"a \\\"b\\\"\",scope=\"x\""],
        Some(Challenge::Bearer { realm: "https://a.example/token".into(), service: Some("a \"b\"".into()) })
    )]
    #[case(&["Bearer service=\"a\""], None)]
    #[case(&["Negotiate, Basic realm=\"x\""], Some(Challenge::Basic))]
    #[case(&["=\"", ""], None)]
    #[case(&[], None)]
    fn parses_challenges(#[case] headers: &[&'static str], #[case] expected: Option<Challenge>) {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(WWW_AUTHENTICATE, HeaderValue::from_static(header));
        }
        assert_eq!(Challenge::from_headers(&map), expected);
    }

    #[rstest]
    #[case(r#"{"token": "abc", "expires_in": 300}"#, Some("Bearer abc"))]
    #[case(r#"{"access_token": "abc"}"#, Some("Bearer abc"))]
    #[case(r#"{"token": "a\nb"}"#, None)]
    #[case(r#"{"token": "a\u0000b"}"#, None)]
    #[case(r#"{"token": ""}"#, None)]
    #[case(r#"{"token": 1}"#, None)]
    #[case("{}", None)]
    #[case("", None)]
    fn parses_tokens(#[case] response: &str, #[case] expected: Option<&str>) {
        let header = bearer_header(response.as_bytes());
        assert_eq!(header.as_ref().and_then(|header| header.to_str().ok()), expected);
        assert!(header.is_none_or(|header| header.is_sensitive()));
    }
}
