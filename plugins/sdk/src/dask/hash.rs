//! Hash of a value, for detecting changes.

use serde_json::Value;

use crate::contract::json_text;

/// Returns the hash of a value: 16 hexadecimal digits. It ignores the order of fields and members that are null, and is the
/// same in every build. (FNV-1a: collisions bring no advantage to an attacker.)
pub fn of(value: &Value) -> String {
    let mut hash = Fnv::default();
    hash.value(value);
    hash.digits()
}

struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn digits(&self) -> String {
        format!("{:016x}", self.0)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        // This byte can't occur in UTF-8, so it marks the end of the text.
        self.bytes(&[0xff]);
    }

    /// Hashes members that are sorted by name.
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
                // The order of a map's fields depends on crate features that any crate can enable.
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
    fn equal_values_have_the_same_hash() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"c": "x", "d": null}}"#).expect("JSON");
        let other: Value = serde_json::from_str(r#"{"b": {"c": "x"}, "a": 1, "e": null}"#).expect("JSON");
        assert_eq!(of(&one), of(&other));
        assert_eq!(
            of(&json!({"a": ["b"]})),
            "5a5db88539734032",
            "the hash must not change"
        );
    }

    #[test]
    fn different_values_have_different_hashes() {
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
