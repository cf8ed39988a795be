//! What a registry wants before it answers, and what it gives for a name.

use http_auth::parser::ChallengeParser;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;

/// What a registry wants to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token, from a place that it names.
    Bearer {
        /// The place.
        realm: String,
        /// What to say there who wants it.
        service: Option<String>,
    },
    /// A name and a password.
    Basic,
}

impl Challenge {
    /// What an answer asks for, a token before a password.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
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

/// What is answered to somebody who asks for a token.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// The header that has the token of this answer; none where it has none, or one that no header can have.
pub(super) fn bearer(answer: &[u8]) -> Option<HeaderValue> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let token = answer
        .token
        .or(answer.access_token)
        .filter(|token| !token.is_empty())?;
    secret(&format!("Bearer {token}"))
}

/// A header that nobody shows; none where the text has characters that no header has.
pub(super) fn secret(text: &str) -> Option<HeaderValue> {
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
    fn what_is_asked_for(#[case] headers: &[&'static str], #[case] expected: Option<Challenge>) {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(WWW_AUTHENTICATE, HeaderValue::from_static(header));
        }
        assert_eq!(Challenge::of(&map), expected);
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
    fn tokens(#[case] answer: &str, #[case] expected: Option<&str>) {
        let header = bearer(answer.as_bytes());
        assert_eq!(header.as_ref().and_then(|header| header.to_str().ok()), expected);
        assert!(header.is_none_or(|header| header.is_sensitive()));
    }
}
