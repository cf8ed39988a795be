//! Whether applying an object would change anything.
//!
//! The API server adds defaults and normalises what it is given, so equality is
//! the wrong question. An object is in sync when it carries the hash of what was
//! last applied (hence nothing has to be removed) and still holds everything
//! that it should (hence nobody has changed it).

use std::borrow::Cow;
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
/// something that means the same. False, too, where it would take too many steps to find
/// out: it is applied once more then.
#[must_use]
pub fn holds(desired: &Value, observed: &Value) -> bool {
    let mut steps = Steps::for_comparing(desired, observed);
    Place::default().holds(desired, Some(observed), &mut steps)
}

/// Steps for each value of both objects. One is enough where keys tell the items of a list apart, or where items of one key
/// are in the same order; 50 of one key in reverse order take 13.
const STEPS: usize = 16;

/// The steps that a comparison may still take.
#[derive(Clone, Copy, Debug)]
struct Steps(usize);

impl Steps {
    fn for_comparing(desired: &Value, observed: &Value) -> Self {
        Self(STEPS * (values(desired) + values(observed)))
    }

    /// Takes so many. False where there are fewer; there are none any more then.
    fn take(&mut self, steps: usize) -> bool {
        let left = self.0.checked_sub(steps);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// How many values there are in a value, itself included.
fn values(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(values).sum::<usize>(),
        Value::Object(map) => map.values().map(values).sum::<usize>(),
        _ => 0,
    }
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

    fn holds(self, desired: &Value, observed: Option<&Value>, steps: &mut Steps) -> bool {
        if !steps.take(1) {
            return false;
        }
        match (desired, observed) {
            // The server drops what is empty, or puts a default there.
            (Value::Null, _) => true,
            (Value::Object(map), None | Some(Value::Null)) => {
                map.values().all(|value| self.holds(value, None, steps))
            }
            (Value::Array(items), None | Some(Value::Null)) => items.is_empty(),
            (_, None | Some(Value::Null)) => false,
            (Value::Object(desired), Some(Value::Object(observed))) => self.map(desired, observed, steps),
            (Value::Array(desired), Some(Value::Array(observed))) => self.list(desired, observed, steps),
            (desired, Some(observed)) => self.scalar(desired, observed),
        }
    }

    fn map(self, desired: &Map<String, Value>, observed: &Map<String, Value>, steps: &mut Steps) -> bool {
        desired
            .iter()
            .all(|(name, value)| self.field(name).holds(value, observed.get(name), steps))
    }

    fn list(self, desired: &[Value], observed: &[Value], steps: &mut Steps) -> bool {
        let may_be_longer = self.shared && desired.len() < observed.len();
        if desired.len() != observed.len() && !may_be_longer {
            return false;
        }
        // All are looked at for their keys, whatever is compared then.
        if !steps.take(observed.len()) {
            return false;
        }
        let Some(key) = merge_key(desired, observed) else {
            return desired.len() == observed.len()
                && desired
                    .iter()
                    .zip(observed)
                    .all(|(item, other)| self.holds(item, Some(other), steps));
        };
        let mut by_key: HashMap<Cow<'_, str>, OfOneKey<'_>> = HashMap::new();
        for item in observed {
            let same = by_key.entry(self.sameness(&item[key])).or_default();
            same.items.push(item);
        }
        desired.iter().all(|item| {
            let Some(same) = by_key.get_mut(&self.sameness(&item[key])) else {
                return false;
            };
            // They are in the same order, unless somebody has changed that.
            let (before, from) = same.items.split_at(same.next.min(same.items.len()));
            same.next += 1;
            from.iter()
                .chain(before)
                .any(|other| self.holds(item, Some(other), steps))
        })
    }

    /// A text that two keys have in common if they mean the same.
    fn sameness(self, key: &Value) -> Cow<'_, str> {
        let text = text(key).unwrap_or_default();
        match quantity::parse(&text).filter(|_| self.quantity) {
            Some(quantity) => quantity.to_string().into(),
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

/// Items of an observed list that have one key.
#[derive(Default)]
struct OfOneKey<'a> {
    items: Vec<&'a Value>,
    /// The place of the one that the next desired item of that key is compared with first.
    next: usize,
}

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

/// The merge key that all items have: a text or a number.
fn merge_key(desired: &[Value], observed: &[Value]) -> Option<&'static str> {
    let has = |item: &Value, key: &str| matches!(item.get(key), Some(Value::String(_) | Value::Number(_)));
    let all_have = |key: &&str| desired.iter().chain(observed).all(|item| has(item, key));
    MERGE_KEYS.into_iter().find(all_have)
}

fn text(scalar: &Value) -> Option<Cow<'_, str>> {
    match scalar {
        Value::String(text) => Some(text.into()),
        Value::Number(number) => Some(number.to_string().into()),
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

    /// Whether it is held, and how many steps it takes to know that for each value of both, rounded up.
    fn compared(desired: &Value, observed: &Value) -> (bool, usize) {
        let all = Steps::for_comparing(desired, observed);
        let mut left = all;
        let is_held = Place::default().holds(desired, Some(observed), &mut left);
        (
            is_held,
            (all.0 - left.0).div_ceil(values(desired) + values(observed)),
        )
    }

    /// A list as long as a megabyte of text can have it.
    const LONG: usize = 50_000;

    fn list(count: usize, name: fn(usize) -> String) -> Vec<Value> {
        (0..count)
            .map(|i| json!({"name": name(i), "value": i.to_string()}))
            .collect()
    }

    #[test]
    fn long_lists_are_compared_item_by_item() {
        let desired = list(LONG, |i| i.to_string());
        let mut observed = desired.clone();
        observed.reverse();
        let (desired, mut observed) = (json!({"env": desired}), json!({"env": observed}));
        assert_eq!(compared(&desired, &observed), (true, 1));
        observed["env"][LONG - 1]["value"] = json!("y");
        assert_eq!(compared(&desired, &observed), (false, 1));
    }

    #[rstest]
    #[case::in_order(LONG, false, true, 1)]
    #[case::in_another_order(50, true, true, 13)]
    #[case::too_many_in_another_order(LONG, true, false, STEPS)]
    fn so_are_lists_whose_items_have_one_key(
        #[case] count: usize,
        #[case] reversed: bool,
        #[case] is_held: bool,
        #[case] steps: usize,
    ) {
        let desired = list(count, |_| "a".into());
        let mut observed = desired.clone();
        if reversed {
            observed.reverse();
        }
        assert_eq!(
            compared(&json!({"env": desired}), &json!({"env": observed})),
            (is_held, steps)
        );
    }

    /// Items of one key that differ in their last leaf only, and so down to the leaves. In reverse order, it would take 421
    /// steps for each of these values to compare each with each.
    #[test]
    fn lists_in_lists_are_compared_as_long_as_there_are_steps() {
        fn tree(levels: u32, last: usize, reversed: bool) -> Value {
            if levels == 0 {
                return json!(last);
            }
            let leaf = |i: usize| if i < 7 { i } else { i + last };
            let mut items: Vec<_> = (0..8)
                .map(|i| json!({"name": "a", "of": tree(levels - 1, leaf(i), reversed)}))
                .collect();
            if reversed {
                items.reverse();
            }
            json!(items)
        }
        let (desired, reversed) = (tree(4, 0, false), tree(4, 0, true));
        assert_eq!(compared(&desired, &desired), (true, 1));
        let (is_held, steps) = compared(&desired, &reversed);
        assert!(!is_held, "it is sent once more");
        assert_eq!(steps, STEPS);
    }

    /// What has a list as its name is long, and no key: to look at it would take more than a step.
    #[test]
    fn an_item_is_not_known_by_a_structure() {
        let list = |names: [u8; 2]| json!(names.map(|name| json!({"name": {"x": name}})));
        assert!(holds(&list([1, 2]), &list([1, 2])));
        assert!(!holds(&list([1, 2]), &list([2, 1])));
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
