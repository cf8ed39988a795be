//! What a child may say of itself.

use serde_json::{Map, Value};

use super::Gate;
use crate::draft::{Draft, Fields};
use crate::json;
use crate::names::{LABEL_CLUSTER, LABEL_WORKER_GROUP};
use crate::parent::DaskKind;
use crate::plan::ChildKey;

/// The most fields that an object may have at its top; those of Kubernetes have about ten.
const FIELDS: usize = 100;

impl Gate<'_> {
    /// An object that is sent as it is, so that only its metadata becomes a tree. Whatever is wrong with it is refused.
    pub(super) fn object(&mut self, key: &ChildKey, text: &str) -> Option<Draft> {
        let fields = self.fields(key, text)?;
        let bytes = fields.metadata().map_or(0, json::tree_bytes);
        self.draft(key, fields, bytes)
    }

    /// An object of which all is looked at.
    pub(super) fn tree(&mut self, key: &ChildKey, text: &str) -> Option<Map<String, Value>> {
        let fields = self.fields(key, text)?;
        let tree = self.draft(key, fields, json::tree_bytes(text))?.to_map();
        tree.map_err(|error| self.refuse(Some(key), "", format!("can't be read: {error}")))
            .ok()
    }

    fn fields(&mut self, key: &ChildKey, text: &str) -> Option<Fields> {
        let most = self.rules.limits.object_bytes;
        if text.len() > most {
            self.refuse(
                Some(key),
                "",
                format!("{} bytes of JSON; at most {most} are allowed", text.len()),
            );
            return None;
        }
        match Fields::read(text) {
            Ok(fields) if fields.count() > FIELDS => {
                let message = format!("has {} fields; an object has at most {FIELDS}", fields.count());
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

    /// Reads what becomes a tree of `bytes`, if there is room for it beside those of the children before.
    fn draft(&mut self, key: &ChildKey, fields: Fields, bytes: usize) -> Option<Draft> {
        let (before, most) = (self.trees, self.rules.limits.tree_bytes);
        self.trees = before.saturating_add(bytes);
        if self.trees > most {
            // Once is enough.
            if before <= most {
                let message = format!(
                    "would take more than {most} bytes of memory once they are read; plan fewer children at once, or \
                     `create` them instead of `apply`"
                );
                self.refuse(None, "children", message);
            }
            return None;
        }
        match fields.into_draft() {
            Ok(object) => {
                self.fixed(key, &object);
                self.metadata(key, &object);
                Some(object)
            }
            Err(error) => {
                self.refuse(Some(key), "metadata", format!("can't be read: {error}"));
                None
            }
        }
    }

    /// What the key says, the object may repeat but not change.
    fn fixed(&mut self, key: &ChildKey, object: &Draft) {
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
        for (field, value, right) in given {
            if let Some(value) = value.filter(|value| value != right.as_str()) {
                let message = format!("is {value}; leave it out or write {right:?}");
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

    fn metadata(&mut self, key: &ChildKey, object: &Draft) {
        let nothing = Map::new();
        let metadata = match &object.metadata {
            Some(Value::Object(metadata)) => metadata,
            None | Some(Value::Null) => &nothing,
            Some(_) => {
                self.refuse(Some(key), "metadata", "is no object; write {\"labels\": {…}}");
                return;
            }
        };
        for field in metadata.keys() {
            let message = match field.as_str() {
                "name" | "namespace" | "labels" | "annotations" => continue,
                "ownerReferences" => "the host sets the owner; leave it out",
                "finalizers" => "nobody would take them off; leave them out, owner references clean up",
                _ => "only labels and annotations can be set; leave it out",
            };
            self.refuse(Some(key), format!("metadata.{field}"), message);
        }
        self.strings(key, metadata, "labels");
        self.strings(key, metadata, "annotations");
        let value = |map: &str, name: &str| metadata.get(map).and_then(|map| map.get(name));
        let cluster = &self.parent.cluster;
        let label = value("labels", LABEL_CLUSTER);
        if label.is_none_or(|label| label != cluster.as_str()) {
            let is = label.map_or_else(|| "is missing".to_owned(), |label| format!("is {label}"));
            let message = format!("{is}; write {cluster:?}, the cluster's name");
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

    /// Labels and annotations map strings to strings.
    fn strings(&mut self, key: &ChildKey, metadata: &Map<String, Value>, field: &str) {
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
