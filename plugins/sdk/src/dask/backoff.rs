//! Pauses before what ended soon after its start is started again.
//!
//! They grow like those of the kubelet: ten seconds after the first time, twice as long after each further one, five minutes
//! at the most. Ten minutes without such an end, and they begin anew. The parent's status remembers them, so they outlive the
//! operator.

use serde_json::{Value, json};

use super::pod::{Cause, Pod};
use super::time;
use crate::contract::Timestamp;

/// The first pause, in milliseconds.
const FIRST: i64 = 10_000;
/// The longest pause, in milliseconds.
const LONGEST: i64 = 300_000;
/// After so many milliseconds without trouble it is forgotten.
const FORGOTTEN: i64 = 600_000;

/// Characters that are remembered of why a pod ended.
const WORDS: usize = 500;

/// The field of a status.
const FIELD: &str = "backoff";

/// A pod that ended soon after it was made.
#[derive(Debug, Clone)]
pub struct EarlyEnd {
    /// When it ended.
    pub time: Timestamp,
    /// Its UID.
    pub uid: String,
    /// Why it ended.
    pub cause: Cause,
}

impl EarlyEnd {
    /// How a pod ended, if it did so soon after it was made.
    pub fn of(pod: &Pod) -> Option<Self> {
        let time = pod.early_end()?;
        Some(Self {
            time,
            uid: pod.uid.clone(),
            cause: pod.trouble(time)?,
        })
    }
}

/// What a parent remembers of pods that ended soon after their start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    /// How often in a row it happened. Pods that end while others of the same parent wait don't add to it.
    failures: u32,
    /// No pod is started in their places before.
    until: Timestamp,
    /// Why the last one ended.
    cause: Cause,
    /// The UID of the last one.
    uid: String,
}

impl Backoff {
    /// What a status says.
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

    /// What a status says, and what follows from the ends that are seen now. True with it where people have not been told
    /// of such an end, or of another cause.
    pub fn after<'a>(
        status: &Value,
        ends: impl IntoIterator<Item = &'a EarlyEnd>,
        now: Timestamp,
    ) -> Option<(Self, bool)> {
        let known = Self::of(status);
        let last = ends.into_iter().max_by_key(|end| end.time);
        match (known, last) {
            (known, None) => known
                .filter(|known| now.saturating_sub(known.until) < FORGOTTEN)
                .map(|known| (known, false)),
            (Some(known), Some(end)) if end.uid == known.uid || end.time.min(now) < known.until => {
                Some((known, false))
            }
            (known, Some(end)) => {
                // A node's clock may be ahead.
                let time = end.time.min(now);
                let known = known.filter(|known| time.saturating_sub(known.until) < FORGOTTEN);
                let failures = known.as_ref().map_or(0, |known| known.failures).saturating_add(1);
                let is_news = known.is_none_or(|known| known.cause.reason != end.cause.reason);
                let backoff = Self {
                    failures,
                    until: time.saturating_add(pause(failures)),
                    cause: Cause {
                        reason: end.cause.reason.clone(),
                        message: end.cause.message.chars().take(WORDS).collect(),
                    },
                    uid: end.uid.clone(),
                };
                Some((backoff, is_news))
            }
        }
    }

    /// Until when no pod is started, if that is still to come.
    pub fn rests_until(&self, now: Timestamp) -> Option<Timestamp> {
        (self.until > now).then_some(self.until)
    }

    /// Why the last one ended.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// Whether the pod of this UID was the last that ended soon after its start.
    pub fn is_of(&self, uid: &str) -> bool {
        self.uid == uid
    }

    /// Puts it into a status.
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

/// How long to wait after so many failures.
fn pause(failures: u32) -> i64 {
    let doublings = failures.saturating_sub(1).min(5);
    (FIRST << doublings).min(LONGEST)
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
    fn pauses_grow_to_five_minutes() {
        let pauses: Vec<i64> = (1..9).map(|failures| pause(failures) / 1000).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(pause(u32::MAX), LONGEST);
    }

    #[test]
    fn why_the_last_one_ended_is_remembered() {
        let mut status = json!({});
        let mut early = end(1, "a", "Error");
        early.cause.message = "ä".repeat(1000);
        let (backoff, _) = Backoff::after(&status, [&early], START + 2000).expect("a pause");
        backoff.write(&mut status);
        let read = Backoff::of(&status).expect("written");
        assert_eq!(read.cause(), &Cause::reported("Error", "ä".repeat(500)));
        // A release before this one remembered no sentence.
        status[FIELD]["message"] = Value::Null;
        assert_eq!(
            Backoff::of(&status)
                .map(|read| read.cause().to_string())
                .as_deref(),
            Some("Error")
        );
    }

    #[test]
    fn a_clock_that_is_ahead_makes_no_pause_longer() {
        let early = end(3600, "a", "Error");
        let (backoff, _) = Backoff::after(&json!({}), [&early], START + 2000).expect("a pause");
        assert_eq!(backoff.rests_until(START + 2000), Some(START + 12_000));
    }

    #[test]
    fn who_ends_while_others_wait_adds_nothing() {
        let mut status = json!({});
        let mut look = |seconds: i64, ends: &[EarlyEnd]| {
            let (backoff, is_news) = Backoff::after(&status, ends, START + seconds * 1000)?;
            backoff.write(&mut status);
            assert_eq!(
                Backoff::of(&status).as_ref(),
                Some(&backoff),
                "it is read as it was written"
            );
            Some((backoff.failures, (backoff.until - START) / 1000, is_news))
        };
        assert_eq!(look(0, &[]), None);
        let a = end(1, "a", "Error");
        assert_eq!(look(1, std::slice::from_ref(&a)), Some((1, 11, true)));
        assert_eq!(look(3, &[a.clone(), end(3, "b", "Error")]), Some((1, 11, false)));
        assert_eq!(
            look(11, std::slice::from_ref(&a)),
            Some((1, 11, false)),
            "its deletion is on its way"
        );
        assert_eq!(
            look(12, &[end(12, "c", "Error")]),
            Some((2, 32, false)),
            "the same again"
        );
        assert_eq!(
            look(33, &[end(33, "d", "OOMKilled")]),
            Some((3, 73, true)),
            "another cause"
        );
        assert_eq!(look(672, &[]), Some((3, 73, false)));
        assert_eq!(look(673, &[]), None, "all was well for ten minutes");
        assert_eq!(look(700, &[end(700, "e", "OOMKilled")]), Some((1, 710, true)));
    }
}
