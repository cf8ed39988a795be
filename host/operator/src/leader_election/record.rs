//! Decision whether this process may take a lease. Pure: the caller passes the lease and
//! the time.
//!
//! Clocks of different machines are not compared. A lease has expired when this process,
//! by its own clock, has seen it unchanged for the lease duration that its holder wrote.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// Lease duration, and the intervals derived from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// Time without a renewal after which other replicas take the lease.
    pub(crate) duration: Duration,
}

impl Timing {
    /// Returns the interval at which the holder renews the lease.
    #[must_use]
    pub(crate) fn renew(self) -> Duration {
        self.duration * 3 / 10
    }

    /// Returns the time after the last renewal at which the holder stops writing. That is before
    /// another replica may start, with time left for requests that are in flight.
    #[must_use]
    pub(crate) fn deadline(self) -> Duration {
        self.duration * 7 / 10
    }

    /// Returns the time between two attempts to acquire the lease, and after an error.
    #[must_use]
    pub(crate) fn retry(self) -> Duration {
        self.duration / 10
    }
}

/// The next action for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseAction {
    /// Create the lease, because it does not exist.
    Create,
    /// Replace this version of the lease, because it is free, expired or held by this process.
    Take,
    /// Read the lease again after this time, because another process holds it.
    Wait(Duration),
}

/// Observer of a lease, which knows the last version that this process has seen.
#[derive(Debug, Default)]
pub(crate) struct LeaseObserver {
    /// The resource version and when it was first seen. `None` if the lease did not exist.
    last: Option<(String, Instant)>,
}

impl LeaseObserver {
    /// Returns the next action for `lease` as the API server returned it at `now`. `None` means that the lease does not exist.
    pub(crate) fn next_action(
        &mut self,
        lease: Option<&Lease>,
        identity: &str,
        timing: Timing,
        now: Instant,
    ) -> LeaseAction {
        let Some(lease) = lease else {
            self.last = None;
            return LeaseAction::Create;
        };
        let holder = holder(lease);
        if holder.is_none() || holder == Some(identity) {
            return LeaseAction::Take;
        }
        let version = lease.metadata.resource_version.as_deref().unwrap_or_default();
        let since = match &self.last {
            Some((seen, since)) if seen == version => *since,
            _ => {
                self.last = Some((version.to_owned(), now));
                now
            }
        };
        let ends = since + lease_duration(lease).unwrap_or(timing.duration);
        if now >= ends {
            LeaseAction::Take
        } else {
            LeaseAction::Wait(timing.retry().min(ends - now))
        }
    }
}

/// Returns the identity of the holder of a lease, or `None` if the lease is free.
#[must_use]
pub(crate) fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    Some(holder).filter(|holder| !holder.is_empty())
}

/// Returns the duration that the holder wrote into the lease, or `None` if there is no valid one.
fn lease_duration(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// Returns the lease as `identity` holds it from `now` on. `before` is the version to replace, if there is one; its
/// metadata, with labels and annotations, is preserved.
#[must_use]
pub(crate) fn claimed(
    before: Option<&Lease>,
    name: &str,
    identity: &str,
    timing: Timing,
    now: Timestamp,
) -> Lease {
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

/// Returns the lease without a holder.
#[must_use]
pub(crate) fn released(before: &Lease, now: Timestamp) -> Lease {
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
        let mut lease = claimed(None, "l", holder, timing, Timestamp::UNIX_EPOCH);
        lease.metadata.resource_version = Some(version.into());
        lease
    }

    #[rstest]
    #[case::none(None, LeaseAction::Create)]
    #[case::released(Some(released(&lease("a", "1", 10), Timestamp::UNIX_EPOCH)), LeaseAction::Take)]
    #[case::emptied(Some(lease("", "1", 10)), LeaseAction::Take)]
    #[case::own(Some(lease("me", "1", 10)), LeaseAction::Take)]
    #[case::others(Some(lease("a", "1", 10)), LeaseAction::Wait(Duration::from_secs(1)))]
    #[tokio::test(start_paused = true)]
    async fn first_read_decides_by_holder(#[case] lease: Option<Lease>, #[case] expected: LeaseAction) {
        let action = LeaseObserver::default().next_action(lease.as_ref(), "me", TIMING, Instant::now());
        assert_eq!(action, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_lease_is_not_taken() {
        let (mut observer, start) = (LeaseObserver::default(), Instant::now());
        for second in 0..60 {
            // Renewed every three seconds.
            let lease = lease("a", &(second / 3).to_string(), 10);
            let now = start + Duration::from_secs(second);
            assert_eq!(
                observer.next_action(Some(&lease), "me", TIMING, now),
                LeaseAction::Wait(Duration::from_secs(1))
            );
        }
    }

    #[rstest]
    #[case::with_our_duration(10)]
    #[case::with_another_duration(4)]
    #[tokio::test(start_paused = true)]
    async fn an_unchanged_lease_expires(#[case] seconds: u64) {
        let (mut observer, start) = (LeaseObserver::default(), Instant::now());
        let lease = lease("a", "1", seconds);
        let mut at = |millis| {
            let now = start + Duration::from_millis(millis);
            observer.next_action(Some(&lease), "me", TIMING, now)
        };
        assert_eq!(at(0), LeaseAction::Wait(Duration::from_secs(1)));
        let almost = at(seconds * 1000 - 100);
        assert_eq!(
            almost,
            LeaseAction::Wait(Duration::from_millis(100)),
            "waits no longer than needed"
        );
        assert_eq!(at(seconds * 1000), LeaseAction::Take);
    }

    #[tokio::test(start_paused = true)]
    async fn a_recreated_lease_starts_a_new_wait() {
        let (mut observer, start) = (LeaseObserver::default(), Instant::now());
        observer.next_action(Some(&lease("a", "1", 10)), "me", TIMING, start);
        let later = start + Duration::from_secs(60);
        assert_eq!(
            observer.next_action(None, "me", TIMING, later),
            LeaseAction::Create
        );
        assert_eq!(
            observer.next_action(Some(&lease("a", "1", 10)), "me", TIMING, later),
            LeaseAction::Wait(Duration::from_secs(1))
        );
    }

    #[rstest]
    #[case(3)]
    #[case(10)]
    #[case(60)]
    fn the_holder_stops_before_others_start(#[case] seconds: u64) {
        let timing = Timing {
            duration: Duration::from_secs(seconds),
        };
        assert!(
            timing.renew() + timing.retry() * 2 < timing.deadline(),
            "there is time for several attempts"
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
        let created = claimed(None, "l", "a", TIMING, at(1));
        assert_eq!(shown(&created), ("a".into(), Some(1), Some(1), Some(0)));
        let renewed = claimed(Some(&created), "l", "a", TIMING, at(4));
        assert_eq!(shown(&renewed), ("a".into(), Some(1), Some(4), Some(0)));
        let released = released(&renewed, at(6));
        assert_eq!(shown(&released), (String::new(), Some(1), Some(6), Some(0)));
        let taken = claimed(Some(&released), "l", "b", TIMING, at(7));
        assert_eq!(shown(&taken), ("b".into(), Some(7), Some(7), Some(1)));
    }
}
