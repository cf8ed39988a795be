//! Records of past writes: the API server's responses to applies, and the number of writes per object.
//!
//! Both keep the operator from an endless conflict with an API server or a webhook that rewrites objects: the response to
//! the last apply counts as in sync, and an object that is written too often has to wait.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::Value;

use crate::diff::{fingerprint, in_sync};
use crate::finish::hash;

/// The API server's responses to applies that differ from the desired object, by uid of the object.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    by_uid: HashMap<String, Answer>,
}

/// The API server's response to an apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Hash of the desired object.
    desired: String,
    /// Fingerprint of the object in the response.
    fingerprint: String,
}

impl Answer {
    /// Returns the record of the response to an apply of `desired`. Returns `None` if the response is in sync with `desired`,
    /// because then no record is needed.
    #[must_use]
    pub fn of(desired: &Value, answer: &Value) -> Option<Self> {
        (!in_sync(desired, answer)).then(|| Self {
            desired: hash(desired),
            fingerprint: fingerprint(answer),
        })
    }
}

impl Answers {
    /// Returns a copy that contains only the responses for these objects.
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

    /// Returns whether applying `desired` to `observed` would change nothing: because they are [`in_sync`], or because
    /// `observed` equals the API server's response to an earlier apply of the same object.
    #[must_use]
    pub fn in_sync(&self, uid: &str, desired: &Value, observed: &Value) -> bool {
        in_sync(desired, observed)
            || self.by_uid.get(uid).is_some_and(|answer| {
                answer.desired == hash(desired) && answer.fingerprint == fingerprint(observed)
            })
    }

    /// Stores the response for an object, in place of the previous one. `None` only removes the previous one.
    pub fn keep(&mut self, uid: &str, answer: Option<Answer>) {
        match answer {
            None => self.by_uid.remove(uid),
            Some(answer) => self.by_uid.insert(uid.to_owned(), answer),
        };
    }

    /// Removes the response for an object that no longer exists.
    pub fn forget(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }
}

/// Rate limit for the writes of each object.
#[derive(Debug)]
pub struct Breaker {
    window: Duration,
    writes: HashMap<String, Recent>,
}

/// The admitted writes of an object within the window.
#[derive(Debug, Default)]
struct Recent {
    /// Times of the writes, the oldest first.
    times: VecDeque<Duration>,
    /// The largest limit since the window was empty.
    limit: usize,
}

impl Breaker {
    /// Returns a rate limit for the number of writes within a sliding window.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            writes: HashMap::new(),
        }
    }

    /// Admits and counts a write of `object` at `now` (the time since any fixed start) if the window contains fewer than
    /// `limit` writes.
    ///
    /// A larger limit from an earlier call applies until the window is empty: the writes that it allowed are no sign of an
    /// endless loop.
    ///
    /// # Errors
    ///
    /// Returns the delay until the next write is admitted if the limit is reached.
    pub fn admit(&mut self, object: &str, limit: usize, now: Duration) -> Result<(), Duration> {
        let Recent {
            times,
            limit: largest,
        } = self.writes.entry(object.to_owned()).or_default();
        while times.front().is_some_and(|first| *first + self.window <= now) {
            times.pop_front();
        }
        *largest = if times.is_empty() {
            limit
        } else {
            limit.max(*largest)
        };
        match times.front() {
            Some(first) if times.len() >= *largest => Err(*first + self.window - now),
            _ => {
                times.push_back(now);
                Ok(())
            }
        }
    }

    /// Removes the last admitted write of `object` from the count, because it was not carried out.
    pub fn take_back(&mut self, object: &str) {
        if let Some(Recent { times, .. }) = self.writes.get_mut(object) {
            times.pop_back();
        }
    }

    /// Removes objects without a write in the window, so that deleted objects take no memory.
    pub fn sweep(&mut self, now: Duration) {
        let window = self.window;
        self.writes
            .retain(|_, recent| recent.times.back().is_some_and(|last| *last + window > now));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::names::ANNOTATION_HASH;

    #[test]
    fn the_response_to_the_last_apply_is_in_sync() {
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
        assert!(
            !answers.in_sync("u", &desired, &edited),
            "an edit by another client is reverted"
        );
        let mut other = desired.clone();
        other["spec"]["image"] = json!("c");
        assert!(
            !answers.in_sync("u", &other, &rewritten),
            "another desired object is applied"
        );

        answers.forget("u");
        assert!(!answers.in_sync("u", &desired, &rewritten));
    }

    #[test]
    fn writes_are_limited_within_the_window() {
        let at = Duration::from_secs;
        let mut breaker = Breaker::new(at(10));
        assert_eq!(breaker.admit("a", 2, at(0)), Ok(()));
        assert_eq!(breaker.admit("a", 2, at(4)), Ok(()));
        assert_eq!(breaker.admit("a", 2, at(5)), Err(at(5)));
        assert_eq!(
            breaker.admit("b", 2, at(5)),
            Ok(()),
            "each object has its own limit"
        );
        assert_eq!(breaker.admit("a", 2, at(10)), Ok(()));
        assert_eq!(breaker.admit("a", 2, at(11)), Err(at(3)));
        breaker.sweep(at(30));
        assert!(breaker.writes.is_empty());
    }

    #[test]
    fn a_larger_earlier_limit_applies_until_the_window_is_empty_and_a_write_can_be_taken_back() {
        let at = Duration::from_secs;
        let mut breaker = Breaker::new(at(10));
        for _ in 0..3 {
            assert_eq!(breaker.admit("a", 3, at(0)), Ok(()));
        }
        assert_eq!(breaker.admit("a", 1, at(1)), Err(at(9)));
        breaker.take_back("a");
        assert_eq!(breaker.admit("a", 1, at(2)), Ok(()));
        assert_eq!(breaker.admit("a", 1, at(3)), Err(at(7)));
        // After the window, only the new limit applies.
        assert_eq!(breaker.admit("a", 1, at(12)), Ok(()));
        assert_eq!(breaker.admit("a", 1, at(13)), Err(at(9)));
    }
}
