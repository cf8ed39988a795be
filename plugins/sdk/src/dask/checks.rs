//! What is wrong with the parts of a spec, said with field and remedy.
//!
//! An error is what the API server would refuse for ever, or what Dask could never work with. What ran under the operator
//! of dask-kubernetes and is very likely wrong is a mistake. The API server checks the rest of pods and Services when they
//! are created.

mod arguments;
mod calling;
mod container;
mod listening;
mod modes;
mod naming;
#[cfg(test)]
mod tests;
mod variables;

use serde_json::{Map, Value};

use calling::Called;
pub(super) use container::{misspelt_containers, misspelt_image};

use super::address::{self, COMM_PORT, DASHBOARD_PORT, DEFAULT_COMM_PORT, DEFAULT_DASHBOARD_PORT};
use super::environment::WORKER_NAME;
use super::labels;
use super::main_container::{self, Role};
use super::metadata::{self, Metadata};
use super::resource::MOST_WORKERS;
use super::time;
use super::update;
use crate::contract::Finding;

/// Findings on their way, all below one field.
#[derive(Debug, Default)]
pub struct Checks {
    findings: Vec<Finding>,
    namespace: Option<String>,
}

impl Checks {
    /// Returns checks of an object that is in the namespace that it says, if it says one.
    pub fn of(object: &Value) -> Self {
        let namespace = object["metadata"]["namespace"].as_str();
        Self {
            findings: Vec::new(),
            namespace: namespace.filter(|name| !name.is_empty()).map(str::to_owned),
        }
    }

    /// All that was found.
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    /// Adds an error.
    pub fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::error(field, message));
    }

    /// Adds a mistake.
    pub fn mistake(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::mistake(field, message));
    }

    /// Adds a warning.
    pub fn warning(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::warning(field, message));
    }

    /// A member that must be there and be an object; none where it is not, which is said.
    pub fn object<'a>(&mut self, value: &'a Value, name: &str, path: &str) -> Option<&'a Value> {
        let field = join(path, name);
        match value.get(name) {
            None | Some(Value::Null) => {
                self.error(field, format!("`{name}` is missing: write it as an object"))
            }
            Some(object) if object.is_object() => return Some(object),
            Some(other) => {
                self.error(
                    field,
                    format!("`{name}` must be an object, and {} stands there", kind(other)),
                );
            }
        }
        None
    }

    /// `spec` of a `DaskCluster` called `cluster`, after defaulting; `path` is where it stands.
    pub fn cluster_spec(&mut self, spec: &Value, path: &str, cluster: &str, cluster_labels: &Metadata) {
        if !spec.is_object() {
            return self.error(
                path,
                "it is missing: write an object with `scheduler` and `worker`",
            );
        }
        if let Some(worker) = self.object(spec, "worker", path) {
            self.worker_of(worker, &join(path, "worker"), cluster, &spec["scheduler"]);
        }
        if let Some(scheduler) = self.object(spec, "scheduler", path) {
            let path = join(path, "scheduler");
            let is_called = calling::call_the_service(&spec["worker"]["spec"]);
            self.scheduler(scheduler, &path, cluster, cluster_labels, is_called);
        }
        self.duration(
            spec,
            "idleTimeout",
            path,
            "seconds, as `idleTimeout: 3600`; 0 turns it off",
            "write 0 if the cluster shall never be deleted",
        );
    }

    /// `spec.worker` of a `DaskWorkerGroup` of this cluster.
    pub fn worker(&mut self, worker: &Value, path: &str, cluster: &str) {
        self.worker_of(worker, path, cluster, &Value::Null);
    }

    /// `spec.worker` of a `DaskCluster`, or of a `DaskWorkerGroup` of this cluster. `scheduler` is the cluster's part of that
    /// name, or null where it isn't known.
    fn worker_of(&mut self, worker: &Value, path: &str, cluster: &str, scheduler: &Value) {
        self.workers(worker, "replicas", path, "0 or more, as `replicas: 2`");
        update::check(self, worker, path);
        self.embedded_metadata(worker, path);
        let Some(pod_spec) = self.object(worker, "spec", path) else {
            return;
        };
        let field = join(path, "spec");
        self.pod_spec(pod_spec, &field);
        let named = containers(pod_spec).any(|container| {
            let words = [&container["command"], &container["args"]]
                .into_iter()
                .filter_map(Value::as_array)
                .flatten();
            words
                .filter_map(Value::as_str)
                .any(|word| word.contains(WORKER_NAME))
        });
        let main = main_container::position(pod_spec, Role::Worker);
        self.image_tag(pod_spec, &field, Role::Worker);
        let namespace = self.namespace.clone();
        let called = Called {
            cluster,
            namespace: namespace.as_deref(),
            scheduler,
        };
        calling::worker(self, pod_spec, &field, called);
        let pods = worker["replicas"].as_u64().unwrap_or(1);
        let is_said = naming::check(self, pod_spec, &field, pods);
        if !named && !is_said && pod_spec["containers"].is_array() {
            self.warning(
                join(&field, &format!("containers[{main}].args")),
                "the worker does not register under its pod's name, so that it can't be told from others when the \
                 group is scaled down: add `--name` and `$(DASK_WORKER_NAME)`",
            );
        }
    }

    /// The tag of the main container's image.
    pub fn image_tag(&mut self, pod_spec: &Value, path: &str, role: Role) {
        let main = main_container::position(pod_spec, role);
        let image = pod_spec["containers"][main]["image"].as_str().unwrap_or_default();
        if container::is_mutable(image) && !image.is_empty() {
            self.warning(
                join(path, &format!("containers[{main}].image")),
                format!(
                    "`{image}` can be another image tomorrow, and workers that come then would not fit the scheduler: write \
                     a tag with a version"
                ),
            );
        }
    }

    /// `spec.scheduler` of a `DaskCluster`. `is_called` where its workers call its Service, and nothing else.
    fn scheduler(
        &mut self,
        scheduler: &Value,
        path: &str,
        cluster: &str,
        cluster_labels: &Metadata,
        is_called: bool,
    ) {
        self.embedded_metadata(scheduler, path);
        if let Some(pod_spec) = self.object(scheduler, "spec", path) {
            let field = join(path, "spec");
            // A Service leads to no pod that is not ready, unless it says otherwise.
            let service = &scheduler["service"];
            let must_be_ready =
                is_called && !is_led_by_hand(service) && service["publishNotReadyAddresses"] != true;
            self.pod(pod_spec, &field, must_be_ready);
            self.image_tag(pod_spec, &field, Role::Scheduler);
            if pod_spec["containers"].is_array()
                && !containers(pod_spec).any(|c| c["readinessProbe"].is_object())
            {
                let main = main_container::position(pod_spec, Role::Scheduler);
                self.warning(
                    join(&field, &format!("containers[{main}].readinessProbe")),
                    "without a readiness probe clients are sent to a scheduler that does not listen yet: add \
                     `httpGet: {path: /health, port: 8787}`",
                );
            }
        }
        if let Some(service) = self.object(scheduler, "service", path) {
            let labels = cluster_labels
                .clone()
                .below(Metadata::embedded(scheduler.get("metadata")))
                .reserved(&metadata::scheduler_labels(cluster));
            self.service(service, &join(path, "service"), &labels, is_called);
            let is_selected = selects(service, &labels);
            self.target_ports(scheduler, path, is_selected && is_called);
            if is_selected {
                listening::scheduler(self, scheduler, path);
            }
        }
    }

    /// The Service in front of a scheduler whose pod has these labels. `is_called` where workers call it, and nothing else.
    fn service(&mut self, service: &Value, path: &str, labels: &Metadata, is_called: bool) {
        if service["type"] == "ExternalName" {
            return;
        }
        let field = join(path, "ports");
        let remedy = format!("add one named `{COMM_PORT}` with `port: 8786`");
        match &service["ports"] {
            Value::Array(ports) if !ports.is_empty() => self.ports(service, ports, &field, is_called),
            Value::Null | Value::Array(_) if is_headless(service) => self.warning(
                field,
                format!("Python's KubeCluster finds the scheduler by the name of a port, and there is none: {remedy}"),
            ),
            Value::Null | Value::Array(_) => {
                self.error(field, format!("the Service has no ports: {remedy}"));
            }
            other => self.error(
                field,
                format!("it must be a list of ports, and {} stands there", kind(other)),
            ),
        }
        for (name, value) in service["selector"].as_object().into_iter().flatten() {
            let field = format!("{}.{name}", join(path, "selector"));
            match labels.labels.get(name) {
                Some(label) if value == label => {}
                Some(label) => {
                    self.mistake(
                        field,
                        format!("it selects no scheduler of this cluster: write `{name}: {label}`"),
                    );
                }
                None => self.warning(
                    field,
                    "the scheduler's pod has no such label, unless something else adds it: put it into \
                     `spec.scheduler.metadata.labels` or take it out here",
                ),
            }
        }
    }

    /// The ports of the scheduler's pod that its Service sends to. `is_only_way` where it does, and workers call nothing
    /// else.
    fn target_ports(&mut self, scheduler: &Value, path: &str, is_only_way: bool) {
        let (service, pod_spec) = (&scheduler["service"], &scheduler["spec"]);
        let ports = service["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        // Without an address of its own it stands for the pod, with all its ports.
        let looks_for_ports = !is_headless(service) && !is_led_by_hand(service);
        for (at, port) in ports.iter().enumerate() {
            let Some(target) = port["targetPort"].as_str() else {
                continue;
            };
            let field = format!("{path}.service.ports[{at}].targetPort");
            if let Some(message) = container::number_as_text(target) {
                self.error(field, message);
            } else if looks_for_ports
                && pod_spec["containers"].is_array()
                && !container::names_port(pod_spec, target)
            {
                let main = main_container::position(pod_spec, Role::Scheduler);
                let number = &port["port"];
                let message = format!(
                    "no container of the scheduler has a port of the name `{target}`, so that nobody would reach it: write \
                     the number, {number} perhaps, or name it in `{path}.spec.containers[{main}].ports`"
                );
                // Without Dask's own port no worker ever joins; without another one something is missing.
                if is_only_way && number.as_u64() == Some(address::comm_port(service)) {
                    self.error(field, message);
                } else {
                    self.mistake(field, message);
                }
            }
        }
    }

    fn ports(&mut self, service: &Value, ports: &[Value], path: &str, is_called: bool) {
        let names = |name: &str| ports.iter().any(|port| port["name"] == name);
        let is_dashboard = |port: &Value| {
            let name = port["name"].as_str().unwrap_or_default();
            port["port"] == DEFAULT_DASHBOARD_PORT || name.contains("dashboard")
        };
        if let Some(at) = ports.iter().position(is_dashboard)
            && !names(DASHBOARD_PORT)
        {
            self.warning(
                format!("{path}[{at}].name"),
                format!("Python's KubeCluster finds the dashboard by the name of the port: write `{DASHBOARD_PORT}`"),
            );
        }
        if names(COMM_PORT) {
            return;
        }
        let remedy = format!("name the port of Dask's protocol `{COMM_PORT}`");
        if is_headless(service) || ports.iter().any(|port| port["port"] == DEFAULT_COMM_PORT) {
            self.warning(
                path,
                format!("Python's KubeCluster finds the scheduler by the name of the port: {remedy}"),
            );
        } else if is_called {
            self.error(
                path,
                format!("workers would not find the scheduler, because no port says which is its: {remedy}"),
            );
        } else {
            self.mistake(
                path,
                format!(
                    "no port says that it is the scheduler's, so that nobody finds it but who is told its address: {remedy}"
                ),
            );
        }
    }

    /// The spec of a pod that is told where the scheduler is.
    pub fn pod_spec(&mut self, pod_spec: &Value, path: &str) {
        self.pod(pod_spec, path, false);
        variables::references(self, pod_spec, path);
    }

    /// A pod's spec. `must_be_ready` where nothing works before the pod is ready.
    fn pod(&mut self, pod_spec: &Value, path: &str, must_be_ready: bool) {
        let field = join(path, "containers");
        match pod_spec.get("containers") {
            None | Some(Value::Null) => {
                let (field, message) = container::no_containers(pod_spec, path);
                self.error(field, message);
            }
            Some(Value::Array(containers)) if containers.is_empty() => {
                let (field, message) = container::no_containers(pod_spec, path);
                self.error(field, message);
            }
            Some(Value::Array(_)) => {}
            Some(other) => self.error(
                &field,
                format!(
                    "it must be a list of containers, and {} stands there",
                    kind(other)
                ),
            ),
        }
        calling::dns(self, pod_spec, path);
        container::word(self, pod_spec, "restartPolicy", path, container::RESTART_POLICIES);
        let mut names: Vec<&str> = Vec::new();
        for list in ["initContainers", "containers"] {
            let containers = pod_spec[list].as_array().map(Vec::as_slice).unwrap_or_default();
            for (at, container) in containers.iter().enumerate() {
                let field = format!("{path}.{list}[{at}]");
                self.container(container, &field, &mut names);
                container::check(self, container, &field, pod_spec, path);
                arguments::check(self, container, &field);
                container::probes(self, container, &field, must_be_ready);
            }
        }
        let volumes = pod_spec["volumes"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for (at, volume) in volumes.iter().enumerate() {
            modes::check(self, volume, &format!("{path}.volumes[{at}]"));
        }
    }

    fn container<'a>(&mut self, container: &'a Value, path: &str, names: &mut Vec<&'a str>) {
        if !container.is_object() {
            return self.error(
                path,
                format!(
                    "a container must be an object, and {} stands there",
                    kind(container)
                ),
            );
        }
        match container["name"].as_str() {
            None | Some("") => self.error(join(path, "name"), "a container needs a name, as `name: worker`"),
            Some(name) if names.contains(&name) => {
                self.error(
                    join(path, "name"),
                    format!("there is another container `{name}`: give each its own name"),
                );
            }
            Some(name) => names.push(name),
        }
        if container["image"].as_str().is_none_or(str::is_empty) {
            match container::misspelt_image(container) {
                Some(name) => self.error(
                    join(path, name),
                    format!("a container has no field `{name}`, and needs an image: did you mean `image`?"),
                ),
                None => self.error(
                    join(path, "image"),
                    "a container needs an image, as `image: ghcr.io/dask/dask:2026.8.0`",
                ),
            }
        }
        for list in ["command", "args", "env", "ports", "envFrom", "volumeMounts"] {
            let value = &container[list];
            if !value.is_null() && !value.is_array() {
                self.error(
                    join(path, list),
                    format!("`{list}` must be a list, and {} stands there", kind(value)),
                );
            }
        }
        for list in ["command", "args"] {
            let words = container[list].as_array().map(Vec::as_slice).unwrap_or_default();
            for (at, word) in words.iter().enumerate().filter(|(_, word)| !word.is_string()) {
                let field = format!("{path}.{list}[{at}]");
                self.error(
                    field,
                    format!(
                        "it must be text: put {word} into quotes, as \"{}\"",
                        word.to_string().trim_matches('"')
                    ),
                );
            }
        }
        let variables = container["env"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (at, variable) in variables.iter().enumerate() {
            self.variable(variable, &format!("{path}.env[{at}]"));
        }
    }

    fn variable(&mut self, variable: &Value, path: &str) {
        if variable["name"].as_str().is_none_or(str::is_empty) {
            self.error(
                join(path, "name"),
                "an environment variable needs a name, as `name: LEVEL`",
            );
        }
        let message = match &variable["value"] {
            Value::Null | Value::String(_) => return,
            Value::Bool(value) => format!(
                "it must be text, and YAML takes words such as `no`, `off` and `on` for true or false, here for {value}: put \
                 the one that you mean into quotes"
            ),
            value => format!("it must be text: put {value} into quotes, as \"{value}\""),
        };
        self.error(join(path, "value"), message);
    }

    /// `metadata` of a part of a spec: maps of strings.
    pub fn embedded_metadata(&mut self, part: &Value, path: &str) {
        let field = join(path, "metadata");
        let metadata = &part["metadata"];
        if !metadata.is_null() && !metadata.is_object() {
            return self.error(
                field,
                format!("it must be an object, and {} stands there", kind(metadata)),
            );
        }
        for name in ["labels", "annotations"] {
            let map = &metadata[name];
            if !map.is_null() && !map.is_object() {
                self.error(
                    join(&field, name),
                    format!("it must be an object, and {} stands there", kind(map)),
                );
            }
            for (key, value) in map.as_object().into_iter().flatten() {
                let is_key = match name {
                    "annotations" => labels::is_annotation_key(key),
                    _ => labels::is_key(key),
                };
                let field = match is_key {
                    true => format!("{}.{key}", join(&field, name)),
                    false => format!("{}[{key}]", join(&field, name)),
                };
                if !is_key {
                    self.error(
                        &field,
                        format!(
                            "`{key}` is no name for it: write letters, digits, `-`, `_` and `.`, {} at most, perhaps with a domain \
                             and `/` before it",
                            labels::MAX
                        ),
                    );
                }
                match value.as_str() {
                    None => self.error(
                        field,
                        format!("it must be text: put {value} into quotes, as \"{value}\""),
                    ),
                    Some(text) if name == "labels" && !labels::is_value(text) => self.error(
                        field,
                        format!(
                            "`{text}` can't be the value of a label, which has letters, digits, `-`, `_` and `.`, {} at most: write \
                             it as an annotation",
                            labels::MAX
                        ),
                    ),
                    Some(_) => {}
                }
            }
        }
    }

    /// A number that may be left out.
    pub fn whole_number(&mut self, value: &Value, name: &str, path: &str, remedy: &str) {
        let number = &value[name];
        // The API server knows no greater whole numbers.
        let is_right = number.as_i64().is_some_and(|number| number >= 0);
        if !number.is_null() && !is_right {
            self.error(
                join(path, name),
                format!("{number} can't be used: write a whole number of {remedy}"),
            );
        }
    }

    /// A number of seconds that may be left out. `instead` is what to write where it is more than anybody waits for.
    pub fn duration(&mut self, value: &Value, name: &str, path: &str, remedy: &str, instead: &str) {
        self.whole_number(value, name, path, remedy);
        let seconds = &value[name];
        if seconds.as_i64().is_some_and(|seconds| seconds > time::LONGEST) {
            self.mistake(
                join(path, name),
                format!("{seconds} seconds are more than ten years, and count as ten years: {instead}"),
            );
        }
    }

    /// A number of workers of one group that may be left out.
    pub fn workers(&mut self, value: &Value, name: &str, path: &str, remedy: &str) {
        self.whole_number(value, name, path, remedy);
        let workers = &value[name];
        if workers
            .as_i64()
            .is_some_and(|workers| workers > MOST_WORKERS as i64)
        {
            self.mistake(
                join(path, name),
                format!(
                    "a worker group can have {MOST_WORKERS} workers, and gets no more: lower it, and make further groups for the \
                     rest"
                ),
            );
        }
    }
}

/// Whether a Service selects pods with these labels for sure. One without a selector is given one.
fn selects(service: &Value, labels: &Metadata) -> bool {
    let mut selector = service["selector"].as_object().into_iter().flatten();
    !is_led_by_hand(service)
        && selector.all(|(name, value)| labels.labels.get(name).is_some_and(|label| value == label))
}

/// Whether a Service has no address of its own: its name stands for the pods, with all their ports.
fn is_headless(service: &Value) -> bool {
    service["clusterIP"] == "None"
}

/// Whether a Service selects no pods, but leads where somebody says.
fn is_led_by_hand(service: &Value) -> bool {
    let selects_nothing = service["selector"].as_object().is_some_and(Map::is_empty);
    selects_nothing || service["type"] == "ExternalName"
}

/// All containers of a pod but the init containers.
fn containers(pod_spec: &Value) -> impl Iterator<Item = &Value> {
    pod_spec["containers"].as_array().into_iter().flatten()
}

/// A field below another.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// What a value is, for a sentence.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(_) => "text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
