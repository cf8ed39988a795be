//! Keeps the certificates in a Secret that all replicas share.
//!
//! Whoever comes first makes it; whoever sees first that it is time makes the next step, by a replace that
//! fails when another one was faster. Everybody serves what is in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use thiserror::Error;
use tracing::{debug, info, warn};

use super::PART;
use super::args::WebhookArgs;
use super::bundles::{Bundles, Trust};
use super::certificates::{CertificateError, Certificates, Lifetimes};
use super::identity::{Identity, IdentityError};
use crate::errors::words;
use crate::health::Health;

/// The Secret's entry with [`Certificates`]. The others are for people and programs that know Secrets
/// of the type `kubernetes.io/tls`.
const STATE: &str = "certificates.json";

/// How often is looked while the webhook is not ready, and after an error.
const SOON: Duration = Duration::from_millis(500);

/// Why the certificates are not as they should be.
#[derive(Debug, Error)]
enum KeeperError {
    #[error("Secret {name}: {}", words(source))]
    Secret { name: String, source: kube::Error },
    #[error("webhook configuration: {}", words(.0))]
    Configuration(kube::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("certificate: {0}")]
    Identity(#[from] IdentityError),
    #[error("certificate: {0}")]
    Json(#[from] serde_json::Error),
}

/// Keeps certificates.
pub struct Keeper {
    secrets: Api<Secret>,
    name: String,
    names: Vec<String>,
    lifetimes: Lifetimes,
    bundles: Bundles,
    configuration: Option<String>,
    identity: Arc<Identity>,
    health: Arc<Health>,
    served: Option<String>,
    was_trusted: bool,
}

/// What is in the Secret.
struct Found {
    certificates: Option<Certificates>,
    version: Option<String>,
}

impl Keeper {
    /// As the command line says.
    ///
    /// # Errors
    ///
    /// When it makes no sense.
    pub fn new(
        args: &WebhookArgs,
        client: &Client,
        identity: Arc<Identity>,
        health: Arc<Health>,
    ) -> anyhow::Result<Self> {
        let names = args.names();
        anyhow::ensure!(
            !names.is_empty(),
            "the webhook's certificate needs a name: write --webhook-service NAMESPACE/NAME or --webhook-host NAME_OR_IP"
        );
        let namespace = args.service.as_ref().map(|service| service.namespace.as_str());
        let secrets = match namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::default_namespaced(client.clone()),
        };
        Ok(Self {
            secrets,
            name: args.secret.clone(),
            names,
            lifetimes: Lifetimes::new(args.validity, args.renew_before)?,
            bundles: Bundles::new(args, client),
            configuration: args.configuration.clone(),
            identity,
            health,
            served: None,
            was_trusted: false,
        })
    }

    /// Does so for ever.
    pub async fn run(mut self) {
        let mut said = String::new();
        loop {
            let pause = match self.turn().await {
                Ok(again) => {
                    said.clear();
                    match (again, self.was_trusted) {
                        (true, _) => Duration::ZERO,
                        (false, true) => self.lifetimes.period(),
                        (false, false) => SOON.min(self.lifetimes.period()),
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    if error != said {
                        warn!("webhook: {error}");
                    }
                    if !self.was_trusted {
                        self.health
                            .set_missing(PART, Some(format!("the webhook: {error}")));
                    }
                    said = error;
                    SOON.max(self.lifetimes.period())
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Serves what there is and makes a step where it is time; gives whether there is more to do at once.
    async fn turn(&mut self) -> Result<bool, KeeperError> {
        let found = self.read().await?;
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
        let Some(certificates) = found.certificates else {
            let first = Certificates::first(&self.names, self.lifetimes, now)?;
            self.write(&first, found.version).await?;
            return Ok(true);
        };
        if self.served.as_ref() != Some(&certificates.current.certificate) {
            let current = &certificates.current;
            self.identity
                .set(current.certificate.as_bytes(), current.key.as_bytes())?;
            self.served = Some(current.certificate.clone());
            info!(made = current.made, "webhook: serves a new certificate");
        }
        let trust = self.bundles.ensure(&certificates).await;
        let trust = trust.map_err(KeeperError::Configuration)?;
        self.ready(trust);
        let step = certificates.step(
            &self.names,
            self.lifetimes,
            now,
            trust != Trust::NobodyAsks || self.was_trusted,
        )?;
        match step {
            Some(next) => self.write(&next, found.version).await.map(|()| true),
            None => Ok(false),
        }
    }

    fn ready(&mut self, trust: Trust) {
        match trust {
            Trust::Full | Trust::NotOurs => self.was_trusted = true,
            // It was removed: nobody asks, and nobody is to wait for it.
            Trust::NobodyAsks => {}
        }
        let missing = (!self.was_trusted).then(|| {
            format!(
                "the webhook: there is no webhook configuration {} with an entry for it",
                self.configuration.as_deref().unwrap_or_default()
            )
        });
        self.health.set_missing(PART, missing);
    }

    fn failed(&self, source: kube::Error) -> KeeperError {
        KeeperError::Secret {
            name: self.name.clone(),
            source,
        }
    }

    async fn read(&self) -> Result<Found, KeeperError> {
        let secret = self.secrets.get_opt(&self.name).await;
        let Some(secret) = secret.map_err(|error| self.failed(error))? else {
            return Ok(Found {
                certificates: None,
                version: None,
            });
        };
        let state = secret.data.as_ref().and_then(|data| data.get(STATE));
        let certificates = state.and_then(|state| match serde_json::from_slice(&state.0) {
            Ok(certificates) => Some(certificates),
            Err(error) => {
                warn!(
                    "webhook: {STATE} of Secret {} is not ours and is replaced: {error}",
                    self.name
                );
                None
            }
        });
        Ok(Found {
            certificates,
            version: secret.metadata.resource_version,
        })
    }

    /// Writes the Secret, unless somebody else has done so meanwhile.
    async fn write(&self, certificates: &Certificates, version: Option<String>) -> Result<(), KeeperError> {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = [
            ("ca.crt", bytes(&certificates.bundle())),
            ("tls.crt", bytes(&certificates.current.certificate)),
            ("tls.key", bytes(&certificates.current.key)),
            (STATE, ByteString(serde_json::to_vec(certificates)?)),
        ];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: version.clone(),
                labels: Some(BTreeMap::from([(
                    "app.kubernetes.io/managed-by".to_owned(),
                    "dask-operator".to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            data: Some(data.map(|(name, data)| (name.to_owned(), data)).into()),
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        };
        let parameters = PostParams::default();
        let written = match version {
            Some(_) => self.secrets.replace(&self.name, &parameters, &secret).await,
            None => self.secrets.create(&parameters, &secret).await,
        };
        match written {
            Ok(_) => {
                debug!(next = certificates.next.is_some(), "webhook: new certificates");
                Ok(())
            }
            // Another replica was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }
}
