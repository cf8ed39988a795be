//! Which container of a pod is Dask's, and not one beside it.

use serde_json::Value;

use super::command;

/// What a pod is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It works.
    Worker,
    /// It schedules.
    Scheduler,
    /// It runs the code of a job.
    Runner,
}

impl Role {
    /// What its main container is called where nobody has given it a name.
    pub fn container_name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Scheduler => "scheduler",
            Self::Runner => "job",
        }
    }

    /// What a command of Dask's own says that starts it.
    pub(super) fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Worker => &[
                "dask-worker",
                "dask worker",
                "dask-cuda-worker",
                "dask cuda worker",
                "distributed.cli.dask_worker",
            ],
            Self::Scheduler => &[
                "dask-scheduler",
                "dask scheduler",
                "distributed.cli.dask_scheduler",
            ],
            Self::Runner => &[],
        }
    }
}

/// The position of the main container in a pod's spec: the one whose command says so, else the one that is called as the
/// role is, else the first.
pub fn position(pod_spec: &Value, role: Role) -> usize {
    let containers = pod_spec["containers"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let says = |container: &Value| is_started_by(container, role);
    let is_called = |container: &Value| container["name"] == role.container_name();
    containers
        .iter()
        .position(says)
        .or_else(|| containers.iter().position(is_called))
        .unwrap_or(0)
}

/// Whether a container's command says that it starts Dask in this role.
pub fn is_started_by(container: &Value, role: Role) -> bool {
    // Nobody but a worker is given its name.
    let is_named = |word: &str| word.contains("$(DASK_WORKER_NAME)");
    runs_dask(container, role) || (role == Role::Worker && command::words(container).any(is_named))
}

/// Whether a container's command is one of Dask's own for this role, and no other program that may start Dask.
pub fn runs_dask(container: &Value, role: Role) -> bool {
    let line = command::words(container).collect::<Vec<_>>().join(" ");
    role.commands().iter().any(|command| line.contains(command))
}

/// The name of the main container in a pod's spec; of one without a name, the one that it will be given.
pub fn name(pod_spec: &Value, role: Role) -> &str {
    let name = pod_spec["containers"][position(pod_spec, role)]["name"].as_str();
    name.filter(|name| !name.is_empty())
        .unwrap_or(role.container_name())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_of_dasks_own() {
        for (args, role, expected) in [
            (json!(["dask", "worker"]), Role::Worker, (true, true)),
            (
                json!(["start", "--name", "$(DASK_WORKER_NAME)"]),
                Role::Worker,
                (true, false),
            ),
            (
                json!(["start", "--name", "$(DASK_WORKER_NAME)"]),
                Role::Scheduler,
                (false, false),
            ),
            (json!(["dask-scheduler"]), Role::Scheduler, (true, true)),
            (json!(["python"]), Role::Runner, (false, false)),
        ] {
            let container = json!({"args": args});
            let found = (is_started_by(&container, role), runs_dask(&container, role));
            assert_eq!(found, expected, "{role:?} {args}");
        }
    }

    #[test]
    fn the_main_container_is_found() {
        let agent = json!({"name": "agent", "image": "a"});
        let cases = [
            (json!([{"name": "x"}]), Role::Worker, 0),
            (
                json!([agent, {"name": "x", "args": ["dask", "worker"]}]),
                Role::Worker,
                1,
            ),
            (
                json!([agent, {"name": "x", "command": ["sh", "-c", "exec dask-worker tcp://s"]}]),
                Role::Worker,
                1,
            ),
            (
                json!([agent, {"name": "x", "args": ["start", "--name", "$(DASK_WORKER_NAME)"]}]),
                Role::Worker,
                1,
            ),
            (
                json!([{"name": "worker"}, {"name": "x", "args": ["dask", "worker"]}]),
                Role::Worker,
                1,
            ),
            (json!([agent, {"name": "worker"}]), Role::Worker, 1),
            (json!([agent, {"name": "scheduler"}]), Role::Worker, 0),
            (
                json!([agent, {"name": "s", "args": ["dask", "scheduler"]}]),
                Role::Scheduler,
                1,
            ),
            (
                json!([agent, {"name": "job", "args": ["python"]}]),
                Role::Runner,
                1,
            ),
            (json!([agent, {"name": "x", "args": ["python"]}]), Role::Runner, 0),
            (json!([]), Role::Runner, 0),
            (Value::Null, Role::Scheduler, 0),
        ];
        for (containers, role, expected) in cases {
            let pod_spec = json!({"containers": containers});
            assert_eq!(position(&pod_spec, role), expected, "{role:?} {pod_spec}");
        }
        let named = |containers: Value| name(&json!({"containers": containers}), Role::Runner).to_owned();
        assert_eq!(named(json!([agent, {"name": "job"}])), "job");
        assert_eq!(named(json!([{"image": "i"}])), "job");
        assert_eq!(named(json!([agent])), "agent");
    }
}
