//! What is wrong with a container and with what it needs of its pod, beyond its form.

use serde_json::Value;

use super::{Checks, join};
use crate::dask::quantity;

/// Words that Kubernetes knows for `imagePullPolicy`.
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

/// Words that Kubernetes knows for `restartPolicy` of a pod.
pub(super) const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];

/// Probes of a container.
const PROBES: [&str; 3] = ["readinessProbe", "livenessProbe", "startupProbe"];

/// Checks a container of `pod_spec`, which stands at `pod_path`; it itself stands at `path`.
pub(super) fn check(checks: &mut Checks, container: &Value, path: &str, pod_spec: &Value, pod_path: &str) {
    word(checks, container, "imagePullPolicy", path, PULL_POLICIES);
    resources(checks, &container["resources"], &join(path, "resources"));
    ports(checks, container, path);
    for probe in PROBES {
        self::probe(checks, container, &container[probe], &join(path, probe));
    }
    let mounts = container["volumeMounts"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let volumes = pod_spec["volumes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    for (at, mount) in mounts.iter().enumerate() {
        let Some(name) = mount["name"].as_str() else {
            continue;
        };
        if !volumes.iter().any(|volume| volume["name"] == name) {
            checks.error(
                format!("{path}.volumeMounts[{at}].name"),
                format!("there is no volume `{name}`: add it to `{pod_path}.volumes`"),
            );
        }
    }
}

/// A member that can be one of three words.
pub(super) fn word(checks: &mut Checks, value: &Value, name: &str, path: &str, words: [&str; 3]) {
    let Some(word) = value[name].as_str().filter(|word| !words.contains(word)) else {
        return;
    };
    let [first, second, third] = words;
    checks.error(
        join(path, name),
        format!("`{word}` can't be used: write `{first}`, `{second}` or `{third}`"),
    );
}

fn resources(checks: &mut Checks, resources: &Value, path: &str) {
    for list in ["limits", "requests"] {
        for (name, value) in resources[list].as_object().into_iter().flatten() {
            let field = format!("{path}.{list}.{name}");
            if quantity::amount(value).is_none() && !value.is_null() {
                checks.error(field, no_quantity(value));
            } else if name == "memory"
                && let Some(number) = value.as_str().and_then(|text| text.strip_suffix('m'))
            {
                checks.warning(
                    field,
                    format!("`{number}m` is a thousandth of {number} bytes: write `{number}M`, or `{number}Mi` for powers of two"),
                );
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name];
        if let (Some(asked), Some(most)) = (quantity::amount(request), quantity::amount(limit))
            && asked > most
        {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            checks.error(
                format!("{path}.requests.{name}"),
                format!(
                    "it asks for {} and may use {}: raise the limit or lower the request",
                    text(request),
                    text(limit)
                ),
            );
        }
    }
}

fn no_quantity(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match quantity::meant(&text) {
        Some((decimal, binary)) => {
            format!(
                "`{text}` is no quantity of Kubernetes: write `{decimal}`, or `{binary}` for powers of two"
            )
        }
        None => format!("`{text}` is no quantity of Kubernetes: write one like `2`, `500m` or `4Gi`"),
    }
}

fn ports(checks: &mut Checks, container: &Value, path: &str) {
    let ports = container["ports"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    for (at, port) in ports.iter().enumerate() {
        let number = &port["containerPort"];
        if !number
            .as_u64()
            .is_some_and(|number| (1..=65535).contains(&number))
        {
            checks.error(
                format!("{path}.ports[{at}].containerPort"),
                format!("{number} can't be used: write a port from 1 to 65535"),
            );
        }
    }
}

/// A probe that names a port which its container has not never succeeds.
fn probe(checks: &mut Checks, container: &Value, probe: &Value, path: &str) {
    for kind in ["httpGet", "tcpSocket"] {
        let Some(name) = probe[kind]["port"].as_str() else {
            continue;
        };
        let ports = container["ports"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let field = format!("{path}.{kind}.port");
        if let Some(message) = number_as_text(name) {
            checks.error(field, message);
        } else if !ports.iter().any(|port| port["name"] == name) {
            checks.error(
                field,
                format!(
                    "the container has no port of the name `{name}`, so that it would never be ready: write its number, or \
                     name it in `ports`"
                ),
            );
        }
    }
}

/// What is wrong with a port that is a number in quotes, if it is.
pub(super) fn number_as_text(port: &str) -> Option<String> {
    let is_number = !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| format!("\"{port}\" is text, and so the name of a port: write {port} without quotes"))
}

/// Whether a container of a pod, or one that is started before them and stays, calls a port by this name.
pub(super) fn names_port(pod_spec: &Value, name: &str) -> bool {
    let list = |list: &str| pod_spec[list].as_array().into_iter().flatten();
    let stays = |container: &&Value| container["restartPolicy"] == "Always";
    list("containers")
        .chain(list("initContainers").filter(stays))
        .filter_map(|container| container["ports"].as_array())
        .flatten()
        .any(|port| port["name"] == name)
}

/// Whether an image can be another one tomorrow: it has no tag, or `latest`, and no digest.
pub(super) fn is_mutable(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or_default();
    !image.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Findings of a container, as `severity field`.
    fn findings(container: &Value) -> Vec<String> {
        let mut checks = Checks::default();
        check(
            &mut checks,
            container,
            "c",
            &json!({"volumes": [{"name": "v"}]}),
            "p",
        );
        let text = |finding: &crate::contract::Finding| {
            let severity = if finding.is_error() { "error" } else { "warning" };
            format!("{severity} {}", finding.field)
        };
        checks.into_findings().iter().map(text).collect()
    }

    #[test]
    fn each_mistake_has_its_field() {
        let cases = [
            (json!({}), vec![]),
            (
                json!({"resources": {"limits": {"cpu": 2, "memory": "4Gi"}, "requests": {"cpu": "500m", "memory": "4Gi"}}}),
                vec![],
            ),
            (
                json!({"resources": {"limits": {"memory": "4GB"}}}),
                vec!["error c.resources.limits.memory"],
            ),
            (
                json!({"resources": {"requests": {"memory": "512m"}}}),
                vec!["warning c.resources.requests.memory"],
            ),
            (
                json!({"resources": {"limits": {"cpu": 1}, "requests": {"cpu": 2}}}),
                vec!["error c.resources.requests.cpu"],
            ),
            (json!({"imagePullPolicy": "Always"}), vec![]),
            (
                json!({"imagePullPolicy": "always"}),
                vec!["error c.imagePullPolicy"],
            ),
            (
                json!({"ports": [{"containerPort": 0}]}),
                vec!["error c.ports[0].containerPort"],
            ),
            (
                json!({"ports": [{"containerPort": "80"}]}),
                vec!["error c.ports[0].containerPort"],
            ),
            (
                json!({"volumeMounts": [{"name": "v"}, {"name": "w"}]}),
                vec!["error c.volumeMounts[1].name"],
            ),
            (json!({"readinessProbe": {"httpGet": {"port": 80}}}), vec![]),
            (
                json!({"livenessProbe": {"tcpSocket": {"port": "p"}}}),
                vec!["error c.livenessProbe.tcpSocket.port"],
            ),
            (
                json!({"livenessProbe": {"tcpSocket": {"port": "p"}}, "ports": [{"name": "p", "containerPort": 1}]}),
                vec![],
            ),
        ];
        for (container, expected) in cases {
            assert_eq!(findings(&container), expected, "{container}");
        }
    }

    #[test]
    fn tags() {
        for mutable in ["dask", "ghcr.io/dask/dask:latest", "localhost:5000/dask"] {
            assert!(is_mutable(mutable), "{mutable}");
        }
        for fixed in [
            "dask:2026.1.0",
            "localhost:5000/dask:1",
            "dask@sha256:00",
            "dask:latest@sha256:00",
        ] {
            assert!(!is_mutable(fixed), "{fixed}");
        }
    }
}
