//! Fields that a Dask resource does not have: misspelt ones, which the API server
//! refuses from `kubectl` and drops from others.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use dask_operator_api::crds;
use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::{Map, Value};

/// How alike two words must be for one to be a mistake for the other, from 0 to 1.
const ALIKE: f64 = 0.6;

/// The fields of all Dask resources. Their schemas are large, and the same for all requests.
pub(crate) static FIELDS: LazyLock<Fields> = LazyLock::new(Fields::new);

/// The fields of all Dask resources, from their definitions.
pub(crate) struct Fields {
    /// Schemas of `spec`, by kind.
    specs: BTreeMap<String, Value>,
}

impl Fields {
    fn new() -> Self {
        let spec = |crd: &Value| {
            let kind = crd.pointer("/spec/names/kind")?.as_str()?.to_owned();
            let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")?;
            Some((kind, schema.clone()))
        };
        let definitions = crds()
            .into_iter()
            .filter_map(|crd| serde_json::to_value(crd).ok());
        Self {
            specs: definitions.filter_map(|crd| spec(&crd)).collect(),
        }
    }

    fn spec<'a>(&'a self, kind: DaskKind, object: &'a Value) -> Option<(&'a Value, &'a Value)> {
        self.specs.get(kind.kind()).zip(object.get("spec"))
    }

    /// Returns an error for each field of an object that its kind does not have.
    pub(crate) fn unknown(&self, kind: DaskKind, object: &Value) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some((schema, spec)) = self.spec(kind, object) {
            walk(schema, spec, "spec", &mut findings);
        }
        findings
    }

    /// Returns an error for each value of a field of ours that its definition does not allow. What Kubernetes' own parts
    /// hold is left to the API server.
    pub(crate) fn values(&self, kind: DaskKind, object: &Value) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some((schema, spec)) = self.spec(kind, object) {
            values(schema, spec, "spec", &mut findings);
        }
        findings
    }

    /// Removes the nulls that the API server removes before it shows an object to anything else: those of fields that are
    /// not `nullable`.
    pub(crate) fn prune_nulls(&self, kind: DaskKind, object: &mut Value) {
        if let (Some(schema), Some(spec)) = (self.specs.get(kind.kind()), object.get_mut("spec")) {
            prune_nulls(schema, spec);
        }
    }

    /// Findings about fields of an object's pod and Service specs that Kubernetes does not have. It drops those of
    /// pods. A Service with one is not created at all, so that is an error, unless the field can be one of a newer
    /// release of Kubernetes.
    pub(crate) fn of_kubernetes(&self, kind: DaskKind, object: &Value) -> Vec<Finding> {
        let mut walk = Walk {
            kind,
            findings: Vec::new(),
        };
        if let Some((schema, spec)) = self.spec(kind, object) {
            walk.value(schema, spec, Path::Root("spec"), Place::Ours, None);
        }
        walk.findings
    }
}

/// Where a field is. It is written out only where there is something to say, which is seldom.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root(&'a str),
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => f.write_str(name),
            Self::Field(of, name) => write!(f, "{of}.{name}"),
            Self::Item(of, at) => write!(f, "{of}[{at}]"),
        }
    }
}

/// Whose schema a part of a spec has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Ours,
    Pod,
    Service,
}

/// An object on the way down, and those that it is in.
struct Scope<'a> {
    path: &'a Path<'a>,
    known: &'a Map<String, Value>,
    around: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    /// Where a field of this name would be one, in the nearest object around this one.
    fn further_up(&self, name: &str) -> Option<String> {
        let mut around = self.around;
        while let Some(scope) = around {
            if scope.known.contains_key(name) {
                return Some(format!("{}.{name}", scope.path));
            }
            around = scope.around;
        }
        None
    }
}

/// Collects fields within Kubernetes' own parts that are in none of their schemas.
struct Walk {
    kind: DaskKind,
    findings: Vec<Finding>,
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
        let preserves = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        let place = match (place, path) {
            (Place::Ours, Path::Field(_, "service")) if preserves => Place::Service,
            (Place::Ours, _) if preserves => Place::Pod,
            _ => place,
        };
        match value {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.value(&schema["items"], item, Path::Item(&path, at), place, around);
                }
            }
            Value::Object(given) => {
                // Without properties it is a map, or anything.
                let Some(Value::Object(known)) = schema.get("properties") else {
                    return;
                };
                let scope = Scope {
                    path: &path,
                    known,
                    around,
                };
                for (name, value) in given {
                    let field = Path::Field(&path, name);
                    match (known.get(name), place) {
                        (Some(schema), _) => self.value(schema, value, field, place, Some(&scope)),
                        (None, Place::Ours) => {}
                        (None, Place::Pod) => self.dropped(field, name, &scope),
                        (None, Place::Service) => self.of_service(field, name, known),
                    }
                }
            }
            _ => {}
        }
    }

    fn dropped(&mut self, field: Path<'_>, name: &str, scope: &Scope<'_>) {
        let advice = match (scope.further_up(name), alike(name, names(scope.known))) {
            (Some(other), _) => format!("did you mean `{other}`?"),
            (None, Some(other)) => format!("did you mean `{other}`?"),
            (None, None) => "`kubectl explain` says which there are".to_owned(),
        };
        self.findings.push(Finding {
            severity: Severity::Warning,
            field: field.to_string(),
            message: format!("Kubernetes has no such field and drops it; {advice}"),
        });
    }

    fn of_service(&mut self, field: Path<'_>, name: &str, known: &Map<String, Value>) {
        let of_cluster = match self.kind {
            DaskKind::Job => "spec.cluster.metadata",
            _ => "metadata",
        };
        let advice = match name {
            "metadata" | "annotations" | "labels" => Some(format!(
                "labels and annotations for the Service stand in `{of_cluster}`, because the cluster's are passed on to it"
            )),
            "name" => Some(
                "the Service of a cluster is called as the cluster is, with `-scheduler` behind it"
                    .to_owned(),
            ),
            // Fields are single words; this is the key of a map, as `app.kubernetes.io/name`.
            _ if name.contains(['.', '/', '-']) => Some(format!(
                "labels stand in a map such as `selector`, as `selector: {{{name}: …}}`"
            )),
            _ => alike(name, names(known)).map(|other| format!("did you mean `{other}`?")),
        };
        let (severity, message) = match advice {
            Some(advice) => (
                Severity::Error,
                format!("a Service has no such field in its spec, and would not be created with it: {advice}"),
            ),
            None => (
                Severity::Warning,
                "this release knows no such field of a Service; where the API server knows none either, the Service is not \
                 created"
                    .to_owned(),
            ),
        };
        self.findings.push(Finding {
            severity,
            field: field.to_string(),
            message,
        });
    }
}

fn names(known: &Map<String, Value>) -> impl Iterator<Item = &str> {
    known.keys().map(String::as_str)
}

/// Collects the fields that are unknown in `value`. A value of a wrong type is left to the components, which say more about it.
fn walk(schema: &Value, value: &Value, path: &str, findings: &mut Vec<Finding>) {
    // Kubernetes' own parts are kept whatever stands in them.
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        return;
    }
    let (Some(Value::Object(known)), Value::Object(given)) = (schema.get("properties"), value) else {
        return;
    };
    for (name, value) in given {
        let field = format!("{path}.{name}");
        match known.get(name) {
            Some(schema) => walk(schema, value, &field, findings),
            None => findings.push(Finding {
                severity: Severity::Error,
                field,
                message: format!("there is no such field; {}", instead(name, names(known))),
            }),
        }
    }
}

/// Collects the values that are not allowed, below `path`.
fn values(schema: &Value, value: &Value, path: &str, findings: &mut Vec<Finding>) {
    // A null means that nothing is given.
    if value.is_null() || schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        return;
    }
    if let Some(message) = misfit(schema, value) {
        findings.push(Finding {
            severity: Severity::Error,
            field: path.to_owned(),
            message,
        });
        return;
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        if let Some(schema) = schema.get("properties").and_then(|known| known.get(name)) {
            values(schema, value, &format!("{path}.{name}"), findings);
        }
    }
}

/// Why a schema does not allow a value, by its type, its words or its smallest number.
fn misfit(schema: &Value, value: &Value) -> Option<String> {
    let is_whole = value.is_i64() || value.is_u64();
    let type_ = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    let (is_right, expected) = match type_ {
        "boolean" => (value.is_boolean(), "`true` or `false`, without quotes"),
        "integer" => (is_whole, "a whole number"),
        "string" => (value.is_string(), "text"),
        "object" => (value.is_object(), "an object"),
        "array" => (value.is_array(), "a list"),
        _ if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) => {
            (is_whole || value.is_string(), "a whole number or text")
        }
        _ => (true, ""),
    };
    if !is_right {
        return Some(format!("{value} can't be used: write {expected}"));
    }
    let words = schema.get("enum").and_then(Value::as_array);
    if let Some(words) = words.filter(|words| !words.contains(value)) {
        let words: Vec<String> = words.iter().map(|word| format!("`{}`", text(word))).collect();
        return Some(format!("{value} can't be used: write {}", words.join(" or ")));
    }
    let least = schema.get("minimum").and_then(Value::as_f64)?;
    (value.as_f64()? < least).then(|| format!("{value} can't be used: write {least} or more"))
}

/// A text without its quotes, or another value as it is.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Removes nulls as the API server does: from fields and values of maps that are not `nullable`, but not from lists.
fn prune_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(given) => {
            let of = |name: &str| {
                let field = schema.get("properties").and_then(|known| known.get(name));
                field.or_else(|| {
                    schema
                        .get("additionalProperties")
                        .filter(|of_all| of_all.is_object())
                })
            };
            given.retain(|name, value| {
                let Some(schema) = of(name) else {
                    return true;
                };
                prune_nulls(schema, value);
                !value.is_null() || schema.get("nullable") == Some(&Value::Bool(true))
            });
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| prune_nulls(schema, item));
            }
        }
        _ => {}
    }
}

/// The word that another one is most probably a mistake for.
fn alike<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |other: &str| {
        strsim::normalized_damerau_levenshtein(&word.to_ascii_lowercase(), &other.to_ascii_lowercase())
    };
    let known = known.into_iter().map(|other| (likeness(other), other));
    let alike = known.filter(|(likeness, _)| *likeness >= ALIKE);
    alike
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, other)| other)
}

/// What to write instead of a word that isn't known: the one that is alike, or any of them.
pub(crate) fn instead<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.into_iter().collect();
    match alike(word, known.iter().copied()) {
        Some(other) => format!("did you mean `{other}`?"),
        None => format!("there are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::none(json!({"kind": "DaskCluster", "spec": {"worker": {"spec": {"anything": 1}}}}), &[])]
    #[case::top(json!({"kind": "DaskCluster", "spec": {"wroker": {}}}),
        &["spec.wroker: there is no such field; did you mean `worker`?"])]
    #[case::deeper(json!({"kind": "DaskJob", "spec": {"cluster": {"spec": {"worker": {"Replicas": 1}}}}}),
        &["spec.cluster.spec.worker.Replicas: there is no such field; did you mean `replicas`?"])]
    #[case::nothing_alike(json!({"kind": "DaskAutoscaler", "spec": {"size": 1}}),
        &["spec.size: there is no such field; there are cluster, maximum, minimum"])]
    #[case::two(json!({"kind": "DaskWorkerGroup", "spec": {"worker": {"y": 1}, "x": 1}}),
        &["spec.worker.y: ", "spec.x: "])]
    #[case::other_type(json!({"kind": "DaskCluster", "spec": {"worker": [{"wroker": 1}]}}), &[])]
    #[case::other_kind(json!({"kind": "Pod", "spec": {"wroker": 1}}), &[])]
    fn unknown_fields(#[case] object: Value, #[case] expected: &[&str]) {
        let kind = object["kind"].as_str().and_then(DaskKind::from_kind);
        let findings = kind.map(|kind| Fields::new().unknown(kind, &object));
        let messages: Vec<_> = findings
            .into_iter()
            .flatten()
            .map(|finding| format!("{}: {}", finding.field, finding.message))
            .collect();
        assert_eq!(messages.len(), expected.len(), "{messages:?}");
        for (message, expected) in messages.iter().zip(expected) {
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[rstest]
    #[case::fine(json!({"worker": {"spec": {"containers": [{"name": "w", "resources": {"limits": {"memory": 1}}}],
        "nodeSelector": {"anything": "goes"}}}}), &[])]
    #[case::container(json!({"worker": {"spec": {"containers": [{"resource": {}}]}}}),
        &["spec.worker.spec.containers[0].resource: Kubernetes has no such field and drops it; did you mean `resources`?"])]
    #[case::pod(json!({"scheduler": {"spec": {"nodeselector": {}}}}),
        &["spec.scheduler.spec.nodeselector: Kubernetes has no such field and drops it; did you mean `nodeSelector`?"])]
    #[case::one_level_up(json!({"scheduler": {"spec": {"containers": [{"readinessProbe": {"tcpSocket": {"initialDelaySeconds": 1}}}]}}}),
        &["spec.scheduler.spec.containers[0].readinessProbe.tcpSocket.initialDelaySeconds: Kubernetes has no such field and drops it; \
           did you mean `spec.scheduler.spec.containers[0].readinessProbe.initialDelaySeconds`?"])]
    #[case::of_the_pod(json!({"worker": {"spec": {"containers": [{"imagePullSecrets": []}]}}}),
        &["spec.worker.spec.containers[0].imagePullSecrets: Kubernetes has no such field and drops it; did you mean \
           `spec.worker.spec.imagePullSecrets`?"])]
    #[case::of_the_resource(json!({"worker": {"spec": {"replicas": 2}}}),
        &["spec.worker.spec.replicas: Kubernetes has no such field and drops it; did you mean `spec.worker.replicas`?"])]
    #[case::ours(json!({"wroker": 1}), &[])]
    #[case::service(json!({"scheduler": {"service": {"zzz": 1}}}),
        &["spec.scheduler.service.zzz: this release knows no such field of a Service; where the API server knows none either, the \
           Service is not created"])]
    #[case::label_beside_the_selector(json!({"scheduler": {"service": {"dask.org/cluster-name": "c"}}}),
        &["spec.scheduler.service.dask.org/cluster-name: Error: a Service has no such field in its spec, and would not be created \
           with it: labels stand in a map such as `selector`, as `selector: {dask.org/cluster-name: …}`"])]
    #[case::annotations_of_a_service(json!({"scheduler": {"service": {"annotations": {}}}}),
        &["spec.scheduler.service.annotations: Error: a Service has no such field in its spec, and would not be created with it: \
           labels and annotations for the Service stand in `metadata`, because the cluster's are passed on to it"])]
    #[case::name_of_a_service(json!({"scheduler": {"service": {"name": "s"}}}),
        &["spec.scheduler.service.name: Error: a Service has no such field in its spec, and would not be created with it: the \
           Service of a cluster is called as the cluster is, with `-scheduler` behind it"])]
    #[case::misspelt_in_a_service(json!({"scheduler": {"service": {"ports": [{"targetport": 1}], "sessionAffinty": ""}}}),
        &["spec.scheduler.service.ports[0].targetport: Error: a Service has no such field in its spec, and would not be created \
           with it: did you mean `targetPort`?",
          "spec.scheduler.service.sessionAffinty: Error: a Service has no such field in its spec, and would not be created with it: \
           did you mean `sessionAffinity`?"])]
    fn fields_of_kubernetes(#[case] spec: Value, #[case] expected: &[&str]) {
        let object = json!({"kind": "DaskCluster", "spec": spec});
        let found: Vec<_> = Fields::new()
            .of_kubernetes(DaskKind::Cluster, &object)
            .into_iter()
            .map(|finding| match finding.severity {
                Severity::Error => format!("{}: Error: {}", finding.field, finding.message),
                Severity::Mistake | Severity::Warning => format!("{}: {}", finding.field, finding.message),
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[rstest]
    #[case::fine(json!({"suspend": true, "schedulerUpdate": "Recreate", "worker": {"replicas": 0, "updateStrategy": {"maxSurge": "5%"}}}), &[])]
    #[case::nothing(json!({"suspend": null, "worker": null}), &[])]
    #[case::truth(json!({"suspend": "yes"}), &["spec.suspend: \"yes\" can't be used: write `true` or `false`, without quotes"])]
    #[case::word(json!({"schedulerUpdate": "recreate"}),
        &["spec.schedulerUpdate: \"recreate\" can't be used: write `OnDelete` or `Recreate`"])]
    #[case::number(json!({"worker": {"drainTimeoutSeconds": 1.5}}),
        &["spec.worker.drainTimeoutSeconds: 1.5 can't be used: write a whole number"])]
    #[case::negative(json!({"idleTimeout": -1}), &["spec.idleTimeout: -1 can't be used: write 0 or more"])]
    #[case::either(json!({"worker": {"updateStrategy": {"maxSurge": true}}}),
        &["spec.worker.updateStrategy.maxSurge: true can't be used: write a whole number or text"])]
    #[case::an_object(json!({"worker": [1]}), &["spec.worker: [1] can't be used: write an object"])]
    #[case::of_kubernetes(json!({"worker": {"spec": {"hostNetwork": "yes"}}}), &[])]
    fn values_of_our_fields(#[case] spec: Value, #[case] expected: &[&str]) {
        let object = json!({"kind": "DaskCluster", "spec": spec});
        let found: Vec<_> = Fields::new()
            .values(DaskKind::Cluster, &object)
            .into_iter()
            .map(|finding| format!("{}: {}", finding.field, finding.message))
            .collect();
        assert_eq!(found, expected);
    }

    /// What a cluster of Kubernetes 1.36 stores of these.
    #[rstest]
    #[case::field(json!({"worker": null, "idleTimeout": null}), json!({}))]
    #[case::value_of_a_map(json!({"worker": {"metadata": {"labels": {"a": null, "b": "c"}}}}), json!({"worker": {"metadata": {"labels": {"b": "c"}}}}))]
    #[case::in_a_pod(json!({"worker": {"spec": {"containers": [{"name": "w", "env": null}, null]}}}),
        json!({"worker": {"spec": {"containers": [{"name": "w"}, null]}}}))]
    #[case::unknown(json!({"worker": {"spec": {"zzz": null}}}), json!({"worker": {"spec": {"zzz": null}}}))]
    fn nulls_are_removed(#[case] spec: Value, #[case] expected: Value) {
        let mut object = json!({"kind": "DaskCluster", "spec": spec});
        Fields::new().prune_nulls(DaskKind::Cluster, &mut object);
        assert_eq!(object["spec"], expected);
    }
}
