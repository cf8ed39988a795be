//! What the server made of what was sent, and how often something was sent.
//!
//! Both keep an operator from fighting a server or a webhook that rewrites what
//! it is given: the answer to the last apply counts as in sync, and an object
//! that is written again and again has to wait.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::Value;

use crate::diff::{fingerprint, in_sync};
use crate::finish::hash;

/// The server's answers to applies, by uid of the object.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    by_uid: HashMap<String, Answer>,
}

/// What the server made of what it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    desired: String,
    fingerprint: String,
}

impl Answer {
    /// What came back for `desired`. None when it is as it should be: nothing
    /// has to be kept then.
    #[must_use]
    pub fn of(desired: &Value, answer: &Value) -> Option<Self> {
        (!in_sync(desired, answer)).then(|| Self {
            desired: hash(desired),
            fingerprint: fingerprint(answer),
        })
    }
}

impl Answers {
    /// The answers for these objects only.
    #[must_use]
    pub fn of<'a>(&self, uids: impl IntoIterator<Item = &'a str>) -> Self {
        let known = |uid: &'a str| {
            let answer = self.by_uid.get(uid)?;
            Some((String::from(uid), answer.clone()))
        };
        Self {
            by_uid: uids.into_iter().filter_map(known).collect(),
        }
    }

    /// Whether applying `desired` to `observed` would change nothing: because
    /// it is [`in_sync`], or because it looks as the server left it when the
    /// same was applied before.
    #[must_use]
    pub fn in_sync(&self, uid: &str, desired: &Value, observed: &Value) -> bool {
        in_sync(desired, observed)
            || self.by_uid.get(uid).is_some_and(|answer| {
                answer.desired == hash(desired) && answer.fingerprint == fingerprint(observed)
            })
    }

    /// Keeps what was answered for an object, in place of what was before.
    pub fn keep(&mut self, uid: &str, answer: Option<Answer>) {
        match answer {
            None => self.by_uid.remove(uid),
            Some(answer) => self.by_uid.insert(uid.to_owned(), answer),
        };
    }

    /// Forgets an object that is gone.
    pub fn forget(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }
}

/// Counts writes per object and withholds them when there are too many.
#[derive(Debug)]
pub struct Breaker {
    within: Duration,
    writes: HashMap<String, Recent>,
}

/// The writes of an object within the window.
#[derive(Debug, Default)]
struct Recent {
    times: VecDeque<Duration>,
    /// The largest limit since the window was empty.
    most: usize,
}

impl Breaker {
    /// Counts the writes of the last time of length `within`.
    #[must_use]
    pub fn new(within: Duration) -> Self {
        Self {
            within,
            writes: HashMap::new(),
        }
    }

    /// Asks whether `object` may be written at `now` (time since any fixed
    /// start) where `most` writes are let through, and counts the write if so.
    /// A limit that was larger before holds until the window is empty: what was
    /// written under it is no sign of a loop.
    ///
    /// # Errors
    ///
    /// How long to wait.
    pub fn admit(&mut self, object: &str, most: usize, now: Duration) -> Result<(), Duration> {
        let Recent { times, most: limit } = self.writes.entry(object.to_owned()).or_default();
        while times.front().is_some_and(|first| *first + self.within <= now) {
            times.pop_front();
        }
        *limit = if times.is_empty() { most } else { most.max(*limit) };
        match times.front() {
            Some(first) if times.len() >= *limit => Err(*first + self.within - now),
            _ => {
                times.push_back(now);
                Ok(())
            }
        }
    }

    /// Takes back the last write that was admitted: it was not done.
    pub fn take_back(&mut self, object: &str) {
        if let Some(Recent { times, .. }) = self.writes.get_mut(object) {
            times.pop_back();
        }
    }

    /// Forgets what is long past, so that objects which are gone take no memory.
    pub fn sweep(&mut self, now: Duration) {
        let within = self.within;
        self.writes
            .retain(|_, recent| recent.times.back().is_some_and(|last| *last + within > now));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::names::ANNOTATION_HASH;

    #[test]
    fn what_the_server_made_of_it_is_in_sync() {
        let desired = json!({"metadata": {"annotations": {ANNOTATION_HASH: "h"}}, "spec": {"image": "a"}});
        let rewritten =
            json!({"metadata": {"annotations": {ANNOTATION_HASH: "h"}}, "spec": {"image": "mirror/a"}});
        let mut answers = Answers::default();
        assert!(!answers.in_sync("u", &desired, &rewritten));
        answers.keep("u", Answer::of(&desired, &rewritten));
        assert!(answers.in_sync("u", &desired, &rewritten));
        assert!(answers.of(["u"]).in_sync("u", &desired, &rewritten));
        assert!(!answers.of(["v"]).in_sync("u", &desired, &rewritten));

        let mut edited = rewritten.clone();
        edited["spec"]["image"] = json!("b");
        assert!(!answers.in_sync("u", &desired, &edited), "an edit is put back");
        let mut other = desired.clone();
        other["spec"]["image"] = json!("c");
        assert!(
            !answers.in_sync("u", &other, &rewritten),
            "another wish is applied"
        );

        answers.forget("u");
        assert!(!answers.in_sync("u", &desired, &rewritten));
    }

    #[test]
    fn a_breaker_opens_and_closes() {
        let at = Duration::from_secs;
        let mut breaker = Breaker::new(at(10));
        assert_eq!(breaker.admit("a", 2, at(0)), Ok(()));
        assert_eq!(breaker.admit("a", 2, at(4)), Ok(()));
        assert_eq!(breaker.admit("a", 2, at(5)), Err(at(5)));
        assert_eq!(
            breaker.admit("b", 2, at(5)),
            Ok(()),
            "one object does not stop another"
        );
        assert_eq!(breaker.admit("a", 2, at(10)), Ok(()));
        assert_eq!(breaker.admit("a", 2, at(11)), Err(at(3)));
        breaker.sweep(at(30));
        assert!(breaker.writes.is_empty());
    }

    #[test]
    fn a_limit_holds_for_what_was_written_under_it_and_what_failed_does_not_count() {
        let at = Duration::from_secs;
        let mut breaker = Breaker::new(at(10));
        for _ in 0..3 {
            assert_eq!(breaker.admit("a", 3, at(0)), Ok(()));
        }
        assert_eq!(breaker.admit("a", 1, at(1)), Err(at(9)));
        breaker.take_back("a");
        assert_eq!(breaker.admit("a", 1, at(2)), Ok(()));
        assert_eq!(breaker.admit("a", 1, at(3)), Err(at(7)));
        // After the window only the present limit holds.
        assert_eq!(breaker.admit("a", 1, at(12)), Ok(()));
        assert_eq!(breaker.admit("a", 1, at(13)), Err(at(9)));
    }
}
