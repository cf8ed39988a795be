//! What Kubernetes fills in for `$(NAME)` in the texts of a container.
//!
//! What a variable holds that is read from elsewhere isn't known, so that nothing is said of it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use serde_json::Value;

use super::Checks;
use crate::dask::environment::{SCHEDULER_ADDRESS, WORKER_NAME};

/// What stands for the name of the worker's pod in a text that has been filled in. Nobody writes it.
const NAME_OF_POD: &str = "\0";

/// Variables of the operator's own.
const OWN: [&str; 2] = [WORKER_NAME, SCHEDULER_ADDRESS];

/// The most bytes that a text can have which is filled in.
const LONGEST: usize = 4096;

/// The most bytes of all values together that have been filled in.
const MOST_BYTES: usize = 1 << 20;

/// The variables of a worker's container.
pub(super) struct Variables<'a> {
    /// What each one holds that somebody wrote; none where it isn't known. Of several of a name, the last counts.
    written: HashMap<&'a str, Option<Cow<'a, str>>>,
    /// Whether it has further ones that aren't known.
    has_more: bool,
}

impl<'a> Variables<'a> {
    /// Reads the variables of a container.
    pub(super) fn of(container: &'a Value) -> Self {
        let mut all = Self {
            written: HashMap::new(),
            has_more: !container["envFrom"].is_null(),
        };
        let mut bytes = 0;
        for variable in variables(container) {
            let Some(name) = variable["name"].as_str() else {
                continue;
            };
            let value = match variable["value"].as_str() {
                Some(text) if !text.contains('$') => Some(Cow::Borrowed(text)),
                // What comes later is not filled in.
                Some(text) if bytes < MOST_BYTES => {
                    fill(text, &|name| all.value(name, false)).map(Cow::Owned)
                }
                Some(_) => None,
                None => held(variable).map(Cow::Borrowed),
            };
            if let Some(Cow::Owned(text)) = &value {
                bytes += text.len();
            }
            all.written.insert(name, value);
        }
        all
    }

    /// Returns a text of the container with its variables filled in; none where one of them isn't known, or where it becomes
    /// very long. One that the container does not have stays as it is written.
    pub(super) fn filled(&self, text: &str) -> Option<String> {
        fill(text, &|name| self.value(name, true))
    }

    /// The value of a variable. `with_own` where those of the operator's own have been added to the container's.
    fn value(&self, name: &str, with_own: bool) -> Option<Cow<'_, str>> {
        if let Some(value) = self.written.get(name) {
            return value.as_deref().map(Cow::Borrowed);
        }
        if with_own && name == WORKER_NAME {
            return Some(Cow::Borrowed(NAME_OF_POD));
        }
        // Kubernetes adds variables for Services.
        let may_be_there = self.has_more
            || (with_own && name == SCHEDULER_ADDRESS)
            || name.ends_with("_SERVICE_HOST")
            || name.contains("_PORT");
        (!may_be_there).then(|| Cow::Owned(format!("$({name})")))
    }
}

/// What a variable holds that is read from a field of the pod; none where it isn't known.
fn held(variable: &Value) -> Option<&'static str> {
    let path = &variable["valueFrom"]["fieldRef"]["fieldPath"];
    (path == "metadata.name").then_some(NAME_OF_POD)
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

/// Replaces each `$(NAME)`; `$$` is a dollar sign. None where a value isn't known, or where the text becomes very long.
fn fill<'a>(text: &str, value_of: &dyn Fn(&str) -> Option<Cow<'a, str>>) -> Option<String> {
    let (mut filled, mut rest, mut may_end) = (String::new(), text, true);
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        let inner = after.strip_prefix('(').filter(|_| may_end);
        let reference = inner.and_then(|inner| inner.split_once(')'));
        // Where one does not end, none after it does.
        if inner.is_some() && reference.is_none() {
            may_end = false;
        }
        rest = match (after.strip_prefix('$'), reference) {
            (None, Some((name, after))) => {
                let value = value_of(name)?;
                if filled.len() + value.len() > LONGEST {
                    return None;
                }
                filled.push_str(&value);
                after
            }
            (escaped, _) => {
                filled.push('$');
                escaped.unwrap_or(after)
            }
        };
    }
    filled.push_str(rest);
    (filled.len() <= LONGEST).then_some(filled)
}

/// Says which variables of a worker's containers refer to the operator's own, which come after them. The pod's spec stands at
/// `path`.
pub(super) fn references(checks: &mut Checks, pod_spec: &Value, path: &str) {
    for list in ["initContainers", "containers"] {
        let containers = pod_spec[list].as_array().into_iter().flatten();
        for (at, container) in containers.enumerate() {
            let path = format!("{path}.{list}[{at}]");
            let mut missing = missing(container);
            for (at, variable) in variables(container).iter().enumerate() {
                let text = variable["value"].as_str().unwrap_or_default();
                if let Some(name) = referred(text, &missing) {
                    checks.mistake(
                        format!("{path}.env[{at}].value"),
                        format!(
                            "`$({name})` stays as it is, because {}: {}",
                            reason(list),
                            remedy(name)
                        ),
                    );
                }
                missing.retain(|name| variable["name"] != *name);
            }
            if list == "initContainers" {
                mounts(checks, container, &path);
            }
        }
    }
}

/// Says which paths of an init container have variables that it is not given.
fn mounts(checks: &mut Checks, container: &Value, path: &str) {
    let mut missing = missing(container);
    for variable in variables(container) {
        missing.retain(|name| variable["name"] != *name);
    }
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    for (at, mount) in mounts.enumerate() {
        let text = mount["subPathExpr"].as_str().unwrap_or_default();
        if let Some(name) = referred(text, &missing) {
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

/// The variables of the operator's own that a container does not have before its own list.
fn missing(container: &Value) -> Vec<&'static str> {
    match container["envFrom"] {
        Value::Null => OWN.to_vec(),
        _ => Vec::new(),
    }
}

/// The first of these variables that a text refers to as `$(name)`.
fn referred(text: &str, names: &[&'static str]) -> Option<&'static str> {
    if !text.contains("$(") || names.is_empty() {
        return None;
    }
    let found = RefCell::new(Vec::<&'static str>::new());
    fill(text, &|other| {
        let name = names.iter().find(|name| **name == other);
        found.borrow_mut().extend(name);
        Some(Cow::Borrowed(""))
    });
    let found = found.into_inner();
    names.iter().copied().find(|name| found.contains(name))
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
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "WORKER", "value": "gpu-$(POD_NAME)"},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ]});
        for (text, expected) in [
            ("w", Some("w")),
            ("$(A)b", Some("ab")),
            ("$(EARLY)", Some("a-$(LATE)")),
            ("$$(A)", Some("$(A)")),
            ("$A ${A} $", Some("$A ${A} $")),
            ("$(A", Some("$(A")),
            ("$(A)$(A$(", Some("a$(A$(")),
            ("$(HOSTNAME)", Some("$(HOSTNAME)")),
            ("$(DASK_WORKER_NAME)-0", Some("\0-0")),
            ("$(POD_NAME)", Some("\0")),
            ("$(WORKER)", Some("gpu-\0")),
            ("$(SECRET)", None),
            ("$(DASK_SCHEDULER_ADDRESS)", None),
            ("$(DB_SERVICE_HOST)", None),
        ] {
            assert_eq!(
                Variables::of(&container).filled(text).as_deref(),
                expected,
                "{text}"
            );
        }
        let from_elsewhere = json!({"envFrom": [{"configMapRef": {"name": "c"}}]});
        assert_eq!(Variables::of(&from_elsewhere).filled("$(HOSTNAME)"), None);
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
    fn values_that_grow_are_given_up() {
        let mut env = vec![json!({"name": "A0", "value": "x"})];
        for at in 1..64 {
            let before = format!("$(A{})", at - 1);
            env.push(json!({"name": format!("A{at}"), "value": format!("{before}{before}")}));
        }
        let container = json!({"env": env});
        let variables = Variables::of(&container);
        assert_eq!(variables.filled("$(A3)").as_deref(), Some("xxxxxxxx"));
        assert_eq!(variables.filled("$(A12)").map(|text| text.len()), Some(4096));
        assert_eq!(variables.filled("$(A12)x"), None);
        assert_eq!(variables.filled("$(A13)"), None);
        assert_eq!(variables.filled("$(A63)"), None);
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
