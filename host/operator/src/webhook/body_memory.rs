//! Memory limit for the bodies of all requests that are being read. No I/O.
//!
//! A request is counted as its bytes arrive, regardless of its announced length. At the limit, the client with the most bytes
//! loses its largest request, so that no client can keep others out with requests that are large or never end. All tenants share
//! the address of an API server, so the first bytes of each request are not counted: small requests never depend on large ones.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Shared memory limit for request bodies.
#[derive(Clone, Debug)]
pub(super) struct BodyMemory(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Maximum of `bytes`.
    limit: usize,
    /// Bytes of each request that are not counted.
    free: usize,
    /// Counted bytes of all requests.
    bytes: usize,
    bodies: HashMap<u64, Entry>,
    /// Number of the next request.
    next: u64,
}

/// A request that is being read.
#[derive(Debug)]
struct Entry {
    address: IpAddr,
    /// Bytes read so far, including those that are not counted.
    bytes: usize,
    evicted: Arc<Notify>,
}

/// Guard of a request that is being read. Its bytes are released on drop.
#[derive(Debug)]
pub(super) struct BodyReservation {
    bodies: BodyMemory,
    number: u64,
    evicted: Arc<Notify>,
}

impl BodyMemory {
    /// Creates a limit of this number of bytes for all requests together. The first `free` bytes of each request are not counted.
    pub(super) fn new(limit: usize, free: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            limit,
            free,
            bytes: 0,
            bodies: HashMap::new(),
            next: 0,
        })))
    }

    /// Registers a request from this address, without any bytes.
    pub(super) fn begin(&self, address: IpAddr) -> BodyReservation {
        let evicted = Arc::new(Notify::new());
        let mut state = self.0.lock();
        let number = state.next;
        state.next += 1;
        let entry = Entry {
            address,
            bytes: 0,
            evicted: evicted.clone(),
        };
        state.bodies.insert(number, entry);
        BodyReservation {
            bodies: self.clone(),
            number,
            evicted,
        }
    }
}

impl BodyReservation {
    /// Counts additional bytes. Returns false if the limit is reached and no other address has more bytes than this
    /// request's address would have, or if this request was evicted.
    pub(super) fn grow(&self, bytes: usize) -> bool {
        let mut state = self.bodies.0.lock();
        let Some(entry) = state.bodies.get(&self.number) else {
            return false;
        };
        let (address, grown) = (entry.address, entry.bytes + bytes);
        let more = state.counted(grown) - state.counted(entry.bytes);
        while more > 0 && state.bytes + more > state.limit {
            if !state.evict_largest(address, more) {
                return false;
            }
        }
        if let Some(entry) = state.bodies.get_mut(&self.number) {
            entry.bytes = grown;
            state.bytes += more;
        }
        true
    }

    /// Waits until the request is evicted in favour of a client with fewer bytes.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for BodyReservation {
    fn drop(&mut self) {
        self.bodies.0.lock().remove(self.number);
    }
}

impl State {
    /// Returns the counted bytes of a request with this number of bytes.
    fn counted(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.free)
    }

    /// Evicts the largest request of the address with the most bytes, if that has more than the newcomer's address would have.
    /// Returns whether one was evicted.
    fn evict_largest(&mut self, newcomer: IpAddr, bytes: usize) -> bool {
        let mut sums: HashMap<IpAddr, usize> = HashMap::new();
        for entry in self.bodies.values() {
            *sums.entry(entry.address).or_default() += self.counted(entry.bytes);
        }
        let own = sums.get(&newcomer).copied().unwrap_or_default() + bytes;
        let most = sums.into_iter().max_by_key(|(_, sum)| *sum);
        let Some((address, _)) = most.filter(|(_, sum)| *sum > own) else {
            return false;
        };
        let candidates = self.bodies.iter().filter(|(_, entry)| entry.address == address);
        let largest = candidates.max_by_key(|(_, entry)| entry.bytes);
        let Some(number) = largest.map(|(number, _)| *number) else {
            return false;
        };
        self.remove(number);
        true
    }

    fn remove(&mut self, number: u64) {
        if let Some(entry) = self.bodies.remove(&number) {
            self.bytes -= self.counted(entry.bytes);
            entry.evicted.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn address(number: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, number).into()
    }

    async fn is_evicted(body: &BodyReservation) -> bool {
        timeout(Duration::from_millis(1), body.evicted()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn only_received_bytes_are_counted() {
        let bodies = BodyMemory::new(100, 0);
        let greedy: Vec<_> = (0..100).map(|_| bodies.begin(address(1))).collect();
        assert!(greedy.iter().all(|body| body.grow(0)));
        let other = bodies.begin(address(2));
        assert!(other.grow(100));
        drop(other);
        assert!(
            bodies.begin(address(1)).grow(100),
            "bytes of finished requests are released"
        );
    }

    #[test]
    fn small_requests_do_not_depend_on_large_ones() {
        let bodies = BodyMemory::new(100, 10);
        let [large, small, other] = [(); 3].map(|()| bodies.begin(address(1)));
        assert!(large.grow(60) && large.grow(50) && !large.grow(1));
        assert!(small.grow(4) && small.grow(6), "the first bytes are not counted");
        assert!(!small.grow(1));
        drop(large);
        assert!(
            small.grow(1) && other.grow(109),
            "uncounted bytes are not released"
        );
        assert!(!other.grow(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_with_the_most_bytes_loses_its_largest_request() {
        let bodies = BodyMemory::new(100, 0);
        let greedy = [60, 30].map(|bytes| {
            let body = bodies.begin(address(1));
            assert!(body.grow(bytes));
            body
        });
        let [large, small] = &greedy;
        assert!(!small.grow(11), "no address has more");
        let other = bodies.begin(address(2));
        assert!(other.grow(20));
        assert!(is_evicted(large).await && !is_evicted(small).await);
        assert!(!large.grow(0), "the request was evicted");
        assert!(other.grow(40) && small.grow(10));
        // Now the other address has more.
        assert!(!other.grow(1));
        let third = bodies.begin(address(3));
        assert!(third.grow(59) && is_evicted(&other).await && !is_evicted(small).await);
    }
}
