//! Discovery of the kinds that the API server serves.
//!
//! The refusal of a list with 403 or 404 is not conclusive: an API server that has just started may not know the permissions
//! yet, and a definition is missing for a moment while it is replaced. Only discovery confirms that a kind does not
//! exist.

use std::time::Duration;

use kube::Client;
use kube::core::Status;
use kube::runtime::watcher;

/// Time limit for discovery.
pub(crate) const LIMIT: Duration = Duration::from_secs(3);

/// Result of the discovery of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// The kind is served.
    Yes,
    /// The kind is not served: discovery lists others, but not this one.
    No,
    /// Discovery failed, with the reason.
    Unknown(String),
}

/// Queries whether the kind with this plural, `pods` or `daskplugins`, is served. Takes [`LIMIT`] at most.
pub(crate) async fn served(client: &Client, api_version: &str, plural: &str) -> Served {
    match tokio::time::timeout(LIMIT, query(client, api_version, plural)).await {
        Ok(Ok(true)) => Served::Yes,
        Ok(Ok(false)) => Served::No,
        Ok(Err(why)) => Served::Unknown(why),
        Err(_) => Served::Unknown(format!("discovery did not answer within {} s", LIMIT.as_secs())),
    }
}

async fn query(client: &Client, api_version: &str, plural: &str) -> Result<bool, String> {
    let is_group = api_version.contains('/');
    let listed = if is_group {
        client.list_api_group_resources(api_version).await
    } else {
        client.list_core_api_resources(api_version).await
    };
    match listed {
        Ok(listed) => Ok(listed.resources.iter().any(|resource| resource.name == plural)),
        // This answer is not conclusive either, unlike the list of all groups.
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

/// Returns the API server's answer to a list or watch if it means that the kind does not exist or that the operator may
/// not see it.
#[must_use]
pub(crate) fn refusal(error: &watcher::Error) -> Option<&Status> {
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

    /// Answer of discovery in a test.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Answers {
        /// The group is served, with these plurals.
        Kinds(&'static [&'static str]),
        /// Only other groups are served.
        NoGroup,
        /// The group is listed, but its kinds are not.
        NoKinds,
        /// Every request is refused with this code.
        Error(u16),
        /// No request is answered.
        Silence,
    }

    /// Returns the refusal with a code.
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
        /// Returns the answer to a discovery request for `api_version`; `None` for no answer.
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
    async fn only_conclusive_answers_confirm_that_a_kind_is_missing(
        #[case] answers: Answers,
        #[case] expected: Served,
    ) {
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
    async fn a_refused_discovery_is_not_conclusive(#[case] code: u16) {
        let server = server(Answers::Error(code), "cert-manager.io/v1");
        for (api_version, plural) in [("cert-manager.io/v1", "certificates"), ("v1", "pods")] {
            let found = served(&server, api_version, plural).await;
            assert!(matches!(found, Served::Unknown(_)), "{found:?}");
        }
    }

    /// Returns a client of an API server whose discovery gives these answers for the group and version.
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
