//! Fields of pods and Services that Kubernetes does not have.

use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::{Map, Value};

use super::place::{self, Scope};
use super::{MOST, Path, preserves_unknown, properties};

/// How many fields of an object that Kubernetes does not have are named.
const NAMED: usize = 100;

/// Returns findings about the fields of Kubernetes' own parts of a spec that are in none of their schemas.
pub(super) fn unknown(kind: DaskKind, schema: &Value, spec: &Value) -> Vec<Finding> {
    let mut walk = Walk {
        kind,
        findings: Vec::new(),
        more: 0,
    };
    walk.value(schema, spec, Path::Root("spec"), Place::Ours, None);
    if walk.more > 0 {
        walk.findings.push(Finding {
            severity: Severity::Warning,
            field: "spec".to_owned(),
            message: format!("Kubernetes does not have {} more of its fields", walk.more),
        });
    }
    walk.findings
}

/// Whose schema a part of a spec has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Ours,
    Pod,
    Service,
}

/// Collects fields within Kubernetes' own parts that are in none of their schemas.
struct Walk {
    kind: DaskKind,
    findings: Vec<Finding>,
    /// How many there are beside those.
    more: usize,
}

impl Walk {
    fn value(
        &mut self,
        schema: &Value,
        value: &Value,
        path: Path<'_>,
        place: Place,
        around: Option<&Scope<'_>>,
    ) {
        let preserves = preserves_unknown(schema);
        // What a Service does not have is looked for in the Service only.
        let (place, around) = match (place, path) {
            (Place::Ours, Path::Field(_, "service")) if preserves => (Place::Service, None),
            (Place::Ours, _) if preserves => (Place::Pod, around),
            _ => (place, around),
        };
        match value {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.value(&schema["items"], item, Path::Item(&path, at), place, around);
                }
            }
            Value::Object(given) => {
                // Without properties it is a map, or anything.
                let Some(known) = properties(schema) else {
                    return;
                };
                let scope = Scope {
                    path: &path,
                    known,
                    given,
                    around,
                };
                for (name, value) in given {
                    let field = Path::Field(&path, name);
                    match (known.get(name), place) {
                        (Some(schema), _) => self.value(schema, value, field, place, Some(&scope)),
                        (None, Place::Ours) => {}
                        (None, _) if self.findings.len() == NAMED => self.more += 1,
                        (None, Place::Pod) => self.of_pod(field, name, value, &scope),
                        (None, Place::Service) => self.of_service(field, name, &scope),
                    }
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, severity: Severity, field: Path<'_>, message: String) {
        self.findings.push(Finding {
            severity,
            field: field.to_string(),
            message,
        });
    }

    fn of_pod(&mut self, field: Path<'_>, name: &str, value: &Value, scope: &Scope<'_>) {
        let is_list = value.as_array().is_some_and(|items| !items.is_empty());
        if name == "ephemeralContainers" && is_list && scope.known.contains_key("containers") {
            let message = "a Pod can't be created with it: write the containers in `containers` or `initContainers`; \
                           `kubectl debug` adds one to a Pod that runs";
            return self.say(Severity::Error, field, message.to_owned());
        }
        let advice = (self.findings.len() < MOST)
            .then(|| place::advice(name, scope))
            .flatten()
            .unwrap_or_else(|| "`kubectl explain` says which there are".to_owned());
        // Kubernetes takes a volume that says nothing for an `emptyDir`.
        if scope.is_item_of("volumes") && is_without_source(scope.known, scope.given) {
            let message = format!(
                "Kubernetes has no such field and drops it, so that the volume is an empty directory; {advice}"
            );
            return self.say(Severity::Mistake, field, message);
        }
        let message = format!("Kubernetes has no such field and drops it; {advice}");
        self.say(Severity::Warning, field, message);
    }

    fn of_service(&mut self, field: Path<'_>, name: &str, scope: &Scope<'_>) {
        let advice = self
            .beside_a_service(name, scope)
            .or_else(|| of_its_ports(name, scope))
            .or_else(|| place::advice(name, scope))
            .or_else(|| of_the_service(name, scope));
        match advice {
            Some(advice) => self.say(
                Severity::Error,
                field,
                format!("a Service has no such field in its spec, and would not be created with it: {advice}"),
            ),
            None => self.say(
                Severity::Warning,
                field,
                "this release knows no such field of a Service; where the API server knows none either, the Service is not \
                 created"
                    .to_owned(),
            ),
        }
    }

    /// What to do with a name that no spec of a Service has, because it belongs to something else.
    fn beside_a_service(&self, name: &str, scope: &Scope<'_>) -> Option<String> {
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
            // Fields are single words; this is the key of a map, as `app.kubernetes.io/name`.
            _ if name.contains(['.', '/', '-']) => {
                format!("labels stand in a map such as `selector`, as `selector: {{{name}: …}}`")
            }
            _ => return None,
        })
    }
}

/// Where a field of a Service's ports belongs that stands beside them.
fn of_its_ports(name: &str, scope: &Scope<'_>) -> Option<String> {
    let of_port = properties(scope.known.get("ports")?.get("items")?)?;
    of_port.contains_key(name).then(|| {
        format!(
            "each port has its own: write it as `{}.ports[].{name}`",
            scope.path
        )
    })
}

/// Where a field of the Service belongs that stands in one of its ports.
fn of_the_service(name: &str, scope: &Scope<'_>) -> Option<String> {
    let service = std::iter::successors(scope.around, |scope| scope.around).last()?;
    let is_known = service.known.contains_key(name);
    is_known.then(|| format!("did you mean `{}.{name}`?", service.path))
}

/// Whether nothing that is known of a volume is given but its name.
fn is_without_source(known: &Map<String, Value>, given: &Map<String, Value>) -> bool {
    let mut others = known.keys().filter(|name| *name != "name");
    others.all(|name| given.get(name).is_none_or(Value::is_null))
}
