//! State of a pod, derived from its status.

use std::fmt;
use std::net::IpAddr;

use serde_json::json;

use super::metadata::{Metadata, has_all};
use super::termination_message;
use super::time;
use crate::contract::{DesiredChild, Error, ObservedObject, Timestamp};

mod state;
#[cfg(test)]
mod tests;

use state::{ContainerState, ContainerStatus, PodCondition, State, Terminated};

/// A pod, reduced to its state.
#[derive(Debug, Clone)]
pub struct Pod {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// True if the pod is being deleted.
    pub terminating: bool,
    /// Time of creation; `None` if it is missing or invalid.
    pub created: Option<Timestamp>,
    state: State,
}

/// The reason for the state of a container or pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Reason in CamelCase: `ImagePullBackOff`, `Evicted`, `OOMKilled`.
    pub reason: String,
    /// Message for users; may be empty.
    pub message: String,
}

impl Cause {
    /// Creates a cause from the report of another program. The reason is converted to CamelCase, because conditions accept
    /// nothing else: `Waiting for capacity` becomes `WaitingForCapacity`. A reason without letters becomes `Unknown`.
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

/// Time within which the end of a pod counts as early, in milliseconds.
const EARLY_END: i64 = 60_000;
/// Time after the grace period after which a deletion counts as stuck, in milliseconds.
const DELETION_OVERDUE: i64 = 120_000;
/// Time after which a node is expected to have set up the volumes and the network of a pod, in milliseconds.
const PREPARATION_TIMEOUT: i64 = 60_000;

/// Reasons for waiting that every container has for a while.
const NORMAL_WAITING_REASONS: [&str; 3] = ["ContainerCreating", "PodInitializing", ""];

impl Pod {
    /// Reads a pod.
    ///
    /// # Errors
    ///
    /// Returns an error if the object is not a valid Pod.
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

    /// Returns `status.phase`: `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`; empty if it is not set yet.
    pub fn phase(&self) -> &str {
        &self.state.status.phase
    }

    /// Returns whether the pod has ended for good: it completed, was evicted or preempted, or lost its node. Kubernetes does
    /// not restart it.
    pub fn is_over(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    /// Returns whether all containers are ready and the pod is not being deleted.
    pub fn is_ready(&self) -> bool {
        !self.terminating && self.has_condition("Ready")
    }

    /// Returns the end of the grace period if the pod is being deleted, else `None`.
    pub fn due_to_be_gone(&self) -> Option<Timestamp> {
        self.state
            .metadata
            .deletion_timestamp
            .as_deref()
            .and_then(time::parse)
    }

    /// Returns the beginning of a message if the deletion is long overdue, else `None`. A lost node does not confirm that its
    /// pods have ended, so they remain until the node is removed or a user deletes them by force.
    pub fn stuck(&self, now: Timestamp) -> Option<String> {
        let due = self
            .due_to_be_gone()
            .filter(|due| due.saturating_add(DELETION_OVERDUE) <= now)?;
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

    /// Returns the next time at which [`stuck`](Self::stuck) or [`trouble`](Self::trouble) can change without a change of the
    /// pod. `None` if there is none.
    pub fn look_again_at(&self, now: Timestamp) -> Option<Timestamp> {
        let stuck = self
            .due_to_be_gone()
            .map(|due| due.saturating_add(DELETION_OVERDUE));
        let unprepared = self
            .unprepared_since()
            .map(|since| since.saturating_add(PREPARATION_TIMEOUT));
        let times = stuck.into_iter().chain(unprepared);
        times.filter(|time| *time > now).min()
    }

    /// Returns the name of the node that the pod is scheduled to.
    pub fn node(&self) -> Option<&str> {
        self.state
            .spec
            .node_name
            .as_deref()
            .filter(|node| !node.is_empty())
    }

    /// Returns the value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        let annotations = self.state.metadata.annotations.as_ref()?;
        annotations.get(name).map(String::as_str)
    }

    /// Keeps the pod, but applies these labels and annotations if any is missing or different. Others stay as they are.
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

    /// Reduces the state to that of the container with the name `main`. The pod is over as soon as that container has ended and
    /// the restart policy does not restart it, because sidecars may never end.
    #[must_use]
    pub fn without_sidecars(mut self, main: &str, restart_policy: &str) -> Self {
        let statuses = &self.state.status.container_statuses;
        let Some(container) = statuses.iter().find(|container| container.name == main) else {
            return self;
        };
        let code = container.state.terminated.as_ref().map(|over| over.exit_code);
        if self.is_over() && code == Some(0) {
            // Another container has failed.
            return self;
        }
        let others_run = statuses
            .iter()
            .any(|container| container.name != main && container.state.terminated.is_none());
        let end = match (code, restart_policy) {
            // When all containers have stopped, the kubelet sets the phase.
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

    /// Returns the IP addresses of the pod.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let status = &self.state.status;
        let more = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
        let all = status.pod_ip.as_deref().into_iter().chain(more);
        let mut addresses: Vec<IpAddr> = all.filter_map(|ip| ip.parse().ok()).collect();
        addresses.dedup();
        addresses
    }

    /// Returns whether the pod's address is its node's, which it can share with other pods.
    pub fn is_on_host_network(&self) -> bool {
        let status = &self.state.status;
        status.pod_ip.is_some() && status.pod_ip == status.host_ip
    }

    /// Returns the cause if the pod is about to be evicted, preempted or deleted with its node, from its condition
    /// `DisruptionTarget`.
    pub fn disruption(&self) -> Option<Cause> {
        let condition = |c: &&PodCondition| c.type_ == "DisruptionTarget" && c.status == "True";
        let condition = self.state.status.conditions.iter().find(condition)?;
        Some(Cause::reported(&condition.reason, &condition.message))
    }

    /// Returns whether any container has ever started. Init containers do not count.
    pub fn has_run(&self) -> bool {
        let started = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
        let statuses = &self.state.status.container_statuses;
        self.phase() == "Running"
            || self.is_over()
            || statuses
                .iter()
                .any(|c| c.restart_count > 0 || started(&c.state) || started(&c.last_state))
    }

    /// Returns the highest number of restarts of a container. Init containers do not count.
    pub fn restarts(&self) -> u64 {
        let statuses = &self.state.status.container_statuses;
        statuses.iter().map(|c| c.restart_count).max().unwrap_or(0)
    }

    /// Returns the cause of the end of a container that failed and has not been restarted yet.
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

    /// Returns the cause of the last end of a container, which may be from an earlier start.
    pub fn last_end(&self) -> Option<Cause> {
        let over = |container: &ContainerStatus| {
            let (now, last) = (&container.state.terminated, &container.last_state.terminated);
            now.as_ref().or(last.as_ref()).map(|over| container.ended(over))
        };
        self.state.status.container_statuses.iter().find_map(over)
    }

    /// Returns the time at which the first container started.
    pub fn started(&self) -> Option<Timestamp> {
        let statuses = self.state.status.container_statuses.iter();
        statuses.flat_map(ContainerStatus::starts).min()
    }

    /// Returns the time at which the last container ended.
    pub fn finished(&self) -> Option<Timestamp> {
        let statuses = self.state.status.container_statuses.iter();
        statuses.filter_map(ContainerStatus::end).max()
    }

    /// Returns the time of the pod's end if the pod is over and ended soon after it began, else `None`. The cause may affect
    /// its replacements as well. A pod begins when its first container starts, because pulling images may take minutes, or
    /// when it was created if no container started.
    pub fn early_end(&self) -> Option<Timestamp> {
        let created = self.created.filter(|_| self.is_over())?;
        let status = &self.state.status;
        let containers = || {
            status
                .init_container_statuses
                .iter()
                .chain(&status.container_statuses)
        };
        // If a container was restarted more than once, its first start is unknown.
        let restarts = containers().map(|container| container.restart_count).max();
        let starts = containers().flat_map(ContainerStatus::starts).min();
        let begin = starts
            .filter(|_| restarts.unwrap_or(0) < 2)
            .map_or(created, |start| start.max(created));
        // After an eviction the end times of containers may be missing; the last transition of a condition is used instead. A
        // pod that a node rejects has neither. The clocks of nodes may be inaccurate.
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
        (age < EARLY_END).then(|| begin.saturating_add(age))
    }

    /// Returns the time since which the node has been setting up the volumes and the network that the containers need before
    /// they can be created.
    fn unprepared_since(&self) -> Option<Timestamp> {
        let is_waiting = self.phase() == "Pending" && !self.terminating && self.node().is_some();
        let is_unprepared =
            |c: &&PodCondition| is_waiting && c.type_ == "PodReadyToStartContainers" && c.status == "False";
        let condition = self.state.status.conditions.iter().find(is_unprepared)?;
        condition.last_transition_time.as_deref().and_then(time::parse)
    }

    /// Returns the reason that the pod is not ready. Returns `None` if it only needs time.
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
                (!NORMAL_WAITING_REASONS.contains(&waiting.reason.as_str())).then_some((container, waiting))
            });
        if let Some((container, waiting)) = waiting {
            let last = container
                .last_state
                .terminated
                .as_ref()
                .map(|over| format!(", last time {}", describe_end(over)));
            let message = format!(
                "container {}: {}{}",
                container.name,
                waiting.message,
                last.unwrap_or_default()
            );
            return Some(Cause::reported(&waiting.reason, message));
        }
        // The container has ended and is not waiting to be restarted yet.
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

    /// Returns the cause if the node has taken too long to set up the pod. Only the pod's events name the missing volume.
    fn unprepared(&self, now: Timestamp) -> Option<Cause> {
        let since = self
            .unprepared_since()
            .filter(|since| since.saturating_add(PREPARATION_TIMEOUT) <= now)?;
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

    /// Returns the cause of the pod's end.
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
    /// Returns the time at which the container was started, or `None` if it was not.
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
    /// Returns the times of the previous and of the present start.
    fn starts(&self) -> impl Iterator<Item = Timestamp> {
        [&self.last_state, &self.state]
            .into_iter()
            .filter_map(ContainerState::started)
    }

    /// Returns the time at which the container ended, or `None` if it has not.
    fn end(&self) -> Option<Timestamp> {
        let over = self.state.terminated.as_ref()?;
        over.finished_at.as_deref().and_then(time::parse)
    }

    /// Returns the cause of an end of the container.
    fn ended(&self, over: &Terminated) -> Cause {
        let reason = match over.reason.as_str() {
            "" => "Ended",
            reason => reason,
        };
        Cause::reported(reason, format!("container {}: {}", self.name, describe_end(over)))
    }
}

/// Describes the end of a container, for a message.
fn describe_end(over: &Terminated) -> String {
    let message = if over.message.is_empty() {
        String::new()
    } else {
        format!(": {}", termination_message::shorten(&over.message))
    };
    match over.reason.as_str() {
        "" | "Error" | "Completed" => format!("it ended with code {}{message}", over.exit_code),
        reason => format!("it ended with code {} ({reason}){message}", over.exit_code),
    }
}
