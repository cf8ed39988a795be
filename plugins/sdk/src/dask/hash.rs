//! A hash by which a change is seen.

use serde_json::Value;

use crate::contract::json_text;

/// The hash of a value: 16 hexadecimal digits. The order of fields and members that are null make no difference, and
/// it is the same in every build. (FNV-1a: nobody gains anything by two values with the same hash.)
pub fn of(value: &Value) -> String {
    let mut hash = Fnv::default();
    hash.value(value);
    hash.text_of()
}

struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn text_of(&self) -> String {
        format!("{:016x}", self.0)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        // No text has this byte: it ends one.
        self.bytes(&[0xff]);
    }

    /// Members in the order of their names.
    fn object(&mut self, members: &[(&str, &Value)]) {
        self.text("{");
        for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
            self.text(name);
            self.value(value);
        }
        self.text("}");
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(members) => {
                // Whether a map keeps the order of its fields depends on features that any crate may set.
                let mut members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| (name.as_str(), value))
                    .collect();
                members.sort_by_key(|(name, _)| *name);
                self.object(&members);
            }
            Value::Array(items) => {
                self.text("[");
                items.iter().for_each(|item| self.value(item));
                self.text("]");
            }
            scalar => self.text(&json_text(scalar)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_says_the_same_has_the_same_hash() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"c": "x", "d": null}}"#).expect("JSON");
        let other: Value = serde_json::from_str(r#"{"b": {"c": "x"}, "a": 1, "e": null}"#).expect("JSON");
        assert_eq!(of(&one), of(&other));
        assert_eq!(of(&json!({"a": ["b"]})), "5a5db88539734032", "it never changes");
    }

    #[test]
    fn what_differs_has_another() {
        let values = [
            json!({}),
            json!([]),
            json!(null),
            json!("a"),
            json!({"a": "b"}),
            json!({"a": ["b"]}),
            json!({"ab": ""}),
            json!(["a", "b"]),
            json!(["b", "a"]),
            json!(["ab"]),
            json!([["a"], "b"]),
            json!(1),
            json!("1"),
        ];
        let hashes: std::collections::HashSet<String> = values.iter().map(of).collect();
        assert_eq!(hashes.len(), values.len());
    }
}
