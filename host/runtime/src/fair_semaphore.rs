//! Fair semaphore for the slots of the instance pool.
//!
//! Waiting components take turns: each of them gets one permit before any of them gets a second, in order of arrival. A
//! component with many calls therefore does not block one with few.

use std::collections::{HashSet, VecDeque};

use parking_lot::{Condvar, Mutex};

use crate::Digest;

/// Semaphore whose permits rotate among the waiting components.
pub(crate) struct FairSemaphore {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl FairSemaphore {
    pub(crate) fn new(permits: u32) -> Self {
        Self {
            queue: Mutex::new(Queue::new(permits)),
            changed: Condvar::new(),
        }
    }

    /// Waits for a permit for a call of this component.
    pub(crate) fn acquire(&self, component: Digest) -> Permit<'_> {
        let mut queue = self.queue.lock();
        let ticket = queue.enqueue(component);
        self.changed
            .wait_while(&mut queue, |queue| !queue.granted.contains(&ticket));
        queue.granted.remove(&ticket);
        Permit(self)
    }
}

/// Permit for one slot, released on drop.
pub(crate) struct Permit<'a>(&'a FairSemaphore);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.queue.lock().release();
        self.0.changed.notify_all();
    }
}

/// State of the semaphore: waiting calls and granted permits.
struct Queue {
    /// Number of free permits.
    free: u32,
    /// Next ticket.
    next: u64,
    /// Waiting components, each with the tickets of its calls. The first component gets the next permit.
    waiting: VecDeque<(Digest, VecDeque<u64>)>,
    /// Tickets that have a permit, until their call takes it.
    granted: HashSet<u64>,
}

impl Queue {
    fn new(free: u32) -> Self {
        Self {
            free,
            next: 0,
            waiting: VecDeque::new(),
            granted: HashSet::new(),
        }
    }

    /// Adds a call of this component to the queue and returns its ticket.
    fn enqueue(&mut self, component: Digest) -> u64 {
        let ticket = self.next;
        self.next += 1;
        match self.waiting.iter_mut().find(|(other, _)| *other == component) {
            Some((_, tickets)) => tickets.push_back(ticket),
            None => self.waiting.push_back((component, VecDeque::from([ticket]))),
        }
        self.grant();
        ticket
    }

    /// Releases a permit.
    fn release(&mut self) {
        self.free += 1;
        self.grant();
    }

    /// Grants the free permits to waiting calls.
    fn grant(&mut self) {
        while self.free > 0
            && let Some((component, mut tickets)) = self.waiting.pop_front()
        {
            if let Some(ticket) = tickets.pop_front() {
                self.free -= 1;
                self.granted.insert(ticket);
            }
            if !tickets.is_empty() {
                self.waiting.push_back((component, tickets));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_with_many_calls_gets_one_permit_at_a_time() {
        let (many, few) = (Digest::of(b"many"), Digest::of(b"few"));
        let mut queue = Queue::new(1);
        let running = queue.enqueue(many);
        assert!(queue.granted.remove(&running));
        let first = queue.enqueue(many);
        let second = queue.enqueue(many);
        let other = queue.enqueue(few);
        assert!(queue.granted.is_empty());
        for ticket in [first, other, second] {
            queue.release();
            assert!(queue.granted.remove(&ticket), "{ticket}");
            assert!(queue.granted.is_empty());
        }
        queue.release();
        assert_eq!((queue.free, queue.waiting.len()), (1, 0));
    }

    #[test]
    fn a_waiting_call_gets_a_released_permit() {
        let semaphore = FairSemaphore::new(2);
        let component = Digest::of(b"");
        let (one, two) = (semaphore.acquire(component), semaphore.acquire(component));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| drop(semaphore.acquire(component)));
            drop(one);
            waiting.join().expect("the released permit");
        });
        drop(two);
        let queue = semaphore.queue.lock();
        assert_eq!((queue.free, queue.granted.len()), (2, 0));
    }
}
