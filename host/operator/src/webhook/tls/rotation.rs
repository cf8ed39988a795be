//! Creation and rotation of certificates. No I/O: the caller passes the time and the existing certificates.
//!
//! A *certificate pair* is a certificate authority (CA) and the one certificate that it signed. The key of the CA is dropped at
//! once, so that it can't be stolen. A rotation takes two steps, so that no API server receives a certificate that it does not
//! trust yet:
//!
//! 1. The next pair is created, and its CA is added to the bundle.
//! 2. When the webhook configurations have the bundle and some time has passed ([`Lifetimes::propagation_delay`]), the new
//!    certificate is served. The previous CA stays in the bundle until the next rotation, for replicas that still serve its
//!    certificate.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Tolerated difference between clocks.
const SKEW: Duration = Duration::from_secs(300);

/// Error of the creation of a certificate.
#[derive(Debug, Error)]
#[error("failed to create a certificate for {names}: {source}")]
pub(crate) struct CertificateError {
    names: String,
    source: rcgen::Error,
}

/// Validity and renewal time of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    /// Time from the creation of a certificate to its expiry.
    pub(crate) validity: Duration,
    /// Time before the expiry at which the next pair is created.
    pub(crate) renew_before: Duration,
}

/// Error of a renewal time that is not shorter than the validity.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "certificates that are valid for {} s can't be renewed {} s before their end: write a shorter --webhook-renew-before",
    validity.as_secs(), renew_before.as_secs()
)]
pub(crate) struct LifetimesError {
    validity: Duration,
    renew_before: Duration,
}

impl Lifetimes {
    /// Creates lifetimes from a validity and a renewal time.
    ///
    /// # Errors
    ///
    /// Returns an error if certificates would be renewed as soon as they are created.
    pub(crate) fn new(validity: Duration, renew_before: Duration) -> Result<Self, LifetimesError> {
        if renew_before < validity {
            Ok(Self {
                validity,
                renew_before,
            })
        } else {
            Err(LifetimesError {
                validity,
                renew_before,
            })
        }
    }

    /// Returns the time from the creation of a pair until its certificate may be served: a quarter of the time between
    /// two rotations, at most a minute.
    #[must_use]
    pub(crate) fn propagation_delay(&self) -> Duration {
        ((self.validity - self.renew_before) / 4).min(Duration::from_secs(60))
    }

    /// Returns the interval at which the caller should call [`Certificates::rotate`].
    #[must_use]
    pub(crate) fn period(&self) -> Duration {
        (self.propagation_delay() / 4).clamp(Duration::from_millis(50), Duration::from_secs(10))
    }
}

/// A CA and the certificate that it signed. Texts are PEM.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificatePair {
    /// Certificate of the CA.
    pub(crate) authority: String,
    /// Serving certificate.
    pub(crate) certificate: String,
    /// Key of the serving certificate.
    pub(crate) key: String,
    /// Names and IP addresses that the serving certificate is issued for.
    pub(crate) names: Vec<String>,
    /// Time of creation, in milliseconds since 1970.
    pub(crate) made: u64,
    /// Time of expiry, in milliseconds since 1970.
    pub(crate) expires: u64,
}

/// All certificates, as stored in the Secret.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Certificates {
    /// CA of the previous pair. Some replica may still serve its certificate. `None` for the first pair, and
    /// while a rotation is in progress.
    pub(crate) former_authority: Option<String>,
    /// Pair that is served.
    pub(crate) current: CertificatePair,
    /// Pair that will be served next. `None` if no rotation is in progress.
    pub(crate) next: Option<CertificatePair>,
}

impl Certificates {
    /// Creates a first pair.
    ///
    /// # Errors
    ///
    /// Returns an error if no certificate can be created for these names.
    pub(crate) fn first(names: &[String], lifetimes: Lifetimes, now: u64) -> Result<Self, CertificateError> {
        Ok(Self {
            former_authority: None,
            current: CertificatePair::create(names, lifetimes, now)?,
            next: None,
        })
    }

    /// Returns the CA bundle for the webhook configurations, in PEM.
    #[must_use]
    pub(crate) fn bundle(&self) -> String {
        let former = self.former_authority.as_deref();
        former.into_iter().chain(self.needed()).collect()
    }

    /// Returns the CAs that API servers must trust, so that no connection fails now or after the next step.
    pub(crate) fn needed(&self) -> impl Iterator<Item = &str> {
        let next = self.next.as_ref().map(|next| next.authority.as_str());
        std::iter::once(self.current.authority.as_str()).chain(next)
    }

    /// Returns the certificates after the next step of a rotation, or `None` if no step is due. `trusted` is true if the webhook
    /// configurations have the bundle.
    ///
    /// # Errors
    ///
    /// Returns an error if no certificate can be created for these names.
    pub(crate) fn rotate(
        &self,
        names: &[String],
        lifetimes: Lifetimes,
        now: u64,
        trusted: bool,
    ) -> Result<Option<Self>, CertificateError> {
        let has_propagated =
            |next: &CertificatePair| now >= next.made + millis(lifetimes.propagation_delay());
        match &self.next {
            _ if now >= self.current.expires => Self::first(names, lifetimes, now).map(Some),
            Some(next) if now >= next.expires || !next.covers(names) => Ok(Some(Self {
                next: Some(CertificatePair::create(names, lifetimes, now)?),
                ..self.clone()
            })),
            Some(next) if trusted && has_propagated(next) => Ok(Some(Self {
                former_authority: Some(self.current.authority.clone()),
                current: next.clone(),
                next: None,
            })),
            Some(_) => Ok(None),
            None if now + millis(lifetimes.renew_before) >= self.current.expires
                || !self.current.covers(names) =>
            {
                Ok(Some(Self {
                    former_authority: None,
                    current: self.current.clone(),
                    next: Some(CertificatePair::create(names, lifetimes, now)?),
                }))
            }
            None => Ok(None),
        }
    }
}

impl CertificatePair {
    fn create(names: &[String], lifetimes: Lifetimes, now: u64) -> Result<Self, CertificateError> {
        let to_error = |source| CertificateError {
            names: names.join(", "),
            source,
        };
        let expires = now + millis(lifetimes.validity);
        let create = || -> Result<_, rcgen::Error> {
            let limited = |mut params: CertificateParams, name: &str| {
                let start = rcgen::date_time_ymd(1970, 1, 1);
                params.not_before = start + Duration::from_millis(now.saturating_sub(millis(SKEW)));
                params.not_after = start + Duration::from_millis(expires);
                params.distinguished_name.push(DnType::CommonName, name);
                params
            };
            let authority_key = KeyPair::generate()?;
            let mut authority = limited(
                CertificateParams::default(),
                &format!("dask-operator webhook {now}"),
            );
            authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let authority_certificate = authority.self_signed(&authority_key)?;
            let key = KeyPair::generate()?;
            let mut serving = limited(CertificateParams::new(names)?, "dask-operator");
            serving.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            serving.use_authority_key_identifier_extension = true;
            let certificate = serving.signed_by(&key, &Issuer::new(authority, authority_key))?;
            Ok((
                authority_certificate.pem(),
                certificate.pem(),
                key.serialize_pem(),
            ))
        };
        let (authority, certificate, key) = create().map_err(to_error)?;
        Ok(Self {
            authority,
            certificate,
            key,
            names: names.to_vec(),
            made: now,
            expires,
        })
    }

    fn covers(&self, names: &[String]) -> bool {
        names.iter().all(|name| self.names.contains(name))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIMES: Lifetimes = Lifetimes {
        validity: Duration::from_secs(100),
        renew_before: Duration::from_secs(60),
    };

    fn names() -> Vec<String> {
        vec!["hook.dask.svc".into(), "10.0.0.1".into()]
    }

    #[test]
    fn lifetimes_are_checked() {
        assert!(Lifetimes::new(Duration::from_secs(2), Duration::from_secs(1)).is_ok());
        assert!(Lifetimes::new(Duration::from_secs(2), Duration::from_secs(2)).is_err());
        assert_eq!(LIFETIMES.propagation_delay(), Duration::from_secs(10));
    }

    #[test]
    fn a_rotation_takes_two_steps() -> Result<(), CertificateError> {
        let first = Certificates::first(&names(), LIFETIMES, 1_000_000)?;
        let rotate = |certificates: &Certificates, seconds: u64, trusted| {
            certificates.rotate(&names(), LIFETIMES, 1_000_000 + seconds * 1000, trusted)
        };
        assert_eq!(rotate(&first, 39, true)?, None);
        let Some(announced) = rotate(&first, 40, true)? else {
            panic!("no rotation was started");
        };
        assert_eq!(announced.current, first.current);
        let bundle = announced.bundle();
        assert!(bundle.contains(&first.current.authority) && announced.needed().count() == 2);
        assert_eq!(rotate(&announced, 49, true)?, None, "too early");
        assert_eq!(rotate(&announced, 50, false)?, None, "no API server trusts it");
        let Some(changed) = rotate(&announced, 50, true)? else {
            panic!("the rotation was not completed");
        };
        assert_eq!(Some(&changed.current), announced.next.as_ref());
        assert_eq!(changed.bundle(), bundle, "the bundle stays the same");
        assert_eq!(rotate(&changed, 79, true)?, None);
        let Some(again) = rotate(&changed, 80, true)? else {
            panic!("no rotation was started");
        };
        assert!(!again.bundle().contains(&first.current.authority));
        Ok(())
    }

    #[test]
    fn expired_certificates_are_replaced() -> Result<(), CertificateError> {
        let first = Certificates::first(&names(), LIFETIMES, 1_000_000)?;
        let new = first.rotate(&names(), LIFETIMES, 1_100_000, true)?;
        assert!(new.is_some_and(|new| new.current.made == 1_100_000 && new.former_authority.is_none()));
        Ok(())
    }

    #[test]
    fn a_new_name_starts_a_rotation() -> Result<(), CertificateError> {
        let first = Certificates::first(&names(), LIFETIMES, 1_000_000)?;
        let more = [names(), vec!["other".into()]].concat();
        let next = first.rotate(&more, LIFETIMES, 1_000_000, true)?;
        assert!(next.is_some_and(
            |new| new.current == first.current && new.next.is_some_and(|next| next.names == more)
        ));
        assert_eq!(first.rotate(&names()[..1], LIFETIMES, 1_000_000, true)?, None);
        Ok(())
    }
}
