//! The certificate that is served. A replacement applies to new connections, and open connections continue.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;

/// Error of a certificate that can't be served.
#[derive(Debug, Error)]
pub(crate) enum CertResolverError {
    /// The certificate or the key is not valid PEM.
    #[error("the {what} is not valid PEM: {source}")]
    Pem {
        /// `certificate` or `key`.
        what: &'static str,
        /// The cause.
        source: pem::Error,
    },
    /// The PEM text contains no certificate.
    #[error("the PEM text contains no certificate")]
    Empty,
    /// The certificate and the key don't match, or the type of the key is not supported.
    #[error("certificate and key: {0}")]
    Unfit(#[from] rustls::Error),
}

/// The certificate that is served. Empty until the first one is set.
#[derive(Debug, Default)]
pub(crate) struct CertResolver(RwLock<Option<Arc<CertifiedKey>>>);

impl CertResolver {
    /// Serves this certificate from now on, together with the certificates of its chain that follow in the text.
    ///
    /// # Errors
    ///
    /// Returns an error if the certificate can't be served. The previous one remains active.
    pub(crate) fn set(&self, certificate: &[u8], key: &[u8]) -> Result<(), CertResolverError> {
        let pem_error = |what| move |source| CertResolverError::Pem { what, source };
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(pem_error("certificate"))?;
        if chain.is_empty() {
            return Err(CertResolverError::Empty);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(pem_error("key"))?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
        *self.0.write() = Some(Arc::new(certified));
        Ok(())
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().clone()
    }
}

/// Returns a TLS configuration that serves this certificate.
///
/// # Errors
///
/// Returns an error if the library supports no protocol version with its algorithms.
pub(crate) fn config(resolver: Arc<CertResolver>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::webhook::tls::rotation::{Certificates, Lifetimes};

    #[test]
    fn a_rejected_certificate_keeps_the_previous_one() {
        let lifetimes = Lifetimes {
            validity: Duration::from_secs(100),
            renew_before: Duration::from_secs(50),
        };
        let make =
            || Certificates::first(&["a".into()], lifetimes, 1_000_000_000_000).map(|made| made.current);
        let (Ok(one), Ok(other)) = (make(), make()) else {
            panic!("no certificates");
        };
        let resolver = CertResolver::default();
        assert!(
            resolver
                .set(one.certificate.as_bytes(), one.key.as_bytes())
                .is_ok()
        );
        assert!(matches!(
            resolver.set(one.certificate.as_bytes(), other.key.as_bytes()),
            Err(CertResolverError::Unfit(_))
        ));
        assert!(matches!(
            resolver.set(b"", one.key.as_bytes()),
            Err(CertResolverError::Empty)
        ));
        assert!(matches!(
            resolver.set(one.certificate.as_bytes(), b"x"),
            Err(CertResolverError::Pem { what: "key", .. })
        ));
        assert!(resolver.0.read().is_some());
        assert!(config(Arc::new(resolver)).is_ok());
    }
}
