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
mod tests;
