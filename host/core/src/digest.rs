//! SHA-256 digests of components and of other content.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Name of the algorithm in the text of a digest.
const ALGORITHM: &str = "sha256:";

/// SHA-256 digest of some bytes. Its text is the one that OCI registries use: `sha256:…`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// The text is not `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is no digest: write `sha256:` and 64 digits from 0-9 and a-f")]
pub struct ParseDigestError;

impl Digest {
    /// Computes the digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from(Sha256::new_with_prefix(bytes))
    }

    /// Returns all 64 hexadecimal digits, without the algorithm's name.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Returns the first twelve hexadecimal digits, which suffice to distinguish components in a message.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

/// Wraps a digest that was computed before.
impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// Completes a hash that was computed piece by piece.
impl From<Sha256> for Digest {
    fn from(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }
}

/// Parses the text of a digest.
impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let digits = text.strip_prefix(ALGORITHM).ok_or(ParseDigestError)?;
        // Digests are compared as texts, too, so that each has one text only.
        if digits.bytes().any(|digit| digit.is_ascii_uppercase()) {
            return Err(ParseDigestError);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| ParseDigestError)?;
        Ok(Self(bytes))
    }
}

/// Formats the digest as OCI registries do: `sha256:…`.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn formats_as_registries_do() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), ABC);
        assert_eq!(digest.short(), "ba7816bf8f01");
        assert_eq!(ABC.parse(), Ok(digest));
        assert_eq!(
            Digest::from(Sha256::new().chain_update("a").chain_update("bc")),
            digest
        );
    }

    #[rstest]
    #[case("")]
    #[case("sha256:")]
    #[case(&ABC["sha256:".len()..])]
    #[case(&ABC[..ABC.len() - 1])]
    #[case(&format!("{ABC}00"))]
    #[case(&ABC.replace("sha256", "sha512"))]
    #[case(&ABC.replace('a', "A"))]
    #[case(&ABC.replace('a', "x"))]
    #[case("sha256:../../x")]
    fn rejects_other_texts(#[case] text: &str) {
        assert_eq!(text.parse::<Digest>(), Err(ParseDigestError));
    }
}
