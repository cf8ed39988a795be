//! Registry credentials from Docker's configuration: the file `config.json`, and secrets of
//! the type `kubernetes.io/dockerconfigjson`.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::SourceError;
use crate::oci::Image;

/// Credentials for a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// No credentials.
    #[default]
    Anonymous,
    /// User name, and a password or token.
    Basic {
        /// The user name.
        username: String,
        /// The password or token.
        password: String,
    },
}

/// Formats the credentials without the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { username, .. } => write!(f, "Basic({username})"),
        }
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl Credentials {
    /// Finds the credentials for an image in Docker's configuration, a JSON text. Returns
    /// `None` if it has none for the image's registry.
    ///
    /// # Errors
    ///
    /// Returns an error if the configuration or the credentials can't be parsed.
    pub fn from_docker_config(config: &str, image: &Image) -> Result<Option<Self>, SourceError> {
        let invalid = |problem: &str| SourceError::Credentials(problem.to_owned());
        let config: DockerConfig = serde_json::from_str(config)
            .map_err(|_| invalid("this is not Docker's configuration, {\"auths\": {\"REGISTRY\": {…}}}"))?;
        let repository = image.repository();
        let best = config
            .auths
            .iter()
            .map(|(key, entry)| (normalized(key), entry))
            .filter(|(prefix, _)| is_below(&repository, prefix))
            .max_by_key(|(prefix, _)| prefix.len());
        let Some((_, entry)) = best else {
            return Ok(None);
        };
        if let (Some(username), Some(password)) = (&entry.username, &entry.password) {
            return Ok(Some(Self::Basic {
                username: username.clone(),
                password: password.clone(),
            }));
        }
        let Some(auth) = entry.auth.as_deref().filter(|auth| !auth.is_empty()) else {
            return Ok(None);
        };
        let decoded = STANDARD
            .decode(auth.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or_else(|| invalid("`auth` is not name:password in base64"))?;
        let (username, password) = decoded
            .split_once(':')
            .ok_or_else(|| invalid("`auth` is not name:password in base64"))?;
        Ok(Some(Self::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        }))
    }
}

/// Normalises a key of Docker's configuration to a registry, optionally with the beginning of a repository, as in names of
/// images.
fn normalized(key: &str) -> String {
    let prefix = key.trim_start_matches("https://").trim_start_matches("http://");
    let prefix = prefix
        .trim_end_matches('/')
        .trim_end_matches("/v1")
        .trim_end_matches("/v2");
    match prefix {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        prefix => prefix.to_owned(),
    }
}

/// Returns whether a repository begins with all path segments of this prefix.
fn is_below(repository: &str, prefix: &str) -> bool {
    repository
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const CONFIG: &str = r#"{"auths": {
        "https://index.docker.io/v1/": {"auth": "aHViOnA6cQ=="},
        "registry.example.com:5000": {"username": "all", "password": "x"},
        "registry.example.com:5000/team": {"username": "team", "password": "y"},
        "other.example.com": {"auth": "%%%"},
        "helper.example.com": {}
    }}"#;

    fn find(name: &str) -> Result<Option<String>, String> {
        let image = name.parse().unwrap_or_else(|error| panic!("{error}"));
        let found = Credentials::from_docker_config(CONFIG, &image);
        let shown = found.map(|found| match found {
            Some(Credentials::Basic { username, password }) => Some(format!("{username} {password}")),
            _ => None,
        });
        shown.map_err(|error| error.to_string())
    }

    #[rstest]
    #[case("policy:1", Some("hub p:q"))]
    #[case("registry.example.com:5000/a/b:1", Some("all x"))]
    #[case("registry.example.com:5000/team/b:1", Some("team y"))]
    #[case("registry.example.com:5000/teams/b:1", Some("all x"))]
    #[case("registry.example.com/a/b:1", None)]
    #[case("helper.example.com/a/b:1", None)]
    fn the_longest_prefix_applies(#[case] image: &str, #[case] expected: Option<&str>) {
        assert_eq!(find(image), Ok(expected.map(str::to_owned)));
    }

    #[test]
    fn messages_contain_no_secrets() {
        let error = find("other.example.com/a/b:1");
        assert_eq!(
            error,
            Err("these credentials can't be used: `auth` is not name:password in base64".into())
        );
        let shown = format!(
            "{:?}",
            Credentials::Basic {
                username: "a".into(),
                password: "secret".into()
            }
        );
        assert!(!shown.contains("secret"));
    }
}
