//! Checks of the objects of children: size, fields and metadata.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Gate;
use crate::copies::{self, Template};
use crate::json;
use crate::names::{LABEL_CLUSTER, LABEL_WORKER_GROUP};
use crate::parent::{DaskKind, Parent};
use crate::plan::ChildKey;
use crate::raw_object::{Fields, RawObject};

/// Maximum number of top-level fields of an object besides `metadata`; Kubernetes objects have about ten.
const MAX_FIELDS: usize = 100;

impl Gate<'_> {
    /// Checks an object to create and returns it, or `None` if it can't be parsed. Only its metadata is parsed.
    pub(super) fn check_created(&mut self, key: &ChildKey, text: &str) -> Option<RawObject> {
        let fields = self.parse_fields(key, text)?;
        let bytes = fields.metadata().map_or(0, json::tree_bytes);
        self.check_raw_object(key, fields, bytes)
    }

    /// Checks the object of a child that others copy, with a stand-in for its name. Returns the template for the copies, or
    /// `None` if the plan is refused. Each copy is valid if its name is: the stand-in is a name, too, and is no field's name.
    pub(super) fn check_template(&mut self, key: &ChildKey, text: &str) -> Option<Arc<Template>> {
        if !self.refusal.violations.is_empty() {
            return None;
        }
        let (bytes, max) = (copies::max_bytes(text, &key.name), self.rules.limits.object_bytes);
        if bytes > max {
            let message = format!(
                "can't be copied: with a long name instead of {:?} it has {bytes} bytes of JSON; at most {max} are allowed",
                key.name
            );
            self.refuse(Some(key), "", message);
            return None;
        }
        let Parent {
            name,
            namespace,
            cluster,
            ..
        } = self.parent;
        let stand_in = copies::stand_in(&[
            text,
            name,
            namespace,
            cluster,
            &key.kind.api_version,
            &key.kind.kind,
        ]);
        let copy = ChildKey {
            kind: key.kind.clone(),
            name: stand_in.clone(),
        };
        let object = self.check_created(&copy, &text.replace(&key.name, &stand_in));
        if object.as_ref().is_some_and(|object| object.has(&stand_in)) {
            self.refuse(Some(&copy), "", "this name is the name of a field");
        }
        for violation in &mut self.refusal.violations {
            violation.child = Some(key.to_string());
            violation.message = format!(
                "can't be copied, because its name occurs in other places. With the name {stand_in:?}: {}",
                violation.message
            );
        }
        let object = object.filter(|_| self.refusal.violations.is_empty())?;
        Some(Arc::new(Template { object, stand_in }))
    }

    /// Checks an object to apply and returns it, or `None` if it can't be parsed. The whole object is parsed.
    pub(super) fn check_applied(&mut self, key: &ChildKey, text: &str) -> Option<Map<String, Value>> {
        let fields = self.parse_fields(key, text)?;
        let object = self
            .check_raw_object(key, fields, json::tree_bytes(text))?
            .to_map();
        object
            .map_err(|error| self.refuse(Some(key), "", format!("can't be read: {error}")))
            .ok()
    }

    /// Splits an object into its fields. Refuses an object that is too large, has too many fields, or is not a JSON object.
    fn parse_fields(&mut self, key: &ChildKey, text: &str) -> Option<Fields> {
        let max = self.rules.limits.object_bytes;
        if text.len() > max {
            self.refuse(
                Some(key),
                "",
                format!("{} bytes of JSON; at most {max} are allowed", text.len()),
            );
            return None;
        }
        match Fields::read(text) {
            Ok(fields) if fields.count() > MAX_FIELDS => {
                let message = format!(
                    "has {} fields; an object has at most {MAX_FIELDS}",
                    fields.count()
                );
                self.refuse(Some(key), "", message);
                None
            }
            Ok(fields) => Some(fields),
            Err(error) if error.is_data() => {
                self.refuse(
                    Some(key),
                    "",
                    "is no JSON object; write the object as in a manifest",
                );
                None
            }
            Err(error) => {
                self.refuse(Some(key), "", format!("is no JSON: {error}"));
                None
            }
        }
    }

    /// Parses and checks the metadata. Refuses the plan if `bytes`, the memory for the parsed JSON of this child, and that of
    /// the children before exceed the limit.
    fn check_raw_object(&mut self, key: &ChildKey, fields: Fields, bytes: usize) -> Option<RawObject> {
        let (before, max) = (self.tree_bytes, self.rules.limits.tree_bytes);
        self.tree_bytes = before.saturating_add(bytes);
        if self.tree_bytes > max {
            // One violation per plan is enough.
            if before <= max {
                let message = format!(
                    "would take more than {max} bytes of memory once they are read; plan fewer children at once, or \
                     `create` them instead of `apply`"
                );
                self.refuse(None, "children", message);
            }
            return None;
        }
        match fields.into_object() {
            Ok(object) => {
                self.check_fixed_fields(key, &object);
                self.check_metadata(key, &object);
                Some(object)
            }
            Err(error) => {
                self.refuse(Some(key), "metadata", format!("can't be read: {error}"));
                None
            }
        }
    }

    /// Checks that fields which follow from the key or the parent are absent or equal, and that `status` is absent.
    fn check_fixed_fields(&mut self, key: &ChildKey, object: &RawObject) {
        let metadata = |name: &str| object.metadata.as_ref().and_then(|m| m.get(name)).cloned();
        let given = [
            ("apiVersion", object.field("apiVersion"), &key.kind.api_version),
            ("kind", object.field("kind"), &key.kind.kind),
            ("metadata.name", metadata("name"), &key.name),
            (
                "metadata.namespace",
                metadata("namespace"),
                &self.parent.namespace,
            ),
        ];
        for (field, value, expected) in given {
            if let Some(value) = value.filter(|value| value != expected.as_str()) {
                let message = format!("is {value}; leave it out or write {expected:?}");
                self.refuse(Some(key), field, message);
            }
        }
        if object.has("status") {
            self.refuse(
                Some(key),
                "status",
                "belongs to the child's own controller; leave it out",
            );
        }
    }

    fn check_metadata(&mut self, key: &ChildKey, object: &RawObject) {
        let empty = Map::new();
        let metadata = match &object.metadata {
            Some(Value::Object(metadata)) => metadata,
            None | Some(Value::Null) => &empty,
            Some(_) => {
                self.refuse(Some(key), "metadata", "is no object; write {\"labels\": {…}}");
                return;
            }
        };
        for field in metadata.keys() {
            let message = match field.as_str() {
                "name" | "namespace" | "labels" | "annotations" => continue,
                "ownerReferences" => "the host sets the owner; leave it out",
                "finalizers" => "no controller would remove them; leave them out, owner references clean up",
                _ => "only labels and annotations can be set; leave it out",
            };
            self.refuse(Some(key), format!("metadata.{field}"), message);
        }
        self.check_strings(key, metadata, "labels");
        self.check_strings(key, metadata, "annotations");
        let value = |map: &str, name: &str| metadata.get(map).and_then(|map| map.get(name));
        let cluster = &self.parent.cluster;
        let label = value("labels", LABEL_CLUSTER);
        if label.is_none_or(|label| label != cluster.as_str()) {
            let problem = label.map_or_else(|| "is missing".to_owned(), |label| format!("is {label}"));
            let message = format!("{problem}; write {cluster:?}, the cluster's name");
            self.refuse(Some(key), format!("metadata.labels[{LABEL_CLUSTER}]"), message);
        }
        let group = &self.parent.name;
        if let Some(label) = value("labels", LABEL_WORKER_GROUP)
            && self.parent.kind == DaskKind::WorkerGroup
            && label != group.as_str()
        {
            let message = format!("is {label}; write {group:?}, the worker group's name");
            self.refuse(
                Some(key),
                format!("metadata.labels[{LABEL_WORKER_GROUP}]"),
                message,
            );
        }
    }

    /// Checks that `field`, the labels or the annotations, maps strings to strings.
    fn check_strings(&mut self, key: &ChildKey, metadata: &Map<String, Value>, field: &str) {
        let path = format!("metadata.{field}");
        match metadata.get(field) {
            None | Some(Value::Null) => {}
            Some(Value::Object(map)) => {
                for (name, value) in map.iter().filter(|(_, value)| !value.is_string()) {
                    let message = format!("is {value}; write a string");
                    self.refuse(Some(key), format!("{path}[{name}]"), message);
                }
            }
            Some(_) => self.refuse(Some(key), path, "is no object; write {\"name\": \"value\"}"),
        }
    }
}
