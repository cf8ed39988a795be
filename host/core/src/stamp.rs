//! Construction of the object that is sent to the API server from a checked child.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::copies::{CopyText, Template};
use crate::gate::{CheckedAction, CheckedChild};
use crate::names::{ANNOTATION_HASH, DASK_API_VERSION};
use crate::parent::Parent;
use crate::plan::{ChildKey, ResourceKind};
use crate::raw_object::RawObject;

/// A child that is ready to be sent to the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct StampedChild {
    /// Kind and name of the child.
    pub key: ChildKey,
    /// The write to perform, if any.
    pub action: StampedAction,
}

/// The write that a child needs.
#[derive(Clone, Debug, PartialEq)]
pub enum StampedAction {
    /// No write: the child stays as it is.
    Keep,
    /// Create this object if the child does not exist.
    Create(RawObject),
    /// Create a copy of this object if the child does not exist.
    Copy(Arc<CopyText>),
    /// Apply this object.
    Apply(Value),
}

impl StampedChild {
    /// Returns the whole object as a JSON value, or `None` for `Keep` and for an object that can't be parsed.
    #[must_use]
    pub fn object(&self) -> Option<Value> {
        match &self.action {
            StampedAction::Keep => None,
            StampedAction::Create(object) => object.to_map().map(Value::Object).ok(),
            StampedAction::Copy(text) => serde_json::from_str(&text.named(&self.key.name)).ok(),
            StampedAction::Apply(object) => Some(object.clone()),
        }
    }
}

/// Adds the fields that the host owns to each child: kind, name, namespace and owner reference. An applied child also gets an
/// annotation with a hash of the rest of the object.
#[must_use]
pub fn stamp(parent: &Parent, children: Vec<CheckedChild>) -> Vec<StampedChild> {
    // Templates and their texts by the address of the template.
    let mut texts: HashMap<*const Template, (Arc<Template>, Arc<CopyText>)> = HashMap::new();
    let stamp = |CheckedChild { key, action }| {
        let action = match action {
            CheckedAction::Keep => StampedAction::Keep,
            CheckedAction::Create(object) => {
                StampedAction::Create(created(parent, &key.kind, &key.name, object))
            }
            CheckedAction::Copy(template) => {
                let text = |template: &Template| Arc::new(copied(parent, &key.kind, template));
                let (_, text) = texts
                    .entry(Arc::as_ptr(&template))
                    .or_insert_with(|| (template.clone(), text(&template)));
                StampedAction::Copy(text.clone())
            }
            CheckedAction::Apply(object) => StampedAction::Apply(applied(parent, &key, object)),
        };
        StampedChild { key, action }
    };
    children.into_iter().map(stamp).collect()
}

/// Returns an object to create with the fields that the host owns.
fn created(parent: &Parent, kind: &ResourceKind, name: &str, mut object: RawObject) -> RawObject {
    object.set("apiVersion", &kind.api_version);
    object.set("kind", &kind.kind);
    object.metadata = Some(metadata(parent, name, object.metadata.take()));
    object
}

/// Returns the text of the copies of a template.
fn copied(parent: &Parent, kind: &ResourceKind, template: &Template) -> CopyText {
    let object = created(parent, kind, &template.stand_in, template.object.clone());
    CopyText::of(&object, &template.stand_in)
}

/// Returns an object to apply with the fields that the host owns and its hash.
fn applied(parent: &Parent, key: &ChildKey, mut object: Map<String, Value>) -> Value {
    object.insert("apiVersion".into(), key.kind.api_version.clone().into());
    object.insert("kind".into(), key.kind.kind.clone().into());
    let metadata = metadata(parent, &key.name, object.remove("metadata"));
    object.insert("metadata".into(), metadata);
    let mut object = Value::Object(object);
    let hash = hash(&object);
    object["metadata"]["annotations"][ANNOTATION_HASH] = Value::String(hash);
    object
}

/// Returns a child's metadata with the fields that the host owns.
fn metadata(parent: &Parent, name: &str, given: Option<Value>) -> Value {
    let mut metadata = match given {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    // The parent may itself be an applied child, and its component may copy the parent's annotations to the children.
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.remove(ANNOTATION_HASH);
    }
    metadata.insert("name".into(), name.into());
    metadata.insert("namespace".into(), parent.namespace.clone().into());
    metadata.insert("ownerReferences".into(), json!([owner_reference(parent)]));
    metadata.into()
}

/// Returns the owner reference to `parent` for a child.
#[must_use]
pub fn owner_reference(parent: &Parent) -> Value {
    json!({
        "apiVersion": DASK_API_VERSION,
        "kind": parent.kind.kind(),
        "name": parent.name,
        "uid": parent.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Returns the hash of an object: the first 16 bytes of a SHA-256 over its fields in alphabetical order, in hexadecimal.
#[must_use]
pub fn hash(object: &Value) -> String {
    let mut hasher = Sha256::new();
    update_hash(&mut hasher, object);
    hex::encode(&hasher.finalize()[..16])
}

/// Adds a value to the hash, with the fields of maps in alphabetical order.
///
/// The order of `serde_json` maps depends on features that any crate of a build may set; the hash must not.
fn update_hash(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            hasher.update("{");
            for (name, value) in fields {
                update_hash(hasher, &Value::String(name.clone()));
                update_hash(hasher, value);
            }
            hasher.update("}");
        }
        Value::Array(items) => {
            hasher.update("[");
            for item in items {
                update_hash(hasher, item);
            }
            hasher.update("]");
        }
        scalar => {
            hasher.update(scalar.to_string());
            hasher.update(",");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parent::DaskKind;

    fn parent() -> Parent {
        Parent {
            kind: DaskKind::Cluster,
            name: "a".into(),
            namespace: "n".into(),
            uid: "u".into(),
            cluster: "a".into(),
        }
    }

    fn child(name: &str, action: CheckedAction) -> CheckedChild {
        let key = ChildKey {
            kind: ResourceKind::new("v1", "Service"),
            name: name.into(),
        };
        CheckedChild { key, action }
    }

    fn stamp_one(action: CheckedAction) -> StampedChild {
        stamp(&parent(), vec![child("a-scheduler", action)]).remove(0)
    }

    fn raw_object(value: Value) -> RawObject {
        RawObject::read(&value.to_string()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn created_children_get_a_name_and_an_owner() {
        let object = raw_object(json!({"metadata": {"labels": {"x": "y"}}, "spec": {}}));
        let stamped = stamp_one(CheckedAction::Create(object));
        let expected = json!({
            "apiVersion": "v1", "kind": "Service", "spec": {},
            "metadata": {
                "name": "a-scheduler", "namespace": "n", "labels": {"x": "y"},
                "ownerReferences": [{
                    "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "a", "uid": "u",
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
        });
        assert_eq!(stamped.object(), Some(expected));
    }

    #[test]
    fn a_copy_differs_from_its_original_in_its_name() {
        let object =
            |name: &str| json!({"metadata": {"name": name, "labels": {"x": "y"}}, "spec": {"host": name}});
        let copy = || {
            CheckedAction::Copy(Arc::new(Template {
                object: raw_object(object("stand-in")),
                stand_in: "stand-in".to_owned(),
            }))
        };
        let children = ["b", "c"].map(|name| child(name, copy()));
        let originals = ["b", "c"].map(|name| child(name, CheckedAction::Create(raw_object(object(name)))));
        let objects = |children: [CheckedChild; 2]| -> Vec<_> {
            let stamped = stamp(&parent(), children.into());
            stamped.iter().map(StampedChild::object).collect()
        };
        assert_eq!(objects(children), objects(originals));
    }

    #[test]
    fn applied_children_get_a_hash_of_the_rest_of_the_object() {
        let hash_of = |object: Value| {
            let stamped = stamp_one(CheckedAction::Apply(map(object)));
            let object = stamped.object().unwrap_or_default();
            object["metadata"]["annotations"][ANNOTATION_HASH]
                .as_str()
                .map(str::to_owned)
        };
        let one = hash_of(json!({"spec": {"a": 1, "b": 2}}));
        assert_eq!(one.as_ref().map(String::len), Some(32));
        assert_eq!(one, hash_of(json!({"spec": {"b": 2, "a": 1}})));
        assert_ne!(one, hash_of(json!({"spec": {"a": 1}})));
        assert_ne!(
            one,
            hash_of(json!({"spec": {"a": 1, "b": 2}, "metadata": {"labels": {"x": "y"}}}))
        );
    }

    #[test]
    fn a_hash_that_was_copied_from_the_parent_is_removed() {
        let copied = || json!({"metadata": {"annotations": {ANNOTATION_HASH: "of the parent", "x": "y"}}});
        let created = stamp_one(CheckedAction::Create(raw_object(copied())));
        assert_eq!(
            created.object().map(|o| o["metadata"]["annotations"].clone()),
            Some(json!({"x": "y"}))
        );
        let clean = map(json!({"metadata": {"annotations": {"x": "y"}}}));
        let applied = |object| stamp_one(CheckedAction::Apply(object));
        assert_eq!(applied(map(copied())), applied(clean));
    }

    #[test]
    fn the_hash_does_not_depend_on_the_order_of_fields() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":3}}"#).unwrap_or_default();
        let two: Value = serde_json::from_str(r#"{"b":{"d":3,"c":2},"a":1}"#).unwrap_or_default();
        assert_eq!(hash(&one), hash(&two));
    }
}
