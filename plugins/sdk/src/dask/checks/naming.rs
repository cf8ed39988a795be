//! Check of the names that workers register under: the scheduler accepts each name once.

use std::borrow::Cow;

use serde_json::Value;

use super::variables::{self, Variables};
use super::{Checks, arguments, containers};
use crate::dask::command;
use crate::dask::environment::WORKER_NAME;
use crate::dask::main_container;
use crate::dask::role::Role;
use crate::dask::start::{self, Start};

/// The name of a container's worker.
struct Name {
    /// The name as it is written.
    written: String,
    /// The name with its variables expanded.
    expanded: String,
    /// The field that contains it.
    field: String,
}

/// Reports names that only one of several workers can have, and returns whether there are any. `path` is the field of the
/// pod spec, `pods` the number of pods with it.
pub(super) fn check(checks: &mut Checks, pod_spec: &Value, path: &str, pods: u64) -> bool {
    if variables::is_windows(pod_spec) {
        return false;
    }
    let mut before: Vec<(&Value, Name)> = Vec::new();
    let mut has_findings = false;
    for (at, container) in containers(pod_spec).enumerate() {
        let place = format!("{path}.containers[{at}]");
        let Some(name) = name(container, &place) else {
            continue;
        };
        let twin = before.iter().find(|(_, other)| other.expanded == name.expanded);
        let is_same = !variables::differs_by_pod(&name.expanded);
        let is_unexpanded = is_same && variables::has_variable(&name.expanded);
        // The entrypoint of the image may start a shell, which would expand the variable.
        let is_sure = !is_unexpanded || arguments::are_passed_on(container);
        let (field, message) = if is_unexpanded && !is_sure {
            (
                name.field.clone(),
                format!(
                    "all workers would register as `{}`, and only one of that name can join, unless the image's entrypoint starts a \
                     shell: write `$(DASK_WORKER_NAME)`, which Kubernetes fills in",
                    short(&name.expanded)
                ),
            )
        } else if is_unexpanded {
            (
                name.field.clone(),
                format!(
                    "all workers would register as `{}`, and only one of that name can join: write `$(DASK_WORKER_NAME)`, because \
                     outside a shell only `$(…)` of a variable that the container has is filled in",
                    short(&name.expanded)
                ),
            )
        } else if is_same && pods > 1 {
            fixed(container, &name, &place, pods)
        } else if let Some((other, _)) = twin {
            (
                name.field.clone(),
                format!(
                    "the container `{}` has a worker of the same name, and only one of them can join: write \
                     `$(DASK_WORKER_NAME)-{at}`",
                    other["name"].as_str().unwrap_or_default()
                ),
            )
        } else {
            before.push((container, name));
            continue;
        };
        checks.mistake_if(is_sure, field, message);
        has_findings = true;
    }
    has_findings
}

/// Returns the field and the message of the finding for a name that is the same in all pods.
fn fixed(container: &Value, name: &Name, place: &str, pods: u64) -> (String, String) {
    let why = format!(
        "all {pods} workers would register as `{}`, and only one of them can join",
        short(&name.expanded)
    );
    let mut written = container["env"].as_array().into_iter().flatten();
    let variable = written.position(|variable| variable["name"] == WORKER_NAME);
    match variable.filter(|_| name.written.contains(WORKER_NAME)) {
        Some(at) => (
            format!("{place}.env[{at}].value"),
            format!("{why}: leave the variable out, because the operator sets it"),
        ),
        None => (name.field.clone(), format!("{why}: write `$(DASK_WORKER_NAME)`")),
    }
}

/// Returns the name that the container at `place` gives its worker. Returns `None` if a shell may change it, if it is
/// unknown, or if Dask appends numbers to it.
fn name(container: &Value, place: &str) -> Option<Name> {
    let start = start::of(container, Role::Worker).filter(|start| start.is_direct)?;
    let words = start.texts();
    let has_several = ["--nworkers", "--nprocs"]
        .iter()
        .any(|option| command::option(&words, option).is_some());
    if has_several {
        return None;
    }
    let (at, written) = command::option_at(&words, "--name")?;
    Some(Name {
        written: written.to_owned(),
        expanded: Variables::of(container).expanded(written)?,
        field: start.words.get(at)?.argument.field(place),
    })
}

/// Warns if workers do not register under the names of their pods, as far as is known. `path` is the field of the pod
/// spec.
pub(super) fn warn_if_unnamed(checks: &mut Checks, pod_spec: &Value, path: &str) {
    let mut words = containers(pod_spec).flat_map(command::arguments);
    if !pod_spec["containers"].is_array() || words.any(|word| word.text.contains(WORKER_NAME)) {
        return;
    }
    let main = main_container::position(pod_spec, Role::Worker);
    let container = &pod_spec["containers"][main];
    let remedy = "add `--name` and `$(DASK_WORKER_NAME)`";
    let message = match start::of(container, Role::Worker) {
        Some(start) if may_differ(container, &start) => return,
        Some(_) => format!(
            "the worker does not register under its pod's name, so that it can't be told from others when the group is scaled \
             down: {remedy}"
        ),
        None => format!(
            "if the worker does not register under its pod's name, it can't be told from others when the group is scaled down: \
             {remedy}, if the program hands them on to Dask"
        ),
    };
    checks.warning(format!("{path}.containers[{main}].args"), message);
}

/// Returns whether a worker has a name that may differ from pod to pod.
fn may_differ(container: &Value, start: &Start<'_>) -> bool {
    let words = start.texts();
    let Some(name) = command::option(&words, "--name") else {
        return false;
    };
    let Some(expanded) = Variables::of(container).expanded(name) else {
        return true;
    };
    // A shell may expand it.
    let is_unexpanded = !start.is_direct && expanded.contains(['$', '`']);
    is_unexpanded || variables::differs_by_pod(&expanded)
}

/// Returns the beginning of a name, at most 100 characters.
fn short(name: &str) -> Cow<'_, str> {
    const CHARACTERS: usize = 100;
    match name.char_indices().nth(CHARACTERS) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{messages, summary};
    use super::*;

    fn found(containers: Value, pods: u64) -> Vec<String> {
        let mut checks = Checks::default();
        check(&mut checks, &json!({"containers": containers}), "w", pods);
        summary(checks)
    }

    fn of_words(words: &[&str], pods: u64) -> Vec<String> {
        let image = "ghcr.io/dask/dask:2026.8.0";
        found(json!([{"name": "worker", "image": image, "args": words}]), pods)
    }

    #[test]
    fn reports_unexpanded_variables() {
        for name in [
            "$DASK_WORKER_NAME",
            "${DASK_WORKER_NAME}",
            "$$(DASK_WORKER_NAME)",
            "$(DASK_WORKER_NAMES)",
            "$(HOSTNAME)",
        ] {
            for pods in [1, 3] {
                assert_eq!(
                    of_words(&["dask", "worker", "--name", name], pods),
                    ["mistake w.containers[0].args[3]"],
                    "{name}"
                );
            }
            let joined = format!("--name={name}");
            assert_eq!(
                of_words(&["python", "-m", "distributed.cli.dask_worker", &joined], 2),
                ["mistake w.containers[0].args[3]"],
                "{name}"
            );
        }
    }

    #[test]
    fn accepts_names_that_may_differ() {
        for words in [
            &["dask", "worker", "--name", "$(DASK_WORKER_NAME)"][..],
            &[
                "dask",
                "worker",
                "--name",
                "x",
                "--name",
                "gpu-$(DASK_WORKER_NAME)",
            ],
            &["dask", "worker"],
            &["sh", "-c", "dask worker --name $DASK_WORKER_NAME"],
            &[
                "bash",
                "-c",
                "exec \"$0\" \"$@\"",
                "dask",
                "worker",
                "--name",
                "$HOSTNAME",
            ],
            &["start.sh", "dask", "worker", "--name", "$HOSTNAME"],
            &["dask", "worker --name $HOSTNAME"],
            &["dask", "scheduler", "--name", "x"],
            &["dask", "worker", "--name", "$(DASK_WORKER_NAME)-$TAG"],
        ] {
            assert_eq!(of_words(words, 3), [""; 0], "{words:?}");
        }
        assert_eq!(of_words(&["dask", "worker", "--name", "w"], 1), [""; 0]);
        let windows = json!({
            "os": {"name": "windows"},
            "containers": [{"name": "worker", "args": ["dask", "worker", "--name", "$DASK_WORKER_NAME"]}],
        });
        let mut checks = Checks::default();
        assert!(!check(&mut checks, &windows, "w", 3));
    }

    #[test]
    fn reports_names_that_are_the_same_in_all_pods() {
        assert_eq!(
            of_words(&["dask", "worker", "--name", "worker-1"], 3),
            ["mistake w.containers[0].args[3]"]
        );
        let named = |variable: Value| json!([{"name": "worker", "args": ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"], "env": [{"name": "A"}, variable]}]);
        let fixed = named(json!({"name": "DASK_WORKER_NAME", "value": "w"}));
        assert_eq!(found(fixed.clone(), 3), ["mistake w.containers[0].env[1].value"]);
        assert_eq!(found(fixed, 1), [""; 0]);
        let by_field = named(
            json!({"name": "DASK_WORKER_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        );
        assert_eq!(found(by_field, 3), [""; 0]);
    }

    #[test]
    fn warns_if_the_entrypoint_may_start_a_shell() {
        let args = json!(["dask-worker", "--name", "$DASK_WORKER_NAME"]);
        let container = json!({"image": "mine:1", "args": args});
        assert_eq!(found(json!([container]), 2), ["warning w.containers[0].args[2]"]);
        let container = json!({"image": "mine:1", "command": args});
        assert_eq!(
            found(json!([container]), 2),
            ["mistake w.containers[0].command[2]"]
        );
        // A fixed name is the same in all pods, with or without a shell.
        let container = json!({"image": "mine:1", "args": ["dask-worker", "--name", "w"]});
        assert_eq!(found(json!([container]), 2), ["mistake w.containers[0].args[2]"]);
    }

    #[test]
    fn warns_about_names_other_than_the_pods() {
        let own = json!([
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "LONG_NAME", "value": "gpu-$(POD_NAME)"},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ]);
        let does_not = "the worker does not register under its pod's name";
        let cases: [(&[&str], Option<&str>); 11] = [
            (&["dask", "worker", "--name", "$(DASK_WORKER_NAME)"], None),
            (&["dask", "worker", "--name", "$(POD_NAME)"], None),
            (&["dask", "worker", "--name", "gpu-$(POD_NAME)"], None),
            (&["dask", "worker", "--name", "$(LONG_NAME)"], None),
            (&["dask", "worker", "--name", "$(SECRET)"], None),
            (&["sh", "-c", "exec dask worker --name \"$HOSTNAME\""], None),
            (&["dask", "worker"], Some(does_not)),
            (&["dask", "worker", "--name", "w"], Some(does_not)),
            (&["dask", "worker", "--", "--name", "$(POD_NAME)"], Some(does_not)),
            (
                &["sh", "-c", "wait-for --name $X && exec dask worker"],
                Some(does_not),
            ),
            (&["worker"], Some("if the worker does not register")),
        ];
        for (args, expected) in cases {
            let container = json!({"command": [], "args": args, "env": own});
            let mut checks = Checks::default();
            warn_if_unnamed(&mut checks, &json!({"containers": [container]}), "w");
            let messages = messages(checks);
            let is_expected = match expected {
                Some(beginning) => messages.len() == 1 && messages[0].starts_with(beginning),
                None => messages.is_empty(),
            };
            assert!(is_expected, "{args:?}: {messages:?}");
        }
    }

    #[test]
    fn truncates_long_names() {
        let name = "ä".repeat(1000);
        let container = json!({"args": ["dask", "worker", "--name", name]});
        let mut checks = Checks::default();
        check(&mut checks, &json!({"containers": [container]}), "w", 2);
        let messages = messages(checks);
        assert!(
            messages[0].contains(&format!("`{}…`", "ä".repeat(100))),
            "{messages:?}"
        );
    }

    #[test]
    fn reports_the_same_name_in_two_containers() {
        let pair = |first: &str, second: &str| {
            let with =
                |name: &str, value: &str| json!({"name": name, "args": ["dask", "worker", "--name", value]});
            found(json!([with("a", first), {"name": "log"}, with("b", second)]), 2)
        };
        let own = "$(DASK_WORKER_NAME)";
        assert_eq!(pair(own, own), ["mistake w.containers[2].args[3]"]);
        assert_eq!(pair(own, "$(DASK_WORKER_NAME)-2"), [""; 0]);
    }
}
