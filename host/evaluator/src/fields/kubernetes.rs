//! Check for fields in Pod and Service specs that Kubernetes does not have.

use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::{Map, Value};

use super::advice::{self, Scope};
use super::{MAX_FINDINGS, Path, preserves_unknown, properties};

/// Maximum number of findings for one object. Further unknown fields are only counted.
const MAX_NAMED: usize = 100;

/// Returns a finding for each field of the Pod and Service specs within `spec` that is not in their schema.
pub(super) fn unknown(kind: DaskKind, schema: &Value, spec: &Value) -> Vec<Finding> {
    let mut walk = Walk {
        kind,
        findings: Vec::new(),
        more: 0,
    };
    walk.value(schema, spec, Path::Root("spec"), Owner::Dask, None);
    if walk.more > 0 {
        walk.findings.push(Finding {
            severity: Severity::Warning,
            field: "spec".to_owned(),
            message: format!("Kubernetes does not have {} more of its fields", walk.more),
        });
    }
    walk.findings
}

/// Resource that a part of a spec belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Dask,
    Pod,
    Service,
}

/// Collects fields of the Pod and Service specs that are not in their schema.
struct Walk {
    kind: DaskKind,
    findings: Vec<Finding>,
    /// Number of unknown fields without a finding of their own.
    more: usize,
}

impl Walk {
    fn value(
        &mut self,
        schema: &Value,
        value: &Value,
        path: Path<'_>,
        owner: Owner,
        enclosing: Option<&Scope<'_>>,
    ) {
        let preserves = preserves_unknown(schema);
        // Advice for a field of a Service covers the Service only, not the objects that enclose it.
        let (owner, enclosing) = match (owner, path) {
            (Owner::Dask, Path::Field(_, "service")) if preserves => (Owner::Service, None),
            (Owner::Dask, _) if preserves => (Owner::Pod, enclosing),
            _ => (owner, enclosing),
        };
        match value {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.value(&schema["items"], item, Path::Item(&path, at), owner, enclosing);
                }
            }
            Value::Object(given) => {
                // A schema without properties is of a map, or allows anything.
                let Some(known) = properties(schema) else {
                    return;
                };
                let scope = Scope {
                    path: &path,
                    known,
                    given,
                    enclosing,
                };
                for (name, value) in given {
                    let field = Path::Field(&path, name);
                    match (known.get(name), owner) {
                        (Some(schema), _) => self.value(schema, value, field, owner, Some(&scope)),
                        (None, Owner::Dask) => {}
                        (None, _) if self.findings.len() == MAX_NAMED => self.more += 1,
                        (None, Owner::Pod) => self.of_pod(field, name, value, &scope),
                        (None, Owner::Service) => self.of_service(field, name, &scope),
                    }
                }
            }
            _ => {}
        }
    }

    fn report(&mut self, severity: Severity, field: Path<'_>, message: String) {
        self.findings.push(Finding {
            severity,
            field: field.to_string(),
            message,
        });
    }

    /// Reports a field that a Pod spec does not have.
    fn of_pod(&mut self, field: Path<'_>, name: &str, value: &Value, scope: &Scope<'_>) {
        let is_list = value.as_array().is_some_and(|items| !items.is_empty());
        if name == "ephemeralContainers" && is_list && scope.known.contains_key("containers") {
            let message = "a Pod can't be created with it: write the containers in `containers` or `initContainers`; \
                           `kubectl debug` adds one to a Pod that runs";
            return self.report(Severity::Error, field, message.to_owned());
        }
        let advice = (self.findings.len() < MAX_FINDINGS)
            .then(|| advice::for_field(name, scope))
            .flatten()
            .unwrap_or_else(|| "`kubectl explain` says which there are".to_owned());
        // Kubernetes makes a volume without a source an `emptyDir`.
        if scope.is_item_of("volumes") && is_without_source(scope.known, scope.given) {
            let message = format!(
                "Kubernetes has no such field and drops it, so that the volume is an empty directory; {advice}"
            );
            return self.report(Severity::Mistake, field, message);
        }
        let message = format!("Kubernetes has no such field and drops it; {advice}");
        self.report(Severity::Warning, field, message);
    }

    /// Reports a field that a Service spec does not have.
    fn of_service(&mut self, field: Path<'_>, name: &str, scope: &Scope<'_>) {
        let advice = self
            .outside_of_service_spec(name, scope)
            .or_else(|| advice_port_field(name, scope))
            .or_else(|| advice::for_field(name, scope))
            .or_else(|| advice_service_field(name, scope));
        match advice {
            Some(advice) => self.report(
                Severity::Error,
                field,
                format!("a Service has no such field in its spec, and would not be created with it: {advice}"),
            ),
            None => self.report(
                Severity::Warning,
                field,
                "this release knows no such field of a Service; where the API server knows none either, the Service is not \
                 created"
                    .to_owned(),
            ),
        }
    }

    /// Returns the advice for a name that belongs to another object than the spec of a Service; `None` for other names.
    fn outside_of_service_spec(&self, name: &str, scope: &Scope<'_>) -> Option<String> {
        let of_cluster = match self.kind {
            DaskKind::Job => "spec.cluster.metadata",
            _ => "metadata",
        };
        Some(match name {
            "metadata" | "annotations" | "labels" | "annotation" | "label" => format!(
                "labels and annotations for the Service stand in `{of_cluster}`, because the cluster's are passed on to it"
            ),
            "name" => "the Service of a cluster is called as the cluster is, with `-scheduler` behind it".to_owned(),
            "spec" => format!(
                "write what stands in it one level higher, as `{}.type`",
                scope.path
            ),
            "kind" | "apiVersion" => "this is the spec of a Service, without its kind and version: leave it out".to_owned(),
            "status" => "Kubernetes writes it: leave it out".to_owned(),
            "enabled" => "a cluster always has a Service: leave it out".to_owned(),
            "ingress" => "an Ingress is a resource of its own: create one for the Service, which is called as the cluster is, \
                          with `-scheduler` behind it"
                .to_owned(),
            // Field names are single words. A name with such characters is the key of a map, such as `app.kubernetes.io/name`.
            _ if name.contains(['.', '/', '-']) => {
                format!("labels stand in a map such as `selector`, as `selector: {{{name}: …}}`")
            }
            _ => return None,
        })
    }
}

/// Returns the advice for a field of a Service's ports that was written in the spec; `None` if ports have no such field.
fn advice_port_field(name: &str, scope: &Scope<'_>) -> Option<String> {
    let of_port = properties(scope.known.get("ports")?.get("items")?)?;
    of_port.contains_key(name).then(|| {
        format!(
            "each port has its own: write it as `{}.ports[].{name}`",
            scope.path
        )
    })
}

/// Returns the advice for a field of the Service spec that was written in an object within it; `None` if the spec has no such
/// field.
fn advice_service_field(name: &str, scope: &Scope<'_>) -> Option<String> {
    let service = std::iter::successors(scope.enclosing, |scope| scope.enclosing).last()?;
    let is_known = service.known.contains_key(name);
    is_known.then(|| format!("did you mean `{}.{name}`?", service.path))
}

/// Returns true if a volume has no known field other than its name.
fn is_without_source(known: &Map<String, Value>, given: &Map<String, Value>) -> bool {
    let mut others = known.keys().filter(|name| *name != "name");
    others.all(|name| given.get(name).is_none_or(Value::is_null))
}
