//! Answers as they were received, and what is made of them.

use crate::budget::{PIECE, Share};

/// Bytes of an answer, which belong to the budget until they are decoded.
#[derive(Debug)]
pub(crate) struct Received {
    bytes: Vec<u8>,
    share: Share,
}

impl Received {
    pub(crate) fn new(bytes: Vec<u8>, share: Share) -> Self {
        Self { bytes, share }
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Decodes them; many of them on a thread that may be kept busy. The text of an error says what is wrong.
    pub(crate) async fn decode<T, E>(self, decode: fn(&[u8]) -> Result<T, E>) -> Result<T, String>
    where
        T: Send + 'static,
        E: ToString + 'static,
    {
        let Self { bytes, share } = self;
        let is_small = bytes.len() <= PIECE;
        let decode = move || {
            let decoded = decode(&bytes).map_err(|error| error.to_string());
            // Only now others can have what they took of the budget.
            drop((bytes, share));
            decoded
        };
        // What fits into one piece takes less time than to hand it over.
        if is_small {
            return decode();
        }
        let decoded = tokio::task::spawn_blocking(decode).await;
        decoded.unwrap_or_else(|error| Err(format!("it can't be decoded, which is a bug: {error}")))
    }
}
