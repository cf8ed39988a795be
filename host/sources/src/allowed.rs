//! Allow-list of sources.

use std::fmt;
use std::str::FromStr;

use crate::SourceError;
use crate::oci::Image;

/// Source of a component, as an allow-list distinguishes it.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Image in a registry.
    Image(&'a Image),
    /// File.
    File,
    /// ConfigMap.
    ConfigMap,
}

/// Entry of an allow-list: `configmap`, `file`, the repository of an image, or the beginning
/// of a repository and `*`. `*` alone allows all sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Returns whether the pattern allows this source.
    #[must_use]
    pub fn allows(&self, source: Source<'_>) -> bool {
        if self.0 == "*" {
            return true;
        }
        match source {
            Source::File => self.0 == "file",
            Source::ConfigMap => self.0 == "configmap",
            Source::Image(image) => {
                let repository = image.repository();
                match self.0.strip_suffix('*') {
                    Some(start) => repository.starts_with(start),
                    None => repository == self.0,
                }
            }
        }
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let body = text.strip_suffix('*').unwrap_or(text);
        let usage = "write configmap, file, an image's repository as ghcr.io/acme/policy, the beginning of one \
                     and * as ghcr.io/acme/*, or * for everything";
        if text.is_empty() || body.contains('*') || body.contains("://") || body.contains('@') {
            return Err(usage.to_owned());
        }
        // `ghcr.io*` would also allow ghcr.io.example.com.
        if body != text && !body.is_empty() && !body.contains('/') {
            return Err(format!(
                "{text} ends in the middle of a registry's name: write {body}/*"
            ));
        }
        if body == text && !matches!(text, "configmap" | "file") && !text.contains('/') {
            return Err(usage.to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks that one of the patterns allows the source.
///
/// # Errors
///
/// Returns an error if no pattern allows it.
pub fn check(patterns: &[Pattern], source: Source<'_>) -> Result<(), SourceError> {
    if patterns.iter().any(|pattern| pattern.allows(source)) {
        return Ok(());
    }
    Err(SourceError::NotAllowed {
        name: match source {
            Source::Image(image) => image.repository(),
            Source::File => "a file".to_owned(),
            Source::ConfigMap => "a ConfigMap".to_owned(),
        },
        allowed: patterns.iter().map(ToString::to_string).collect(),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn image(text: &str) -> Image {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[rstest]
    #[case("*", "ghcr.io/acme/policy:1", true)]
    #[case("ghcr.io/acme/*", "ghcr.io/acme/policy:1", true)]
    #[case(
        "ghcr.io/acme/*",
        "ghcr.io/acme/deep/policy@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        true
    )]
    #[case("ghcr.io/acme/*", "ghcr.io/acme-evil/policy", false)]
    #[case("ghcr.io/acme/policy", "ghcr.io/acme/policy:2", true)]
    #[case("ghcr.io/acme/policy", "ghcr.io/acme/policy2", false)]
    #[case("configmap", "ghcr.io/acme/policy", false)]
    #[case("docker.io/library/*", "policy", true)]
    fn matches_images(#[case] pattern: &str, #[case] name: &str, #[case] expected: bool) {
        let pattern: Pattern = pattern.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(pattern.allows(Source::Image(&image(name))), expected);
    }

    #[rstest]
    #[case("")]
    #[case("ghcr.io")]
    #[case("ghcr.io*")]
    #[case("*/policy")]
    #[case("https://ghcr.io/acme/*")]
    #[case("ghcr.io/acme/policy@sha256:1")]
    fn rejects_invalid_patterns(#[case] text: &str) {
        assert!(text.parse::<Pattern>().is_err());
    }

    #[test]
    fn the_message_lists_the_allowed_sources() {
        let patterns = ["configmap", "ghcr.io/acme/*"]
            .map(|text| text.parse().unwrap_or_else(|error| panic!("{error}")));
        assert!(check(&patterns, Source::ConfigMap).is_ok());
        let error =
            check(&patterns, Source::Image(&image("quay.io/x/y:1"))).map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err("quay.io/x/y is not allowed as a source of plugins here; allowed are configmap, ghcr.io/acme/*".into())
        );
        let error = check(&[], Source::File).map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err("a file is not allowed as a source of plugins here; allowed is none".into())
        );
    }
}
