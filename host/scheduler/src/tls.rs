//! Mutual TLS as Dask does it.
//!
//! Each side shows a certificate, and accepts the other's if the authority that
//! was configured has signed it. Host names are not compared: schedulers are
//! reached by IP addresses, and their certificates name no hosts.

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

/// What a client needs for `tls://` addresses: the authority that signed the
/// scheduler's certificate, and a certificate with its key. Cheap to clone.
#[derive(Clone)]
pub struct TlsConfig {
    pub(crate) client: Arc<ClientConfig>,
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TlsConfig")
    }
}

/// Why there is no TLS configuration. `what` is where it came from: a file, a
/// variable, or what it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[error("can't read {what}: {source}")]
    Read {
        /// The file.
        what: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// There is no certificate or no key in it.
    #[error("{what} has no {wanted} in PEM format: {reason}")]
    Pem {
        /// Where it was looked for.
        what: String,
        /// What was looked for.
        wanted: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The certificate and its key can't be used.
    #[error("the certificates can't be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// Some variables are set, and some that belong to them are not.
    #[error("{0} is not set; the authority, the certificate and its key belong together")]
    Incomplete(&'static str),
}

/// Where Dask's configuration names the authority's certificate: a file, or
/// the PEM text itself.
pub const CA_VARIABLE: &str = "DASK_DISTRIBUTED__COMM__TLS__CA_FILE";
/// Where Dask's configuration names a client's certificate.
pub const CERTIFICATE_VARIABLE: &str = "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT";
/// Where Dask's configuration names the key of a client's certificate.
pub const KEY_VARIABLE: &str = "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY";

impl TlsConfig {
    /// From PEM: the authority's certificates, our certificate (followed by its
    /// issuers, if the authority did not sign it itself) and its key.
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

    /// As [`from_pem`](Self::from_pem), from files.
    pub fn from_files(authority: &Path, certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Self::from_sources(
            &Source::file(authority)?,
            &Source::file(certificate)?,
            &Source::file(key)?,
        )
    }

    /// From the variables in which Dask itself looks for its configuration:
    /// [`CA_VARIABLE`], [`CERTIFICATE_VARIABLE`] and [`KEY_VARIABLE`]. Each is a
    /// file or PEM text; without the last, the key is looked for beside the
    /// certificate. None if none of them is set.
    pub fn from_env() -> Result<Option<Self>, TlsError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// As [`from_env`](Self::from_env), with the values of variables from elsewhere, such as a
    /// pod's environment.
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

/// PEM, and where it comes from.
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

    /// Dask takes what has a line break in it as PEM, everything else as a path.
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

/// Accepts certificates that the authority signed, for whatever name, and the
/// authority's own: Dask's temporary security makes one certificate that is both.
#[derive(Debug)]
struct Verifier {
    roots: RootCertStore,
    own: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(own: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &own {
            roots.add(certificate.clone())?;
        }
        Ok(Self { roots, own, provider })
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
        if !self.own.iter().any(|own| own == end_entity) {
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
