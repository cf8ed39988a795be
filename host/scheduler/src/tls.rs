//! Mutual TLS with the same checks as Dask.
//!
//! Each side presents a certificate, and accepts the certificate of the other
//! side if the configured authority signed it. Host names are not compared:
//! schedulers are reached by IP addresses, and their certificates name no hosts.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Credentials for `tls://` addresses: the authority that signed the scheduler's
/// certificate, and a client certificate with its key. Cheap to clone.
#[derive(Clone)]
pub struct TlsConfig {
    pub(crate) client: Arc<ClientConfig>,
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TlsConfig")
    }
}

/// A failure to load TLS credentials. `what` names the source: a file, a
/// variable, or the kind of credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[error("can't read {what}: {source}")]
    Read {
        /// The path of the file.
        what: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The source contains no certificate or no key.
    #[error("{what} has no {wanted} in PEM format: {reason}")]
    Pem {
        /// The source that was searched.
        what: String,
        /// The kind of PEM item that is missing.
        wanted: &'static str,
        /// The reason why no item was found.
        reason: String,
    },
    /// The certificates and the key can't be used for TLS.
    #[error("the certificates can't be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// Some of the variables are set, but others that must accompany them are not.
    #[error("{0} is not set; the authority, the certificate and its key belong together")]
    Incomplete(&'static str),
}

/// Variable of Dask's configuration with the authority's certificate: the path of
/// a file, or PEM text.
pub const CA_VARIABLE: &str = "DASK_DISTRIBUTED__COMM__TLS__CA_FILE";
/// Variable of Dask's configuration with a client's certificate: the path of a file, or PEM text.
pub const CERTIFICATE_VARIABLE: &str = "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT";
/// Variable of Dask's configuration with the key of a client's certificate: the path of a file, or PEM text.
pub const KEY_VARIABLE: &str = "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY";

impl TlsConfig {
    /// Returns a configuration from PEM texts: the authority's certificates, the
    /// client's certificate (followed by its issuers, if the authority did not sign
    /// it directly) and its key.
    ///
    /// # Errors
    ///
    /// Returns an error if a text has no such item, or if the items can't be used.
    pub fn from_pem(authority: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let authority = Source {
            what: "the authority's certificate".into(),
            pem: authority.to_vec(),
        };
        let certificate = Source {
            what: "the certificate".into(),
            pem: certificate.to_vec(),
        };
        let key = Source {
            what: "the key".into(),
            pem: key.to_vec(),
        };
        Self::from_sources(&authority, &certificate, &key)
    }

    /// Returns a configuration from files with the contents that [`from_pem`](Self::from_pem) expects.
    ///
    /// # Errors
    ///
    /// Returns an error if a file can't be read or has no such item, or if the items can't be used.
    pub fn from_files(authority: &Path, certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Self::from_sources(
            &Source::file(authority)?,
            &Source::file(certificate)?,
            &Source::file(key)?,
        )
    }

    /// Returns a configuration from the environment variables that Dask itself
    /// reads: [`CA_VARIABLE`], [`CERTIFICATE_VARIABLE`] and [`KEY_VARIABLE`]. If
    /// only the last one is missing, the key is read from the same source as the
    /// certificate. `None` if none of them is set.
    ///
    /// # Errors
    ///
    /// Returns an error if a variable is missing or its contents are invalid.
    pub fn from_env() -> Result<Option<Self>, TlsError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// Returns a configuration as [`from_env`](Self::from_env) does, but reads the variables with `value`, for example from a
    /// pod's environment.
    ///
    /// # Errors
    ///
    /// Returns an error if a variable is missing or its contents are invalid.
    pub fn from_variables(value: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, TlsError> {
        let set = |name| value(name).filter(|value| !value.is_empty());
        let (authority, certificate, key) = (set(CA_VARIABLE), set(CERTIFICATE_VARIABLE), set(KEY_VARIABLE));
        if authority.is_none() && certificate.is_none() && key.is_none() {
            return Ok(None);
        }
        let authority = authority.ok_or(TlsError::Incomplete(CA_VARIABLE))?;
        let certificate = certificate.ok_or(TlsError::Incomplete(CERTIFICATE_VARIABLE))?;
        let authority = Source::variable(CA_VARIABLE, authority)?;
        let certificate = Source::variable(CERTIFICATE_VARIABLE, certificate)?;
        match key {
            Some(key) => Self::from_sources(&authority, &certificate, &Source::variable(KEY_VARIABLE, key)?),
            None => Self::from_sources(&authority, &certificate, &certificate),
        }
        .map(Some)
    }

    fn from_sources(authority: &Source, certificate: &Source, key: &Source) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(authority.certificates()?, Arc::clone(&provider))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(certificate.certificates()?, key.key()?)?;
        Ok(Self {
            client: Arc::new(client),
        })
    }
}

/// PEM text and the name of its source.
struct Source {
    what: String,
    pem: Vec<u8>,
}

impl Source {
    fn file(path: &Path) -> Result<Self, TlsError> {
        let what = path.display().to_string();
        match std::fs::read(path) {
            Ok(pem) => Ok(Self { what, pem }),
            Err(source) => Err(TlsError::Read { what, source }),
        }
    }

    /// Dask treats a value with a line break as PEM text, and every other value as a path.
    fn variable(name: &str, value: String) -> Result<Self, TlsError> {
        if value.contains('\n') {
            Ok(Self {
                what: name.to_owned(),
                pem: value.into_bytes(),
            })
        } else {
            Self::file(Path::new(&value))
        }
    }

    fn error(&self, wanted: &'static str, reason: impl fmt::Display) -> TlsError {
        TlsError::Pem {
            what: self.what.clone(),
            wanted,
            reason: reason.to_string(),
        }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.pem)
            .collect::<Result<_, _>>()
            .map_err(|error| self.error("certificate", error))?;
        if certificates.is_empty() {
            return Err(self.error("certificate", "nothing begins with BEGIN CERTIFICATE"));
        }
        Ok(certificates)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.pem).map_err(|error| self.error("private key", error))
    }
}

/// Accepts certificates that the authority signed, for any name, and the
/// authority's own certificate: Dask's temporary security uses one certificate for both.
#[derive(Debug)]
struct Verifier {
    roots: RootCertStore,
    authorities: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(
        authorities: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &authorities {
            roots.add(certificate.clone())?;
        }
        Ok(Self {
            roots,
            authorities,
            provider,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.authorities.iter().any(|authority| authority == end_entity) {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                &self.roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
