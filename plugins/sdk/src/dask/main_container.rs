//! Lookup of the main container of a pod, the one that runs Dask.

use serde_json::Value;

use super::command;
use super::resource::items;
use super::role::Role;

/// Returns the index of the main container in a pod spec: the one whose command starts Dask, else the one with the default
/// name of the role, else the first.
pub fn position(pod_spec: &Value, role: Role) -> usize {
    let containers = items(&pod_spec["containers"]);
    let is_started = |container: &Value| is_started_by(container, role);
    let has_default_name = |container: &Value| container["name"] == role.container_name();
    containers
        .iter()
        .position(is_started)
        .or_else(|| containers.iter().position(has_default_name))
        .unwrap_or(0)
}

/// Returns whether a container starts Dask in this role, directly or through another program.
pub fn is_started_by(container: &Value, role: Role) -> bool {
    // Only workers use this variable in their arguments.
    let is_named = |word: &str| word.contains("$(DASK_WORKER_NAME)");
    runs_dask(container, role) || (role == Role::Worker && command::words(container).any(is_named))
}

/// Returns whether a container's command line contains one of Dask's commands for this role. Other programs that may start
/// Dask do not count.
pub fn runs_dask(container: &Value, role: Role) -> bool {
    let line = command::words(container).collect::<Vec<_>>().join(" ");
    role.commands().iter().any(|command| line.contains(command))
}

/// Returns the name of the main container in a pod spec, or the default name if the container has none.
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
    fn recognises_dasks_commands() {
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
    fn finds_the_main_container() {
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
