//! Where the pods of a Dask resource are written: what a policy looks at, whatever the kind.
//!
//! ```
//! use dask_operator_plugin::dask::pods::{Role, pods};
//! use serde_json::json;
//!
//! let cluster = json!({"spec": {"worker": {"spec": {"containers": [{"image": "a"}, {"image": "b"}]}}}});
//! let pods = pods("DaskCluster", &cluster);
//! assert_eq!(pods[0].role, Role::Worker);
//! let images: Vec<_> = pods[0].containers().map(|place| (place.field, place.value["image"].clone())).collect();
//! assert_eq!(images[1], ("spec.worker.spec.containers[1]".to_owned(), json!("b")));
//! ```

use std::fmt;

use serde_json::Value;

use super::metadata::COMPONENT;

/// What runs in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A Dask scheduler.
    Scheduler,
    /// A Dask worker.
    Worker,
    /// The code of a `DaskJob`.
    Runner,
}

/// As the sentences of policies call it.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheduler => "scheduler",
            Self::Worker => "worker",
            Self::Runner => "job runner",
        })
    }
}

impl Role {
    /// The role of a planned or observed object, from its label `dask.org/component`; none for what runs nothing.
    pub fn of(object: &Value) -> Option<Self> {
        match object["metadata"]["labels"][COMPONENT].as_str()? {
            "scheduler" => Some(Self::Scheduler),
            "worker" => Some(Self::Worker),
            "job-runner" => Some(Self::Runner),
            _ => None,
        }
    }

    /// The role of the pods that the default logic plans for a resource of this kind. A component can label its pods as it
    /// likes, but not choose whose they are.
    pub fn of_parent(kind: &str) -> Option<Self> {
        match kind {
            "DaskCluster" => Some(Self::Scheduler),
            "DaskWorkerGroup" => Some(Self::Worker),
            "DaskJob" => Some(Self::Runner),
            _ => None,
        }
    }
}

/// A part of an object, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Place<'a> {
    /// The field, as kubectl writes it: `spec.worker.spec.containers[0]`.
    pub field: String,
    /// The same as a JSON Pointer, for a JSON Patch: `/spec/worker/spec/containers/0`.
    pub pointer: String,
    /// What stands there.
    pub value: &'a Value,
}

impl Place<'_> {
    /// Its name, as messages call it: `container "worker"`.
    pub fn title(&self) -> String {
        match self.value["name"].as_str() {
            Some(name) => format!("container {name:?}"),
            None => "this container".to_owned(),
        }
    }
}

/// The spec of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodSpec<'a> {
    /// What runs in it.
    pub role: Role,
    /// Where it stands.
    pub place: Place<'a>,
}

impl<'a> PodSpec<'a> {
    /// Its containers, without those that run before.
    pub fn containers(&self) -> impl Iterator<Item = Place<'a>> + use<'a> {
        self.list("containers")
    }

    /// Its containers and those that run before.
    pub fn all_containers(&self) -> impl Iterator<Item = Place<'a>> + use<'a> {
        self.list("initContainers").chain(self.list("containers"))
    }

    /// The elements of one of its lists.
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

/// Where pods are written in the four kinds.
const PLACES: [(&str, Role, &[&str]); 6] = [
    ("DaskCluster", Role::Worker, &["spec", "worker", "spec"]),
    ("DaskCluster", Role::Scheduler, &["spec", "scheduler", "spec"]),
    ("DaskWorkerGroup", Role::Worker, &["spec", "worker", "spec"]),
    ("DaskJob", Role::Runner, &["spec", "job", "spec"]),
    (
        "DaskJob",
        Role::Worker,
        &["spec", "cluster", "spec", "worker", "spec"],
    ),
    (
        "DaskJob",
        Role::Scheduler,
        &["spec", "cluster", "spec", "scheduler", "spec"],
    ),
];

/// The specs of all pods that a Dask resource of this kind has written in it. A `DaskAutoscaler` has none.
pub fn pods<'a>(kind: &str, object: &'a Value) -> Vec<PodSpec<'a>> {
    let of_kind = PLACES.iter().filter(|(of, ..)| *of == kind);
    let found = of_kind.filter_map(|(_, role, path)| {
        let pointer = format!("/{}", path.join("/"));
        let value = object.pointer(&pointer).filter(|value| value.is_object())?;
        let field = path.join(".");
        let place = Place {
            field,
            pointer,
            value,
        };
        Some(PodSpec { role: *role, place })
    });
    found.collect()
}

/// The pod specs that a planned object has: its own if it is a Pod, its template's if it is a Deployment. What is there
/// can be changed.
pub fn pod_spec_mut<'a>(kind: &str, object: &'a mut Value) -> Option<&'a mut Value> {
    let (pointer, _) = of_planned(kind)?;
    object.pointer_mut(pointer)
}

/// The pod spec that a planned object has, and where it stands; none where it has none, as a mark that is put on a pod.
pub fn planned_pod_spec<'a>(kind: &str, object: &'a Value) -> Option<Place<'a>> {
    let (pointer, field) = of_planned(kind)?;
    let value = object.pointer(pointer).filter(|value| value.is_object())?;
    Some(Place {
        field: field.to_owned(),
        pointer: pointer.to_owned(),
        value,
    })
}

/// Where a planned object of this kind has the spec of a pod, as a JSON Pointer and as a field.
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
    fn all_places() {
        let pod = json!({"initContainers": [{"name": "first"}], "containers": [{"name": "main"}]});
        let (worker, scheduler) = (json!({"spec": pod}), json!({"spec": pod}));
        let cluster = json!({"worker": worker, "scheduler": scheduler});
        let fields = |kind: &str, spec: Value| -> Vec<String> {
            let object = json!({"spec": spec});
            let pods = pods(kind, &object);
            let all = pods.iter().flat_map(PodSpec::all_containers);
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
    fn planned_objects() {
        let mut deployment = json!({"spec": {"template": {"spec": {"a": 1}}}});
        *pod_spec_mut("Deployment", &mut deployment).expect("a pod spec") = json!({"a": 2});
        assert_eq!(deployment["spec"]["template"]["spec"]["a"], 2);
        assert_eq!(pod_spec_mut("Service", &mut json!({"spec": {}})), None);
        let labels = json!({"metadata": {"labels": {COMPONENT: "job-runner"}}});
        assert_eq!(Role::of(&labels), Some(Role::Runner));
        assert_eq!(Role::of(&json!({})), None);
    }
}
