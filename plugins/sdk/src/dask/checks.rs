//! Checks of the parts of a spec. Each finding names a field and a remedy.
//!
//! An error is a value that the API server would always refuse or that Dask can never work with. A mistake is a value that
//! works under the operator of dask-kubernetes but is very likely unintended. All other fields of pods and Services are checked
//! by the API server when the objects are created.

mod addresses;
mod arguments;
mod calling;
mod container;
mod image;
mod listening;
mod modes;
mod naming;
mod resources;
mod service;
#[cfg(test)]
mod tests;
mod update;
mod variables;

use serde_json::Value;

use addresses::CalledScheduler;
pub(super) use container::{misspelt_containers, misspelt_image};
use service::{has_manual_endpoints, selects};

use super::command;
use super::fields;
use super::labels;
use super::main_container;
use super::metadata::{self, Metadata};
use super::resource::{MOST_WORKERS, items};
use super::role::Role;
use super::time;
use crate::contract::Finding;

/// Lists of a container, each with an example.
const LISTS: [(&str, &str); 6] = [
    ("command", r#"["python", "a.py"]"#),
    ("args", r#"["python", "a.py"]"#),
    ("env", "[{name: A, value: b}]"),
    ("ports", "[{containerPort: 8786}]"),
    ("envFrom", "[{configMapRef: {name: settings}}]"),
    ("volumeMounts", "[{name: data, mountPath: /data}]"),
];

/// Findings about an object, collected by the checks.
#[derive(Debug, Default)]
pub struct Checks {
    findings: Vec<Finding>,
    namespace: Option<String>,
}

impl Checks {
    /// Creates an empty collection for `object`, and reads its namespace if it has one.
    pub fn of(object: &Value) -> Self {
        let namespace = object["metadata"]["namespace"].as_str();
        Self {
            findings: Vec::new(),
            namespace: namespace.filter(|name| !name.is_empty()).map(str::to_owned),
        }
    }

    /// Returns all findings.
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

    /// Adds a mistake if `is_sure`, else a warning.
    fn mistake_if(&mut self, is_sure: bool, field: String, message: String) {
        match is_sure {
            true => self.mistake(field, message),
            false => self.warning(field, message),
        }
    }

    /// Adds a warning.
    pub fn warning(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::warning(field, message));
    }

    /// Returns a required member that must be an object. Adds an error and returns `None` if it is missing or no object.
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

    /// Checks `spec.cluster`, the required name of a cluster, which says `what`: "which cluster to scale".
    pub fn cluster_name(&mut self, name: &Value, what: &str) {
        if name.as_str().is_none_or(str::is_empty) {
            self.error(
                "spec.cluster",
                format!("it says {what}: write the name of a DaskCluster in this namespace"),
            );
        }
    }

    /// Checks the `spec` of a `DaskCluster` with the name `cluster`, after defaulting; `path` is its field.
    pub fn cluster_spec(&mut self, spec: &Value, path: &str, cluster: &str, cluster_labels: &Metadata) {
        if !spec.is_object() {
            let what = match spec {
                Value::Null => "it is missing".to_owned(),
                other => format!("it must be an object, and {} stands there", kind(other)),
            };
            return self.error(
                path,
                format!("{what}: write an object with `scheduler` and `worker`"),
            );
        }
        if let Some(worker) = self.object(spec, fields::cluster::WORKER, path) {
            self.worker_of(
                worker,
                &join(path, fields::cluster::WORKER),
                cluster,
                &spec[fields::cluster::SCHEDULER],
            );
        }
        if let Some(scheduler) = self.object(spec, fields::cluster::SCHEDULER, path) {
            let path = join(path, fields::cluster::SCHEDULER);
            let is_called = calling::call_the_service(&spec[fields::cluster::WORKER][fields::template::SPEC]);
            self.scheduler(scheduler, &path, cluster, cluster_labels, is_called);
        }
        self.duration(
            spec,
            fields::cluster::IDLE_TIMEOUT,
            path,
            "seconds, as `idleTimeout: 3600`; 0 turns it off",
            "write 0 if the cluster must never be deleted",
        );
    }

    /// Checks `spec.worker` of a `DaskWorkerGroup` of this cluster.
    pub fn worker(&mut self, worker: &Value, path: &str, cluster: &str) {
        self.worker_of(worker, path, cluster, &Value::Null);
    }

    /// Checks `spec.worker` of a `DaskCluster`, or of a `DaskWorkerGroup` of this cluster. `scheduler` is `spec.scheduler` of the
    /// cluster, or null if it is unknown.
    fn worker_of(&mut self, worker: &Value, path: &str, cluster: &str, scheduler: &Value) {
        self.workers(
            worker,
            fields::worker::REPLICAS,
            path,
            "0 or more, as `replicas: 2`",
        );
        update::check(self, worker, path);
        self.embedded_metadata(worker, path);
        let Some(pod_spec) = self.object(worker, fields::template::SPEC, path) else {
            return;
        };
        let field = join(path, fields::template::SPEC);
        self.pod_spec(pod_spec, &field);
        self.image_tag(pod_spec, &field, Role::Worker);
        let namespace = self.namespace.clone();
        let called = CalledScheduler {
            cluster,
            namespace: namespace.as_deref(),
            scheduler,
        };
        calling::worker(self, pod_spec, &field, called);
        let pods = worker[fields::worker::REPLICAS].as_u64().unwrap_or(1);
        if !naming::check(self, pod_spec, &field, pods) {
            naming::warn_if_unnamed(self, pod_spec, &field);
        }
    }

    /// Checks the image tag of the main container.
    pub fn image_tag(&mut self, pod_spec: &Value, path: &str, role: Role) {
        let main = main_container::position(pod_spec, role);
        let image = pod_spec["containers"][main]["image"].as_str().unwrap_or_default();
        if image::is_mutable(image) && !image.is_empty() && image::problem(image).is_none() {
            self.warning(
                join(path, &format!("containers[{main}].image")),
                format!(
                    "`{image}` can be another image tomorrow, and workers that come then would not fit the scheduler: write \
                     a tag with a version"
                ),
            );
        }
    }

    /// Checks `spec.scheduler` of a `DaskCluster`. `is_called` is true if its workers call the Service and nothing else.
    fn scheduler(
        &mut self,
        scheduler: &Value,
        path: &str,
        cluster: &str,
        cluster_labels: &Metadata,
        is_called: bool,
    ) {
        self.embedded_metadata(scheduler, path);
        if let Some(pod_spec) = self.object(scheduler, fields::template::SPEC, path) {
            let field = join(path, fields::template::SPEC);
            // A Service excludes pods that are not ready, unless `publishNotReadyAddresses` is set.
            let service = &scheduler[fields::scheduler::SERVICE];
            let must_be_ready =
                is_called && !has_manual_endpoints(service) && service["publishNotReadyAddresses"] != true;
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
        if let Some(service) = self.object(scheduler, fields::scheduler::SERVICE, path) {
            let labels = cluster_labels
                .clone()
                .below(Metadata::embedded(scheduler.get(fields::template::METADATA)))
                .reserved(&metadata::scheduler_labels(cluster));
            self.service(
                service,
                &join(path, fields::scheduler::SERVICE),
                &labels,
                is_called,
            );
            let is_selected = selects(service, &labels);
            self.target_ports(scheduler, path, is_selected && is_called);
            if is_selected {
                listening::scheduler(self, scheduler, path);
            }
        }
    }

    /// Checks the spec of a pod that gets the scheduler's address from the operator.
    pub fn pod_spec(&mut self, pod_spec: &Value, path: &str) {
        self.pod(pod_spec, path, false);
        variables::references(self, pod_spec, path);
    }

    /// Checks a pod spec. `must_be_ready` is true if nothing works before the pod is ready.
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
        self.list(pod_spec, "volumes", path, "[{name: data, emptyDir: {}}]");
        self.list(
            pod_spec,
            "initContainers",
            path,
            "[{name: prepare, image: busybox:1}]",
        );
        let mut names: Vec<&str> = Vec::new();
        for list in ["initContainers", "containers"] {
            let containers = items(&pod_spec[list]);
            for (at, container) in containers.iter().enumerate() {
                let field = format!("{path}.{list}[{at}]");
                self.container(container, &field, &mut names);
                container::check(self, container, &field, pod_spec, path);
                arguments::check(self, container, &field);
                container::probes(self, container, &field, must_be_ready);
            }
        }
        let volumes = items(&pod_spec["volumes"]);
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
        self.image(container, path);
        for (list, example) in LISTS {
            self.list(container, list, path, example);
        }
        for list in ["command", "args"] {
            let words = items(&container[list]);
            for (at, word) in words.iter().enumerate().filter(|(_, word)| !word.is_string()) {
                self.error(format!("{path}.{list}[{at}]"), text_problem(word));
            }
        }
        let variables = items(&container["env"]);
        for (at, variable) in variables.iter().enumerate() {
            self.variable(variable, &format!("{path}.env[{at}]"));
        }
    }

    /// Checks the image of a container.
    fn image(&mut self, container: &Value, path: &str) {
        let field = join(path, "image");
        match &container["image"] {
            Value::String(image) if !image.is_empty() => {
                if let Some(message) = image::problem(image) {
                    self.mistake(field, message);
                }
            }
            Value::Null | Value::String(_) => match container::misspelt_image(container) {
                Some(name) => self.error(
                    join(path, name),
                    format!("a container has no field `{name}`, and needs an image: did you mean `image`?"),
                ),
                None => self.error(
                    field,
                    "a container needs an image, as `image: ghcr.io/dask/dask:2026.8.0`",
                ),
            },
            other => self.error(field, text_problem(other)),
        }
    }

    /// Checks a member that must be a list if it exists.
    fn list(&mut self, value: &Value, name: &str, path: &str, example: &str) {
        let list = &value[name];
        if !list.is_null() && !list.is_array() {
            // Text with quotes or other special characters may mean other words.
            let is_plain = |text: &&str| {
                text.bytes()
                    .all(|c| c.is_ascii_alphanumeric() || b" -_./:=$(),".contains(&c))
            };
            let words = list
                .as_str()
                .filter(is_plain)
                .filter(|_| ["command", "args"].contains(&name));
            let example = words.map_or(example.to_owned(), |text| {
                command::as_list(text.split_whitespace())
            });
            self.error(
                join(path, name),
                format!(
                    "`{name}` must be a list, and {} stands there: write it as `{example}`",
                    kind(list)
                ),
            );
        }
    }

    fn variable(&mut self, variable: &Value, path: &str) {
        if !variable.is_object() {
            return self.error(
                path,
                format!(
                    "a variable must be an object, and {} stands there: write one as `{{name: A, value: b}}`",
                    kind(variable)
                ),
            );
        }
        if variable["name"].as_str().is_none_or(str::is_empty) {
            self.error(
                join(path, "name"),
                "an environment variable needs a name, as `name: LEVEL`",
            );
        }
        let value = &variable["value"];
        if !value.is_null() && !value.is_string() {
            self.error(join(path, "value"), text_problem(value));
        }
    }

    /// Checks the `metadata` of a part of a spec: `labels` and `annotations` must be maps of strings.
    pub fn embedded_metadata(&mut self, part: &Value, path: &str) {
        let field = join(path, fields::template::METADATA);
        let metadata = &part[fields::template::METADATA];
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
                    None => self.error(field, text_problem(value)),
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

    /// Checks an optional number that must be a whole number of 0 or more.
    pub fn whole_number(&mut self, value: &Value, name: &str, path: &str, remedy: &str) {
        let number = &value[name];
        // The API server accepts no larger whole numbers.
        let is_valid = number.as_i64().is_some_and(|number| number >= 0);
        if !number.is_null() && !is_valid {
            self.error(
                join(path, name),
                format!("{number} can't be used: write a whole number of {remedy}"),
            );
        }
    }

    /// Checks an optional number of seconds. `instead` is the remedy if it is longer than the operator supports.
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

    /// Checks an optional number of workers of one group.
    pub fn workers(&mut self, value: &Value, name: &str, path: &str, remedy: &str) {
        self.whole_number(value, name, path, remedy);
        let workers = &value[name];
        match workers.as_i64() {
            // The API server accepts no larger numbers in this field.
            Some(number) if number > i64::from(i32::MAX) => {
                self.error(
                    join(path, name),
                    format!("{number} can't be used: write a whole number of {remedy}"),
                );
            }
            Some(number) if number > MOST_WORKERS as i64 => self.mistake(
                join(path, name),
                format!(
                    "a worker group can have {MOST_WORKERS} workers, and gets no more: lower it, and make further groups for the \
                     rest"
                ),
            ),
            _ => {}
        }
    }
}

/// Returns the containers of a pod, without the init containers.
fn containers(pod_spec: &Value) -> impl Iterator<Item = &Value> {
    pod_spec["containers"].as_array().into_iter().flatten()
}

/// Returns the path of a member.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Returns the problem with a value that is no text, and the remedy.
fn text_problem(value: &Value) -> String {
    match value {
        Value::Bool(value) => format!(
            "it must be text, and YAML takes words such as `no`, `off` and `on` for true or false, here for {value}: put the one \
             that you mean into quotes"
        ),
        Value::Number(number) => format!(
            "it must be text, and YAML takes it for the number {number}: put it into quotes, as you have written it"
        ),
        other => format!("it must be text, and {} stands there", kind(other)),
    }
}

/// Returns a description of a value, for a message.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(_) => "text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
