//! Updates of the CA bundles in the webhook configurations, by which API servers trust the webhook.

use http::Uri;
use http::uri::Scheme;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::webhook::args::{Service, WebhookArgs};
use crate::webhook::tls::rotation::Certificates;

/// Selector of the webhook configurations and of their entries that call this webhook.
#[derive(Clone)]
pub(crate) struct CaBundle {
    client: Client,
    name: Option<String>,
    service: Option<Service>,
    hosts: Vec<String>,
}

/// Trust of the API servers in the webhook's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The command line names no configuration: another component manages the bundles.
    NotOurs,
    /// Neither configuration has an entry for this webhook, or they don't exist: no API server calls it.
    NoEntry,
    /// Every entry for this webhook has the bundle.
    Full,
}

/// Name and client configuration of an entry.
type Entry<'a> = (&'a str, &'a WebhookClientConfig);

impl CaBundle {
    /// Creates a selector from command-line arguments.
    #[must_use]
    pub(crate) fn new(args: &WebhookArgs, client: &Client) -> Self {
        Self {
            client: client.clone(),
            name: args.configuration.clone(),
            service: args.service.clone(),
            hosts: args.hosts.clone(),
        }
    }

    /// Writes the bundle into the entries for this webhook that lack a needed CA.
    ///
    /// # Errors
    ///
    /// Returns an error if a configuration can't be read or patched.
    pub(crate) async fn ensure(&self, certificates: &Certificates) -> kube::Result<Trust> {
        let Some(name) = &self.name else {
            return Ok(Trust::NotOurs);
        };
        let mutating = self
            .ensure_of::<MutatingWebhookConfiguration>(name, certificates, |configuration| {
                let webhooks = configuration.webhooks.iter().flatten();
                webhooks
                    .map(|hook| (hook.name.as_str(), &hook.client_config))
                    .collect()
            })
            .await?;
        let validating = self
            .ensure_of::<ValidatingWebhookConfiguration>(name, certificates, |configuration| {
                let webhooks = configuration.webhooks.iter().flatten();
                webhooks
                    .map(|hook| (hook.name.as_str(), &hook.client_config))
                    .collect()
            })
            .await?;
        Ok(if mutating || validating {
            Trust::Full
        } else {
            Trust::NoEntry
        })
    }

    /// Updates one configuration. Returns whether it has entries for this webhook.
    async fn ensure_of<K>(
        &self,
        name: &str,
        certificates: &Certificates,
        entries: impl Fn(&K) -> Vec<Entry<'_>>,
    ) -> kube::Result<bool>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let Some(configuration) = api.get_opt(name).await? else {
            return Ok(false);
        };
        let (ours, patch) = self.patch(&entries(&configuration), certificates);
        if !patch.is_empty() {
            let patch: json_patch::Patch =
                serde_json::from_value(Value::Array(patch)).map_err(kube::Error::SerdeError)?;
            api.patch(name, &PatchParams::default(), &Patch::<()>::Json(patch))
                .await?;
            tracing::info!(kind = %K::kind(&()), name, "webhook: updated the CA bundle of the configuration");
        }
        Ok(ours)
    }

    /// Returns whether there are entries for this webhook, and the JSON patch that gives them the bundle.
    fn patch(&self, entries: &[Entry<'_>], certificates: &Certificates) -> (bool, Vec<Value>) {
        let bundle = ByteString(certificates.bundle().into_bytes());
        let mut patch = Vec::new();
        let mut any = false;
        for (at, (name, config)) in entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| self.is_ours(entry.1))
        {
            any = true;
            let present = config.ca_bundle.as_ref();
            let present = present.map(|bundle| String::from_utf8_lossy(&bundle.0));
            let present = present.unwrap_or_default();
            if certificates
                .needed()
                .any(|authority| !present.contains(authority.trim()))
            {
                // Another client may have changed the list since it was read.
                patch.push(json!({"op": "test", "path": format!("/webhooks/{at}/name"), "value": name}));
                let path = format!("/webhooks/{at}/clientConfig/caBundle");
                patch.push(json!({"op": "add", "path": path, "value": bundle}));
            }
        }
        (any, patch)
    }

    fn is_ours(&self, config: &WebhookClientConfig) -> bool {
        let by_service = config.service.as_ref().zip(self.service.as_ref());
        let by_service = by_service
            .is_some_and(|(theirs, ours)| (&theirs.namespace, &theirs.name) == (&ours.namespace, &ours.name));
        by_service
            || config
                .url
                .as_deref()
                .and_then(host)
                .is_some_and(|host| self.hosts.contains(&host))
    }
}

/// Returns the host of a URL of the form `https://host:port/path`, without the brackets of an IPv6 address. Returns `None` for
/// all other texts.
fn host(url: &str) -> Option<String> {
    let url: Uri = url.parse().ok()?;
    let authority = url.authority().filter(|_| url.scheme() == Some(&Scheme::HTTPS))?;
    let is_plain = !authority.as_str().contains('@');
    is_plain.then(|| authority.host().trim_matches(['[', ']']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::api::admissionregistration::v1::ServiceReference;
    use rstest::rstest;

    use super::*;
    use crate::webhook::tls::rotation::Lifetimes;

    #[rstest]
    #[case("https://10.0.0.1:9443/mutate", "10.0.0.1")]
    #[case("https://hook.example.org/", "hook.example.org")]
    #[case("https://[fd00::1]:9443/mutate", "fd00::1")]
    #[case("https://[fd00::1]/", "fd00::1")]
    #[case("https://hook.example.org", "hook.example.org")]
    #[case("https://hook.example.org/mutate?timeout=5s", "hook.example.org")]
    fn finds_the_host_of_a_url(#[case] url: &str, #[case] expected: &str) {
        assert_eq!(host(url).as_deref(), Some(expected));
    }

    #[rstest]
    #[case("")]
    #[case("https://")]
    #[case("https://[fd00::1/")]
    #[case("http://10.0.0.1:9443/mutate")]
    #[case("10.0.0.1:9443")]
    #[case("https://10.0.0.1@other.example.org/")]
    #[case("https://a b/")]
    fn other_texts_have_no_host(#[case] url: &str) {
        assert_eq!(host(url), None);
    }

    #[tokio::test]
    async fn patches_only_entries_for_this_webhook() {
        let (service, _handle) =
            tower_test::mock::pair::<http::Request<kube::client::Body>, http::Response<kube::client::Body>>();
        let bundle = CaBundle {
            client: Client::new(service, "default"),
            name: Some("c".into()),
            service: Some(Service {
                namespace: "n".into(),
                name: "s".into(),
            }),
            hosts: vec!["10.0.0.1".into()],
        };
        let lifetimes = Lifetimes {
            validity: Duration::from_secs(100),
            renew_before: Duration::from_secs(50),
        };
        let Ok(certificates) = Certificates::first(&["a".into()], lifetimes, 1_000_000_000_000) else {
            panic!("no certificates");
        };
        let by_service = |namespace: &str, bundle: Option<&str>| WebhookClientConfig {
            ca_bundle: bundle.map(|bundle| ByteString(bundle.as_bytes().to_vec())),
            service: Some(ServiceReference {
                namespace: namespace.into(),
                name: "s".into(),
                ..ServiceReference::default()
            }),
            url: None,
        };
        let by_url = WebhookClientConfig {
            url: Some("https://10.0.0.1:1/x".into()),
            ..WebhookClientConfig::default()
        };
        let has = certificates.bundle();
        let more = format!("{has}{has}");
        let entries = [
            ("other", &by_service("m", None)),
            ("ours", &by_service("n", None)),
            ("has", &by_service("n", Some(&more))),
            ("url", &by_url),
        ];
        let (any, patch) = bundle.patch(&entries, &certificates);
        assert!(any);
        let paths: Vec<_> = patch.iter().map(|operation| operation["path"].clone()).collect();
        assert_eq!(
            paths,
            [
                "/webhooks/1/name",
                "/webhooks/1/clientConfig/caBundle",
                "/webhooks/3/name",
                "/webhooks/3/clientConfig/caBundle"
            ]
        );
        assert_eq!(bundle.patch(&entries[..1], &certificates), (false, vec![]));
    }
}
