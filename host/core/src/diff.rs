//! Whether applying an object would change anything.
//!
//! The API server adds defaults and normalises what it is given, so equality is
//! the wrong question. An object is in sync when it carries the hash of what was
//! last applied (hence nothing has to be removed) and still holds everything
//! that it should (hence nobody has changed it).

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::finish::hash;
use crate::names::ANNOTATION_HASH;
use crate::quantity;

/// Whether `observed` already is what applying `desired` would make of it.
/// `desired` comes from [`crate::finish::finish`].
#[must_use]
pub fn in_sync(desired: &Value, observed: &Value) -> bool {
    let hash = |object: &Value| {
        object["metadata"]["annotations"][ANNOTATION_HASH]
            .as_str()
            .map(str::to_owned)
    };
    hash(desired).is_some() && hash(desired) == hash(observed) && holds(desired, observed)
}

/// Whether everything that stands in `desired` stands in `observed` too, or
/// something that means the same.
#[must_use]
pub fn holds(desired: &Value, observed: &Value) -> bool {
    Place::default().holds(desired, Some(observed))
}

/// Where in an object a comparison is.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Scalars here are quantities.
    quantity: bool,
    /// Others add items to this list, which are theirs.
    shared: bool,
}

impl Place {
    fn field(self, name: &str) -> Self {
        let quantities = [
            "limits",
            "requests",
            "overhead",
            "capacity",
            "sizeLimit",
            "divisor",
            "storage",
            "hard",
        ];
        Self {
            quantity: self.quantity || quantities.contains(&name),
            shared: name == "ownerReferences",
        }
    }

    fn holds(self, desired: &Value, observed: Option<&Value>) -> bool {
        match (desired, observed) {
            // The server drops what is empty, or puts a default there.
            (Value::Null, _) => true,
            (Value::Object(map), None | Some(Value::Null)) => map.values().all(|v| self.holds(v, None)),
            (Value::Array(items), None | Some(Value::Null)) => items.is_empty(),
            (_, None | Some(Value::Null)) => false,
            (Value::Object(desired), Some(Value::Object(observed))) => self.map(desired, observed),
            (Value::Array(desired), Some(Value::Array(observed))) => self.list(desired, observed),
            (desired, Some(observed)) => self.scalar(desired, observed),
        }
    }

    fn map(self, desired: &Map<String, Value>, observed: &Map<String, Value>) -> bool {
        desired
            .iter()
            .all(|(name, value)| self.field(name).holds(value, observed.get(name)))
    }

    fn list(self, desired: &[Value], observed: &[Value]) -> bool {
        if desired.len() > observed.len() || (desired.len() < observed.len() && !self.shared) {
            return false;
        }
        match merge_key(desired, observed) {
            Some(key) => {
                let mut by_key: HashMap<String, Vec<&Value>> = HashMap::new();
                for item in observed {
                    let same = by_key.entry(self.sameness(&item[key])).or_default();
                    if same.len() < SAME_KEY {
                        same.push(item);
                    }
                }
                desired.iter().all(|item| {
                    let same = by_key.get(&self.sameness(&item[key]));
                    same.into_iter()
                        .flatten()
                        .any(|other| self.holds(item, Some(other)))
                })
            }
            None => {
                desired.len() == observed.len()
                    && desired
                        .iter()
                        .zip(observed)
                        .all(|(item, other)| self.holds(item, Some(other)))
            }
        }
    }

    /// A text that two keys have in common if they mean the same.
    fn sameness(self, key: &Value) -> String {
        let text = text(key).unwrap_or_else(|| key.to_string());
        match quantity::parse(&text).filter(|_| self.quantity) {
            Some(quantity) => quantity.to_string(),
            None => text,
        }
    }

    fn scalar(self, desired: &Value, observed: &Value) -> bool {
        if desired == observed {
            return true;
        }
        let (Some(desired), Some(observed)) = (text(desired), text(observed)) else {
            return false;
        };
        // An integer where Kubernetes also takes a string, or the other way round.
        desired == observed
            || (self.quantity && {
                let desired = quantity::parse(&desired);
                desired.is_some() && desired == quantity::parse(&observed)
            })
    }
}

/// Items of one key that an item is compared with. Kubernetes has two of one at most, a port of TCP and of UDP.
const SAME_KEY: usize = 100;

/// Keys by which the API server tells list items apart, the most telling first.
const MERGE_KEYS: [&str; 8] = [
    "uid",
    "name",
    "containerPort",
    "port",
    "mountPath",
    "devicePath",
    "ip",
    "topologyKey",
];

/// The merge key that all items have.
fn merge_key(desired: &[Value], observed: &[Value]) -> Option<&'static str> {
    let all_have = |key: &&str| desired.iter().chain(observed).all(|item| item.get(key).is_some());
    MERGE_KEYS.into_iter().find(all_have)
}

fn text(scalar: &Value) -> Option<String> {
    match scalar {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The hash of what matters of an object that the server returned: everything
/// but its status and what changes with each write.
#[must_use]
pub fn fingerprint(observed: &Value) -> String {
    let mut object = observed.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["resourceVersion", "managedFields", "generation"] {
            metadata.remove(field);
        }
    }
    hash(&object)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::same(json!({"a": 1}), json!({"a": 1}))]
    #[case::defaults(json!({"spec": {"a": 1}}), json!({"spec": {"a": 1, "b": "default"}, "status": {}}))]
    #[case::null(json!({"a": null}), json!({}))]
    #[case::empty_map(json!({"a": {}}), json!({}))]
    #[case::empty_list(json!({"a": []}), json!({}))]
    #[case::empty_inside(json!({"a": {"b": {"c": null}}}), json!({}))]
    #[case::quantity(
        json!({"resources": {"limits": {"cpu": 1, "memory": "1.5Gi"}}}),
        json!({"resources": {"limits": {"cpu": "1", "memory": "1536Mi"}}})
    )]
    #[case::milli(json!({"requests": {"cpu": "1000m"}}), json!({"requests": {"cpu": 1}}))]
    #[case::int_or_string(json!({"targetPort": 8786}), json!({"targetPort": "8786"}))]
    #[case::order(
        json!({"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}),
        json!({"ports": [{"name": "b", "port": 2, "nodePort": 3}, {"name": "a", "port": 1, "protocol": "TCP"}]})
    )]
    #[case::same_port_twice(
        json!({"ports": [{"port": 1, "protocol": "TCP"}, {"port": 1, "protocol": "UDP"}]}),
        json!({"ports": [{"port": 1, "protocol": "UDP"}, {"port": 1, "protocol": "TCP"}]})
    )]
    #[case::key_as_text(
        json!({"ports": [{"port": 1, "protocol": "TCP"}]}),
        json!({"ports": [{"port": "1", "protocol": "TCP"}]})
    )]
    #[case::key_as_quantity(
        json!({"limits": [{"name": "1000m", "a": 1}]}),
        json!({"limits": [{"name": 1, "a": 1}]})
    )]
    #[case::further_owner(
        json!({"metadata": {"ownerReferences": [{"uid": "1"}]}}),
        json!({"metadata": {"ownerReferences": [{"uid": "0"}, {"uid": "1", "name": "x"}]}})
    )]
    #[case::list_by_position(json!({"args": ["a", "b"]}), json!({"args": ["a", "b"]}))]
    fn held(#[case] desired: Value, #[case] observed: Value) {
        assert!(holds(&desired, &observed));
    }

    #[rstest]
    #[case::other(json!({"a": 1}), json!({"a": 2}))]
    #[case::gone(json!({"a": 1}), json!({}))]
    #[case::other_type(json!({"a": true}), json!({"a": "true"}))]
    #[case::more_items(json!({"args": ["a"]}), json!({"args": ["a", "b"]}))]
    #[case::fewer_items(json!({"args": ["a", "b"]}), json!({"args": ["a"]}))]
    #[case::other_order(json!({"args": ["a", "b"]}), json!({"args": ["b", "a"]}))]
    #[case::added_item(
        json!({"containers": [{"name": "a"}]}),
        json!({"containers": [{"name": "a"}, {"name": "b"}]})
    )]
    #[case::item_changed(
        json!({"containers": [{"name": "a", "image": "x"}]}),
        json!({"containers": [{"name": "a", "image": "y"}]})
    )]
    #[case::no_quantity_here(
        json!({"env": [{"name": "a", "value": "1000m"}]}),
        json!({"env": [{"name": "a", "value": "1"}]})
    )]
    #[case::label(json!({"labels": {"a": "b"}}), json!({"labels": {"a": "c"}}))]
    fn not_held(#[case] desired: Value, #[case] observed: Value) {
        assert!(!holds(&desired, &observed));
    }

    /// A list of a megabyte can have so many items. Each compared with each would take minutes.
    #[test]
    fn long_lists_are_compared_item_by_item() {
        let list = |count: usize| -> Vec<Value> {
            (0..count)
                .map(|i| json!({"name": i.to_string(), "value": "x"}))
                .collect()
        };
        let (desired, mut observed) = (list(50_000), list(50_000));
        observed.reverse();
        assert!(holds(&json!({"env": desired}), &json!({"env": observed})));
        observed[49_999]["value"] = json!("y");
        assert!(!holds(&json!({"env": desired}), &json!({"env": observed})));
    }

    #[test]
    fn so_are_lists_whose_items_have_one_key() {
        let list = |count: usize| -> Vec<Value> {
            (0..count)
                .map(|i| json!({"name": "a", "value": i.to_string()}))
                .collect()
        };
        let (few, many) = (json!({"env": list(100)}), json!({"env": list(50_000)}));
        assert!(holds(&few, &few));
        assert!(!holds(&many, &many), "it is sent once more");
    }

    #[rstest]
    #[case::same("h", "h", 1, true)]
    #[case::a_field_was_removed("h", "g", 1, false)]
    #[case::somebody_changed_it("h", "h", 2, false)]
    fn sync_is_hash_and_content(
        #[case] wanted: &str,
        #[case] hash: &str,
        #[case] value: i32,
        #[case] expected: bool,
    ) {
        let object = |hash: &str, value: i32| json!({"metadata": {"annotations": {ANNOTATION_HASH: hash}}, "spec": {"a": value}});
        assert_eq!(in_sync(&object(wanted, 1), &object(hash, value)), expected);
    }

    #[test]
    fn what_was_never_hashed_is_not_in_sync() {
        assert!(!in_sync(&json!({}), &json!({})));
    }

    #[test]
    fn a_fingerprint_ignores_what_changes_by_itself() {
        let one = json!({"metadata": {"name": "a", "resourceVersion": "1"}, "spec": {}, "status": {"x": 1}});
        let two = json!({"metadata": {"name": "a", "resourceVersion": "2", "generation": 7}, "spec": {}});
        assert_eq!(fingerprint(&one), fingerprint(&two));
        assert_ne!(
            fingerprint(&one),
            fingerprint(&json!({"metadata": {"name": "a"}, "spec": {"a": 1}}))
        );
    }
}
