//! Control loop that stores the certificates in a Secret shared by all replicas.
//!
//! The first replica creates the Secret. The first replica that sees that a step of the rotation is due writes it, with a
//! replace that fails if another replica was faster. All replicas serve the certificate in the Secret.

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

use crate::client::error::words;
use crate::health::Health;
use crate::webhook::PART;
use crate::webhook::args::WebhookArgs;
use crate::webhook::tls::ca_bundle::{CaBundle, Trust};
use crate::webhook::tls::resolver::{CertResolver, CertResolverError};
use crate::webhook::tls::rotation::{CertificateError, Certificates, Lifetimes};

/// Entry of the Secret with [`Certificates`]. The other entries are for users and programs that read Secrets of the type
/// `kubernetes.io/tls`.
const STATE: &str = "certificates.json";

/// Retry interval while the webhook is not ready. After an error, the interval is at least this long.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Error of one run of the control loop.
#[derive(Debug, Error)]
enum CertificateSecretError {
    #[error("Secret {name}: {}", words(source))]
    Secret { name: String, source: kube::Error },
    #[error("webhook configuration: {}", words(.0))]
    Configuration(kube::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("certificate: {0}")]
    CertResolver(#[from] CertResolverError),
    #[error("certificate: {0}")]
    Json(#[from] serde_json::Error),
}

/// Control loop that owns the Secret with the certificates.
pub(crate) struct CertificateSecret {
    secrets: Api<Secret>,
    name: String,
    names: Vec<String>,
    lifetimes: Lifetimes,
    ca_bundle: CaBundle,
    configuration: Option<String>,
    resolver: Arc<CertResolver>,
    health: Arc<Health>,
    /// The certificate that is served, in PEM. `None` before the first one.
    served: Option<String>,
    /// True once the webhook configurations had the bundle, or if the operator does not manage them.
    was_trusted: bool,
}

/// Content of the Secret.
struct Stored {
    /// `None` if the Secret does not exist or has no valid entry.
    certificates: Option<Certificates>,
    /// Resource version of the Secret. `None` if it does not exist.
    version: Option<String>,
}

impl CertificateSecret {
    /// Creates a control loop from command-line arguments.
    ///
    /// # Errors
    ///
    /// Returns an error if no name for the certificate is given, or if the lifetimes are invalid.
    pub(crate) fn new(
        args: &WebhookArgs,
        client: &Client,
        resolver: Arc<CertResolver>,
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
            ca_bundle: CaBundle::new(args, client),
            configuration: args.configuration.clone(),
            resolver,
            health,
            served: None,
            was_trusted: false,
        })
    }

    /// Runs until the process exits.
    pub(crate) async fn run(mut self) {
        let mut last_error = String::new();
        loop {
            let pause = match self.reconcile().await {
                Ok(again) => {
                    last_error.clear();
                    match (again, self.was_trusted) {
                        (true, _) => Duration::ZERO,
                        (false, true) => self.lifetimes.period(),
                        (false, false) => RETRY_INTERVAL.min(self.lifetimes.period()),
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    if error != last_error {
                        warn!("webhook: {error}");
                    }
                    if !self.was_trusted {
                        self.health
                            .set_missing(PART, Some(format!("the webhook: {error}")));
                    }
                    last_error = error;
                    RETRY_INTERVAL.max(self.lifetimes.period())
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Serves the stored certificate, updates the bundles, and writes a step of the rotation if one is due. Returns whether to
    /// run again at once.
    async fn reconcile(&mut self) -> Result<bool, CertificateSecretError> {
        let stored = self.read().await?;
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
        let Some(certificates) = stored.certificates else {
            let first = Certificates::first(&self.names, self.lifetimes, now)?;
            self.write(&first, stored.version).await?;
            return Ok(true);
        };
        if self.served.as_ref() != Some(&certificates.current.certificate) {
            let current = &certificates.current;
            self.resolver
                .set(current.certificate.as_bytes(), current.key.as_bytes())?;
            self.served = Some(current.certificate.clone());
            info!(made = current.made, "webhook: loaded a new certificate");
        }
        let trust = self.ca_bundle.ensure(&certificates).await;
        let trust = trust.map_err(CertificateSecretError::Configuration)?;
        self.update_readiness(trust);
        let step = certificates.rotate(
            &self.names,
            self.lifetimes,
            now,
            trust != Trust::NoEntry || self.was_trusted,
        )?;
        match step {
            Some(next) => self.write(&next, stored.version).await.map(|()| true),
            None => Ok(false),
        }
    }

    fn update_readiness(&mut self, trust: Trust) {
        match trust {
            Trust::Full | Trust::NotOurs => self.was_trusted = true,
            // Without a configuration, no API server calls the webhook. If it was removed, the operator stays ready.
            Trust::NoEntry => {}
        }
        let missing = (!self.was_trusted).then(|| {
            format!(
                "the webhook: there is no webhook configuration {} with an entry for it",
                self.configuration.as_deref().unwrap_or_default()
            )
        });
        self.health.set_missing(PART, missing);
    }

    fn secret_error(&self, source: kube::Error) -> CertificateSecretError {
        CertificateSecretError::Secret {
            name: self.name.clone(),
            source,
        }
    }

    /// Reads the Secret.
    async fn read(&self) -> Result<Stored, CertificateSecretError> {
        let secret = self.secrets.get_opt(&self.name).await;
        let Some(secret) = secret.map_err(|error| self.secret_error(error))? else {
            return Ok(Stored {
                certificates: None,
                version: None,
            });
        };
        let state = secret.data.as_ref().and_then(|data| data.get(STATE));
        let certificates = state.and_then(|state| match serde_json::from_slice(&state.0) {
            Ok(certificates) => Some(certificates),
            Err(error) => {
                warn!(
                    "webhook: {STATE} of Secret {} is invalid and is replaced: {error}",
                    self.name
                );
                None
            }
        });
        Ok(Stored {
            certificates,
            version: secret.metadata.resource_version,
        })
    }

    /// Writes the Secret, unless another client has changed it since `version`.
    async fn write(
        &self,
        certificates: &Certificates,
        version: Option<String>,
    ) -> Result<(), CertificateSecretError> {
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
                debug!(
                    next = certificates.next.is_some(),
                    "webhook: stored new certificates"
                );
                Ok(())
            }
            // Another replica wrote the Secret first.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(self.secret_error(error)),
        }
    }
}
