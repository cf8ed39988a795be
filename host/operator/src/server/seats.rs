//! The connections that a server may have at once, and those that must go. No I/O.
//!
//! Where there are too many, the one who has the most loses one: nobody keeps others out by opening connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a connection may take until the head of its first request is there, TLS included.
const FIRST: Duration = Duration::from_secs(10);

/// How long a connection may wait for another request. API servers close theirs after 90 s, and it is they who must: a request
/// that meets a connection on its way out is lost.
const IDLE: Duration = Duration::from_secs(120);

/// The connections of a server.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    taken: Vec<Weak<Seat>>,
}

/// One connection. It is there as long as somebody has it.
#[derive(Debug)]
pub struct Seat {
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
    /// It has not asked anything yet.
    New,
    /// A request comes in. Whoever reads it says how long that may take.
    Reading,
    /// A request is being answered.
    Answering,
    /// It waits for the next request.
    Idle,
}

impl Seats {
    /// Up to `most`.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            taken: Vec::new(),
        }
    }

    /// A connection from this address. None where there is no place for it.
    pub(super) fn take(&mut self, address: IpAddr, now: Instant) -> Option<Arc<Seat>> {
        let taken = self.open();
        if taken.len() >= self.most && !make_room(&taken, address) {
            return None;
        }
        let seat = Arc::new(Seat {
            address,
            state: Mutex::new(State {
                phase: Phase::New,
                since: now,
                is_closed: false,
            }),
            close: Notify::new(),
        });
        self.taken.push(Arc::downgrade(&seat));
        Some(seat)
    }

    /// Closes those that have kept the server waiting for too long.
    pub(super) fn close_overdue(&mut self, now: Instant) {
        for seat in self.open() {
            if seat.is_overdue(now) {
                seat.close();
            }
        }
    }

    fn open(&mut self) -> Vec<Arc<Seat>> {
        self.taken.retain(|seat| seat.strong_count() > 0);
        let taken = self.taken.iter().filter_map(Weak::upgrade);
        taken.filter(|seat| !seat.state().is_closed).collect()
    }
}

/// Closes a connection of the address that has the most, if that is more than the newcomer has: one that waits, the one that
/// has done so the longest.
fn make_room(taken: &[Arc<Seat>], newcomer: IpAddr) -> bool {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for seat in taken {
        *counts.entry(seat.address).or_default() += 1;
    }
    let own = counts.get(&newcomer).copied().unwrap_or_default();
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    let Some((address, _)) = most.filter(|(_, count)| *count > own) else {
        return false;
    };
    let mut theirs: Vec<_> = taken.iter().filter(|seat| seat.address == address).collect();
    theirs.sort_by_key(|seat| seat.state().since);
    theirs.iter().any(|seat| seat.close())
}

impl Seat {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.state();
        state.phase = phase;
        state.since = Instant::now();
    }

    /// The head of a request is there.
    pub(super) fn reads(&self) {
        self.enter(Phase::Reading);
    }

    /// The request is there as a whole: it will be answered, whoever else wants to connect.
    pub fn answers(&self) {
        self.enter(Phase::Answering);
    }

    /// It is answered.
    pub(super) fn waits(&self) {
        self.enter(Phase::Idle);
    }

    /// Ends once the connection must be closed.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }

    /// Where it comes from.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let state = self.state();
        let most = match state.phase {
            Phase::New => FIRST,
            Phase::Idle => IDLE,
            Phase::Reading | Phase::Answering => return false,
        };
        now.saturating_duration_since(state.since) > most
    }

    /// Has it closed. False where it is being answered.
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

    fn is_closed(seat: &Seat) -> bool {
        seat.state().is_closed
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_the_most_makes_room() {
        let mut seats = Seats::new(3);
        let mut take = |number| seats.take(address(number), Instant::now());
        let (Some(first), Some(second), Some(third)) = (take(1), take(1), take(1)) else {
            panic!("there is room");
        };
        assert!(take(1).is_none(), "nobody has more than the newcomer");
        first.answers();
        let other = take(2);
        assert!(other.is_some());
        assert!(!is_closed(&first) && is_closed(&second) && !is_closed(&third));
        // Those that are closed don't count, and those that are gone neither.
        drop((second, third));
        assert!(take(3).is_some());
        first.waits();
        drop(other);
        assert!(take(3).is_some() && !is_closed(&first));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_answered_stays() {
        let mut seats = Seats::new(2);
        let theirs = [1, 1].map(|number| seats.take(address(number), Instant::now()));
        theirs.iter().flatten().for_each(|seat| seat.answers());
        assert!(seats.take(address(2), Instant::now()).is_none());
        theirs.iter().flatten().for_each(|seat| seat.waits());
        assert!(seats.take(address(2), Instant::now()).is_some());
        let closed: Vec<_> = theirs.iter().flatten().map(|seat| is_closed(seat)).collect();
        assert_eq!(closed, [true, false], "the one that has waited the longest");
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_others_waiting_is_closed() {
        let mut seats = Seats::new(4);
        let taken = [1, 2, 3, 4].map(|number| seats.take(address(number), Instant::now()));
        let [Some(new), Some(idle), Some(reading), Some(answering)] = taken else {
            panic!("there is room");
        };
        idle.waits();
        reading.reads();
        answering.answers();
        let mut closed_after = |seconds| {
            seats.close_overdue(Instant::now() + Duration::from_secs(seconds));
            [&new, &idle, &reading, &answering].map(|seat| is_closed(seat))
        };
        assert_eq!(closed_after(10), [false; 4]);
        assert_eq!(closed_after(11), [true, false, false, false]);
        assert_eq!(closed_after(121), [true, true, false, false]);
        assert_eq!(closed_after(1000), [true, true, false, false]);
        new.closed().await;
    }
}
