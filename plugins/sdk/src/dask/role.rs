//! Roles of the pods of a cluster or job.

use std::fmt;

use serde_json::Value;

use super::metadata::{COMPONENT_RUNNER, COMPONENT_SCHEDULER, COMPONENT_WORKER, LABEL_COMPONENT};

/// The role of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A Dask scheduler.
    Scheduler,
    /// A Dask worker.
    Worker,
    /// The runner of a job's code.
    Runner,
}

/// Formats the role for messages.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheduler => "scheduler",
            Self::Worker => "worker",
            Self::Runner => "job runner",
        })
    }
}

impl Role {
    /// Returns the role of a planned or observed object from its label `dask.org/component`. Returns `None` for objects that
    /// are not pods.
    pub fn of(object: &Value) -> Option<Self> {
        match object["metadata"]["labels"][LABEL_COMPONENT].as_str()? {
            COMPONENT_SCHEDULER => Some(Self::Scheduler),
            COMPONENT_WORKER => Some(Self::Worker),
            COMPONENT_RUNNER => Some(Self::Runner),
            _ => None,
        }
    }

    /// Returns the role of the pods that the default logic plans for a resource of this kind. A component can choose the labels
    /// of its pods but not their parent, so this is reliable.
    pub fn of_parent(kind: &str) -> Option<Self> {
        match kind {
            "DaskCluster" => Some(Self::Scheduler),
            "DaskWorkerGroup" => Some(Self::Worker),
            "DaskJob" => Some(Self::Runner),
            _ => None,
        }
    }

    /// Returns the default name of the main container, the one that runs Dask.
    pub fn container_name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Worker => "worker",
            Self::Runner => "job",
        }
    }

    /// Returns the parts of a command line by which one of Dask's commands for this role is recognised.
    pub(super) fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Scheduler => &[
                "dask-scheduler",
                "dask scheduler",
                "distributed.cli.dask_scheduler",
            ],
            Self::Worker => &[
                "dask-worker",
                "dask worker",
                "dask-cuda-worker",
                "dask cuda worker",
                "distributed.cli.dask_worker",
            ],
            Self::Runner => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_the_label() {
        let labels = json!({"metadata": {"labels": {LABEL_COMPONENT: "job-runner"}}});
        assert_eq!(Role::of(&labels), Some(Role::Runner));
        assert_eq!(Role::of(&json!({})), None);
    }
}
