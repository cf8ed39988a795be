//! What is wrong with a container and with what it needs of its pod, beyond its form.

use serde_json::Value;

use super::{Checks, join, kind, resources};

/// Words that Kubernetes knows for `imagePullPolicy`.
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

/// Words that Kubernetes knows for `restartPolicy` of a pod.
pub(super) const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];

/// Probes of a container.
const PROBES: [&str; 3] = ["readinessProbe", "livenessProbe", "startupProbe"];

/// How alike a word must be to one that it is taken for, from 0 to 1.
const ALIKE: f64 = 0.6;

/// Checks a container of `pod_spec`, which stands at `pod_path`; it itself stands at `path`.
pub(super) fn check(checks: &mut Checks, container: &Value, path: &str, pod_spec: &Value, pod_path: &str) {
    word(checks, container, "imagePullPolicy", path, PULL_POLICIES);
    resources::check(checks, &container["resources"], &join(path, "resources"));
    ports(checks, container, path);
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
    // An empty word is as good as none.
    let is_wrong = |word: &&str| !word.is_empty() && !words.contains(word);
    let Some(word) = value[name].as_str().filter(is_wrong) else {
        return;
    };
    let [first, second, third] = words;
    checks.error(
        join(path, name),
        format!("`{word}` can't be used: write `{first}`, `{second}` or `{third}`"),
    );
}

fn ports(checks: &mut Checks, container: &Value, path: &str) {
    let ports = container["ports"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
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

/// Checks the probes of a container. `must_be_ready` where nothing works before its pod is ready.
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
                // Kubernetes takes no notice of a liveness probe whose port it does not find.
                let decides = name != "livenessProbe";
                let effect = if decides {
                    "it would never be ready"
                } else {
                    "it is not probed"
                };
                let message = format!(
                    "the container has no port of the name `{port}`, so that {effect}: write its number, or name it in `ports`"
                );
                if decides && must_be_ready {
                    checks.error(field, message);
                } else {
                    checks.mistake(field, message);
                }
            }
        }
    }
}

/// Whether a container calls a port by this name.
fn has_port(container: &Value, name: &str) -> bool {
    let mut ports = container["ports"].as_array().into_iter().flatten();
    ports.any(|port| port["name"] == name)
}

/// The field of a container without an image that is probably meant to be it.
pub(in crate::dask) fn misspelt_image(container: &Value) -> Option<&str> {
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), "image");
    let mut names = container.as_object()?.keys().map(String::as_str);
    names.find(|name| *name != "image" && likeness(name) >= ALIKE)
}

/// The field of a pod's spec without containers that is probably meant to hold them: one that is called alike, or one of
/// another kind of object that has a pod's spec in it, as a Deployment's `template`.
pub(in crate::dask) fn misspelt_containers(pod_spec: &Value) -> Option<&str> {
    let is_left_out = match &pod_spec["containers"] {
        Value::Null => true,
        containers => containers.as_array().is_some_and(Vec::is_empty),
    };
    let likeness =
        |name: &str, field: &str| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), field);
    let is_alike = |name: &str| {
        let alike = likeness(name, "containers");
        alike >= ALIKE
            && ["initcontainers", "ephemeralcontainers"]
                .iter()
                .all(|field| likeness(name, field) < alike)
    };
    let holds_them = |value: &Value| value["containers"].is_array() || value["spec"]["containers"].is_array();
    let mut members = pod_spec.as_object()?.iter().filter(|_| is_left_out);
    let (name, _) = members.find(|(name, value)| {
        *name != "containers" && !value.is_null() && (is_alike(name) || holds_them(value))
    })?;
    Some(name)
}

/// What is wrong with a pod's spec without containers: where, and a sentence.
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
        .any(|container| has_port(container, name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::text;
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
        probes(&mut checks, container, "c", true);
        checks.into_findings().iter().map(text).collect()
    }

    #[test]
    fn each_mistake_has_its_field() {
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
    fn images_that_are_misspelt() {
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
    fn containers_that_are_misspelt() {
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
