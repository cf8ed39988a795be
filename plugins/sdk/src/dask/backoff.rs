//! Back-off for pods that end soon after they were created.
//!
//! The delays grow like those of the kubelet: ten seconds after the first early end, twice as long after each further one,
//! at most five minutes. After ten minutes without an early end the back-off is reset. It is stored in the parent's status,
//! so it survives a restart of the operator.

use serde_json::{Value, json};

use super::pod::{Cause, Pod};
use super::time;
use crate::contract::Timestamp;

/// First delay, in milliseconds.
const FIRST_DELAY: i64 = 10_000;
/// Maximum delay, in milliseconds.
const MAX_DELAY: i64 = 300_000;
/// Time without an early end after which the back-off is reset, in milliseconds.
const RESET_AFTER: i64 = 600_000;

/// Maximum length of the stored message, in characters.
const MESSAGE_LENGTH: usize = 500;

/// Name of the status field.
const FIELD: &str = "backoff";

/// A pod that ended soon after it was created.
#[derive(Debug, Clone)]
pub struct EarlyEnd {
    /// Time of the end.
    pub time: Timestamp,
    /// UID of the pod.
    pub uid: String,
    /// Reason for the end.
    pub cause: Cause,
}

impl EarlyEnd {
    /// Returns the end of a pod if it was soon after the pod's creation, else `None`.
    pub fn of(pod: &Pod) -> Option<Self> {
        let time = pod.early_end()?;
        Some(Self {
            time,
            uid: pod.uid.clone(),
            cause: pod.trouble(time)?,
        })
    }
}

/// Back-off state of a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodBackoff {
    /// Number of consecutive early ends. Pods that end during the delay are not counted.
    failures: u32,
    /// Time before which no replacement is created.
    until: Timestamp,
    /// Reason for the last early end.
    cause: Cause,
    /// UID of the last pod that ended early.
    uid: String,
}

impl PodBackoff {
    /// Reads the state from a status. Returns `None` if there is none.
    pub fn of(status: &Value) -> Option<Self> {
        let backoff = status.get(FIELD)?;
        let text = |field: &str| backoff[field].as_str();
        Some(Self {
            failures: u32::try_from(backoff["failures"].as_u64()?).ok()?,
            until: text("until").and_then(time::parse)?,
            cause: Cause {
                reason: text("reason")?.to_owned(),
                message: text("message").unwrap_or_default().to_owned(),
            },
            uid: text("uid")?.to_owned(),
        })
    }

    /// Returns the state of a status, updated with the early ends that are observed now. Returns `None` if no back-off is
    /// active. The flag is true if an event is due, because this is the first early end or its reason differs from the last.
    pub fn after<'a>(
        status: &Value,
        ends: impl IntoIterator<Item = &'a EarlyEnd>,
        now: Timestamp,
    ) -> Option<(Self, bool)> {
        let known = Self::of(status);
        let last = ends.into_iter().max_by_key(|end| end.time);
        match (known, last) {
            (known, None) => known
                .filter(|known| now.saturating_sub(known.until) < RESET_AFTER)
                .map(|known| (known, false)),
            (Some(known), Some(end)) if end.uid == known.uid || end.time.min(now) < known.until => {
                Some((known, false))
            }
            (known, Some(end)) => {
                // The clock of a node can be ahead.
                let time = end.time.min(now);
                let known = known.filter(|known| time.saturating_sub(known.until) < RESET_AFTER);
                let failures = known.as_ref().map_or(0, |known| known.failures).saturating_add(1);
                let is_news = known.is_none_or(|known| known.cause.reason != end.cause.reason);
                let backoff = Self {
                    failures,
                    until: time.saturating_add(delay(failures)),
                    cause: Cause {
                        reason: end.cause.reason.clone(),
                        message: end.cause.message.chars().take(MESSAGE_LENGTH).collect(),
                    },
                    uid: end.uid.clone(),
                };
                Some((backoff, is_news))
            }
        }
    }

    /// Returns the time before which no pod is created, or `None` if it is over.
    pub fn rests_until(&self, now: Timestamp) -> Option<Timestamp> {
        (self.until > now).then_some(self.until)
    }

    /// Returns the reason for the last early end.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// Returns whether the pod with this UID was the last that ended early.
    pub fn is_of(&self, uid: &str) -> bool {
        self.uid == uid
    }

    /// Writes the state into a status.
    pub fn write(&self, status: &mut Value) {
        status[FIELD] = json!({
            "failures": self.failures,
            "until": time::format(self.until),
            "reason": self.cause.reason,
            "uid": self.uid,
        });
        if !self.cause.message.is_empty() {
            status[FIELD]["message"] = json!(self.cause.message);
        }
    }
}

/// Returns the delay after this number of failures, in milliseconds.
fn delay(failures: u32) -> i64 {
    let doublings = failures.saturating_sub(1).min(5);
    (FIRST_DELAY << doublings).min(MAX_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::START;

    fn end(seconds: i64, uid: &str, reason: &str) -> EarlyEnd {
        EarlyEnd {
            time: START + seconds * 1000,
            uid: uid.to_owned(),
            cause: Cause::reported(reason, ""),
        }
    }

    #[test]
    fn delays_grow_to_five_minutes() {
        let delays: Vec<i64> = (1..9).map(|failures| delay(failures) / 1000).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(delay(u32::MAX), MAX_DELAY);
    }

    #[test]
    fn stores_the_reason_for_the_last_end() {
        let mut status = json!({});
        let mut early = end(1, "a", "Error");
        early.cause.message = "ä".repeat(1000);
        let (backoff, _) = PodBackoff::after(&status, [&early], START + 2000).expect("a delay");
        backoff.write(&mut status);
        let read = PodBackoff::of(&status).expect("written");
        assert_eq!(read.cause(), &Cause::reported("Error", "ä".repeat(500)));
        // An earlier release stored no message.
        status[FIELD]["message"] = Value::Null;
        assert_eq!(
            PodBackoff::of(&status)
                .map(|read| read.cause().to_string())
                .as_deref(),
            Some("Error")
        );
    }

    #[test]
    fn a_clock_that_is_ahead_does_not_lengthen_the_delay() {
        let early = end(3600, "a", "Error");
        let (backoff, _) = PodBackoff::after(&json!({}), [&early], START + 2000).expect("a delay");
        assert_eq!(backoff.rests_until(START + 2000), Some(START + 12_000));
    }

    #[test]
    fn ends_during_the_delay_are_not_counted() {
        let mut status = json!({});
        let mut observe = |seconds: i64, ends: &[EarlyEnd]| {
            let (backoff, is_news) = PodBackoff::after(&status, ends, START + seconds * 1000)?;
            backoff.write(&mut status);
            assert_eq!(
                PodBackoff::of(&status).as_ref(),
                Some(&backoff),
                "the state survives a round trip"
            );
            Some((backoff.failures, (backoff.until - START) / 1000, is_news))
        };
        assert_eq!(observe(0, &[]), None);
        let a = end(1, "a", "Error");
        assert_eq!(observe(1, std::slice::from_ref(&a)), Some((1, 11, true)));
        assert_eq!(
            observe(3, &[a.clone(), end(3, "b", "Error")]),
            Some((1, 11, false))
        );
        assert_eq!(
            observe(11, std::slice::from_ref(&a)),
            Some((1, 11, false)),
            "the deletion is still in progress"
        );
        assert_eq!(
            observe(12, &[end(12, "c", "Error")]),
            Some((2, 32, false)),
            "the same reason as before"
        );
        assert_eq!(
            observe(33, &[end(33, "d", "OOMKilled")]),
            Some((3, 73, true)),
            "another reason"
        );
        assert_eq!(observe(672, &[]), Some((3, 73, false)));
        assert_eq!(
            observe(673, &[]),
            None,
            "reset after ten minutes without an early end"
        );
        assert_eq!(observe(700, &[end(700, "e", "OOMKilled")]), Some((1, 710, true)));
    }
}
