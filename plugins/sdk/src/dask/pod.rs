//! What a pod's status says.

use std::fmt;
use std::net::IpAddr;

use serde_json::json;

use super::last_words;
use super::metadata::{Metadata, has_all};
use super::time;
use crate::contract::{DesiredChild, Error, ObservedObject, Timestamp};

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

impl Cause {
    /// A cause as another program reports it. Its reason becomes one word, because conditions take nothing else:
    /// `Waiting for capacity` is `WaitingForCapacity`; `Unknown` where it has no word at all.
    pub fn reported(reason: &str, message: impl Into<String>) -> Self {
        let words = reason.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let capital = |word: &str| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_ascii_uppercase() + rest
        };
        let joined: String = words.map(capital).collect();
        let word = joined.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        let word = &word[..word.len().min(128)];
        Self {
            reason: if word.is_empty() { "Unknown" } else { word }.to_owned(),
            message: message.into(),
        }
    }
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

    /// When its deletion was to be complete, if it is being deleted: the time that it has to end is over then.
    pub fn due_to_be_gone(&self) -> Option<Timestamp> {
        self.state
            .metadata
            .deletion_timestamp
            .as_deref()
            .and_then(time::parse)
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

    /// The pod as it is, but with these labels and annotations where it lacks some. Others stay as they are.
    pub fn kept_with(&self, observed: &ObservedObject, wanted: &Metadata) -> DesiredChild {
        let present = &self.state.metadata;
        if has_all(present.labels.as_ref(), &wanted.labels)
            && has_all(present.annotations.as_ref(), &wanted.annotations)
        {
            DesiredChild::keep(observed)
        } else {
            DesiredChild::apply(observed.key.clone(), json!({"metadata": wanted.to_json()}))
        }
    }

    /// The pod as it would be without the containers beside the one of this name: it is over as soon as that one has
    /// ended and, by this restart policy, is not started again. Sidecars may never end.
    #[must_use]
    pub fn without_sidecars(mut self, main: &str, restart_policy: &str) -> Self {
        let statuses = &self.state.status.container_statuses;
        let Some(container) = statuses.iter().find(|container| container.name == main) else {
            return self;
        };
        let code = container.state.terminated.as_ref().map(|over| over.exit_code);
        if self.is_over() && code == Some(0) {
            // Another one has failed.
            return self;
        }
        let others_run = statuses
            .iter()
            .any(|container| container.name != main && container.state.terminated.is_none());
        let end = match (code, restart_policy) {
            // The kubelet says so by the phase, once the containers are stopped for good.
            _ if !others_run => None,
            (None, _) | (Some(_), "Always") => None,
            (Some(0), _) => Some("Succeeded"),
            (Some(_), "Never") => Some("Failed"),
            (Some(_), _) => None,
        };
        if let Some(end) = end.filter(|_| self.phase() == "Running") {
            end.clone_into(&mut self.state.status.phase);
        }
        self.state
            .status
            .container_statuses
            .retain(|container| container.name == main);
        self
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
        Some(Cause::reported(&condition.reason, &condition.message))
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
            (over.exit_code != 0).then(|| container.ended(over))
        };
        self.state.status.container_statuses.iter().find_map(failed)
    }

    /// How a container of it ended, the last time that one did; the end may be an earlier start's.
    pub fn last_end(&self) -> Option<Cause> {
        let over = |container: &ContainerStatus| {
            let (now, last) = (&container.state.terminated, &container.last_state.terminated);
            now.as_ref().or(last.as_ref()).map(|over| container.ended(over))
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

    /// When it ended, if it is over and did so soon after it was made. What made it end may do so to each that follows.
    pub fn early_end(&self) -> Option<Timestamp> {
        let created = self.created.filter(|_| self.is_over())?;
        // An eviction may leave out when containers ended; conditions say when the pod was last something else. Of a pod that
        // a node refuses nothing is said at all. Clocks of nodes may be wrong.
        let changes = self.state.status.conditions.iter();
        let changed =
            changes.filter_map(|condition| condition.last_transition_time.as_deref().and_then(time::parse));
        let end = self.finished().or_else(|| changed.max()).unwrap_or(created);
        let age = end.saturating_sub(created).max(0);
        (age < YOUNG).then(|| created.saturating_add(age))
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
            return Some(Cause::reported(&waiting.reason, message));
        }
        // It has ended and is not waited for yet.
        let ended = status.container_statuses.iter().find_map(|container| {
            let over = container.state.terminated.as_ref()?;
            (over.exit_code != 0).then_some((container, over))
        });
        if let Some((container, over)) = ended {
            return Some(container.ended(over));
        }
        let unscheduled = status
            .conditions
            .iter()
            .find(|c| c.type_ == "PodScheduled" && c.status == "False" && !c.reason.is_empty());
        unscheduled.map(|c| Cause::reported(&c.reason, &c.message))
    }

    /// Why it is over.
    fn end(&self) -> Cause {
        let status = &self.state.status;
        if !status.reason.is_empty() {
            return Cause::reported(&status.reason, &status.message);
        }
        if let Some(disruption) = self.disruption() {
            return disruption;
        }
        let over = |container: &'_ &ContainerStatus| container.state.terminated.is_some();
        let failed = |container: &'_ &ContainerStatus| {
            let over = container.state.terminated.as_ref();
            over.is_some_and(|over| over.exit_code != 0)
        };
        let statuses = &status.container_statuses;
        let bad = statuses
            .iter()
            .find(failed)
            .or_else(|| statuses.iter().find(over));
        match bad.and_then(|container| Some((container, container.state.terminated.as_ref()?))) {
            None => Cause::reported(self.phase(), &status.message),
            Some((container, over)) => container.ended(over),
        }
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

impl ContainerStatus {
    /// Why it ended.
    fn ended(&self, over: &Terminated) -> Cause {
        let reason = match over.reason.as_str() {
            "" => "Ended",
            reason => reason,
        };
        Cause::reported(reason, format!("container {}: {}", self.name, how(over)))
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
    use crate::contract::ChildAction;
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
    fn an_early_end() {
        let over = |end: Value| {
            let state = json!({"terminated": {"exitCode": 1, "finishedAt": end}});
            pod(json!({"phase": "Failed", "containerStatuses": [{"state": state}]})).early_end()
        };
        assert_eq!(over(json!("2026-01-01T00:00:03Z")), Some(START + 3000));
        assert_eq!(
            over(json!("2026-01-01T00:01:00Z")),
            None,
            "it has worked for a while"
        );
        assert_eq!(over(json!("2025-12-31T23:00:00Z")), Some(START));
        assert_eq!(
            pod(json!({"phase": "Failed", "reason": "OutOfcpu"})).early_end(),
            Some(START)
        );
        let evicted = |time: &str| {
            let conditions =
                json!([{"type": "DisruptionTarget", "status": "True", "lastTransitionTime": time}]);
            pod(json!({"phase": "Failed", "reason": "Evicted", "conditions": conditions})).early_end()
        };
        assert_eq!(evicted("2026-01-01T00:00:30Z"), Some(START + 30_000));
        assert_eq!(evicted("2026-01-01T01:00:00Z"), None);
        assert_eq!(pod(json!({"phase": "Running"})).early_end(), None);
    }

    fn reason(status: Value) -> Option<String> {
        pod(status).trouble().map(|cause| cause.reason)
    }

    #[test]
    fn labels_that_a_pod_lacks_are_put_on_it() {
        let object =
            json!({"metadata": {"labels": {"a": "1", "b": "2"}, "annotations": {"c": "3"}}}).to_string();
        let observed = ObservedObject {
            key: kinds::pod().key("p"),
            uid: "u".into(),
            terminating: false,
            object,
        };
        let pod = Pod::of(&observed).expect("pod");
        let kept = |metadata: Value| {
            let wanted = Metadata::embedded(Some(&metadata)).changeable();
            pod.kept_with(&observed, &wanted).action == ChildAction::Keep
        };
        assert!(kept(json!({"labels": {"a": "1"}, "annotations": {"c": "3"}})));
        assert!(!kept(json!({"labels": {"a": "2"}})));
        assert!(!kept(json!({"annotations": {"d": "4"}})));
        let fixed = json!({"annotations": {"container.apparmor.security.beta.kubernetes.io/worker": "x"}});
        assert!(kept(fixed), "nobody can change that");
    }

    #[test]
    fn a_reason_is_one_word() {
        for (reported, expected) in [
            ("CrashLoopBackOff", "CrashLoopBackOff"),
            ("Waiting for capacity", "WaitingForCapacity"),
            ("seccomp: killed (é)", "SeccompKilled"),
            ("1 of 3", "Of3"),
            ("…", "Unknown"),
            ("", "Unknown"),
        ] {
            assert_eq!(Cause::reported(reported, "m").reason, expected);
        }
        assert_eq!(Cause::reported(&"x".repeat(200), "m").reason.len(), 128);
        let waiting =
            json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "No node"}}}]});
        assert_eq!(reason(waiting).as_deref(), Some("NoNode"));
        let disrupted =
            json!({"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True"}]});
        assert_eq!(reason(disrupted).as_deref(), Some("Unknown"));
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

    #[test]
    fn a_pod_is_over_when_its_main_container_is() {
        let terminated = |code: i32| json!({"terminated": {"exitCode": code, "reason": "Error"}});
        let goes_on = json!({"running": {}});
        let looked_at = |phase: &str, main: &Value, proxy: &Value, policy: &str| {
            let pod = pod(json!({"phase": phase, "containerStatuses": [
                {"name": "proxy", "restartCount": 7, "state": proxy}, {"name": "job", "restartCount": 1, "state": main}]}));
            let pod = pod.without_sidecars("job", policy);
            let why = pod
                .is_over()
                .then(|| pod.trouble().map(|cause| cause.message))
                .flatten();
            (pod.phase().to_owned(), pod.restarts(), why.unwrap_or_default())
        };
        let is = |phase: &str, restarts: u64, why: &str| (phase.to_owned(), restarts, why.to_owned());
        let said = "container job: it ended with code 3";
        assert_eq!(
            looked_at("Running", &terminated(3), &goes_on, "Never"),
            is("Failed", 1, said)
        );
        assert_eq!(
            looked_at("Running", &terminated(0), &terminated(0), "Never"),
            is("Running", 1, ""),
            "its phase follows soon"
        );
        assert_eq!(
            looked_at("Running", &terminated(3), &goes_on, "OnFailure"),
            is("Running", 1, "")
        );
        assert_eq!(
            looked_at("Running", &goes_on, &terminated(3), "Never"),
            is("Running", 1, "")
        );
        assert_eq!(
            looked_at("Failed", &terminated(3), &terminated(0), "Never"),
            is("Failed", 1, said)
        );
        for policy in ["Never", "OnFailure"] {
            let (phase, ..) = looked_at("Running", &terminated(0), &goes_on, policy);
            assert_eq!(phase, "Succeeded");
        }
        assert_eq!(
            looked_at("Running", &terminated(0), &goes_on, "Always"),
            is("Running", 1, "")
        );
        assert_eq!(
            looked_at("Failed", &terminated(0), &terminated(2), "Never"),
            is("Failed", 7, "container proxy: it ended with code 2"),
            "another one has failed"
        );
    }
}
