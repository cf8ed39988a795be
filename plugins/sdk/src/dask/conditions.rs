//! Conditions of Dask resources that the default components write, and their reasons.
//!
//! A condition of one type can be written by several components: a cluster repeats those of its default worker group. Each
//! type is an enum of its reasons. The doc comments are the descriptions in `docs/reference/conditions.md`, which a test
//! generates from [`ALL`].

use crate::contract::{Condition, ConditionStatus, Finding, Severity};

/// A type of condition.
#[derive(Debug, Clone, Copy)]
pub struct ConditionType {
    /// The name: `WorkersReady`.
    pub name: &'static str,
    /// Kinds of the resources that have it. Empty if all Dask resources have it while there is a problem.
    pub kinds: &'static [&'static str],
    /// Description for users: what it means if the condition is true.
    pub description: &'static str,
    /// The reasons.
    pub reasons: &'static [Reason],
    /// Further reasons that others define, in words. Empty if there are none.
    pub other_reasons: &'static str,
}

/// A reason of a condition.
#[derive(Debug, Clone, Copy)]
pub struct Reason {
    /// The word in a status: `AllReady`.
    pub word: &'static str,
    /// Description for users.
    pub description: &'static str,
}

macro_rules! conditions {
    ($(
        $(#[doc = $description:literal])+
        $condition:ident = $name:literal of $kinds:tt {
            $( $(#[doc = $reason_description:literal])+ $reason:ident => $word:literal, )+
        } $(or $others:literal)?
    )+) => {
        $(
            $(#[doc = $description])+
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum $condition {
                $( $(#[doc = $reason_description])+ $reason, )+
            }

            impl $condition {
                /// Type of the condition.
                pub const TYPE: &'static str = $name;

                /// Returns the reason as a status has it.
                pub const fn as_str(self) -> &'static str {
                    match self {
                        $( Self::$reason => $word, )+
                    }
                }

                /// Creates the condition with this reason.
                pub fn condition(self, status: ConditionStatus, message: impl Into<String>) -> Condition {
                    Condition::new(Self::TYPE, status, self.as_str(), message)
                }
            }
        )+

        /// All conditions, for the documentation.
        pub const ALL: &[ConditionType] = &[ $(
            ConditionType {
                name: $name,
                kinds: &$kinds,
                description: concat!($($description),+).trim_ascii_start(),
                reasons: &[ $(
                    Reason {
                        word: $word,
                        description: concat!($($reason_description),+).trim_ascii_start(),
                    }
                ),+ ],
                other_reasons: concat!($($others)?),
            }
        ),+ ];
    };
}

conditions! {
    /// The scheduler is ready.
    SchedulerReady = "SchedulerReady" of ["DaskCluster"] {
        /// The pod or the Deployment is ready.
        SchedulerReady => "SchedulerReady",
        /// The scheduler does not exist yet.
        SchedulerMissing => "SchedulerMissing",
        /// The scheduler is starting.
        SchedulerStarting => "SchedulerStarting",
        /// The scheduler's pod has ended. A new one follows.
        SchedulerLost => "SchedulerLost",
        /// The scheduler is being deleted. A new one follows.
        SchedulerTerminating => "SchedulerTerminating",
        /// The deletion of the scheduler's pod is two minutes overdue, because its node does not confirm it. The message says
        /// what to do. A new scheduler follows when the pod is gone, because two would run otherwise.
        SchedulerStuck => "SchedulerStuck",
        /// The scheduler is being replaced because its spec has changed (`schedulerUpdate: Recreate`).
        SchedulerOutdated => "SchedulerOutdated",
        /// The cluster is suspended.
        Suspended => "Suspended",
    } or "The reason of the pod, such as `ImagePullBackOff`, `CrashLoopBackOff`, `Unschedulable` or `ContainersNotCreated` (a \
          Secret or ConfigMap may be missing). The message has more."

    /// Clients can connect.
    Available = "Available" of ["DaskCluster"] {
        /// Clients can connect.
        SchedulerReachable => "SchedulerReachable",
        /// Clients can connect, but no worker has registered with the scheduler. The message has the address that the workers
        /// use and the likely cause.
        NoWorkerRegistered => "NoWorkerRegistered",
        /// The first connection is being tried. If the condition is true, the operator can't ask the scheduler whether a
        /// worker has registered.
        SchedulerNotAsked => "SchedulerNotAsked",
        /// The pod is ready, but nothing answers at the comm port of the Service. The condition is `Unknown` if the scheduler
        /// uses TLS and the operator has no certificate for it.
        SchedulerUnreachable => "SchedulerUnreachable",
        /// The Service does not exist yet, or its load balancer has no address yet.
        ServiceUnreachable => "ServiceUnreachable",
    } or "The reason of `SchedulerReady` while the scheduler is not ready."

    /// The scheduler was restarted and lost its state.
    SchedulerRestarted = "SchedulerRestarted" of ["DaskCluster"] {
        /// The scheduler was lost, or its container was restarted. The message has the number of times.
        SchedulerLost => "SchedulerLost",
    }

    /// The scheduler was created from the current manifest.
    SchedulerUpToDate = "SchedulerUpToDate" of ["DaskCluster"] {
        /// The scheduler was created from the current manifest.
        UpToDate => "UpToDate",
        /// The scheduler was created from another spec. It is replaced when you delete the object in the message, its pod or
        /// its Deployment (`schedulerUpdate: OnDelete`).
        OnDelete => "OnDelete",
        /// The scheduler is being replaced (`schedulerUpdate: Recreate`).
        Recreating => "Recreating",
    }

    /// The scheduler has no work.
    Idle = "Idle" of ["DaskCluster"] {
        /// The scheduler has work, or had some since the last query.
        Busy => "Busy",
        /// The scheduler has no work. The message says when the cluster is deleted.
        NothingToDo => "NothingToDo",
        /// The cluster is deleted soon. The message says when.
        IdleTimeoutSoon => "IdleTimeoutSoon",
        /// The scheduler was idle for longer than `idleTimeout`: the cluster is deleted.
        IdleTimeout => "IdleTimeout",
    }

    /// The workers that are wanted are ready.
    WorkersReady = "WorkersReady" of ["DaskCluster", "DaskWorkerGroup"] {
        /// All workers that are wanted are ready.
        AllReady => "AllReady",
        /// Workers are starting.
        WorkersStarting => "WorkersStarting",
        /// The only workers that are missing move their results to others before they are replaced.
        WorkersRetiring => "WorkersRetiring",
        /// More workers are wanted than a group can have, 20,000: make further groups.
        TooManyWorkers => "TooManyWorkers",
        /// The group's cluster does not exist.
        ClusterNotFound => "ClusterNotFound",
        /// The group's cluster is being deleted.
        ClusterTerminating => "ClusterTerminating",
        /// The cluster is suspended.
        Suspended => "Suspended",
    } or "The most common reason of the pods that wait, such as `ImagePullBackOff`, `OOMKilled`, `Unschedulable`, \
          `SchedulingGated` or `ContainersNotCreated` (a Secret or ConfigMap may be missing). The message has more."

    /// Workers can't leave yet.
    ScaleDownBlocked = "ScaleDownBlocked" of ["DaskCluster", "DaskWorkerGroup"] {
        /// No other worker can take the results of the workers in the message: add workers or memory, or delete their pods to
        /// lose the results.
        WorkersHoldData => "WorkersHoldData",
        /// The scheduler does not answer, so that it can't move results. With `scaleDown: unsafe`, the workers are deleted
        /// after a while.
        SchedulerUnreachable => "SchedulerUnreachable",
        /// The scheduler has not been asked yet which workers hold results.
        SchedulerNotAsked => "SchedulerNotAsked",
    }

    /// Never true: the condition is present, and false, only while workers are outdated.
    WorkersUpToDate = "WorkersUpToDate" of ["DaskCluster", "DaskWorkerGroup"] {
        /// A rollout replaces the outdated workers. The message has its progress and what it waits for.
        RollingUpdate => "RollingUpdate",
        /// Outdated workers are replaced when you delete their pods, or their Deployments if they have some (update strategy
        /// `OnDelete`).
        OnDelete => "OnDelete",
        /// Outdated workers can't move their results: add workers or memory.
        WorkersHoldData => "WorkersHoldData",
        /// Outdated workers stay while the scheduler does not answer, because it can't move their results.
        SchedulerUnreachable => "SchedulerUnreachable",
    }

    /// The resource is suspended.
    Suspended = "Suspended" of ["DaskCluster", "DaskJob"] {
        /// The cluster has no scheduler and no workers until `spec.suspend` is false.
        ClusterSuspended => "ClusterSuspended",
        /// Nothing of the job runs until `spec.suspend` is false.
        JobSuspended => "JobSuspended",
        /// The job was suspended and has started again. The condition is false.
        JobResumed => "JobResumed",
    }

    /// The pod with the job's code runs.
    RunnerReady = "RunnerReady" of ["DaskJob"] {
        /// The pod runs.
        RunnerRunning => "RunnerRunning",
        /// The pod does not exist yet.
        RunnerMissing => "RunnerMissing",
        /// The pod is starting.
        RunnerStarting => "RunnerStarting",
        /// The job waits until as many workers have registered as `waitForWorkers` says.
        WaitingForWorkers => "WaitingForWorkers",
        /// The pod has failed. A new one follows.
        RunnerFailed => "RunnerFailed",
        /// The last pod failed soon after its start. The message says when the next attempt begins.
        BackOff => "BackOff",
        /// The pod is being deleted.
        RunnerTerminating => "RunnerTerminating",
        /// The deletion of the pod is two minutes overdue, because its node does not confirm it. The message says what
        /// to do. The job continues when it is gone, because its code might run twice otherwise.
        RunnerStuck => "RunnerStuck",
        /// The job is suspended.
        JobSuspended => "JobSuspended",
    } or "The reason of the pod, such as `ImagePullBackOff`, `CrashLoopBackOff`, `Unschedulable` or `ContainersNotCreated` (a \
          Secret or ConfigMap may be missing). The message has more."

    /// The cluster was deleted because it was idle.
    ClusterIdle = "ClusterIdle" of ["DaskJob"] {
        /// The cluster was idle for longer than its `idleTimeout`. The runner continues without it.
        IdleTimeout => "IdleTimeout",
    }

    /// The number of workers follows the scheduler, as for a HorizontalPodAutoscaler.
    ScalingActive = "ScalingActive" of ["DaskAutoscaler"] {
        /// The number of workers follows the scheduler. The message has the scheduler's number and the result.
        FollowsDemand => "FollowsDemand",
        /// The scheduler has not been asked yet. Only minimum and maximum are kept.
        SchedulerNotAsked => "SchedulerNotAsked",
        /// The scheduler does not answer. Only minimum and maximum are kept.
        SchedulerUnreachable => "SchedulerUnreachable",
        /// The scheduler's last answer is more than a minute old. Only minimum and maximum are kept.
        StaleAnswer => "StaleAnswer",
        /// The scheduler does not say how many workers it could use. Only minimum and maximum are kept.
        NoDemand => "NoDemand",
        /// The cluster does not exist in the autoscaler's namespace.
        ClusterNotFound => "ClusterNotFound",
        /// The cluster does not have the worker group.
        WorkerGroupNotFound => "WorkerGroupNotFound",
        /// An older autoscaler scales the worker group: delete one of the two, or name another group in `spec.workerGroup`.
        AnotherAutoscaler => "AnotherAutoscaler",
        /// The cluster is suspended. Nothing is scaled.
        ClusterSuspended => "ClusterSuspended",
    }

    /// A change that is wanted is made now, as for a HorizontalPodAutoscaler.
    AbleToScale = "AbleToScale" of ["DaskAutoscaler"] {
        /// A change that is wanted is made now.
        ReadyForNewScale => "ReadyForNewScale",
        /// The change waits for the end of `scaleUp.windowSeconds`. The message says when that is, and why.
        UpWindow => "UpWindow",
        /// The change waits for the end of `scaleDown.windowSeconds`. The message says when that is, and why.
        DownWindow => "DownWindow",
        /// The change waits for the end of `scaleUp.periodSeconds`. The message says when that is.
        UpPeriod => "UpPeriod",
        /// The change waits for the end of `scaleDown.periodSeconds`. The message says when that is.
        DownPeriod => "DownPeriod",
        /// Workers of the last change have not registered yet. The message says until when they count as if they had.
        WorkersStarting => "WorkersStarting",
        /// The annotation `kubernetes.dask.org/cooldown-until` stops scaling. The message says until when.
        CoolDown => "CoolDown",
    }

    /// Something limits the number of workers, as for a HorizontalPodAutoscaler.
    ScalingLimited = "ScalingLimited" of ["DaskAutoscaler"] {
        /// Nothing limits the number of workers.
        DesiredWithinRange => "DesiredWithinRange",
        /// `maximum` limits it.
        TooManyReplicas => "TooManyReplicas",
        /// `minimum` limits it.
        TooFewReplicas => "TooFewReplicas",
        /// `scaleUp.step` limits the change.
        ScaleUpLimit => "ScaleUpLimit",
        /// `scaleDown.step` limits the change.
        ScaleDownLimit => "ScaleDownLimit",
    }

    /// The spec is very likely a mistake.
    SpecQuestionable = "SpecQuestionable" of [] {
        /// The spec works, but very likely has the mistakes in the message.
        Mistakes => "Mistakes",
    }
}

/// Maximum number of mistakes that the condition lists.
const MAX_MISTAKES: usize = 5;

/// Maximum length of the message about one mistake, in characters.
const MAX_MISTAKE_LENGTH: usize = 500;

impl SpecQuestionable {
    /// Returns the condition that lists the mistakes among the findings. Returns `None` if there are none.
    pub fn of(findings: &[Finding]) -> Option<Condition> {
        let mistakes: Vec<String> = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Mistake)
            .map(|finding| truncated(&finding.sentence()))
            .collect();
        let message = match mistakes.as_slice() {
            [] => return None,
            all => match all.len().saturating_sub(MAX_MISTAKES) {
                0 => all.join("; "),
                more => format!("{}; and {more} more", all[..MAX_MISTAKES].join("; ")),
            },
        };
        Some(Self::Mistakes.condition(ConditionStatus::True, message))
    }
}

/// Truncates a message to [`MAX_MISTAKE_LENGTH`] characters. Values from a manifest can make it arbitrarily long.
fn truncated(message: &str) -> String {
    match message.char_indices().nth(MAX_MISTAKE_LENGTH) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::contract::Error;

    #[test]
    fn types_and_reasons_are_unique() {
        let names: BTreeSet<_> = ALL.iter().map(|condition| condition.name).collect();
        assert_eq!(names.len(), ALL.len());
        for condition in ALL {
            let words: BTreeSet<_> = condition.reasons.iter().map(|reason| reason.word).collect();
            assert_eq!(words.len(), condition.reasons.len(), "{}", condition.name);
        }
    }

    #[test]
    fn a_condition_has_the_word_of_its_reason() {
        let condition = WorkersReady::AllReady.condition(ConditionStatus::True, "2 of 2 workers are ready");
        assert_eq!(
            condition,
            Condition::new(
                "WorkersReady",
                ConditionStatus::True,
                "AllReady",
                "2 of 2 workers are ready"
            )
        );
        let described = ALL.iter().find(|condition| condition.name == WorkersReady::TYPE);
        let reason = described.and_then(|condition| condition.reasons.first());
        assert_eq!(
            reason.map(|reason| (reason.word, reason.description)),
            Some(("AllReady", "All workers that are wanted are ready."))
        );
    }

    #[test]
    fn mistakes_are_listed_in_a_condition() {
        assert_eq!(
            SpecQuestionable::of(&[Finding::warning("a", "b"), Finding::error("c", "d")]),
            None
        );
        let message = |findings: &[Finding]| SpecQuestionable::of(findings).expect("mistakes").message;
        let mistakes = [
            Finding::mistake("a", "is odd"),
            Finding::mistake("", "is odd as a whole"),
        ];
        assert_eq!(message(&mistakes), "a: is odd; is odd as a whole");
        let many: Vec<Finding> = (0..7)
            .map(|n| Finding::mistake(format!("f{n}"), "is odd"))
            .collect();
        assert!(
            message(&many).ends_with("f4: is odd; and 2 more"),
            "{}",
            message(&many)
        );
        let long = message(&[Finding::mistake("ä".repeat(40_000), "is odd")]);
        assert_eq!(long.chars().count(), MAX_MISTAKE_LENGTH + 1);
        assert_eq!(Error::if_invalid(mistakes.to_vec()), Ok(()));
    }
}
