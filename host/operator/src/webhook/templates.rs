//! The Pods and Services that a Dask resource describes, and what the API server says of them.
//!
//! Pure: [`super::dry_run`] sends them.

mod refused;

use dask_operator_core::names::SCHEDULER;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use serde_json::{Map, Value, json};

use crate::kinds::Kind;
pub use refused::{refused, untried};

/// How generated names begin. What the API server says of them is not passed on.
const NAME: &str = "dask-dry-run-";

/// A part of a Dask resource from which objects of another kind are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Where its spec is in the resource, as `spec.worker.spec`.
    pub field: &'static str,
    /// What is made from it.
    pub kind: Kind,
    /// One object as it would be made, but for what the operator adds; the name is that of the object only where its cluster
    /// is new and the name depends on nothing else.
    pub object: Value,
}

impl Template {
    /// Returns whether an unknown field keeps the object from being created. Services are written with server-side apply,
    /// which refuses such fields. Pods are created, and an unknown field is dropped.
    pub fn is_strict(&self) -> bool {
        self.kind.resource.kind == "Service"
    }

    /// Leaves nothing of the object but its name, which is all that is needed once it was sent.
    pub fn forget(&mut self) {
        let name = self.object["metadata"]["name"].take();
        self.object = json!({"metadata": {"name": name}});
    }

    /// The name that the object will have, where that is known.
    fn name(&self) -> Option<&str> {
        self.object["metadata"]["name"].as_str()
    }
}

/// Where the templates of a kind are: the kind that is made, the field with its spec, the field with its metadata.
fn fields(kind: DaskKind) -> &'static [(&'static str, &'static str, &'static str)] {
    match kind {
        DaskKind::Cluster => &[
            ("Pod", "spec.scheduler.spec", "spec.scheduler.metadata"),
            ("Service", "spec.scheduler.service", ""),
            ("Pod", "spec.worker.spec", "spec.worker.metadata"),
        ],
        DaskKind::WorkerGroup => &[("Pod", "spec.worker.spec", "spec.worker.metadata")],
        DaskKind::Job => &[
            ("Pod", "spec.job.spec", "spec.job.metadata"),
            (
                "Pod",
                "spec.cluster.spec.scheduler.spec",
                "spec.cluster.spec.scheduler.metadata",
            ),
            ("Service", "spec.cluster.spec.scheduler.service", ""),
            (
                "Pod",
                "spec.cluster.spec.worker.spec",
                "spec.cluster.spec.worker.metadata",
            ),
        ],
        DaskKind::Autoscaler => &[],
    }
}

/// Returns the templates of a resource that are not the same in `old`. Of a Service that may exist, what only one may have is
/// left out.
pub fn changed(kind: DaskKind, object: &Value, old: Option<&Value>) -> Vec<Template> {
    let at = |object: &Value, field: &str| object.pointer(&pointer(field)).cloned().unwrap_or_default();
    let mut templates = Vec::new();
    for (made, field, metadata_field) in fields(kind) {
        let (mut spec, mut template_metadata) = (at(object, field), at(object, metadata_field));
        let is_same = |old: &Value| at(old, field) == spec && at(old, metadata_field) == template_metadata;
        if !spec.is_object() || old.is_some_and(is_same) {
            continue;
        }
        if *made == "Service" && old.is_some() {
            without_allocations(&mut spec);
        }
        // Names of Services are stricter than others: older API servers take none that begins with a digit. A job's cluster is
        // called as the job is. A name that the API server is still to generate comes later.
        let name = object["metadata"]["name"]
            .as_str()
            .filter(|name| !name.is_empty() && *made == "Service" && old.is_none());
        let mut metadata = match name {
            Some(name) => json!({"name": format!("{name}{SCHEDULER}")}),
            None => json!({"generateName": NAME}),
        };
        // Labels of the resource are handed down, and policies look for some.
        let mut labels = Map::new();
        for given in [&object["metadata"]["labels"], &template_metadata["labels"]] {
            labels.extend(given.as_object().cloned().unwrap_or_default());
        }
        for (part, given) in [
            ("labels", json!(labels)),
            ("annotations", template_metadata["annotations"].take()),
        ] {
            if given.is_object() {
                metadata[part] = given;
            }
        }
        templates.push(Template {
            field,
            kind: Kind::of(ResourceKind::new("v1", *made)),
            object: json!({"apiVersion": "v1", "kind": made, "metadata": metadata, "spec": spec}),
        });
    }
    templates
}

/// Takes out what the Service that exists has already.
fn without_allocations(spec: &mut Value) {
    let drop = |object: &mut Map<String, Value>, names: &[&str]| {
        object.retain(|name, _| !names.contains(&name.as_str()));
    };
    if let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) {
        let ports = ports.iter_mut().filter_map(Value::as_object_mut);
        ports.for_each(|port| drop(port, &["nodePort"]));
    }
    if let Some(spec) = spec.as_object_mut() {
        drop(spec, &["clusterIP", "clusterIPs", "healthCheckNodePort"]);
    }
}

/// `spec.worker.spec` as a JSON pointer.
fn pointer(field: &str) -> String {
    field.split('.').map(|part| format!("/{part}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn cluster() -> Value {
        json!({"metadata": {"name": "c", "namespace": "n"}, "spec": {
            "scheduler": {
                "spec": {"containers": [{"name": "scheduler"}]},
                "service": {"clusterIP": "10.0.0.1", "ports": [{"port": 8786, "nodePort": 30786}]},
            },
            "worker": {"spec": {"containers": [{"name": "worker"}]}, "metadata": {"labels": {"team": "a"}}},
        }})
    }

    #[test]
    fn templates_of_each_kind() {
        let made = |kind, object: &Value, old: Option<&Value>| -> Vec<&str> {
            changed(kind, object, old)
                .iter()
                .map(|template| template.field)
                .collect()
        };
        let cluster = cluster();
        let all = [
            "spec.scheduler.spec",
            "spec.scheduler.service",
            "spec.worker.spec",
        ];
        assert_eq!(made(DaskKind::Cluster, &cluster, None), all);
        assert_eq!(made(DaskKind::Cluster, &cluster, Some(&cluster)), [""; 0]);
        assert_eq!(made(DaskKind::WorkerGroup, &cluster, None), ["spec.worker.spec"]);
        assert_eq!(made(DaskKind::Autoscaler, &cluster, None), [""; 0]);
        let job = json!({"spec": {"job": {"spec": {}}, "cluster": {"spec": cluster["spec"]}}});
        assert_eq!(
            made(DaskKind::Job, &job, None),
            [
                "spec.job.spec",
                "spec.cluster.spec.scheduler.spec",
                "spec.cluster.spec.scheduler.service",
                "spec.cluster.spec.worker.spec"
            ]
        );
        let mut labelled = cluster.clone();
        labelled["spec"]["worker"]["metadata"]["labels"]["team"] = json!("b");
        assert_eq!(
            made(DaskKind::Cluster, &labelled, Some(&cluster)),
            ["spec.worker.spec"]
        );
        assert_eq!(made(DaskKind::Cluster, &json!({"spec": 1}), None), [""; 0]);
        labelled["metadata"]["labels"] = json!({"team": "c", "owner": "d"});
        assert_eq!(
            changed(DaskKind::Cluster, &labelled, None)[2].object["metadata"]["labels"],
            json!({"team": "b", "owner": "d"})
        );
    }

    #[test]
    fn what_a_service_has_is_not_asked_for_again() {
        let first = &changed(DaskKind::Cluster, &cluster(), None)[1].object["spec"];
        assert_eq!(
            (&first["clusterIP"], &first["ports"][0]["nodePort"]),
            (&json!("10.0.0.1"), &json!(30786))
        );
        let mut old = cluster();
        old["spec"]["scheduler"]["service"]["ports"][0]["port"] = json!(1);
        let update = &changed(DaskKind::Cluster, &cluster(), Some(&old))[0];
        assert_eq!(update.object["spec"], json!({"ports": [{"port": 8786}]}));
    }

    #[test]
    fn names_of_services() {
        let names = |object: &Value, old: Option<&Value>| {
            let templates = changed(DaskKind::Cluster, object, old);
            let service = templates.into_iter().find(Template::is_strict);
            let metadata = service
                .map(|service| service.object["metadata"].clone())
                .unwrap_or_default();
            (metadata["name"].clone(), metadata["generateName"].clone())
        };
        let new = cluster();
        assert_eq!(names(&new, None), (json!("c-scheduler"), Value::Null));
        let mut old = new.clone();
        old["spec"]["scheduler"]["service"]["ports"][0]["port"] = json!(1);
        let generated = (Value::Null, json!(NAME));
        assert_eq!(
            names(&new, Some(&old)),
            generated,
            "the Service that exists has it"
        );
        let mut unnamed = new.clone();
        unnamed["metadata"] = json!({"generateName": "c-"});
        assert_eq!(names(&unnamed, None), generated);
    }
}
