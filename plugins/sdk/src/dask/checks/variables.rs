//! What Kubernetes fills in for `$(NAME)` in the texts of a container.
//!
//! What a variable holds that is read from elsewhere isn't known, so that nothing is said of it.

use serde_json::Value;

use super::Checks;
use crate::dask::environment::{SCHEDULER_ADDRESS, WORKER_NAME};

/// What stands for the name of the worker's pod in a text that has been filled in. Nobody writes it.
const NAME_OF_POD: &str = "\0";

/// Variables of the operator's own.
const OWN: [&str; 2] = [WORKER_NAME, SCHEDULER_ADDRESS];

/// Returns a text of a worker's container with its variables filled in; none where one of them isn't known. One that the
/// container does not have stays as it is written.
pub(super) fn filled(container: &Value, text: &str) -> Option<String> {
    fill(text, &|name| {
        value_of(container, variables(container), name, true)
    })
}

/// Whether a text that has been filled in is another one in each pod.
pub(super) fn differs_by_pod(filled: &str) -> bool {
    filled.contains(NAME_OF_POD)
}

/// Whether a text that has been filled in still has what looks like a variable.
pub(super) fn has_variable(filled: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || "_({".contains(c);
    filled.split('$').skip(1).any(|rest| rest.starts_with(begins))
}

/// Whether a pod is for nodes with Windows, where Dask's programs fill in variables by themselves.
pub(super) fn is_windows(pod_spec: &Value) -> bool {
    pod_spec["os"]["name"] == "windows" || pod_spec["nodeSelector"]["kubernetes.io/os"] == "windows"
}

/// The variables that somebody wrote for a container.
fn variables(container: &Value) -> &[Value] {
    container["env"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Replaces each `$(NAME)`; `$$` is a dollar sign.
fn fill(text: &str, value_of: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        let reference = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        rest = match (after.strip_prefix('$'), reference) {
            (None, Some((name, after))) => {
                filled.push_str(&value_of(name)?);
                after
            }
            (escaped, _) => {
                filled.push('$');
                escaped.unwrap_or(after)
            }
        };
    }
    filled.push_str(rest);
    Some(filled)
}

/// The value of a variable after these ones. `with_own` where those of the operator's own have been added to them.
fn value_of(container: &Value, variables: &[Value], name: &str, with_own: bool) -> Option<String> {
    let written = variables.iter().rposition(|variable| variable["name"] == name);
    if let Some(at) = written {
        let variable = &variables[at];
        return match &variable["value"] {
            Value::String(text) => fill(text, &|name| value_of(container, &variables[..at], name, false)),
            _ => None,
        };
    }
    if with_own && name == WORKER_NAME {
        return Some(NAME_OF_POD.to_owned());
    }
    // Kubernetes adds variables for Services.
    let may_be_there = !container["envFrom"].is_null()
        || (with_own && name == SCHEDULER_ADDRESS)
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_PORT");
    (!may_be_there).then(|| format!("$({name})"))
}

/// Says which variables of a worker's containers refer to the operator's own, which come after them. The pod's spec stands at
/// `path`.
pub(super) fn references(checks: &mut Checks, pod_spec: &Value, path: &str) {
    for list in ["initContainers", "containers"] {
        let containers = pod_spec[list].as_array().into_iter().flatten();
        for (at, container) in containers.enumerate() {
            let path = format!("{path}.{list}[{at}]");
            for (at, variable) in variables(container).iter().enumerate() {
                let text = variable["value"].as_str().unwrap_or_default();
                let before = &variables(container)[..at];
                if let Some(name) = unknown(container, before, text) {
                    checks.mistake(
                        format!("{path}.env[{at}].value"),
                        format!(
                            "`$({name})` stays as it is, because {}: {}",
                            reason(list),
                            remedy(name)
                        ),
                    );
                }
            }
            if list == "initContainers" {
                mounts(checks, container, &path);
            }
        }
    }
}

/// Says which paths of an init container have variables that it is not given.
fn mounts(checks: &mut Checks, container: &Value, path: &str) {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    for (at, mount) in mounts.enumerate() {
        let text = mount["subPathExpr"].as_str().unwrap_or_default();
        if let Some(name) = unknown(container, variables(container), text) {
            checks.mistake(
                format!("{path}.volumeMounts[{at}].subPathExpr"),
                format!(
                    "the container can't start without `{name}`, and {}: {}",
                    reason("initContainers"),
                    remedy(name)
                ),
            );
        }
    }
}

/// The variable of the operator's own that a text refers to and that these variables do not have.
fn unknown(container: &Value, before: &[Value], text: &str) -> Option<&'static str> {
    let is_unknown = |name: &&str| {
        let is_written = before.iter().any(|variable| variable["name"] == **name);
        !is_written && container["envFrom"].is_null() && refers(text, name)
    };
    OWN.into_iter().find(is_unknown)
}

/// Whether a text has `$(name)` as a reference.
fn refers(text: &str, name: &str) -> bool {
    let found = std::cell::Cell::new(false);
    fill(text, &|other| {
        found.set(found.get() || other == name);
        Some(String::new())
    });
    found.get()
}

fn reason(list: &str) -> &'static str {
    match list {
        "initContainers" => "the operator gives init containers no variables",
        _ => "the operator adds this variable at the end of the list",
    }
}

fn remedy(name: &str) -> &'static str {
    match name {
        WORKER_NAME => {
            "add a variable `POD_NAME` before with `valueFrom: {fieldRef: {fieldPath: metadata.name}}`, and write `$(POD_NAME)`"
        }
        _ => "write the scheduler's address itself",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::text;
    use super::*;

    #[test]
    fn texts_are_filled_in_as_kubernetes_does() {
        let container = json!({"env": [
            {"name": "A", "value": "a"},
            {"name": "EARLY", "value": "$(A)-$(LATE)"},
            {"name": "LATE", "value": "late"},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ]});
        for (text, expected) in [
            ("w", Some("w")),
            ("$(A)b", Some("ab")),
            ("$(EARLY)", Some("a-$(LATE)")),
            ("$$(A)", Some("$(A)")),
            ("$A ${A} $", Some("$A ${A} $")),
            ("$(A", Some("$(A")),
            ("$(HOSTNAME)", Some("$(HOSTNAME)")),
            ("$(DASK_WORKER_NAME)-0", Some("\0-0")),
            ("$(SECRET)", None),
            ("$(DASK_SCHEDULER_ADDRESS)", None),
            ("$(DB_SERVICE_HOST)", None),
        ] {
            assert_eq!(filled(&container, text).as_deref(), expected, "{text}");
        }
        let from_elsewhere = json!({"envFrom": [{"configMapRef": {"name": "c"}}]});
        assert_eq!(filled(&from_elsewhere, "$(HOSTNAME)"), None);
        for (text, expected) in [
            ("$(A)", true),
            ("a$A", true),
            ("${A}", true),
            ("5$", false),
            ("$5", false),
            ("", false),
        ] {
            assert_eq!(has_variable(text), expected, "{text}");
        }
    }

    #[test]
    fn variables_that_come_too_late() {
        let found = |pod_spec: Value| {
            let mut checks = Checks::default();
            references(&mut checks, &pod_spec, "p");
            checks.into_findings().iter().map(text).collect::<Vec<_>>()
        };
        let path = json!({"name": "DASK_TEMPORARY_DIRECTORY", "value": "/scratch/$(DASK_WORKER_NAME)"});
        let own =
            json!({"name": "DASK_WORKER_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
        let mount = json!([{"name": "s", "mountPath": "/s", "subPathExpr": "$(DASK_WORKER_NAME)"}]);
        for (pod_spec, expected) in [
            (
                json!({"containers": [{"env": [path]}]}),
                vec!["mistake p.containers[0].env[0].value"],
            ),
            (
                json!({"containers": [{"env": [path, own]}]}),
                vec!["mistake p.containers[0].env[0].value"],
            ),
            (json!({"containers": [{"env": [own, path]}]}), vec![]),
            (
                json!({"containers": [{"env": [{"name": "S", "value": "$(DASK_SCHEDULER_ADDRESS)"}]}]}),
                vec!["mistake p.containers[0].env[0].value"],
            ),
            (
                json!({"containers": [{"env": [{"name": "S", "value": "$$(DASK_WORKER_NAME) $DASK_WORKER_NAME"}]}]}),
                vec![],
            ),
            (
                json!({"containers": [{"env": [path], "envFrom": [{"configMapRef": {"name": "c"}}]}]}),
                vec![],
            ),
            (json!({"containers": [{"volumeMounts": mount}]}), vec![]),
            (
                json!({"initContainers": [{"volumeMounts": mount, "env": [path]}]}),
                vec![
                    "mistake p.initContainers[0].env[0].value",
                    "mistake p.initContainers[0].volumeMounts[0].subPathExpr",
                ],
            ),
            (
                json!({"initContainers": [{"volumeMounts": mount, "env": [own]}]}),
                vec![],
            ),
        ] {
            assert_eq!(found(pod_spec.clone()), expected, "{pod_spec}");
        }
    }
}
