//! Turns at something of which there is little, given fairly.
//!
//! Who comes first is served first, but each of those who wait gets one turn before any of them gets a second: a
//! component with many calls does not hold up one with few.

use std::collections::{HashSet, VecDeque};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::Digest;

/// As many turns as there are places.
pub(crate) struct Turns {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Turns {
    pub(crate) fn new(places: u32) -> Self {
        Self {
            queue: Mutex::new(Queue::new(places)),
            changed: Condvar::new(),
        }
    }

    /// Waits for a turn, for a call of the component `who`.
    pub(crate) fn take(&self, who: Digest) -> Turn<'_> {
        // A thread that panics can't leave the queue half changed.
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = queue.come(who);
        let waiting = self
            .changed
            .wait_while(queue, |queue| !queue.served.contains(&ticket));
        waiting
            .unwrap_or_else(PoisonError::into_inner)
            .served
            .remove(&ticket);
        Turn(self)
    }
}

/// The right to one place.
pub(crate) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .leave();
        self.0.changed.notify_all();
    }
}

/// Who waits, and who need not wait any more.
struct Queue {
    free: u32,
    next: u64,
    /// Each who waits, with the tickets of its calls. The first is served next.
    waiting: VecDeque<(Digest, VecDeque<u64>)>,
    /// Tickets that have got a place, until their call knows.
    served: HashSet<u64>,
}

impl Queue {
    fn new(free: u32) -> Self {
        Self {
            free,
            next: 0,
            waiting: VecDeque::new(),
            served: HashSet::new(),
        }
    }

    /// Gives a call a ticket.
    fn come(&mut self, who: Digest) -> u64 {
        let ticket = self.next;
        self.next += 1;
        match self.waiting.iter_mut().find(|(other, _)| *other == who) {
            Some((_, tickets)) => tickets.push_back(ticket),
            None => self.waiting.push_back((who, VecDeque::from([ticket]))),
        }
        self.serve();
        ticket
    }

    /// A place is free again.
    fn leave(&mut self) {
        self.free += 1;
        self.serve();
    }

    fn serve(&mut self) {
        while self.free > 0
            && let Some((who, mut tickets)) = self.waiting.pop_front()
        {
            if let Some(ticket) = tickets.pop_front() {
                self.free -= 1;
                self.served.insert(ticket);
            }
            if !tickets.is_empty() {
                self.waiting.push_back((who, tickets));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_with_many_gets_one_turn_at_a_time() {
        let (many, few) = (Digest::of(b"many"), Digest::of(b"few"));
        let mut queue = Queue::new(1);
        let running = queue.come(many);
        assert!(queue.served.remove(&running));
        let first = queue.come(many);
        let second = queue.come(many);
        let other = queue.come(few);
        assert!(queue.served.is_empty());
        for ticket in [first, other, second] {
            queue.leave();
            assert!(queue.served.remove(&ticket), "{ticket}");
            assert!(queue.served.is_empty());
        }
        queue.leave();
        assert_eq!((queue.free, queue.waiting.len()), (1, 0));
    }

    #[test]
    fn there_are_as_many_turns_as_places() {
        let turns = Turns::new(2);
        let who = Digest::of(b"");
        let (one, two) = (turns.take(who), turns.take(who));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| drop(turns.take(who)));
            drop(one);
            waiting.join().expect("it gets the place that was left");
        });
        drop(two);
        let queue = turns.queue.lock().expect("the queue");
        assert_eq!((queue.free, queue.served.len()), (2, 0));
    }
}
