//! Fields of a Dask resource against the definition of its kind: those that it does not have, and values that the API
//! server would refuse.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use dask_operator_api::crds;
use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::{Map, Value};

mod kubernetes;
mod place;
#[cfg(test)]
mod tests;
mod values;

use place::Scope;

/// How alike two words must be for one to be a mistake for the other, from 0 to 1.
const ALIKE: f64 = 0.6;

/// Longer words are like no field, and take long to compare.
const LONGEST: usize = 100;

/// How many findings are worked out for one object. Who has more of them corrects these first.
const MOST: usize = 20;

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
            walk(schema, spec, Path::Root("spec"), None, &mut findings);
        }
        findings
    }

    /// Returns an error for each value that the definition of its field does not allow, and for each field that Kubernetes
    /// requires and that is missing: what the API server refuses, whoever decides about the object.
    pub(crate) fn values(&self, kind: DaskKind, object: &Value) -> Vec<Finding> {
        match self.spec(kind, object) {
            Some((schema, spec)) => values::check(schema, spec),
            None => Vec::new(),
        }
    }

    /// Removes the nulls that the API server removes before it shows an object to anything else: those of fields that are
    /// not `nullable`.
    pub(crate) fn prune_nulls(&self, kind: DaskKind, object: &mut Value) {
        if let (Some(schema), Some(spec)) = (self.specs.get(kind.kind()), object.get_mut("spec")) {
            prune_nulls(schema, spec);
        }
    }

    /// Returns findings about fields of an object's pod and Service specs that Kubernetes does not have. It drops those of
    /// pods. A Service with one is not created at all, so that is an error, unless the field can be one of a newer
    /// release of Kubernetes.
    pub(crate) fn of_kubernetes(&self, kind: DaskKind, object: &Value) -> Vec<Finding> {
        match self.spec(kind, object) {
            Some((schema, spec)) => kubernetes::unknown(kind, schema, spec),
            None => Vec::new(),
        }
    }
}

/// Where a field is. It is written out only where there is something to say, which is seldom.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root(&'a str),
    Field(&'a Path<'a>, &'a str),
    /// A key of a map, which people choose.
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

/// Whether a part is kept whatever stands in it, as Kubernetes' own parts are.
fn preserves_unknown(schema: &Value) -> bool {
    schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
}

/// The fields that the schema of an object names; none for a map, and for what is no object.
fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

fn names(known: &Map<String, Value>) -> impl Iterator<Item = &str> {
    known.keys().map(String::as_str)
}

/// Collects the fields that are unknown in `value`. A value of a wrong type is left to the components, which say more about it.
fn walk(
    schema: &Value,
    value: &Value,
    path: Path<'_>,
    around: Option<&Scope<'_>>,
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
        around,
    };
    for (name, value) in given {
        let field = Path::Field(&path, name);
        match known.get(name) {
            Some(schema) => walk(schema, value, field, Some(&scope), findings),
            None => {
                let advice = (findings.len() < MOST)
                    .then(|| place::advice(name, &scope))
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
    if word.len() > LONGEST {
        return None;
    }
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
