//! Limits for the open connections of a server. No I/O.
//!
//! At the limit, the client with the most connections loses one, so that no client can keep others out by opening connections.
//! Clients are told apart by their IP address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Maximum time from the start of a connection until the head of its first request has arrived, including TLS.
const FIRST: Duration = Duration::from_secs(10);

/// Maximum time that a connection may wait for another request. API servers close their connections after 90 s, and they must
/// do so first: a request that is sent while the server closes the connection is lost.
const IDLE: Duration = Duration::from_secs(120);

/// The open connections of a server.
#[derive(Debug)]
pub(crate) struct ConnectionSlots {
    limit: usize,
    slots: Vec<Weak<ConnectionSlot>>,
}

/// An open connection. Counts as open until the last reference to it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    address: IpAddr,
    state: Mutex<State>,
    close: Notify,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    is_closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request has arrived yet.
    New,
    /// A request is arriving. The code that reads it limits the time.
    Reading,
    /// A request is being answered.
    Answering,
    /// The connection waits for the next request.
    Idle,
}

impl ConnectionSlots {
    /// Creates an empty set of at most `limit` connections.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            slots: Vec::new(),
        }
    }

    /// Adds a connection from this address. Returns `None` if the limit is reached and no other connection can be closed for it.
    pub(crate) fn take(&mut self, address: IpAddr, now: Instant) -> Option<Arc<ConnectionSlot>> {
        let open = self.open();
        if open.len() >= self.limit && !evict(&open, address) {
            return None;
        }
        let slot = Arc::new(ConnectionSlot {
            address,
            state: Mutex::new(State {
                phase: Phase::New,
                since: now,
                is_closed: false,
            }),
            close: Notify::new(),
        });
        self.slots.push(Arc::downgrade(&slot));
        Some(slot)
    }

    /// Closes the connections that have been new or idle for too long.
    pub(crate) fn close_overdue(&mut self, now: Instant) {
        for slot in self.open() {
            if slot.is_overdue(now) {
                slot.close();
            }
        }
    }

    fn open(&mut self) -> Vec<Arc<ConnectionSlot>> {
        self.slots.retain(|slot| slot.strong_count() > 0);
        let slots = self.slots.iter().filter_map(Weak::upgrade);
        slots.filter(|slot| !slot.state().is_closed).collect()
    }
}

/// Closes a connection of the address with the most connections, if that has more than the newcomer: the connection that has
/// been in its phase the longest and is not being answered. Returns whether one was closed.
fn evict(open: &[Arc<ConnectionSlot>], newcomer: IpAddr) -> bool {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for slot in open {
        *counts.entry(slot.address).or_default() += 1;
    }
    let own = counts.get(&newcomer).copied().unwrap_or_default();
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    let Some((address, _)) = most.filter(|(_, count)| *count > own) else {
        return false;
    };
    let mut candidates: Vec<_> = open.iter().filter(|slot| slot.address == address).collect();
    candidates.sort_by_key(|slot| slot.state().since);
    candidates.iter().any(|slot| slot.close())
}

impl ConnectionSlot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.state();
        state.phase = phase;
        state.since = Instant::now();
    }

    /// Records that the head of a request has arrived.
    pub(crate) fn set_reading(&self) {
        self.enter(Phase::Reading);
    }

    /// Records that the whole request has arrived. From now on the connection is not closed in favour of others.
    pub(crate) fn set_answering(&self) {
        self.enter(Phase::Answering);
    }

    /// Records that the request was answered.
    pub(crate) fn set_idle(&self) {
        self.enter(Phase::Idle);
    }

    /// Waits until the connection must be closed.
    pub(crate) async fn closed(&self) {
        self.close.notified().await;
    }

    /// Returns the IP address of the client.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let state = self.state();
        let limit = match state.phase {
            Phase::New => FIRST,
            Phase::Idle => IDLE,
            Phase::Reading | Phase::Answering => return false,
        };
        now.saturating_duration_since(state.since) > limit
    }

    /// Requests that the connection is closed. Returns false if a request is being answered.
    fn close(&self) -> bool {
        let mut state = self.state();
        if state.phase == Phase::Answering {
            return false;
        }
        state.is_closed = true;
        self.close.notify_one();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, number).into()
    }

    fn is_closed(slot: &ConnectionSlot) -> bool {
        slot.state().is_closed
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_with_the_most_connections_loses_one() {
        let mut slots = ConnectionSlots::new(3);
        let mut take = |number| slots.take(address(number), Instant::now());
        let (Some(first), Some(second), Some(third)) = (take(1), take(1), take(1)) else {
            panic!("the limit is not reached");
        };
        assert!(take(1).is_none(), "no address has more than the newcomer");
        first.set_answering();
        let other = take(2);
        assert!(other.is_some());
        assert!(!is_closed(&first) && is_closed(&second) && !is_closed(&third));
        // Closed and dropped connections don't count.
        drop((second, third));
        assert!(take(3).is_some());
        first.set_idle();
        drop(other);
        assert!(take(3).is_some() && !is_closed(&first));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_being_answered_is_not_closed() {
        let mut slots = ConnectionSlots::new(2);
        let open = [1, 1].map(|number| slots.take(address(number), Instant::now()));
        open.iter().flatten().for_each(|slot| slot.set_answering());
        assert!(slots.take(address(2), Instant::now()).is_none());
        open.iter().flatten().for_each(|slot| slot.set_idle());
        assert!(slots.take(address(2), Instant::now()).is_some());
        let closed: Vec<_> = open.iter().flatten().map(|slot| is_closed(slot)).collect();
        assert_eq!(
            closed,
            [true, false],
            "the connection that has waited the longest is closed"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn overdue_connections_are_closed() {
        let mut slots = ConnectionSlots::new(4);
        let open = [1, 2, 3, 4].map(|number| slots.take(address(number), Instant::now()));
        let [Some(new), Some(idle), Some(reading), Some(answering)] = open else {
            panic!("the limit is not reached");
        };
        idle.set_idle();
        reading.set_reading();
        answering.set_answering();
        let mut closed_after = |seconds| {
            slots.close_overdue(Instant::now() + Duration::from_secs(seconds));
            [&new, &idle, &reading, &answering].map(|slot| is_closed(slot))
        };
        assert_eq!(closed_after(10), [false; 4]);
        assert_eq!(closed_after(11), [true, false, false, false]);
        assert_eq!(closed_after(121), [true, true, false, false]);
        assert_eq!(closed_after(1000), [true, true, false, false]);
        new.closed().await;
    }
}
