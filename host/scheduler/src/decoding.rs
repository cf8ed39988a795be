//! Received replies and their decoding.

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::budget::{CHUNK, Share};

/// Maximum number of threads that decode large replies at the same time, for all schedulers together.
pub const DECODERS: usize = 4;

static DECODING: Semaphore = Semaphore::const_new(DECODERS);

/// The bytes of a reply, which count towards the budget until they are decoded.
#[derive(Debug)]
pub(crate) struct ReplyBytes {
    bytes: Vec<u8>,
    share: Share,
}

impl ReplyBytes {
    pub(crate) fn new(bytes: Vec<u8>, share: Share) -> Self {
        Self { bytes, share }
    }

    /// Returns the received bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Decodes the bytes: small replies immediately, large ones on a blocking thread of `decoders`, or of the current runtime if
    /// `decoders` is `None`.
    ///
    /// # Errors
    ///
    /// Returns the message of the decoder if the bytes are invalid.
    pub(crate) async fn decode<T, E>(
        self,
        decoders: Option<&Handle>,
        decode: fn(&[u8]) -> Result<T, E>,
    ) -> Result<T, String>
    where
        T: Send + 'static,
        E: ToString + 'static,
    {
        let Self { bytes, share } = self;
        let is_small = bytes.len() <= CHUNK;
        let decode = move || {
            let decoded = decode(&bytes).map_err(|error| error.to_string());
            // Release the share of the budget only now that the bytes are decoded.
            drop((bytes, share));
            decoded
        };
        // Decoding a single chunk takes less time than handing it to another thread.
        if is_small {
            return decode();
        }
        // The semaphore is never closed. A started decoder keeps its permit until it has ended, even if the caller is gone.
        let permit = DECODING.acquire().await;
        let decoders = decoders.cloned().unwrap_or_else(Handle::current);
        let decoded = decoders.spawn_blocking(move || {
            let _permit = permit;
            decode()
        });
        let decoded = decoded.await;
        decoded.unwrap_or_else(|error| Err(format!("it can't be decoded, which is a bug: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);

    fn slow(_: &[u8]) -> Result<(), String> {
        let running = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
        MOST.fetch_max(running, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    fn thread_name(_: &[u8]) -> Result<Option<String>, String> {
        Ok(std::thread::current().name().map(String::from))
    }

    #[test]
    fn large_replies_are_decoded_on_the_given_runtime() -> std::io::Result<()> {
        let runtime = |name: &str| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.thread_name(name).build()
        };
        let (own, other) = (runtime("own")?, runtime("other")?);
        let decode = |decoders: Option<&Handle>| {
            let received = ReplyBytes::new(vec![0; CHUNK + 1], Share::default());
            own.block_on(received.decode(decoders, thread_name))
        };
        assert_eq!(decode(None), Ok(Some("own".into())));
        assert_eq!(decode(Some(other.handle())), Ok(Some("other".into())));
        Ok(())
    }

    #[tokio::test]
    async fn the_number_of_concurrent_decoders_is_limited() {
        let received = || ReplyBytes::new(vec![0; CHUNK + 1], Share::default());
        let all: Vec<_> = (0..3 * DECODERS)
            .map(|_| tokio::spawn(received().decode(None, slow)))
            .collect();
        for decoded in all {
            assert_eq!(decoded.await.expect("no panic"), Ok(()));
        }
        let most = MOST.load(Ordering::SeqCst);
        assert!((1..=DECODERS).contains(&most), "{most}");
    }
}
