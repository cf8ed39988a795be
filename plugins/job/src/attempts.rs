//! How often the job's code was started: what the status remembers of it while the job goes on.
//!
//! What is counted are starts, by the UID of the runner pod and the restarts of its containers. So whoever looks twice,
//! or again after a crash, counts the same.

use dask_operator_plugin::dask::backoff::{Backoff, EarlyEnd};
use dask_operator_plugin::dask::pod::{Cause, Pod};
use dask_operator_plugin::prelude::*;

use crate::life::Stage;

/// What `status.attempts` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// Starts by runner pods that are gone.
    former: u64,
    /// UID of the runner pod that was seen last; empty when it is gone.
    runner: String,
    /// Starts by that pod.
    of_runner: u64,
    /// The last attempt whose failure people were told of.
    told: u64,
    /// The attempt whose cluster had nothing to do for too long and was taken away.
    idle: u64,
    /// What is remembered of runners that failed soon after their start.
    backoff: Option<Backoff>,
}

/// What is known of the runner.
#[derive(Debug)]
pub(crate) enum Runner {
    /// It does not exist.
    Missing,
    /// It was seen before and is gone.
    Lost,
    /// A pod that was stopped, or is of no concern any more, still has its name.
    Leftover(Box<Pod>),
    /// It exists.
    Here(Box<Pod>),
}

impl Runner {
    /// The pod, where it exists and counts.
    pub(crate) fn pod(&self) -> Option<&Pod> {
        match self {
            Self::Here(pod) => Some(pod),
            Self::Missing | Self::Lost | Self::Leftover(_) => None,
        }
    }

    /// The pod that has the runner's name, whether it counts or not.
    pub(crate) fn any_pod(&self) -> Option<&Pod> {
        match self {
            Self::Here(pod) | Self::Leftover(pod) => Some(pod),
            Self::Missing | Self::Lost => None,
        }
    }
}

impl Attempts {
    /// What a status says; none before the first runner was seen, and in one that dask-kubernetes wrote.
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
            of_runner: number("ofRunner"),
            told: number("told"),
            idle: number("idle"),
            backoff: Backoff::of(&status["attempts"]),
        })
    }

    /// Counts with the runner as it is now. `before` is where the job was.
    pub(crate) fn count(status: &Value, before: Stage, pod: Option<Pod>) -> (Option<Self>, Runner) {
        let known = Self::of(status);
        let ran_uncounted = known.is_none() && before >= Stage::Running;
        match (known, pod) {
            (None, None) if ran_uncounted => {
                let one = Self {
                    former: 1,
                    ..Self::default()
                };
                (Some(one), Runner::Lost)
            }
            (None, None) => (None, Runner::Missing),
            (Some(known), None) if known.runner.is_empty() => (Some(known), Runner::Missing),
            (Some(known), None) => (Some(known.without_runner()), Runner::Lost),
            (Some(known), Some(pod)) if pod.terminating && known.runner != pod.uid => {
                (Some(known.without_runner()), Runner::Leftover(Box::new(pod)))
            }
            (known, Some(pod)) => {
                let known = known.unwrap_or_default();
                let mut now = if known.runner == pod.uid {
                    known
                } else {
                    known.without_runner()
                };
                now.of_runner = now.of_runner.max(pod.restarts() + 1);
                now.runner.clone_from(&pod.uid);
                (Some(now), Runner::Here(Box::new(pod)))
            }
        }
    }

    fn without_runner(mut self) -> Self {
        self.former += self.of_runner;
        self.of_runner = 0;
        self.runner.clear();
        self
    }

    /// All starts so far: the number of the last attempt.
    pub(crate) fn started(&self) -> u64 {
        self.former + self.of_runner
    }

    /// Whether the cluster of the attempt that goes on was taken away.
    pub(crate) fn is_without_cluster(&self) -> bool {
        self.of_runner > 0 && self.idle == self.started()
    }

    /// The cluster of this attempt is taken away.
    pub(crate) fn take_cluster(&mut self) {
        self.idle = self.started();
    }

    /// Starts by runners that are gone: the number of the last attempt that is certainly over.
    pub(crate) fn former(&self) -> u64 {
        self.former
    }

    /// Notes how the runner of this attempt failed.
    pub(crate) fn failed(&mut self, status: &Value, pod: &Pod, now: Timestamp) {
        let early = EarlyEnd::of(pod);
        self.backoff = Backoff::after(&status["attempts"], &early, now).map(|(backoff, _)| backoff);
    }

    /// Until when there is no next attempt, because the last one failed soon after its start, and how it did.
    pub(crate) fn rests_until(&self, now: Timestamp) -> Option<(Timestamp, &Cause)> {
        let backoff = self.backoff.as_ref()?;
        Some((backoff.rests_until(now)?, backoff.cause()))
    }

    /// Notes that people are told that this attempt failed. False when they were already.
    pub(crate) fn tell(&mut self, attempt: u64) -> bool {
        let is_news = self.told < attempt;
        self.told = self.told.max(attempt);
        is_news
    }

    /// As `status.attempts`.
    pub(crate) fn to_json(&self) -> Value {
        let mut attempts = json!({"former": self.former});
        if !self.runner.is_empty() {
            attempts["runner"] = json!(self.runner);
            attempts["ofRunner"] = json!(self.of_runner);
        }
        for (field, number) in [("told", self.told), ("idle", self.idle)] {
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
    fn starts_are_counted_once_however_often_one_looks() {
        let mut status = json!({});
        let mut look = |pod: Option<Pod>| {
            let (attempts, runner) = Attempts::count(&status, Stage::Running, pod);
            let attempts = attempts.expect("counted");
            status = json!({"attempts": attempts.to_json()});
            let again = Attempts::of(&status).expect("written");
            assert_eq!(again, attempts, "it is read as it was written");
            let name = format!("{runner:?}")
                .split('(')
                .next()
                .unwrap_or_default()
                .to_owned();
            (attempts.started(), name)
        };
        let here = |started: u64| (started, "Here".to_owned());
        assert_eq!(look(pod("a", 0, false)), here(1));
        assert_eq!(look(pod("a", 0, false)), here(1));
        assert_eq!(look(pod("a", 2, false)), here(3));
        assert_eq!(
            look(pod("a", 0, true)),
            here(3),
            "a status that is older counts nothing back"
        );
        assert_eq!(look(None), (3, "Lost".to_owned()));
        assert_eq!(look(None), (3, "Missing".to_owned()));
        assert_eq!(look(pod("b", 0, false)), here(4));
        assert_eq!(
            look(pod("c", 1, false)),
            here(6),
            "nobody looked between b's end and c's start"
        );
        assert_eq!(look(pod("d", 0, true)), (6, "Leftover".to_owned()));
        assert_eq!(look(None), (6, "Missing".to_owned()));
    }

    #[test]
    fn a_job_that_ran_under_dask_kubernetes_has_lost_its_runner() {
        let count = |before: Stage| Attempts::count(&json!({"jobStatus": "x"}), before, None);
        assert!(matches!(count(Stage::Running), (Some(_), Runner::Lost)));
        assert!(matches!(count(Stage::ClusterCreated), (None, Runner::Missing)));
    }
}
