//! Which kinds the API server serves, by its own word.
//!
//! A list that is refused with 403 or 404 says little: rights may not be known yet to an API server that has just
//! started, and a definition is missing for a moment while it is replaced. Only discovery says that there is no such kind.

use std::time::Duration;

use kube::Client;
use kube::core::Status;
use kube::runtime::watcher;

/// How long the API server may take to say it.
pub const LIMIT: Duration = Duration::from_secs(3);

/// Whether a kind is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// It is.
    Yes,
    /// It is not: discovery lists others, and not this one.
    No,
    /// The API server does not say, and why that is so.
    Unknown(String),
}

/// Asks whether the kind with this plural, `pods` or `daskplugins`, is served. Takes [`LIMIT`] at the most.
pub async fn served(client: &Client, api_version: &str, plural: &str) -> Served {
    match tokio::time::timeout(LIMIT, ask(client, api_version, plural)).await {
        Ok(Ok(true)) => Served::Yes,
        Ok(Ok(false)) => Served::No,
        Ok(Err(why)) => Served::Unknown(why),
        Err(_) => Served::Unknown(format!("discovery did not answer within {} s", LIMIT.as_secs())),
    }
}

async fn ask(client: &Client, api_version: &str, plural: &str) -> Result<bool, String> {
    let is_group = api_version.contains('/');
    let listed = if is_group {
        client.list_api_group_resources(api_version).await
    } else {
        client.list_core_api_resources(api_version).await
    };
    match listed {
        Ok(listed) => Ok(listed.resources.iter().any(|resource| resource.name == plural)),
        // That too is only a refusal; the list of all groups is an answer.
        Err(kube::Error::Api(status)) if status.code == 404 && is_group => {
            let groups = client
                .list_api_groups()
                .await
                .map_err(|error| error.to_string())?;
            let mut versions = groups.groups.iter().flat_map(|group| &group.versions);
            if versions.any(|version| version.group_version == api_version) {
                return Err(format!(
                    "discovery lists {api_version}, and answers 404 for its kinds"
                ));
            }
            Ok(false)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The API server's answer to a list or watch where there is no such kind, or it may not be seen.
#[must_use]
pub fn refusal(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            matches!(status.code, 403 | 404).then_some(&**status)
        }
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use kube::client::Body;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    /// What discovery answers.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Answers {
        /// The group is there, with these plurals.
        Kinds(&'static [&'static str]),
        /// Other groups are there.
        NoGroup,
        /// The group is listed, and its kinds are not.
        NoKinds,
        /// Everything is refused with this code.
        Error(u16),
        /// Nothing.
        Silence,
    }

    /// The refusal with a code.
    pub(crate) fn refused(code: u16) -> (u16, Value) {
        let reason = match code {
            403 => "Forbidden",
            404 => "NotFound",
            _ => "InternalError",
        };
        (
            code,
            json!({"status": "Failure", "code": code, "reason": reason, "message": "user x cannot list"}),
        )
    }

    impl Answers {
        /// The answer to a request of discovery about `api_version`; none where it stays silent.
        pub(crate) fn to(self, path: &str, api_version: &str) -> Option<(u16, Value)> {
            let groups = |versions: &[&str]| {
                let versions: Vec<_> = versions
                    .iter()
                    .map(|version| json!({"groupVersion": version, "version": "v1"}))
                    .collect();
                let group = json!({"name": "g", "versions": versions});
                (
                    200,
                    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}),
                )
            };
            let all = path.trim_end_matches(['/', '?']) == "/apis";
            match self {
                Self::Kinds(plurals) => {
                    let resource = |name: &&str| json!({"name": name, "kind": "K", "namespaced": true, "singularName": "", "verbs": []});
                    let resources: Vec<_> = plurals.iter().map(resource).collect();
                    Some((200, json!({"groupVersion": api_version, "resources": resources})))
                }
                Self::NoGroup if all => Some(groups(&["apps/v1"])),
                Self::NoKinds if all => Some(groups(&["apps/v1", api_version])),
                Self::NoGroup | Self::NoKinds => Some(refused(404)),
                Self::Error(code) => Some(refused(code)),
                Self::Silence => None,
            }
        }
    }

    #[rstest]
    #[case::served(Answers::Kinds(&["certificates"]), Served::Yes)]
    #[case::group_without_it(Answers::Kinds(&["issuers"]), Served::No)]
    #[case::no_group(Answers::NoGroup, Served::No)]
    #[case::contradiction(
        Answers::NoKinds,
        Served::Unknown("discovery lists cert-manager.io/v1, and answers 404 for its kinds".to_owned())
    )]
    #[case::silence(
        Answers::Silence,
        Served::Unknown("discovery did not answer within 3 s".to_owned())
    )]
    #[tokio::test(start_paused = true)]
    async fn only_an_answer_says_that_there_is_none(#[case] answers: Answers, #[case] expected: Served) {
        let found = served(
            &server(answers, "cert-manager.io/v1"),
            "cert-manager.io/v1",
            "certificates",
        )
        .await;
        assert_eq!(found, expected);
    }

    #[rstest]
    #[case(404)]
    #[case(403)]
    #[case(503)]
    #[tokio::test(start_paused = true)]
    async fn a_refusal_of_discovery_says_nothing(#[case] code: u16) {
        let server = server(Answers::Error(code), "cert-manager.io/v1");
        for (api_version, plural) in [("cert-manager.io/v1", "certificates"), ("v1", "pods")] {
            let found = served(&server, api_version, plural).await;
            assert!(matches!(found, Served::Unknown(_)), "{found:?}");
        }
    }

    /// An API server whose discovery answers so about this group and version.
    pub(crate) fn server(answers: Answers, api_version: &'static str) -> Client {
        let answer = move |request: Request<Body>| {
            let found = answers.to(request.uri().path(), api_version);
            async move {
                let (code, body) = match found {
                    Some(found) => found,
                    None => std::future::pending().await,
                };
                let mut response = Response::new(Body::from(body.to_string().into_bytes()));
                *response.status_mut() = code.try_into().unwrap_or_default();
                Ok::<_, Infallible>(response)
            }
        };
        Client::new(tower::service_fn(answer), "default")
    }
}
