//! What a pod's status says.

use std::fmt;
use std::net::IpAddr;

use super::last_words;
use super::time;
use crate::contract::{Error, ObservedObject, Timestamp};

mod state;

use state::{ContainerState, ContainerStatus, PodCondition, State, Terminated};

/// A pod, as far as its state is concerned.
#[derive(Debug, Clone)]
pub struct Pod {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// Whether it is on its way out.
    pub terminating: bool,
    /// When it was created.
    pub created: Option<Timestamp>,
    state: State,
}

/// Why a container or pod is where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// In one word in CamelCase: `ImagePullBackOff`, `Evicted`, `OOMKilled`.
    pub reason: String,
    /// In a sentence; may be empty.
    pub message: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => f.write_str(&self.reason),
            message => write!(f, "{}: {message}", self.reason),
        }
    }
}

/// A pod that ends within so many milliseconds may be one of many that do.
const YOUNG: i64 = 60_000;
/// How long its place stays empty then, in milliseconds: what made it end may do so to each that follows, in no time.
const REST: i64 = 10_000;

/// Reasons for waiting that every container has for a while.
const ON_ITS_WAY: [&str; 3] = ["ContainerCreating", "PodInitializing", ""];

impl Pod {
    /// Reads a pod.
    pub fn of(observed: &ObservedObject) -> Result<Self, Error> {
        let state: State = observed.read()?;
        Ok(Self {
            name: observed.key.name.clone(),
            uid: observed.uid.clone(),
            terminating: observed.terminating,
            created: state.metadata.creation_timestamp.as_deref().and_then(time::parse),
            state,
        })
    }

    /// `status.phase`: `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`, or empty before there is one.
    pub fn phase(&self) -> &str {
        &self.state.status.phase
    }

    /// Its containers are done for good: it was evicted or preempted, lost its node, or ended. It will not come back
    /// by itself.
    pub fn is_over(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    /// All its containers are ready.
    pub fn is_ready(&self) -> bool {
        !self.terminating && self.has_condition("Ready")
    }

    /// The node that it was given.
    pub fn node(&self) -> Option<&str> {
        self.state
            .spec
            .node_name
            .as_deref()
            .filter(|node| !node.is_empty())
    }

    /// An annotation's value.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        let annotations = self.state.metadata.annotations.as_ref()?;
        annotations.get(name).map(String::as_str)
    }

    /// Its addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let status = &self.state.status;
        let more = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
        let all = status.pod_ip.as_deref().into_iter().chain(more);
        let mut addresses: Vec<IpAddr> = all.filter_map(|ip| ip.parse().ok()).collect();
        addresses.dedup();
        addresses
    }

    /// Its address is its node's, which other pods may have too.
    pub fn is_on_host_network(&self) -> bool {
        let status = &self.state.status;
        status.pod_ip.is_some() && status.pod_ip == status.host_ip
    }

    /// That it will be evicted, preempted or deleted with its node, and why: its condition `DisruptionTarget`.
    pub fn disruption(&self) -> Option<Cause> {
        let condition = |c: &&PodCondition| c.type_ == "DisruptionTarget" && c.status == "True";
        let condition = self.state.status.conditions.iter().find(condition)?;
        Some(Cause {
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        })
    }

    /// A container of it has ever been started (init containers don't count).
    pub fn has_run(&self) -> bool {
        let started = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
        let statuses = &self.state.status.container_statuses;
        self.phase() == "Running"
            || self.is_over()
            || statuses
                .iter()
                .any(|c| c.restart_count > 0 || started(&c.state) || started(&c.last_state))
    }

    /// How often a container of it was started again, of the one that was so most often (init containers don't count).
    pub fn restarts(&self) -> u64 {
        let statuses = &self.state.status.container_statuses;
        statuses.iter().map(|c| c.restart_count).max().unwrap_or(0)
    }

    /// How the container ended that has failed and was not started again yet.
    pub fn failed_container(&self) -> Option<Cause> {
        let failed = |container: &ContainerStatus| {
            let state = &container.state;
            let last = container.last_state.terminated.as_ref();
            let over = state
                .terminated
                .as_ref()
                .or(last.filter(|_| state.waiting.is_some()))?;
            (over.exit_code != 0).then(|| ended(over))
        };
        self.state.status.container_statuses.iter().find_map(failed)
    }

    /// How a container of it ended, the last time that one did; the end may be an earlier start's.
    pub fn last_end(&self) -> Option<Cause> {
        let over = |container: &ContainerStatus| {
            let (now, last) = (&container.state.terminated, &container.last_state.terminated);
            now.as_ref().or(last.as_ref()).map(ended)
        };
        self.state.status.container_statuses.iter().find_map(over)
    }

    /// When its first container was started.
    pub fn started(&self) -> Option<Timestamp> {
        let starts = self.states().filter_map(|state| {
            let running = state
                .running
                .as_ref()
                .and_then(|running| running.started_at.as_deref());
            running.or(state
                .terminated
                .as_ref()
                .and_then(|over| over.started_at.as_deref()))
        });
        starts.filter_map(time::parse).min()
    }

    /// When its last container ended.
    pub fn finished(&self) -> Option<Timestamp> {
        let ends = self.terminated().filter_map(|over| over.finished_at.as_deref());
        ends.filter_map(time::parse).max()
    }

    /// Until when a pod that is over shall not be replaced: one that ended soon after it was made leaves its place
    /// empty for a moment, lest pods that a node refuses, or whose command fails, follow each other without end.
    pub fn rests_until(&self) -> Option<Timestamp> {
        let created = self.created.filter(|_| self.is_over())?;
        // Who never ran was over when it came to its node. Clocks of nodes may be wrong.
        let age = self.finished().map_or(0, |end| end - created).max(0);
        (age < YOUNG).then(|| created.saturating_add(age).saturating_add(REST))
    }

    /// What keeps it from being ready, if it is more than time.
    pub fn trouble(&self) -> Option<Cause> {
        let status = &self.state.status;
        if self.is_over() {
            return Some(self.end());
        }
        let waiting = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .find_map(|container| {
                let waiting = container.state.waiting.as_ref()?;
                (!ON_ITS_WAY.contains(&waiting.reason.as_str())).then_some((container, waiting))
            });
        if let Some((container, waiting)) = waiting {
            let last = container
                .last_state
                .terminated
                .as_ref()
                .map(|over| format!(", last time {}", how(over)));
            let message = format!(
                "container {}: {}{}",
                container.name,
                waiting.message,
                last.unwrap_or_default()
            );
            return Some(Cause {
                reason: waiting.reason.clone(),
                message,
            });
        }
        // It has ended and is not waited for yet.
        let ended = status.container_statuses.iter().find_map(|container| {
            let over = container.state.terminated.as_ref()?;
            (over.exit_code != 0).then_some((container, over))
        });
        if let Some((container, over)) = ended {
            return Some(Cause {
                reason: if over.reason.is_empty() {
                    "Ended"
                } else {
                    &over.reason
                }
                .to_owned(),
                message: format!("container {}: {}", container.name, how(over)),
            });
        }
        let unscheduled = status
            .conditions
            .iter()
            .find(|c| c.type_ == "PodScheduled" && c.status == "False" && !c.reason.is_empty());
        unscheduled.map(|c| Cause {
            reason: c.reason.clone(),
            message: c.message.clone(),
        })
    }

    /// Why it is over.
    fn end(&self) -> Cause {
        let status = &self.state.status;
        if !status.reason.is_empty() {
            return Cause {
                reason: status.reason.clone(),
                message: status.message.clone(),
            };
        }
        if let Some(disruption) = self.disruption() {
            return disruption;
        }
        let bad = self
            .terminated()
            .find(|over| over.exit_code != 0)
            .or_else(|| self.terminated().next());
        bad.map_or_else(
            || Cause {
                reason: self.phase().to_owned(),
                message: status.message.clone(),
            },
            ended,
        )
    }

    fn has_condition(&self, type_: &str) -> bool {
        self.state
            .status
            .conditions
            .iter()
            .any(|c| c.type_ == type_ && c.status == "True")
    }

    fn states(&self) -> impl Iterator<Item = &ContainerState> {
        self.state
            .status
            .container_statuses
            .iter()
            .flat_map(|container| [&container.last_state, &container.state])
    }

    fn terminated(&self) -> impl Iterator<Item = &Terminated> {
        self.state
            .status
            .container_statuses
            .iter()
            .filter_map(|container| container.state.terminated.as_ref())
    }
}

/// Why a container ended.
fn ended(over: &Terminated) -> Cause {
    let reason = match over.reason.as_str() {
        "" => "Ended",
        reason => reason,
    };
    Cause {
        reason: reason.to_owned(),
        message: how(over),
    }
}

/// How a container ended.
fn how(over: &Terminated) -> String {
    let message = if over.message.is_empty() {
        String::new()
    } else {
        format!(": {}", last_words::shorten(&over.message))
    };
    match over.reason.as_str() {
        "" | "Error" | "Completed" => format!("it ended with code {}{message}", over.exit_code),
        reason => format!("it ended with code {} ({reason}){message}", over.exit_code),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dask::kinds;
    use crate::testing::START;

    fn pod(status: Value) -> Pod {
        let object =
            json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status}).to_string();
        let observed = ObservedObject {
            key: kinds::pod().key("p"),
            uid: "u".into(),
            terminating: false,
            object,
        };
        Pod::of(&observed).expect("pod")
    }

    #[test]
    fn who_ends_at_once_leaves_its_place_empty_for_a_moment() {
        let over = |end: Value| {
            let state = json!({"terminated": {"exitCode": 1, "finishedAt": end}});
            pod(json!({"phase": "Failed", "containerStatuses": [{"state": state}]})).rests_until()
        };
        assert_eq!(over(json!("2026-01-01T00:00:03Z")), Some(START + 13_000));
        assert_eq!(
            over(json!("2026-01-01T00:01:00Z")),
            None,
            "it has worked for a while"
        );
        assert_eq!(over(json!("2025-12-31T23:00:00Z")), Some(START + 10_000));
        assert_eq!(
            pod(json!({"phase": "Failed", "reason": "OutOfcpu"})).rests_until(),
            Some(START + 10_000)
        );
        assert_eq!(pod(json!({"phase": "Running"})).rests_until(), None);
    }

    fn reason(status: Value) -> Option<String> {
        pod(status).trouble().map(|cause| cause.reason)
    }

    #[test]
    fn a_pod_that_only_needs_time_has_no_trouble() {
        assert_eq!(reason(json!({})), None);
        assert_eq!(reason(json!({"phase": "Pending"})), None);
        let creating = json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]});
        assert_eq!(reason(creating.clone()), None);
        assert!(!pod(creating).has_run());
    }

    #[test]
    fn troubles() {
        let waiting = |reason: &str| {
            json!({"phase": "Pending", "containerStatuses": [
            {"name": "worker", "state": {"waiting": {"reason": reason, "message": "m"}}}]})
        };
        assert_eq!(
            reason(waiting("ImagePullBackOff")).as_deref(),
            Some("ImagePullBackOff")
        );
        assert_eq!(
            reason(json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]}))
            .as_deref(),
            Some("Unschedulable")
        );
        assert_eq!(
            reason(json!({"phase": "Failed", "reason": "Evicted", "message": "memory"})).as_deref(),
            Some("Evicted")
        );
        assert_eq!(
            reason(json!({"phase": "Failed", "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]}))
            .as_deref(),
            Some("PreemptionByScheduler")
        );
        assert_eq!(
            reason(json!({"phase": "Failed", "containerStatuses": [
            {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}))
            .as_deref(),
            Some("OOMKilled")
        );
    }

    #[test]
    fn a_crash_says_how_it_ended_last_time() {
        let pod = pod(
            json!({"phase": "Running", "containerStatuses": [{"name": "scheduler", "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}}]}),
        );
        let trouble = pod.trouble().expect("trouble");
        assert_eq!(
            trouble.message,
            "container scheduler: back-off 40s, last time it ended with code 2"
        );
        assert!(pod.has_run() && !pod.is_ready());
    }

    #[test]
    fn out_of_memory_is_named() {
        let over = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "a\nb\nc\nd"}});
        let between =
            pod(json!({"phase": "Running", "containerStatuses": [{"name": "worker", "state": over}]}));
        assert_eq!(
            between.trouble().map(|cause| cause.to_string()).as_deref(),
            Some("OOMKilled: container worker: it ended with code 137 (OOMKilled): b | c | d")
        );
        let again = pod(
            json!({"phase": "Running", "containerStatuses": [{"name": "worker", "restartCount": 1,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}, "lastState": over}]}),
        );
        assert_eq!(
            again.trouble().map(|cause| cause.to_string()).as_deref(),
            Some(
                "CrashLoopBackOff: container worker: back-off, last time it ended with code 137 (OOMKilled): b | c | d"
            )
        );
    }

    #[test]
    fn where_it_is_and_what_threatens_it() {
        let pod = pod(
            json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "hostIP": "10.0.0.1",
            "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]}),
        );
        assert_eq!(pod.addresses().len(), 2);
        assert!(pod.is_on_host_network());
        assert_eq!(
            pod.disruption().map(|cause| cause.to_string()).as_deref(),
            Some("EvictionByEvictionAPI")
        );
    }

    #[test]
    fn times_are_the_containers() {
        let pod = pod(json!({"phase": "Succeeded", "containerStatuses": [
            {"state": {"terminated": {"exitCode": 0, "startedAt": "2026-01-01T00:00:05Z", "finishedAt": "2026-01-01T00:01:00Z"}}},
            {"state": {"terminated": {"exitCode": 0, "startedAt": "2026-01-01T00:00:04Z", "finishedAt": "2026-01-01T00:00:50Z"}}}]}));
        let time = |text| time::parse(text);
        assert_eq!(pod.started(), time("2026-01-01T00:00:04Z"));
        assert_eq!(pod.finished(), time("2026-01-01T00:01:00Z"));
        assert_eq!(pod.created, time("2026-01-01T00:00:00Z"));
        assert!(pod.is_over());
    }
}
