//! Under which names workers register: the scheduler takes each name once.

use std::borrow::Cow;

use serde_json::Value;

use super::variables::{self, Variables};
use super::{Checks, arguments, containers};
use crate::dask::command;
use crate::dask::environment::WORKER_NAME;
use crate::dask::main_container::{self, Role};
use crate::dask::start::{self, Start};

/// A name that a container's worker is given.
struct Name {
    /// The text as it is written.
    written: String,
    /// What it becomes in a pod.
    filled: String,
    /// The field that it stands in.
    field: String,
}

/// Says which names only one of several workers can have, and returns whether there are any. The pod's spec stands at
/// `path`; there are so many pods of it.
pub(super) fn check(checks: &mut Checks, pod_spec: &Value, path: &str, pods: u64) -> bool {
    if variables::is_windows(pod_spec) {
        return false;
    }
    let mut before: Vec<(&Value, Name)> = Vec::new();
    let mut is_said = false;
    for (at, container) in containers(pod_spec).enumerate() {
        let place = format!("{path}.containers[{at}]");
        let Some(name) = name(container, &place) else {
            continue;
        };
        let twin = before.iter().find(|(_, other)| other.filled == name.filled);
        let is_same = !variables::differs_by_pod(&name.filled);
        let is_left = is_same && variables::has_variable(&name.filled);
        // The image may start a shell, which fills it in.
        let is_sure = !is_left || arguments::are_passed_on(container);
        let (field, message) = if is_left && !is_sure {
            (
                name.field.clone(),
                format!(
                    "all workers would register as `{}`, and only one of that name can join, unless the image's entrypoint starts a \
                     shell: write `$(DASK_WORKER_NAME)`, which Kubernetes fills in",
                    short(&name.filled)
                ),
            )
        } else if is_left {
            (
                name.field.clone(),
                format!(
                    "all workers would register as `{}`, and only one of that name can join: write `$(DASK_WORKER_NAME)`, because \
                     outside a shell only `$(…)` of a variable that the container has is filled in",
                    short(&name.filled)
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
        checks.doubt(is_sure, field, message);
        is_said = true;
    }
    is_said
}

/// What is wrong with a name that is the same in all pods: where, and a sentence.
fn fixed(container: &Value, name: &Name, place: &str, pods: u64) -> (String, String) {
    let why = format!(
        "all {pods} workers would register as `{}`, and only one of them can join",
        short(&name.filled)
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

/// The name that a container at `place` gives its worker; none where a shell may make another one of it, where it isn't
/// known, or where Dask adds numbers to it.
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
        filled: Variables::of(container).filled(written)?,
        field: start.words.get(at)?.argument.field(place),
    })
}

/// Warns where workers do not register under the names of their pods, as far as is known. The pod's spec stands at `path`.
pub(super) fn unnamed(checks: &mut Checks, pod_spec: &Value, path: &str) {
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

/// Whether a worker is given a name that may be another one in each pod.
fn may_differ(container: &Value, start: &Start<'_>) -> bool {
    let words = start.texts();
    let Some(name) = command::option(&words, "--name") else {
        return false;
    };
    let Some(filled) = Variables::of(container).filled(name) else {
        return true;
    };
    // A shell may fill it in.
    let is_left = !start.is_direct && filled.contains(['$', '`']);
    is_left || variables::differs_by_pod(&filled)
}

/// The beginning of a name, as long as a sentence can hold it.
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

    use super::super::tests::text;
    use super::*;

    fn found(containers: Value, pods: u64) -> Vec<String> {
        let mut checks = Checks::default();
        check(&mut checks, &json!({"containers": containers}), "w", pods);
        checks.into_findings().iter().map(text).collect()
    }

    fn of_words(words: &[&str], pods: u64) -> Vec<String> {
        let image = "ghcr.io/dask/dask:2026.8.0";
        found(json!([{"name": "worker", "image": image, "args": words}]), pods)
    }

    #[test]
    fn names_that_nobody_fills_in() {
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
    fn names_of_which_nothing_is_said() {
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
    fn names_that_are_the_same_in_all_pods() {
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
    fn an_image_may_start_a_shell() {
        let args = json!(["dask-worker", "--name", "$DASK_WORKER_NAME"]);
        let container = json!({"image": "mine:1", "args": args});
        assert_eq!(found(json!([container]), 2), ["warning w.containers[0].args[2]"]);
        let container = json!({"image": "mine:1", "command": args});
        assert_eq!(
            found(json!([container]), 2),
            ["mistake w.containers[0].command[2]"]
        );
        // The same in all pods, whatever reads it.
        let container = json!({"image": "mine:1", "args": ["dask-worker", "--name", "w"]});
        assert_eq!(found(json!([container]), 2), ["mistake w.containers[0].args[2]"]);
    }

    #[test]
    fn names_that_are_none_of_the_pods() {
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
            unnamed(&mut checks, &json!({"containers": [container]}), "w");
            let messages: Vec<String> = checks
                .into_findings()
                .into_iter()
                .map(|found| found.message)
                .collect();
            let is_right = match expected {
                Some(beginning) => messages.len() == 1 && messages[0].starts_with(beginning),
                None => messages.is_empty(),
            };
            assert!(is_right, "{args:?}: {messages:?}");
        }
    }

    #[test]
    fn long_names_are_cut() {
        let name = "ä".repeat(1000);
        let container = json!({"args": ["dask", "worker", "--name", name]});
        let mut checks = Checks::default();
        check(&mut checks, &json!({"containers": [container]}), "w", 2);
        let messages: Vec<String> = checks
            .into_findings()
            .into_iter()
            .map(|found| found.message)
            .collect();
        assert!(
            messages[0].contains(&format!("`{}…`", "ä".repeat(100))),
            "{messages:?}"
        );
    }

    #[test]
    fn names_that_two_containers_have() {
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
