//! The bytes of requests that are being read, of all together. No I/O.
//!
//! A request takes of them as its bytes arrive, whatever it announces. Where there are too many, who has the most loses a
//! request: nobody keeps others out by requests that are large, or never end. Tenants come from one address, that of an API
//! server, so the first bytes of each request are free: what is small never waits for what is large.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What all requests have.
#[derive(Clone, Debug)]
pub(super) struct Bodies(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    most: usize,
    /// What each request has beside that.
    free: usize,
    bytes: usize,
    bodies: HashMap<u64, Entry>,
    /// The number of the next one.
    next: u64,
}

/// What one request has.
#[derive(Debug)]
struct Entry {
    address: IpAddr,
    /// Those that are free count, too.
    bytes: usize,
    lost: Arc<Notify>,
}

/// A request that is being read, until this is dropped.
#[derive(Debug)]
pub(super) struct Body {
    bodies: Bodies,
    number: u64,
    lost: Arc<Notify>,
}

impl Bodies {
    /// So many bytes together, beside the first ones of each request, which are `free`.
    pub(super) fn new(most: usize, free: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            most,
            free,
            bytes: 0,
            bodies: HashMap::new(),
            next: 0,
        })))
    }

    /// A request from this address, of which nothing is there yet.
    pub(super) fn begin(&self, address: IpAddr) -> Body {
        let lost = Arc::new(Notify::new());
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let entry = Entry {
            address,
            bytes: 0,
            lost: lost.clone(),
        };
        state.bodies.insert(number, entry);
        Body {
            bodies: self.clone(),
            number,
            lost,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half changed: no call in between can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body {
    /// Takes so many bytes more. False where there is no room for them: nobody has more than this request's address would have.
    pub(super) fn grow(&self, bytes: usize) -> bool {
        let mut state = self.bodies.lock();
        let Some(entry) = state.bodies.get(&self.number) else {
            return false;
        };
        let (address, grown) = (entry.address, entry.bytes + bytes);
        let more = state.counted(grown) - state.counted(entry.bytes);
        while more > 0 && state.bytes + more > state.most {
            if !state.make_room(address, more) {
                return false;
            }
        }
        if let Some(entry) = state.bodies.get_mut(&self.number) {
            entry.bytes = grown;
            state.bytes += more;
        }
        true
    }

    /// Ends once the request must go, because others have less.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.bodies.lock().remove(self.number);
    }
}

impl State {
    /// What a request that has so many bytes takes of those of all.
    fn counted(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.free)
    }

    /// Takes a request away from the address that has the most, if that is more than the newcomer's would have: its largest.
    fn make_room(&mut self, newcomer: IpAddr, bytes: usize) -> bool {
        let mut sums: HashMap<IpAddr, usize> = HashMap::new();
        for entry in self.bodies.values() {
            *sums.entry(entry.address).or_default() += self.counted(entry.bytes);
        }
        let own = sums.get(&newcomer).copied().unwrap_or_default() + bytes;
        let most = sums.into_iter().max_by_key(|(_, sum)| *sum);
        let Some((address, _)) = most.filter(|(_, sum)| *sum > own) else {
            return false;
        };
        let theirs = self.bodies.iter().filter(|(_, entry)| entry.address == address);
        let largest = theirs.max_by_key(|(_, entry)| entry.bytes);
        let Some(number) = largest.map(|(number, _)| *number) else {
            return false;
        };
        self.remove(number);
        true
    }

    fn remove(&mut self, number: u64) {
        if let Some(entry) = self.bodies.remove(&number) {
            self.bytes -= self.counted(entry.bytes);
            entry.lost.notify_one();
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

    async fn is_lost(body: &Body) -> bool {
        timeout(Duration::from_millis(1), body.lost()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_announces_much_and_sends_little_keeps_nobody_out() {
        let bodies = Bodies::new(100, 0);
        let greedy: Vec<_> = (0..100).map(|_| bodies.begin(address(1))).collect();
        assert!(greedy.iter().all(|body| body.grow(0)));
        let other = bodies.begin(address(2));
        assert!(other.grow(100));
        drop(other);
        assert!(bodies.begin(address(1)).grow(100), "what is over is given back");
    }

    #[test]
    fn what_is_small_never_waits_for_what_is_large() {
        let bodies = Bodies::new(100, 10);
        let [large, small, other] = [(); 3].map(|()| bodies.begin(address(1)));
        assert!(large.grow(60) && large.grow(50) && !large.grow(1));
        assert!(small.grow(4) && small.grow(6), "the first bytes are free");
        assert!(!small.grow(1));
        drop(large);
        assert!(small.grow(1) && other.grow(109), "and are given back only once");
        assert!(!other.grow(1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_the_most_loses_a_request() {
        let bodies = Bodies::new(100, 0);
        let greedy = [60, 30].map(|bytes| {
            let body = bodies.begin(address(1));
            assert!(body.grow(bytes));
            body
        });
        let [large, small] = &greedy;
        assert!(!small.grow(11), "nobody has more than they");
        let other = bodies.begin(address(2));
        assert!(other.grow(20));
        assert!(is_lost(large).await && !is_lost(small).await);
        assert!(!large.grow(0), "it has lost its place");
        assert!(other.grow(40) && small.grow(10));
        // Now it is the other one who has more.
        assert!(!other.grow(1));
        let third = bodies.begin(address(3));
        assert!(third.grow(59) && is_lost(&other).await && !is_lost(small).await);
    }
}
