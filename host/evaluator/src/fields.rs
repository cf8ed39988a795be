//! Check of a Dask resource against the schema of its kind: unknown fields, and values that the API server would refuse.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use dask_operator_api::crds;
use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::{Map, Value};

mod advice;
mod kubernetes;
#[cfg(test)]
mod tests;
mod values;

use advice::Scope;

/// Maximum number of findings for one object for which advice is computed.
const MAX_FINDINGS: usize = 20;

/// The fields of all Dask resources. They are computed once, because the schemas are large and the same for all requests.
pub static FIELDS: LazyLock<CrdFields> = LazyLock::new(CrdFields::new);

/// The fields of all Dask resources, from their CustomResourceDefinitions.
pub struct CrdFields {
    /// The schema of `spec` for each kind.
    specs: BTreeMap<String, Value>,
}

impl CrdFields {
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

    /// Returns the schema of `spec` and the object's `spec`; `None` if the object has none.
    fn spec<'a>(&'a self, kind: DaskKind, object: &'a Value) -> Option<(&'a Value, &'a Value)> {
        self.specs.get(kind.kind()).zip(object.get("spec"))
    }

    /// Returns an error for each field of an object that its kind does not have.
    pub fn unknown(&self, kind: DaskKind, object: &Value) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some((schema, spec)) = self.spec(kind, object) {
            walk(schema, spec, Path::Root("spec"), None, &mut findings);
        }
        findings
    }

    /// Returns an error for each value that the schema of its field does not allow, and for each missing field that Kubernetes
    /// requires. The API server refuses such an object, regardless of the logic plugin.
    pub fn values(&self, kind: DaskKind, object: &Value) -> Vec<Finding> {
        match self.spec(kind, object) {
            Some((schema, spec)) => values::check(schema, spec),
            None => Vec::new(),
        }
    }

    /// Removes the nulls that the API server removes before it calls any webhook: those of fields that are not `nullable`.
    pub fn prune_nulls(&self, kind: DaskKind, object: &mut Value) {
        if let (Some(schema), Some(spec)) = (self.specs.get(kind.kind()), object.get_mut("spec")) {
            prune_nulls(schema, spec);
        }
    }

    /// Returns a finding for each field in an object's Pod and Service specs that Kubernetes does not have. The API server drops
    /// such fields of Pods, but refuses a Service with one. The latter is therefore an error, unless the field may exist in a
    /// newer release of Kubernetes.
    pub fn of_kubernetes(&self, kind: DaskKind, object: &Value) -> Vec<Finding> {
        match self.spec(kind, object) {
            Some((schema, spec)) => kubernetes::unknown(kind, schema, spec),
            None => Vec::new(),
        }
    }
}

/// Path of a field. It is formatted only for findings, which are rare.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root(&'a str),
    Field(&'a Path<'a>, &'a str),
    /// A key of a map, which the author chooses.
    Key(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => f.write_str(name),
            Self::Field(of, name) => write!(f, "{of}.{name}"),
            Self::Key(of, name) => {
                let is_usual = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
                if !name.is_empty() && name.chars().all(is_usual) {
                    write!(f, "{of}.{name}")
                } else {
                    write!(f, "{of}[{name}]")
                }
            }
            Self::Item(of, at) => write!(f, "{of}[{at}]"),
        }
    }
}

/// Returns true if the API server stores unknown fields of this object, as it does for the Pod and Service specs.
fn preserves_unknown(schema: &Value) -> bool {
    schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
}

/// Returns the fields that the schema of an object declares; `None` for a map, and if the schema is not of an object.
fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

fn names(known: &Map<String, Value>) -> impl Iterator<Item = &str> {
    known.keys().map(String::as_str)
}

/// Collects the unknown fields in `value`. Values of an invalid type are left to the components, whose messages are more
/// specific.
fn walk(
    schema: &Value,
    value: &Value,
    path: Path<'_>,
    enclosing: Option<&Scope<'_>>,
    findings: &mut Vec<Finding>,
) {
    if preserves_unknown(schema) {
        return;
    }
    let (Some(known), Value::Object(given)) = (properties(schema), value) else {
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
        match known.get(name) {
            Some(schema) => walk(schema, value, field, Some(&scope), findings),
            None => {
                let advice = (findings.len() < MAX_FINDINGS)
                    .then(|| advice::for_field(name, &scope))
                    .flatten();
                let advice = advice
                    .unwrap_or_else(|| format!("there are {}", names(known).collect::<Vec<_>>().join(", ")));
                findings.push(Finding {
                    severity: Severity::Error,
                    field: field.to_string(),
                    message: format!("there is no such field; {advice}"),
                });
            }
        }
    }
}

/// Removes nulls as the API server does: fields and map values that are not `nullable`, but not items of lists.
fn prune_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(given) => {
            let of = |name: &str| {
                let field = schema.get("properties").and_then(|known| known.get(name));
                field.or_else(|| {
                    schema
                        .get("additionalProperties")
                        .filter(|values| values.is_object())
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
