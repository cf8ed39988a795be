//! Comparison of desired and observed objects, to determine whether an apply would change anything.
//!
//! The API server adds defaults and normalises values, so a test for equality would not work. An object is in sync if it has
//! the hash of the object that was last applied (hence no field has to be removed) and still contains every desired value
//! (hence no other client has changed it).

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::names::ANNOTATION_HASH;
use crate::quantity::Quantity;
use crate::stamp::hash;

/// Returns whether applying `desired` to `observed` would change nothing. `desired` comes from [`crate::stamp::stamp`].
#[must_use]
pub fn in_sync(desired: &Value, observed: &Value) -> bool {
    let hash = |object: &Value| {
        object["metadata"]["annotations"][ANNOTATION_HASH]
            .as_str()
            .map(str::to_owned)
    };
    hash(desired).is_some() && hash(desired) == hash(observed) && holds(desired, observed)
}

/// Returns whether `observed` contains every value of `desired`, or an equivalent one. Also returns false if the comparison
/// would take too many steps; the object is then applied once more.
#[must_use]
pub fn holds(desired: &Value, observed: &Value) -> bool {
    let mut steps = Steps::for_comparing(desired, observed);
    Position::default().holds(desired, Some(observed), &mut steps)
}

/// Maximum number of steps for each value of both objects. One step is enough if keys distinguish the items of a list, or if
/// items with the same key are in the same order; 50 items with the same key in reverse order take 13.
const STEPS: usize = 16;

/// The number of steps that remain for a comparison.
#[derive(Clone, Copy, Debug)]
struct Steps(usize);

impl Steps {
    /// Returns the number of steps for the comparison of two objects.
    fn for_comparing(desired: &Value, observed: &Value) -> Self {
        Self(STEPS * (count_values(desired) + count_values(observed)))
    }

    /// Subtracts a number of steps. Returns false if fewer remain, and then no steps remain.
    fn take(&mut self, steps: usize) -> bool {
        let left = self.0.checked_sub(steps);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Returns the number of values in a value, itself included.
fn count_values(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count_values).sum::<usize>(),
        Value::Object(map) => map.values().map(count_values).sum::<usize>(),
        _ => 0,
    }
}

/// The position of a comparison in an object, as far as it affects the rules of comparison.
#[derive(Clone, Copy, Default)]
struct Position {
    /// True if scalars at this position are quantities.
    quantity: bool,
    /// True if other clients may add items to the list at this position.
    shared: bool,
}

impl Position {
    /// Returns the position of a field of the map at this position.
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
            // The server drops empty values, or replaces them with a default.
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
        // The search for a merge key reads every item, whatever is compared afterwards.
        if !steps.take(observed.len()) {
            return false;
        }
        let Some(key) = merge_key(desired, observed) else {
            return desired.len() == observed.len()
                && desired
                    .iter()
                    .zip(observed)
                    .all(|(item, candidate)| self.holds(item, Some(candidate), steps));
        };
        let mut by_key: HashMap<Cow<'_, str>, SameKey<'_>> = HashMap::new();
        for item in observed {
            let same = by_key.entry(self.normal_form(&item[key])).or_default();
            same.items.push(item);
        }
        desired.iter().all(|item| {
            let Some(same) = by_key.get_mut(&self.normal_form(&item[key])) else {
                return false;
            };
            // Items with the same key usually are in the same order, so the search starts at the expected index.
            let (before, rest) = same.items.split_at(same.next.min(same.items.len()));
            same.next += 1;
            rest.iter()
                .chain(before)
                .any(|candidate| self.holds(item, Some(candidate), steps))
        })
    }

    /// Returns the normal form of a key: equivalent keys have the same normal form.
    fn normal_form(self, key: &Value) -> Cow<'_, str> {
        let text = scalar_text(key).unwrap_or_default();
        match text.parse::<Quantity>().ok().filter(|_| self.quantity) {
            Some(quantity) => quantity.units().to_string().into(),
            None => text,
        }
    }

    fn scalar(self, desired: &Value, observed: &Value) -> bool {
        if desired == observed {
            return true;
        }
        let (Some(desired), Some(observed)) = (scalar_text(desired), scalar_text(observed)) else {
            return false;
        };
        // An integer and a string are equivalent, because some fields accept both.
        desired == observed
            || (self.quantity && {
                let desired = desired.parse::<Quantity>();
                desired.is_ok() && desired == observed.parse()
            })
    }
}

/// The items of an observed list that have the same key.
#[derive(Default)]
struct SameKey<'a> {
    items: Vec<&'a Value>,
    /// Index of the item that is compared first with the next desired item of this key.
    next: usize,
}

/// Fields by which the API server distinguishes list items, the most specific first.
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

/// Returns the first merge key that is a string or a number in all items, or `None` if there is none.
fn merge_key(desired: &[Value], observed: &[Value]) -> Option<&'static str> {
    let has = |item: &Value, key: &str| matches!(item.get(key), Some(Value::String(_) | Value::Number(_)));
    let all_have = |key: &&str| desired.iter().chain(observed).all(|item| has(item, key));
    MERGE_KEYS.into_iter().find(all_have)
}

/// Returns a string or a number as text, or `None` for another value.
fn scalar_text(scalar: &Value) -> Option<Cow<'_, str>> {
    match scalar {
        Value::String(text) => Some(text.into()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// Returns a hash of an object that the server returned, without its status and the fields that change with each write.
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
