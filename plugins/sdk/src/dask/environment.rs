//! Environment variables that the operator sets in containers.

use serde_json::{Value, json};

/// Name of the worker. The worker registers under it if it is started with `--name $(DASK_WORKER_NAME)`.
pub const WORKER_NAME: &str = "DASK_WORKER_NAME";
/// Address of the scheduler. Dask reads this variable itself.
pub const SCHEDULER_ADDRESS: &str = "DASK_SCHEDULER_ADDRESS";

/// Appends variables to every container of a pod spec except init containers, after the user's own variables. A variable
/// that the user defines is not changed.
pub fn inject(pod_spec: &mut Value, variables: &[(&str, &str)]) {
    let Some(containers) = pod_spec.get_mut("containers").and_then(Value::as_array_mut) else {
        return;
    };
    for container in containers.iter_mut().filter_map(Value::as_object_mut) {
        let environment = container.entry("env").or_insert_with(|| json!([]));
        if environment.is_null() {
            *environment = json!([]);
        }
        let Some(environment) = environment.as_array_mut() else {
            continue;
        };
        for (name, value) in variables {
            if !environment.iter().any(|variable| variable["name"] == *name) {
                environment.push(json!({"name": name, "value": value}));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_variables_come_first_and_take_precedence() {
        let mut spec = json!({
            "initContainers": [{"name": "init"}],
            "containers": [
                {"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "N", "valueFrom": {}}]},
                {"name": "b", "env": null},
                {"name": "c"},
            ],
        });
        inject(&mut spec, &[("N", "n"), ("A", "a")]);
        let both = json!([{"name": "N", "value": "n"}, {"name": "A", "value": "a"}]);
        assert_eq!(
            spec["containers"][0]["env"],
            json!([{"name": "X", "value": "1"}, {"name": "N", "valueFrom": {}}, {"name": "A", "value": "a"}])
        );
        assert_eq!(spec["containers"][1]["env"], both);
        assert_eq!(spec["containers"][2]["env"], both);
        assert_eq!(spec["initContainers"], json!([{"name": "init"}]));
    }
}
