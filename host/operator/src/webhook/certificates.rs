//! When certificates are made and exchanged. Without I/O: the time and what there is come in.
//!
//! A *generation* is an authority and the one certificate that it signed; the authority's key is
//! forgotten at once, so that nobody can steal it. A change takes two steps, so that no API server meets a
//! certificate which it does not trust yet:
//!
//! 1. the next generation is made, and its authority joins the bundle;
//! 2. when the configurations have the bundle and some time has passed ([`Lifetimes::settle`]), its certificate is
//!    served. The authority before it stays in the bundle until the next change, for replicas that
//!    still serve its certificate.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Clocks may differ so much.
const SKEW: Duration = Duration::from_secs(300);

/// A certificate can't be made.
#[derive(Debug, Error)]
#[error("a certificate for {names} can't be made: {source}")]
pub struct CertificateError {
    names: String,
    source: rcgen::Error,
}

/// How long certificates live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// From when they are made to when they are no longer valid.
    pub validity: Duration,
    /// So long before their end the next ones are made.
    pub renew_before: Duration,
}

/// Lifetimes that can't work.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "certificates that are valid for {} s can't be renewed {} s before their end: write a shorter --webhook-renew-before",
    validity.as_secs(), renew_before.as_secs()
)]
pub struct LifetimesError {
    validity: Duration,
    renew_before: Duration,
}

impl Lifetimes {
    /// Both.
    ///
    /// # Errors
    ///
    /// When certificates would be renewed as soon as they are made.
    pub fn new(validity: Duration, renew_before: Duration) -> Result<Self, LifetimesError> {
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

    /// From when the bundle has a new authority to when its certificate is served: a quarter of the time
    /// between two changes, at most a minute.
    #[must_use]
    pub fn settle(&self) -> Duration {
        ((self.validity - self.renew_before) / 4).min(Duration::from_secs(60))
    }

    /// How often somebody should look whether there is something to do.
    #[must_use]
    pub fn period(&self) -> Duration {
        (self.settle() / 4).clamp(Duration::from_millis(50), Duration::from_secs(10))
    }
}

/// An authority and the certificate that it signed. Texts are PEM.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// The authority's certificate.
    pub authority: String,
    /// The serving certificate.
    pub certificate: String,
    /// The serving certificate's key.
    pub key: String,
    /// The names that it is for.
    pub names: Vec<String>,
    /// When it was made, in milliseconds since 1970.
    pub made: u64,
    /// When it is no longer valid.
    pub expires: u64,
}

/// All certificates that there are.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    /// The authority of the generation before; its certificate may still be served by some replica.
    pub former_authority: Option<String>,
    /// What is served.
    pub current: Generation,
    /// What will be.
    pub next: Option<Generation>,
}

impl Certificates {
    /// A first generation.
    ///
    /// # Errors
    ///
    /// When no certificate can be made for these names.
    pub fn first(names: &[String], lifetimes: Lifetimes, now: u64) -> Result<Self, CertificateError> {
        Ok(Self {
            former_authority: None,
            current: Generation::make(names, lifetimes, now)?,
            next: None,
        })
    }

    /// What API servers shall trust, PEM.
    #[must_use]
    pub fn bundle(&self) -> String {
        let former = self.former_authority.as_deref();
        former.into_iter().chain(self.needed()).collect()
    }

    /// The authorities that API servers must trust for nothing to be refused, now and after the next step.
    pub fn needed(&self) -> impl Iterator<Item = &str> {
        let next = self.next.as_ref().map(|next| next.authority.as_str());
        std::iter::once(self.current.authority.as_str()).chain(next)
    }

    /// What shall be instead, if it is time: `trusted` says whether the API servers were told of the bundle.
    ///
    /// # Errors
    ///
    /// When no certificate can be made for these names.
    pub fn step(
        &self,
        names: &[String],
        lifetimes: Lifetimes,
        now: u64,
        trusted: bool,
    ) -> Result<Option<Self>, CertificateError> {
        let settled = |next: &Generation| now >= next.made + millis(lifetimes.settle());
        match &self.next {
            _ if now >= self.current.expires => Self::first(names, lifetimes, now).map(Some),
            Some(next) if now >= next.expires || !next.is_for(names) => Ok(Some(Self {
                next: Some(Generation::make(names, lifetimes, now)?),
                ..self.clone()
            })),
            Some(next) if trusted && settled(next) => Ok(Some(Self {
                former_authority: Some(self.current.authority.clone()),
                current: next.clone(),
                next: None,
            })),
            Some(_) => Ok(None),
            None if now + millis(lifetimes.renew_before) >= self.current.expires
                || !self.current.is_for(names) =>
            {
                Ok(Some(Self {
                    former_authority: None,
                    current: self.current.clone(),
                    next: Some(Generation::make(names, lifetimes, now)?),
                }))
            }
            None => Ok(None),
        }
    }
}

impl Generation {
    fn make(names: &[String], lifetimes: Lifetimes, now: u64) -> Result<Self, CertificateError> {
        let wrong = |source| CertificateError {
            names: names.join(", "),
            source,
        };
        let expires = now + millis(lifetimes.validity);
        let made = || -> Result<_, rcgen::Error> {
            let times = |mut params: CertificateParams, name: &str| {
                let start = rcgen::date_time_ymd(1970, 1, 1);
                params.not_before = start + Duration::from_millis(now.saturating_sub(millis(SKEW)));
                params.not_after = start + Duration::from_millis(expires);
                params.distinguished_name.push(DnType::CommonName, name);
                params
            };
            let authority_key = KeyPair::generate()?;
            let mut authority = times(
                CertificateParams::default(),
                &format!("dask-operator webhook {now}"),
            );
            authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let authority_certificate = authority.self_signed(&authority_key)?;
            let key = KeyPair::generate()?;
            let mut serving = times(CertificateParams::new(names)?, "dask-operator");
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
        let (authority, certificate, key) = made().map_err(wrong)?;
        Ok(Self {
            authority,
            certificate,
            key,
            names: names.to_vec(),
            made: now,
            expires,
        })
    }

    fn is_for(&self, names: &[String]) -> bool {
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
    fn lifetimes_leave_time() {
        assert!(Lifetimes::new(Duration::from_secs(2), Duration::from_secs(1)).is_ok());
        assert!(Lifetimes::new(Duration::from_secs(2), Duration::from_secs(2)).is_err());
        assert_eq!(LIFETIMES.settle(), Duration::from_secs(10));
    }

    #[test]
    fn a_change_takes_two_steps() -> Result<(), CertificateError> {
        let first = Certificates::first(&names(), LIFETIMES, 1_000_000)?;
        let step = |certificates: &Certificates, seconds: u64, trusted| {
            certificates.step(&names(), LIFETIMES, 1_000_000 + seconds * 1000, trusted)
        };
        assert_eq!(step(&first, 39, true)?, None);
        let Some(announced) = step(&first, 40, true)? else {
            panic!("nothing was announced");
        };
        assert_eq!(announced.current, first.current);
        let bundle = announced.bundle();
        assert!(bundle.contains(&first.current.authority) && announced.needed().count() == 2);
        assert_eq!(step(&announced, 49, true)?, None, "too early");
        assert_eq!(step(&announced, 50, false)?, None, "nobody trusts it");
        let Some(changed) = step(&announced, 50, true)? else {
            panic!("nothing was changed");
        };
        assert_eq!(Some(&changed.current), announced.next.as_ref());
        assert_eq!(
            changed.bundle(),
            bundle,
            "API servers need not learn anything new"
        );
        assert_eq!(step(&changed, 79, true)?, None);
        let Some(again) = step(&changed, 80, true)? else {
            panic!("nothing was announced");
        };
        assert!(!again.bundle().contains(&first.current.authority));
        Ok(())
    }

    #[test]
    fn what_has_expired_is_made_anew() -> Result<(), CertificateError> {
        let first = Certificates::first(&names(), LIFETIMES, 1_000_000)?;
        let new = first.step(&names(), LIFETIMES, 1_100_000, true)?;
        assert!(new.is_some_and(|new| new.current.made == 1_100_000 && new.former_authority.is_none()));
        Ok(())
    }

    #[test]
    fn another_name_needs_another_certificate() -> Result<(), CertificateError> {
        let first = Certificates::first(&names(), LIFETIMES, 1_000_000)?;
        let more = [names(), vec!["other".into()]].concat();
        let next = first.step(&more, LIFETIMES, 1_000_000, true)?;
        assert!(next.is_some_and(
            |new| new.current == first.current && new.next.is_some_and(|next| next.names == more)
        ));
        assert_eq!(first.step(&names()[..1], LIFETIMES, 1_000_000, true)?, None);
        Ok(())
    }
}
