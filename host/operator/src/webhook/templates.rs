//! Pods and Services that a Dask resource describes, and the evaluation of the API server's responses to them.
//!
//! No I/O: [`super::dry_run`] sends the requests.

mod errors;

use dask_operator_core::names::SCHEDULER;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use serde_json::{Map, Value, json};

use crate::client::resource::ResourceType;
pub(crate) use errors::{add_error, not_checked};

/// Prefix of generated names. Errors of the API server about generated names are not reported.
const NAME_PREFIX: &str = "dask-dry-run-";

/// Part of a Dask resource from which objects of another kind are created.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template {
    /// Field of the resource with the spec of the template, such as `spec.worker.spec`.
    pub(crate) field: &'static str,
    /// Kind of the objects that are created from the template.
    pub(crate) kind: ResourceType,
    /// One object as it would be created, without the operator's additions. Its name is the final one only if the cluster is new
    /// and the name depends on nothing else; otherwise the name is generated.
    pub(crate) object: Value,
}

impl Template {
    /// Returns whether an unknown field prevents the creation of the object. Services are written with server-side apply, which
    /// rejects unknown fields. Pods are created, and the API server drops unknown fields.
    pub(crate) fn is_strict(&self) -> bool {
        self.kind.resource.kind == "Service"
    }

    /// Drops everything of the object but its name. The rest is not needed once the request is created.
    pub(crate) fn forget(&mut self) {
        let name = self.object["metadata"]["name"].take();
        self.object = json!({"metadata": {"name": name}});
    }

    /// Returns the name that the object will have, or `None` if it is not known yet.
    fn name(&self) -> Option<&str> {
        self.object["metadata"]["name"].as_str()
    }
}

/// Returns the templates of a kind: the kind of the created objects, the field with their spec, and the field with their
/// metadata (empty if there is none).
fn template_fields(kind: DaskKind) -> &'static [(&'static str, &'static str, &'static str)] {
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

/// Returns the templates of a resource that differ from those in `old`. For a Service that may already exist, the fields that
/// only one Service can have are left out.
pub(crate) fn changed(kind: DaskKind, object: &Value, old: Option<&Value>) -> Vec<Template> {
    let field_value =
        |object: &Value, field: &str| object.pointer(&pointer(field)).cloned().unwrap_or_default();
    let mut templates = Vec::new();
    for (object_kind, field, metadata_field) in template_fields(kind) {
        let (mut spec, mut template_metadata) =
            (field_value(object, field), field_value(object, metadata_field));
        let is_same = |old: &Value| {
            field_value(old, field) == spec && field_value(old, metadata_field) == template_metadata
        };
        if !spec.is_object() || old.is_some_and(is_same) {
            continue;
        }
        if *object_kind == "Service" && old.is_some() {
            remove_allocations(&mut spec);
        }
        // The rules for names of Services are stricter than others: older API servers reject names that begin with a digit. The
        // cluster of a job has the name of the job. A name that the API server is yet to generate is not known here.
        let name = object["metadata"]["name"]
            .as_str()
            .filter(|name| !name.is_empty() && *object_kind == "Service" && old.is_none());
        let mut metadata = match name {
            Some(name) => json!({"name": format!("{name}{SCHEDULER}")}),
            None => json!({"generateName": NAME_PREFIX}),
        };
        // The objects inherit the labels of the resource, and policies may select by labels.
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
            kind: ResourceType::of(ResourceKind::new("v1", *object_kind)),
            object: json!({"apiVersion": "v1", "kind": object_kind, "metadata": metadata, "spec": spec}),
        });
    }
    templates
}

/// Removes cluster IPs and node ports, which the existing Service already has.
fn remove_allocations(spec: &mut Value) {
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

/// Returns a field such as `spec.worker.spec` as a JSON pointer.
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
    fn finds_the_changed_templates_of_each_kind() {
        let fields = |kind, object: &Value, old: Option<&Value>| -> Vec<&str> {
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
        assert_eq!(fields(DaskKind::Cluster, &cluster, None), all);
        assert_eq!(fields(DaskKind::Cluster, &cluster, Some(&cluster)), [""; 0]);
        assert_eq!(
            fields(DaskKind::WorkerGroup, &cluster, None),
            ["spec.worker.spec"]
        );
        assert_eq!(fields(DaskKind::Autoscaler, &cluster, None), [""; 0]);
        let job = json!({"spec": {"job": {"spec": {}}, "cluster": {"spec": cluster["spec"]}}});
        assert_eq!(
            fields(DaskKind::Job, &job, None),
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
            fields(DaskKind::Cluster, &labelled, Some(&cluster)),
            ["spec.worker.spec"]
        );
        assert_eq!(fields(DaskKind::Cluster, &json!({"spec": 1}), None), [""; 0]);
        labelled["metadata"]["labels"] = json!({"team": "c", "owner": "d"});
        assert_eq!(
            changed(DaskKind::Cluster, &labelled, None)[2].object["metadata"]["labels"],
            json!({"team": "b", "owner": "d"})
        );
    }

    #[test]
    fn updates_leave_out_allocated_fields_of_services() {
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
    fn services_of_new_clusters_have_their_final_name() {
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
        let generated = (Value::Null, json!(NAME_PREFIX));
        assert_eq!(
            names(&new, Some(&old)),
            generated,
            "the existing Service has the name"
        );
        let mut unnamed = new.clone();
        unnamed["metadata"] = json!({"generateName": "c-"});
        assert_eq!(names(&unnamed, None), generated);
    }
}
