//! Starts of the job's code, which the status counts until the job ends.
//!
//! Starts are counted by the UID of the runner pod and the restarts of its containers. A repeated plan, for example after
//! a crash of the operator, therefore gives the same count.

use dask_operator_plugin::dask::backoff::{EarlyEnd, PodBackoff};
use dask_operator_plugin::dask::pod::{Cause, Pod};
use dask_operator_plugin::prelude::*;

use crate::phase::JobPhase;

/// The contents of `status.attempts`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// Number of starts by runner pods that are gone.
    former: u64,
    /// UID of the last observed runner pod. Empty once it is gone.
    runner: String,
    /// Number of starts by that pod.
    by_runner: u64,
    /// Number of the last attempt whose failure was reported in an event. 0 if there is none.
    reported: u64,
    /// Number of the attempt whose cluster was deleted because it was idle. 0 if there is none.
    idle: u64,
    /// Back-off for runners that failed soon after their start. `None` without such runners.
    backoff: Option<PodBackoff>,
}

/// The state of the runner pod.
#[derive(Debug)]
pub(crate) enum Runner {
    /// The pod does not exist.
    Missing,
    /// The pod was seen before and is gone.
    Lost,
    /// A pod that was stopped or does not count any more still has the runner's name.
    Leftover(Box<Pod>),
    /// The pod exists.
    Present(Box<Pod>),
}

impl Runner {
    /// Returns the pod if it exists and counts.
    pub(crate) fn pod(&self) -> Option<&Pod> {
        match self {
            Self::Present(pod) => Some(pod),
            Self::Missing | Self::Lost | Self::Leftover(_) => None,
        }
    }

    /// Returns the pod with the runner's name, whether it counts or not.
    pub(crate) fn any_pod(&self) -> Option<&Pod> {
        match self {
            Self::Present(pod) | Self::Leftover(pod) => Some(pod),
            Self::Missing | Self::Lost => None,
        }
    }
}

impl Attempts {
    /// Reads the attempts from a status. `None` before the first runner was seen, and for a status that dask-kubernetes wrote.
    fn of(status: &Value) -> Option<Self> {
        let attempts = status["attempts"].as_object()?;
        let number = |field: &str| attempts.get(field).and_then(Value::as_u64).unwrap_or(0);
        Some(Self {
            former: number("former"),
            runner: attempts
                .get("runner")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            by_runner: number("ofRunner"),
            reported: number("told"),
            idle: number("idle"),
            backoff: PodBackoff::of(&status["attempts"]),
        })
    }

    /// Updates the attempts for the observed runner pod. `before` is the job's phase in the status.
    pub(crate) fn count(status: &Value, before: JobPhase, pod: Option<Pod>) -> (Option<Self>, Runner) {
        let previous = Self::of(status);
        let was_running = previous.is_none() && before >= JobPhase::Running;
        match (previous, pod) {
            (None, None) if was_running => {
                let one = Self {
                    former: 1,
                    ..Self::default()
                };
                (Some(one), Runner::Lost)
            }
            (None, None) => (None, Runner::Missing),
            (Some(previous), None) if previous.runner.is_empty() => (Some(previous), Runner::Missing),
            (Some(previous), None) => (Some(previous.with_runner_gone()), Runner::Lost),
            (Some(previous), Some(pod)) if pod.terminating && previous.runner != pod.uid => {
                (Some(previous.with_runner_gone()), Runner::Leftover(Box::new(pod)))
            }
            (previous, Some(pod)) => {
                let previous = previous.unwrap_or_default();
                let mut updated = if previous.runner == pod.uid {
                    previous
                } else {
                    previous.with_runner_gone()
                };
                updated.by_runner = updated.by_runner.max(pod.restarts() + 1);
                updated.runner.clone_from(&pod.uid);
                (Some(updated), Runner::Present(Box::new(pod)))
            }
        }
    }

    fn with_runner_gone(mut self) -> Self {
        self.former += self.by_runner;
        self.by_runner = 0;
        self.runner.clear();
        self
    }

    /// Returns the number of all starts, which is the number of the last attempt.
    pub(crate) fn started(&self) -> u64 {
        self.former + self.by_runner
    }

    /// Returns whether the cluster of the present attempt was deleted.
    pub(crate) fn is_without_cluster(&self) -> bool {
        self.by_runner > 0 && self.idle == self.started()
    }

    /// Records that the cluster of the present attempt is deleted.
    pub(crate) fn mark_cluster_deleted(&mut self) {
        self.idle = self.started();
    }

    /// Returns the number of starts by runners that are gone, which is the number of the last attempt that certainly ended.
    pub(crate) fn former(&self) -> u64 {
        self.former
    }

    /// Records the failure of the present attempt's runner.
    pub(crate) fn record_failure(&mut self, status: &Value, pod: &Pod, now: Timestamp) {
        let early = EarlyEnd::of(pod);
        self.backoff = PodBackoff::after(&status["attempts"], &early, now).map(|(backoff, _)| backoff);
    }

    /// Returns the end of the back-off and the cause of the last failure. `None` if the next attempt may start now.
    pub(crate) fn backoff_until(&self, now: Timestamp) -> Option<(Timestamp, &Cause)> {
        let backoff = self.backoff.as_ref()?;
        Some((backoff.rests_until(now)?, backoff.cause()))
    }

    /// Records that the failure of this attempt is reported. Returns false if it already was.
    pub(crate) fn mark_reported(&mut self, attempt: u64) -> bool {
        let is_new = self.reported < attempt;
        self.reported = self.reported.max(attempt);
        is_new
    }

    /// Returns the value for `status.attempts`.
    pub(crate) fn to_json(&self) -> Value {
        let mut attempts = json!({"former": self.former});
        if !self.runner.is_empty() {
            attempts["runner"] = json!(self.runner);
            attempts["ofRunner"] = json!(self.by_runner);
        }
        for (field, number) in [("told", self.reported), ("idle", self.idle)] {
            if number > 0 {
                attempts[field] = json!(number);
            }
        }
        if let Some(backoff) = &self.backoff {
            backoff.write(&mut attempts);
        }
        attempts
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_plugin::dask::kinds;

    use super::*;

    fn pod(uid: &str, restarts: u64, terminating: bool) -> Option<Pod> {
        let status =
            json!({"status": {"phase": "Running", "containerStatuses": [{"restartCount": restarts}]}});
        let observed = ObservedObject {
            key: kinds::pod().key("j-runner"),
            uid: uid.to_owned(),
            terminating,
            object: status.to_string(),
        };
        Some(Pod::of(&observed).expect("pod"))
    }

    #[test]
    fn counts_each_start_once() {
        let mut status = json!({});
        let mut observe = |pod: Option<Pod>| {
            let (attempts, runner) = Attempts::count(&status, JobPhase::Running, pod);
            let attempts = attempts.expect("counted");
            status = json!({"attempts": attempts.to_json()});
            let again = Attempts::of(&status).expect("written");
            assert_eq!(again, attempts, "the status is read as it was written");
            let name = format!("{runner:?}")
                .split('(')
                .next()
                .unwrap_or_default()
                .to_owned();
            (attempts.started(), name)
        };
        let present = |started: u64| (started, "Present".to_owned());
        assert_eq!(observe(pod("a", 0, false)), present(1));
        assert_eq!(observe(pod("a", 0, false)), present(1));
        assert_eq!(observe(pod("a", 2, false)), present(3));
        assert_eq!(
            observe(pod("a", 0, true)),
            present(3),
            "an outdated pod status does not reduce the count"
        );
        assert_eq!(observe(None), (3, "Lost".to_owned()));
        assert_eq!(observe(None), (3, "Missing".to_owned()));
        assert_eq!(observe(pod("b", 0, false)), present(4));
        assert_eq!(
            observe(pod("c", 1, false)),
            present(6),
            "there was no plan between the end of b and the start of c"
        );
        assert_eq!(observe(pod("d", 0, true)), (6, "Leftover".to_owned()));
        assert_eq!(observe(None), (6, "Missing".to_owned()));
    }

    #[test]
    fn the_runner_of_a_job_from_dask_kubernetes_is_lost() {
        let count = |before: JobPhase| Attempts::count(&json!({"jobStatus": "x"}), before, None);
        assert!(matches!(count(JobPhase::Running), (Some(_), Runner::Lost)));
        assert!(matches!(count(JobPhase::ClusterCreated), (None, Runner::Missing)));
    }
}
