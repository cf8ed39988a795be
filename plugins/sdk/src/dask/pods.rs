//! Access to the pod specs in Dask resources and in planned children, for policies.
//!
//! ```
//! use dask_operator_plugin::dask::pods::pods;
//! use dask_operator_plugin::dask::role::Role;
//! use serde_json::json;
//!
//! let cluster = json!({"spec": {"worker": {"spec": {"containers": [{"image": "a"}, {"image": "b"}]}}}});
//! let pods = pods("DaskCluster", &cluster);
//! assert_eq!(pods[0].role, Role::Worker);
//! let images: Vec<_> = pods[0].containers().map(|place| (place.field, place.value["image"].clone())).collect();
//! assert_eq!(images[1], ("spec.worker.spec.containers[1]".to_owned(), json!("b")));
//! ```

use serde_json::Value;

use super::fields::template::SPEC;
use super::fields::{cluster, job, worker_group};
use super::role::Role;

/// A part of an object, with its path.
#[derive(Debug, Clone, PartialEq)]
pub struct Place<'a> {
    /// Path in the notation of kubectl: `spec.worker.spec.containers[0]`.
    pub field: String,
    /// Path as a JSON Pointer, for a JSON Patch: `/spec/worker/spec/containers/0`.
    pub pointer: String,
    /// Value of the part.
    pub value: &'a Value,
}

impl Place<'_> {
    /// Returns the name of the container for a message: `container "worker"`.
    pub fn title(&self) -> String {
        match self.value["name"].as_str() {
            Some(name) => format!("container {name:?}"),
            None => "this container".to_owned(),
        }
    }
}

/// A pod spec in an object.
#[derive(Debug, Clone, PartialEq)]
pub struct PodSpecField<'a> {
    /// Role of the pod.
    pub role: Role,
    /// Path and value of the pod spec.
    pub place: Place<'a>,
}

impl<'a> PodSpecField<'a> {
    /// Returns the containers, without init containers.
    pub fn containers(&self) -> impl Iterator<Item = Place<'a>> + use<'a> {
        self.list("containers")
    }

    /// Returns the init containers and the containers.
    pub fn all_containers(&self) -> impl Iterator<Item = Place<'a>> + use<'a> {
        self.list("initContainers").chain(self.list("containers"))
    }

    /// Returns the elements of a list of the pod spec.
    pub fn list(&self, name: &str) -> impl Iterator<Item = Place<'a>> + use<'a> {
        let (field, pointer) = (
            format!("{}.{name}", self.place.field),
            format!("{}/{name}", self.place.pointer),
        );
        let elements = self.place.value[name].as_array().into_iter().flatten();
        elements.enumerate().map(move |(i, value)| Place {
            field: format!("{field}[{i}]"),
            pointer: format!("{pointer}/{i}"),
            value,
        })
    }
}

/// Paths of the pod specs in each kind.
const PATHS: [(&str, Role, &[&str]); 6] = [
    ("DaskCluster", Role::Worker, &["spec", cluster::WORKER, SPEC]),
    (
        "DaskCluster",
        Role::Scheduler,
        &["spec", cluster::SCHEDULER, SPEC],
    ),
    (
        "DaskWorkerGroup",
        Role::Worker,
        &["spec", worker_group::WORKER, SPEC],
    ),
    ("DaskJob", Role::Runner, &["spec", job::JOB, SPEC]),
    (
        "DaskJob",
        Role::Worker,
        &["spec", job::CLUSTER, SPEC, cluster::WORKER, SPEC],
    ),
    (
        "DaskJob",
        Role::Scheduler,
        &["spec", job::CLUSTER, SPEC, cluster::SCHEDULER, SPEC],
    ),
];

/// Returns all pod specs in a Dask resource of this kind. A `DaskAutoscaler` has none.
pub fn pods<'a>(kind: &str, object: &'a Value) -> Vec<PodSpecField<'a>> {
    let of_kind = PATHS.iter().filter(|(of, ..)| *of == kind);
    let found = of_kind.filter_map(|(_, role, path)| {
        let pointer = format!("/{}", path.join("/"));
        let value = object.pointer(&pointer).filter(|value| value.is_object())?;
        let field = path.join(".");
        let place = Place {
            field,
            pointer,
            value,
        };
        Some(PodSpecField { role: *role, place })
    });
    found.collect()
}

/// Returns the pod spec of a planned object, for changes: its own for a Pod, its template's for a Deployment. Returns `None`
/// for other kinds.
pub fn pod_spec_mut<'a>(kind: &str, object: &'a mut Value) -> Option<&'a mut Value> {
    let (pointer, _) = of_planned(kind)?;
    object.pointer_mut(pointer)
}

/// Returns the pod spec of a planned object with its path. Returns `None` if there is none, for example if the object only
/// adds an annotation to a pod.
pub fn planned_pod_spec<'a>(kind: &str, object: &'a Value) -> Option<Place<'a>> {
    let (pointer, field) = of_planned(kind)?;
    let value = object.pointer(pointer).filter(|value| value.is_object())?;
    Some(Place {
        field: field.to_owned(),
        pointer: pointer.to_owned(),
        value,
    })
}

/// Returns the path of the pod spec in a planned object of this kind, as a JSON Pointer and in the notation of kubectl.
fn of_planned(kind: &str) -> Option<(&'static str, &'static str)> {
    match kind {
        "Pod" => Some(("/spec", "spec")),
        "Deployment" => Some(("/spec/template/spec", "spec.template.spec")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_all_pod_specs() {
        let pod = json!({"initContainers": [{"name": "first"}], "containers": [{"name": "main"}]});
        let (worker, scheduler) = (json!({"spec": pod}), json!({"spec": pod}));
        let cluster = json!({"worker": worker, "scheduler": scheduler});
        let fields = |kind: &str, spec: Value| -> Vec<String> {
            let object = json!({"spec": spec});
            let pods = pods(kind, &object);
            let all = pods.iter().flat_map(PodSpecField::all_containers);
            all.filter(|place| object.pointer(&place.pointer) == Some(place.value))
                .map(|place| place.field)
                .collect()
        };
        let job = json!({"job": {"spec": pod}, "cluster": {"spec": cluster}});
        assert_eq!(
            fields("DaskJob", job),
            [
                "spec.job.spec.initContainers[0]",
                "spec.job.spec.containers[0]",
                "spec.cluster.spec.worker.spec.initContainers[0]",
                "spec.cluster.spec.worker.spec.containers[0]",
                "spec.cluster.spec.scheduler.spec.initContainers[0]",
                "spec.cluster.spec.scheduler.spec.containers[0]",
            ]
        );
        assert_eq!(fields("DaskWorkerGroup", json!({"worker": worker})).len(), 2);
        assert_eq!(fields("DaskCluster", cluster).len(), 4);
        assert_eq!(fields("DaskAutoscaler", json!({"cluster": "c"})), [""; 0]);
        assert_eq!(fields("DaskCluster", json!({"worker": "text"})), [""; 0]);
    }

    #[test]
    fn finds_the_pod_spec_of_planned_objects() {
        let mut deployment = json!({"spec": {"template": {"spec": {"a": 1}}}});
        *pod_spec_mut("Deployment", &mut deployment).expect("a pod spec") = json!({"a": 2});
        assert_eq!(deployment["spec"]["template"]["spec"]["a"], 2);
        assert_eq!(pod_spec_mut("Service", &mut json!({"spec": {}})), None);
    }
}
