//! Checks of a container and of its references to its pod.

use serde_json::Value;

use super::{Checks, join, kind, resources};
use crate::dask::resource::items;

/// Valid values of `imagePullPolicy`.
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

/// Valid values of a pod's `restartPolicy`.
pub(super) const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];

/// Names of a container's probes.
const PROBES: [&str; 3] = ["readinessProbe", "livenessProbe", "startupProbe"];

/// Minimum similarity of a name to the one that is probably meant, from 0 to 1.
const MIN_SIMILARITY: f64 = 0.6;

/// Checks the container at `path`. `pod_path` is the field of its pod spec.
pub(super) fn check(checks: &mut Checks, container: &Value, path: &str, pod_spec: &Value, pod_path: &str) {
    word(checks, container, "imagePullPolicy", path, PULL_POLICIES);
    resources::check(checks, &container["resources"], &join(path, "resources"));
    ports(checks, container, path);
    let mounts = items(&container["volumeMounts"]);
    let volumes = items(&pod_spec["volumes"]);
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

/// Checks a member that has three valid values.
pub(super) fn word(checks: &mut Checks, value: &Value, name: &str, path: &str, words: [&str; 3]) {
    // Empty text counts as not set.
    let is_invalid = |word: &&str| !word.is_empty() && !words.contains(word);
    let Some(word) = value[name].as_str().filter(is_invalid) else {
        return;
    };
    let [first, second, third] = words;
    checks.error(
        join(path, name),
        format!("`{word}` can't be used: write `{first}`, `{second}` or `{third}`"),
    );
}

fn ports(checks: &mut Checks, container: &Value, path: &str) {
    let ports = items(&container["ports"]);
    for (at, port) in ports.iter().enumerate() {
        if !port.is_object() {
            checks.error(
                format!("{path}.ports[{at}]"),
                format!(
                    "a port must be an object, and {} stands there: write one as `{{containerPort: 8786}}`",
                    kind(port)
                ),
            );
            continue;
        }
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

/// Checks the probes of a container. `must_be_ready` is true if nothing works before its pod is ready.
pub(super) fn probes(checks: &mut Checks, container: &Value, path: &str, must_be_ready: bool) {
    for name in PROBES {
        let probe = &container[name];
        for kind in ["httpGet", "tcpSocket"] {
            let Some(port) = probe[kind]["port"].as_str() else {
                continue;
            };
            let field = format!("{path}.{name}.{kind}.port");
            if let Some(message) = number_as_text(port) {
                checks.error(field, message);
            } else if !has_port(container, port) {
                // Kubernetes ignores a liveness probe whose port does not exist.
                let gates_readiness = name != "livenessProbe";
                let effect = if gates_readiness {
                    "it would never be ready"
                } else {
                    "it is not probed"
                };
                let message = format!(
                    "the container has no port of the name `{port}`, so that {effect}: write its number, or name it in `ports`"
                );
                if gates_readiness && must_be_ready {
                    checks.error(field, message);
                } else {
                    checks.mistake(field, message);
                }
            }
        }
    }
}

/// Returns whether a container has a port with this name.
fn has_port(container: &Value, name: &str) -> bool {
    let mut ports = container["ports"].as_array().into_iter().flatten();
    ports.any(|port| port["name"] == name)
}

/// Returns the field of a container without an image that is probably a misspelt `image`.
pub(in crate::dask) fn misspelt_image(container: &Value) -> Option<&str> {
    let similarity = |name: &str| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), "image");
    let mut names = container.as_object()?.keys().map(String::as_str);
    names.find(|name| *name != "image" && similarity(name) >= MIN_SIMILARITY)
}

/// Returns the field of a pod spec without containers that probably contains them: one with a similar name, or one of
/// another kind of object that contains a pod spec, such as a Deployment's `template`.
pub(in crate::dask) fn misspelt_containers(pod_spec: &Value) -> Option<&str> {
    let is_left_out = match &pod_spec["containers"] {
        Value::Null => true,
        containers => containers.as_array().is_some_and(Vec::is_empty),
    };
    let similarity =
        |name: &str, field: &str| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), field);
    let is_similar = |name: &str| {
        let name_similarity = similarity(name, "containers");
        name_similarity >= MIN_SIMILARITY
            && ["initcontainers", "ephemeralcontainers"]
                .iter()
                .all(|field| similarity(name, field) < name_similarity)
    };
    let contains_them =
        |value: &Value| value["containers"].is_array() || value["spec"]["containers"].is_array();
    let mut members = pod_spec.as_object()?.iter().filter(|_| is_left_out);
    let (name, _) = members.find(|(name, value)| {
        *name != "containers" && !value.is_null() && (is_similar(name) || contains_them(value))
    })?;
    Some(name)
}

/// Returns the field and the message of the error for a pod spec without containers.
pub(super) fn no_containers(pod_spec: &Value, path: &str) -> (String, String) {
    let Some(name) = misspelt_containers(pod_spec) else {
        let message = "it has no containers: add one with a name and an image";
        return (join(path, "containers"), message.to_owned());
    };
    let value = &pod_spec[name];
    let remedy = if value["spec"]["containers"].is_array() {
        "write the fields of its `spec` in its place"
    } else if value["containers"].is_array() {
        "write its fields in its place"
    } else {
        "did you mean `containers`?"
    };
    let message = format!("a pod's spec has no field `{name}`, and needs containers: {remedy}");
    (join(path, name), message)
}

/// Returns the problem with a port that is a number in quotes. Returns `None` for other names.
pub(super) fn number_as_text(port: &str) -> Option<String> {
    let is_number = !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| format!("\"{port}\" is text, and so the name of a port: write {port} without quotes"))
}

/// Returns whether a container or a sidecar of a pod has a port with this name. A sidecar is an init container with the
/// restart policy `Always`.
pub(super) fn names_port(pod_spec: &Value, name: &str) -> bool {
    let list = |list: &str| pod_spec[list].as_array().into_iter().flatten();
    let is_sidecar = |container: &&Value| container["restartPolicy"] == "Always";
    list("containers")
        .chain(list("initContainers").filter(is_sidecar))
        .any(|container| has_port(container, name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::summary;
    use super::*;

    /// Returns the findings about a container, as `severity field`.
    fn findings(container: &Value) -> Vec<String> {
        let mut checks = Checks::default();
        check(
            &mut checks,
            container,
            "c",
            &json!({"volumes": [{"name": "v"}]}),
            "p",
        );
        probes(&mut checks, container, "c", true);
        summary(checks)
    }

    #[test]
    fn reports_the_field_of_each_problem() {
        let cases = [
            (json!({}), vec![]),
            (
                json!({"resources": {"limits": {"memory": "4GB"}}}),
                vec!["error c.resources.limits.memory"],
            ),
            (json!({"ports": [8786]}), vec!["error c.ports[0]"]),
            (json!({"imagePullPolicy": "Always"}), vec![]),
            (json!({"imagePullPolicy": ""}), vec![]),
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
                vec!["mistake c.livenessProbe.tcpSocket.port"],
            ),
            (
                json!({"livenessProbe": {"tcpSocket": {"port": "80"}}}),
                vec!["error c.livenessProbe.tcpSocket.port"],
            ),
            (
                json!({"startupProbe": {"httpGet": {"port": "p"}}}),
                vec!["error c.startupProbe.httpGet.port"],
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
    fn finds_a_misspelt_image() {
        for name in ["imagee", "imgae", "Image", "images", "img"] {
            let container = json!({"name": "w", name: "i:1", "imagePullPolicy": "Always"});
            assert_eq!(misspelt_image(&container), Some(name));
        }
        let container = json!({
            "name": "w", "image": "i", "args": [], "env": [], "stdin": true, "imagePullPolicy": "Always",
            "imagePullSecrets": [], "lifecycle": {}, "ports": [], "resources": {}, "volumeMounts": [], "tty": true,
        });
        assert_eq!(misspelt_image(&container), None);
    }

    #[test]
    fn finds_misspelt_containers() {
        let list = json!([{"name": "w"}]);
        for name in ["contaienrs", "container", "Containers", "containers_"] {
            let pod_spec = json!({"restartPolicy": "Never", name: list, "initContainers": list});
            assert_eq!(misspelt_containers(&pod_spec), Some(name));
            let pod_spec = json!({name: list, "containers": list});
            assert_eq!(misspelt_containers(&pod_spec), None);
        }
        for (pod_spec, expected) in [
            (json!({"template": {"spec": {"containers": list}}}), "template"),
            (json!({"spec": {"containers": list}, "containers": []}), "spec"),
        ] {
            assert_eq!(misspelt_containers(&pod_spec), Some(expected));
        }
        for pod_spec in [
            json!({"initContainers": list, "ephemeralContainers": list, "initContainer": list, "volumes": list}),
            json!({"template": "x", "container": null, "containers": null}),
            json!({}),
            json!([]),
        ] {
            assert_eq!(misspelt_containers(&pod_spec), None, "{pod_spec}");
        }
    }
}
