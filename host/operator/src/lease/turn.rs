//! What a lease says about whose turn it is. Pure: the caller brings lease and
//! time.
//!
//! Clocks of different machines are not compared. A lease has run out when it has
//! been seen unchanged, by this process' own clock, for as long as its holder
//! promised to renew it within.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// How long a lease lasts, and what follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Others take the lease when it was not renewed for that long.
    pub duration: Duration,
}

impl Timing {
    /// How often the holder renews it.
    #[must_use]
    pub fn renew(self) -> Duration {
        self.duration * 3 / 10
    }

    /// How long after the last renewal the holder stops writing: before anybody
    /// else may begin, with time left for requests that are under way.
    #[must_use]
    pub fn deadline(self) -> Duration {
        self.duration * 7 / 10
    }

    /// How long to wait between two looks at it, or after an error.
    #[must_use]
    pub fn retry(self) -> Duration {
        self.duration / 10
    }
}

/// What to do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is none: create it.
    Create,
    /// It is free, has run out or is one's own: replace this version of it.
    Take,
    /// It is somebody's: look again after that time.
    Wait(Duration),
}

/// What has been seen of a lease.
#[derive(Debug, Default)]
pub struct Seen {
    /// Its version and since when it has been that.
    last: Option<(String, Instant)>,
}

impl Seen {
    /// Whose turn it is, by what the API server says `now`.
    pub fn turn(&mut self, lease: Option<&Lease>, identity: &str, timing: Timing, now: Instant) -> Turn {
        let Some(lease) = lease else {
            self.last = None;
            return Turn::Create;
        };
        let holder = holder(lease);
        if holder.is_none() || holder == Some(identity) {
            return Turn::Take;
        }
        let version = lease.metadata.resource_version.as_deref().unwrap_or_default();
        let since = match &self.last {
            Some((seen, since)) if seen == version => *since,
            _ => {
                self.last = Some((version.to_owned(), now));
                now
            }
        };
        let ends = since + promised(lease).unwrap_or(timing.duration);
        if now >= ends {
            Turn::Take
        } else {
            Turn::Wait(timing.retry().min(ends - now))
        }
    }
}

/// Who holds a lease.
#[must_use]
pub fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    Some(holder).filter(|holder| !holder.is_empty())
}

/// Within which time its holder promised to renew it.
fn promised(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// The lease as `identity` holds it from `now` on: `before` is the version that it
/// replaces, with labels and annotations that somebody gave it.
#[must_use]
pub fn held(before: Option<&Lease>, name: &str, identity: &str, timing: Timing, now: Timestamp) -> Lease {
    let was = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let renewed = before.and_then(holder) == Some(identity);
    let transitions = was.lease_transitions.unwrap_or_default();
    Lease {
        metadata: before.map_or_else(
            || ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata.clone(),
        ),
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: i32::try_from(timing.duration.as_secs()).ok(),
            acquire_time: if renewed {
                was.acquire_time
            } else {
                Some(MicroTime(now))
            },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if renewed || before.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..LeaseSpec::default()
        }),
    }
}

/// The lease as nobody holds it.
#[must_use]
pub fn free(before: &Lease, now: Timestamp) -> Lease {
    let mut lease = before.clone();
    if let Some(spec) = &mut lease.spec {
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(now));
    }
    lease
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const TIMING: Timing = Timing {
        duration: Duration::from_secs(10),
    };

    fn lease(holder: &str, version: &str, seconds: u64) -> Lease {
        let timing = Timing {
            duration: Duration::from_secs(seconds),
        };
        let mut lease = held(None, "l", holder, timing, Timestamp::UNIX_EPOCH);
        lease.metadata.resource_version = Some(version.into());
        lease
    }

    #[rstest]
    #[case::none(None, Turn::Create)]
    #[case::free(Some(free(&lease("a", "1", 10), Timestamp::UNIX_EPOCH)), Turn::Take)]
    #[case::emptied(Some(lease("", "1", 10)), Turn::Take)]
    #[case::own(Some(lease("me", "1", 10)), Turn::Take)]
    #[case::others(Some(lease("a", "1", 10)), Turn::Wait(Duration::from_secs(1)))]
    #[tokio::test(start_paused = true)]
    async fn at_first_sight(#[case] lease: Option<Lease>, #[case] expected: Turn) {
        let turn = Seen::default().turn(lease.as_ref(), "me", TIMING, Instant::now());
        assert_eq!(turn, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_renewed_is_not_taken() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        for second in 0..60 {
            // Renewed every three seconds.
            let lease = lease("a", &(second / 3).to_string(), 10);
            let now = start + Duration::from_secs(second);
            assert_eq!(
                seen.turn(Some(&lease), "me", TIMING, now),
                Turn::Wait(Duration::from_secs(1))
            );
        }
    }

    #[rstest]
    #[case::of_ours(10)]
    #[case::of_an_operator_with_other_settings(4)]
    #[tokio::test(start_paused = true)]
    async fn what_stays_as_it_is_runs_out(#[case] seconds: u64) {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let lease = lease("a", "1", seconds);
        let mut at = |millis| {
            let now = start + Duration::from_millis(millis);
            seen.turn(Some(&lease), "me", TIMING, now)
        };
        assert_eq!(at(0), Turn::Wait(Duration::from_secs(1)));
        let almost = at(seconds * 1000 - 100);
        assert_eq!(
            almost,
            Turn::Wait(Duration::from_millis(100)),
            "not longer than needed"
        );
        assert_eq!(at(seconds * 1000), Turn::Take);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_went_and_came_is_a_new_one() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        seen.turn(Some(&lease("a", "1", 10)), "me", TIMING, start);
        let later = start + Duration::from_secs(60);
        assert_eq!(seen.turn(None, "me", TIMING, later), Turn::Create);
        assert_eq!(
            seen.turn(Some(&lease("a", "1", 10)), "me", TIMING, later),
            Turn::Wait(Duration::from_secs(1))
        );
    }

    #[rstest]
    #[case(3)]
    #[case(10)]
    #[case(60)]
    fn the_holder_gives_up_before_others_begin(#[case] seconds: u64) {
        let timing = Timing {
            duration: Duration::from_secs(seconds),
        };
        assert!(
            timing.renew() + timing.retry() * 2 < timing.deadline(),
            "it has several attempts"
        );
        assert!(timing.deadline() + timing.retry() * 2 < timing.duration);
    }

    #[test]
    fn transitions_are_counted() {
        let at = |second| Timestamp::from_second(second).unwrap_or_default();
        let shown = |lease: &Lease| {
            let spec = lease.spec.clone().unwrap_or_default();
            let second = |time: Option<MicroTime>| time.map(|time| time.0.as_second());
            (
                spec.holder_identity.unwrap_or_default(),
                second(spec.acquire_time),
                second(spec.renew_time),
                spec.lease_transitions,
            )
        };
        let created = held(None, "l", "a", TIMING, at(1));
        assert_eq!(shown(&created), ("a".into(), Some(1), Some(1), Some(0)));
        let renewed = held(Some(&created), "l", "a", TIMING, at(4));
        assert_eq!(shown(&renewed), ("a".into(), Some(1), Some(4), Some(0)));
        let released = free(&renewed, at(6));
        assert_eq!(shown(&released), (String::new(), Some(1), Some(6), Some(0)));
        let taken = held(Some(&released), "l", "b", TIMING, at(7));
        assert_eq!(shown(&taken), ("b".into(), Some(7), Some(7), Some(1)));
    }
}
