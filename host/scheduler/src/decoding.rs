//! Answers as they were received, and what is made of them.

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::budget::{PIECE, Share};

/// How many threads decode large answers at the same time, of all schedulers together.
pub const DECODERS: usize = 4;

static DECODING: Semaphore = Semaphore::const_new(DECODERS);

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

    /// Decodes them; many of them on a thread of `decoders` that may be kept busy, or of the current runtime. The text of an error
    /// says what is wrong.
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
        // The semaphore is never closed. What has begun keeps its place until it has ended, even if nobody waits any more.
        let place = DECODING.acquire().await;
        let decoders = decoders.cloned().unwrap_or_else(Handle::current);
        let decoded = decoders.spawn_blocking(move || {
            let _place = place;
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

    fn thread(_: &[u8]) -> Result<Option<String>, String> {
        Ok(std::thread::current().name().map(String::from))
    }

    #[test]
    fn large_answers_are_decoded_where_they_are_to_be() -> std::io::Result<()> {
        let runtime = |name: &str| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.thread_name(name).build()
        };
        let (own, other) = (runtime("own")?, runtime("other")?);
        let decode = |decoders: Option<&Handle>| {
            let received = Received::new(vec![0; PIECE + 1], Share::default());
            own.block_on(received.decode(decoders, thread))
        };
        assert_eq!(decode(None), Ok(Some("own".into())));
        assert_eq!(decode(Some(other.handle())), Ok(Some("other".into())));
        Ok(())
    }

    #[tokio::test]
    async fn only_so_many_large_answers_are_decoded_at_once() {
        let received = || Received::new(vec![0; PIECE + 1], Share::default());
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
