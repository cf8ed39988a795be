//! What a pod's status says.

use std::fmt;
use std::net::IpAddr;

use serde_json::json;

use super::last_words;
use super::metadata::{Metadata, has_all};
use super::time;
use crate::contract::{DesiredChild, Error, ObservedObject, Timestamp};

mod state;
#[cfg(test)]
mod tests;

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
/// How much longer than its grace period a deletion may take, in milliseconds.
const LATE: i64 = 120_000;
/// How long a node may take for a pod's volumes and its network, in milliseconds.
const PREPARATION: i64 = 60_000;

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

    /// That its deletion is long overdue, as the beginning of a sentence. A node that is lost does not say that its pods are
    /// gone, so they stay until the node itself, or somebody else, takes them away.
    pub fn stuck(&self, now: Timestamp) -> Option<String> {
        let due = self
            .due_to_be_gone()
            .filter(|due| due.saturating_add(LATE) <= now)?;
        let name = &self.name;
        let node = self
            .node()
            .map_or_else(|| "its node".to_owned(), |node| format!("node {node}"));
        Some(format!(
            "pod {name} was to be gone at {}, and {node} does not say that it is: if that is lost, `kubectl delete pod {name} \
             --force --grace-period=0`",
            time::format(due)
        ))
    }

    /// When time alone will change what [`stuck`](Self::stuck) or [`trouble`](Self::trouble) says.
    pub fn look_again_at(&self, now: Timestamp) -> Option<Timestamp> {
        let stuck = self.due_to_be_gone().map(|due| due.saturating_add(LATE));
        let unprepared = self
            .unprepared_since()
            .map(|since| since.saturating_add(PREPARATION));
        let times = stuck.into_iter().chain(unprepared);
        times.filter(|time| *time > now).min()
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
        let statuses = self.state.status.container_statuses.iter();
        statuses.flat_map(ContainerStatus::starts).min()
    }

    /// When its last container ended.
    pub fn finished(&self) -> Option<Timestamp> {
        let statuses = self.state.status.container_statuses.iter();
        statuses.filter_map(ContainerStatus::end).max()
    }

    /// When it ended, if it is over and did so soon after it began. What made it end may do so to each that follows. It begins
    /// when its first container is started, because images may take minutes, or when it was made, where none was started.
    pub fn early_end(&self) -> Option<Timestamp> {
        let created = self.created.filter(|_| self.is_over())?;
        let status = &self.state.status;
        let containers = || {
            status
                .init_container_statuses
                .iter()
                .chain(&status.container_statuses)
        };
        // Of a container that was restarted more than once the first start isn't known any more.
        let restarts = containers().map(|container| container.restart_count).max();
        let starts = containers().flat_map(ContainerStatus::starts).min();
        let begin = starts
            .filter(|_| restarts.unwrap_or(0) < 2)
            .map_or(created, |start| start.max(created));
        // An eviction may leave out when containers ended; conditions say when the pod was last something else. Of a pod that
        // a node refuses nothing is said at all. Clocks of nodes may be wrong.
        let changes = status.conditions.iter();
        let changed =
            changes.filter_map(|condition| condition.last_transition_time.as_deref().and_then(time::parse));
        let before = status
            .init_container_statuses
            .iter()
            .filter_map(ContainerStatus::end);
        let end = self
            .finished()
            .or_else(|| changed.chain(before).max())
            .unwrap_or(begin);
        let age = end.saturating_sub(begin).max(0);
        (age < YOUNG).then(|| begin.saturating_add(age))
    }

    /// Since when its node has not made what its containers need before they can be created, its volumes and its network.
    fn unprepared_since(&self) -> Option<Timestamp> {
        let is_waiting = self.phase() == "Pending" && !self.terminating && self.node().is_some();
        let is_unprepared =
            |c: &&PodCondition| is_waiting && c.type_ == "PodReadyToStartContainers" && c.status == "False";
        let condition = self.state.status.conditions.iter().find(is_unprepared)?;
        condition.last_transition_time.as_deref().and_then(time::parse)
    }

    /// What keeps it from being ready, if it is more than time.
    pub fn trouble(&self, now: Timestamp) -> Option<Cause> {
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
        let unscheduled = unscheduled.map(|c| Cause::reported(&c.reason, &c.message));
        unscheduled.or_else(|| self.unprepared(now))
    }

    /// That its node has prepared it for too long. Which of its volumes is missing stands only in the pod's events.
    fn unprepared(&self, now: Timestamp) -> Option<Cause> {
        let since = self
            .unprepared_since()
            .filter(|since| since.saturating_add(PREPARATION) <= now)?;
        Some(Cause {
            reason: "ContainersNotCreated".to_owned(),
            message: format!(
                "since {} its node has not set up its volumes and its network; a Secret or ConfigMap that does not exist may be the \
                 cause: `kubectl describe pod {}` says it",
                time::format(since),
                self.name
            ),
        })
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
}

impl ContainerState {
    /// When it was started, if it was.
    fn started(&self) -> Option<Timestamp> {
        let running = self
            .running
            .as_ref()
            .and_then(|running| running.started_at.as_deref());
        let over = || {
            self.terminated
                .as_ref()
                .and_then(|over| over.started_at.as_deref())
        };
        running.or_else(over).and_then(time::parse)
    }
}

impl ContainerStatus {
    /// When it was started, the present time and the time before.
    fn starts(&self) -> impl Iterator<Item = Timestamp> {
        [&self.last_state, &self.state]
            .into_iter()
            .filter_map(ContainerState::started)
    }

    /// When it ended, if it does not run.
    fn end(&self) -> Option<Timestamp> {
        let over = self.state.terminated.as_ref()?;
        over.finished_at.as_deref().and_then(time::parse)
    }

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
