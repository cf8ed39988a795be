//! Expansion of `$(NAME)` in the texts of a container, as Kubernetes does it.
//!
//! The value of a variable that is read from another object is unknown, so there are no findings about it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use serde_json::Value;

use super::Checks;
use crate::dask::environment::{SCHEDULER_ADDRESS, WORKER_NAME};
use crate::dask::resource::items;

/// Placeholder for the name of the worker's pod in an expanded text. It can't occur in a manifest.
const NAME_OF_POD: &str = "\0";

/// Variables that the operator adds.
const OPERATOR_VARIABLES: [&str; 2] = [WORKER_NAME, SCHEDULER_ADDRESS];

/// Maximum length of an expanded text, in bytes.
const LONGEST: usize = 4096;

/// Maximum total length of all expanded values, in bytes.
const MOST_BYTES: usize = 1 << 20;

/// Variables of a worker's container.
pub(super) struct Variables<'a> {
    /// Values of the variables in the manifest; `None` if the value is unknown. If several have the same name, the last one
    /// counts.
    written: HashMap<&'a str, Option<Cow<'a, str>>>,
    /// True if there are further variables, whose names are unknown.
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
                // Variables further down the list are not expanded.
                Some(text) if bytes < MOST_BYTES => {
                    expand(text, &|name| all.value(name, false)).map(Cow::Owned)
                }
                Some(_) => None,
                None => pod_field_value(variable).map(Cow::Borrowed),
            };
            if let Some(Cow::Owned(text)) = &value {
                bytes += text.len();
            }
            all.written.insert(name, value);
        }
        all
    }

    /// Expands the variables in a text of the container. Returns `None` if the value of one is unknown, or if the result is
    /// longer than [`LONGEST`]. References to variables that the container does not have stay as they are.
    pub(super) fn expanded(&self, text: &str) -> Option<String> {
        expand(text, &|name| self.value(name, true))
    }

    /// Returns the value of a variable. `with_own` includes the variables that the operator adds to the container's.
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

/// Returns the value of a variable that is read from a field of the pod, or `None` if it is unknown.
fn pod_field_value(variable: &Value) -> Option<&'static str> {
    let path = &variable["valueFrom"]["fieldRef"]["fieldPath"];
    (path == "metadata.name").then_some(NAME_OF_POD)
}

/// Returns whether an expanded text differs from pod to pod.
pub(super) fn differs_by_pod(expanded: &str) -> bool {
    expanded.contains(NAME_OF_POD)
}

/// Returns whether an expanded text still contains a reference that looks like a variable.
pub(super) fn has_variable(expanded: &str) -> bool {
    let starts_a_variable = |c: char| c.is_ascii_alphabetic() || "_({".contains(c);
    expanded
        .split('$')
        .skip(1)
        .any(|rest| rest.starts_with(starts_a_variable))
}

/// Returns whether a pod is for Windows nodes, where Dask's programs expand variables themselves.
pub(super) fn is_windows(pod_spec: &Value) -> bool {
    pod_spec["os"]["name"] == "windows" || pod_spec["nodeSelector"]["kubernetes.io/os"] == "windows"
}

/// Returns the variables of a container in the manifest.
fn variables(container: &Value) -> &[Value] {
    items(&container["env"])
}

/// Replaces each `$(NAME)`; `$$` is a dollar sign. Returns `None` if a value is unknown, or if the text gets longer than
/// [`LONGEST`].
fn expand<'a>(text: &str, value_of: &dyn Fn(&str) -> Option<Cow<'a, str>>) -> Option<String> {
    let (mut expanded, mut rest, mut may_end) = (String::new(), text, true);
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let inner = after.strip_prefix('(').filter(|_| may_end);
        let reference = inner.and_then(|inner| inner.split_once(')'));
        // If one reference is not closed, no later one is.
        if inner.is_some() && reference.is_none() {
            may_end = false;
        }
        rest = match (after.strip_prefix('$'), reference) {
            (None, Some((name, after))) => {
                let value = value_of(name)?;
                if expanded.len() + value.len() > LONGEST {
                    return None;
                }
                expanded.push_str(&value);
                after
            }
            (escaped, _) => {
                expanded.push('$');
                escaped.unwrap_or(after)
            }
        };
    }
    expanded.push_str(rest);
    (expanded.len() <= LONGEST).then_some(expanded)
}

/// Reports variables of a worker's containers that refer to the operator's, which come later in the list. `path` is the
/// field of the pod spec.
pub(super) fn references(checks: &mut Checks, pod_spec: &Value, path: &str) {
    for list in ["initContainers", "containers"] {
        let containers = pod_spec[list].as_array().into_iter().flatten();
        for (at, container) in containers.enumerate() {
            let path = format!("{path}.{list}[{at}]");
            let mut missing = missing(container);
            for (at, variable) in variables(container).iter().enumerate() {
                let text = variable["value"].as_str().unwrap_or_default();
                if let Some(name) = first_reference(text, &missing) {
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

/// Reports mount paths of an init container that refer to variables that the container does not have.
fn mounts(checks: &mut Checks, container: &Value, path: &str) {
    let mut missing = missing(container);
    for variable in variables(container) {
        missing.retain(|name| variable["name"] != *name);
    }
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    for (at, mount) in mounts.enumerate() {
        let text = mount["subPathExpr"].as_str().unwrap_or_default();
        if let Some(name) = first_reference(text, &missing) {
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

/// Returns the operator's variables that a container does not have before its own list.
fn missing(container: &Value) -> Vec<&'static str> {
    match container["envFrom"] {
        Value::Null => OPERATOR_VARIABLES.to_vec(),
        _ => Vec::new(),
    }
}

/// Returns the first of these variables that a text refers to as `$(name)`.
fn first_reference(text: &str, names: &[&'static str]) -> Option<&'static str> {
    if !text.contains("$(") || names.is_empty() {
        return None;
    }
    let found = RefCell::new(Vec::<&'static str>::new());
    expand(text, &|other| {
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

    use super::super::tests::summary;
    use super::*;

    #[test]
    fn expands_variables_as_kubernetes_does() {
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
                Variables::of(&container).expanded(text).as_deref(),
                expected,
                "{text}"
            );
        }
        let from_elsewhere = json!({"envFrom": [{"configMapRef": {"name": "c"}}]});
        assert_eq!(Variables::of(&from_elsewhere).expanded("$(HOSTNAME)"), None);
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
    fn limits_the_length_of_expanded_values() {
        let mut env = vec![json!({"name": "A0", "value": "x"})];
        for at in 1..64 {
            let before = format!("$(A{})", at - 1);
            env.push(json!({"name": format!("A{at}"), "value": format!("{before}{before}")}));
        }
        let container = json!({"env": env});
        let variables = Variables::of(&container);
        assert_eq!(variables.expanded("$(A3)").as_deref(), Some("xxxxxxxx"));
        assert_eq!(variables.expanded("$(A12)").map(|text| text.len()), Some(4096));
        assert_eq!(variables.expanded("$(A12)x"), None);
        assert_eq!(variables.expanded("$(A13)"), None);
        assert_eq!(variables.expanded("$(A63)"), None);
    }

    #[test]
    fn reports_references_to_later_variables() {
        let found = |pod_spec: Value| {
            let mut checks = Checks::default();
            references(&mut checks, &pod_spec, "p");
            summary(checks)
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
