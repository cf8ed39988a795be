//! JSON Patches of policies: checks whether a patch is allowed, and applies it to an object.
//!
//! A patch can't enlarge an object by more than its own size, because copies are not allowed. It can't nest an object more
//! deeply than every reader of the object supports.

use json_patch::{Patch, PatchError, PatchOperation};
use serde_json::Value;

use super::changed_identity;

/// Maximum number of operations in a patch.
const MAX_OPERATIONS: usize = 1000;

/// Maximum number of list items that all operations of a patch may move. An operation that inserts or removes an item moves all
/// items after it.
const MAX_MOVED_ITEMS: usize = 10_000_000;

/// Maximum depth to which an operation may write, in levels. Kubernetes objects have less than twenty.
const MAX_DEPTH: usize = 64;

/// Applies a patch (JSON) to an object.
///
/// # Errors
///
/// Returns a field, which is empty for the whole object, and a message if the patch is not allowed or can't be applied.
pub(super) fn apply(object: &Value, text: &str) -> Result<Value, (&'static str, String)> {
    let unusable = |problem: String| ("", format!("its patch can't be applied: {problem}"));
    let patch = read(object, text).map_err(unusable)?;
    let mut patched = object.clone();
    json_patch::patch_unsafe(&mut patched, &patch)
        .map_err(|error| unusable(inapplicable(&error, &patched)))?;
    match changed_identity(object, &patched) {
        Some(field) => Err((field, "its patch changes it, which is not allowed".to_owned())),
        None => Ok(patched),
    }
}

/// Checks a patch (JSON) that a policy returned for a sample object. If the sample lacks a field that the patch needs, this is
/// no error, because other objects may have the field.
///
/// # Errors
///
/// Returns a message if the patch is not allowed for any object.
pub fn check_patch(sample: &Value, text: &str) -> Result<(), String> {
    let patch = read(sample, text)?;
    let mut patched = sample.clone();
    if json_patch::patch_unsafe(&mut patched, &patch).is_err() {
        return Ok(());
    }
    match changed_identity(sample, &patched) {
        Some(field) => Err(format!("it changes {field}, which is not allowed")),
        None => Ok(()),
    }
}

/// Parses a patch and checks that it is allowed for the object.
fn read(object: &Value, text: &str) -> Result<Patch, String> {
    let patch: Patch = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let count = patch.0.len();
    if count > MAX_OPERATIONS {
        return Err(format!(
            "it has {count} operations: write at most {MAX_OPERATIONS}"
        ));
    }
    for (at, operation) in patch.0.iter().enumerate() {
        let numbered = |problem: String| format!("operation {} {problem}", at + 1);
        check_operation(operation).map_err(numbered)?;
    }
    let values = patch.0.iter().filter_map(written_value).chain([object]);
    let items = values.map(longest_list).max().unwrap_or(0);
    let moves_items =
        |operation: &&PatchOperation| matches!(operation, PatchOperation::Add(_) | PatchOperation::Remove(_));
    let moves = patch.0.iter().filter(moves_items).count();
    if moves * (items + moves) > MAX_MOVED_ITEMS {
        return Err(format!(
            "it has {moves} operations `add` and `remove`, and there is a list of {items} items: `replace` the list"
        ));
    }
    Ok(patch)
}

/// Returns the value that an operation writes; `None` if it writes none.
fn written_value(operation: &PatchOperation) -> Option<&Value> {
    match operation {
        PatchOperation::Add(add) => Some(&add.value),
        PatchOperation::Replace(replace) => Some(&replace.value),
        _ => None,
    }
}

/// Returns the number of items of the longest list in a value.
fn longest_list(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(longest_list).fold(items.len(), usize::max),
        Value::Object(fields) => fields.values().map(longest_list).max().unwrap_or(0),
        _ => 0,
    }
}

/// Checks the type of an operation and the depth to which it writes.
fn check_operation(operation: &PatchOperation) -> Result<(), String> {
    let below = match operation {
        PatchOperation::Add(add) => depth(&add.value),
        PatchOperation::Replace(replace) => depth(&replace.value),
        PatchOperation::Test(test) => depth(&test.value),
        PatchOperation::Remove(_) => 0,
        PatchOperation::Copy(_) => return Err(forbidden("copy")),
        PatchOperation::Move(_) => return Err(forbidden("move")),
    };
    let levels = operation.path().count() + below;
    if levels > MAX_DEPTH {
        return Err(format!("writes {levels} levels down: write at most {MAX_DEPTH}"));
    }
    Ok(())
}

/// Returns the message for an operation that no policy may use.
fn forbidden(name: &str) -> String {
    format!("is a `{name}`, which no policy may use: write the value with `add`, and take away with `remove`")
}

/// Returns the number of levels in a value; 0 for a scalar.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Returns the message for a patch that can't be applied. `object` is the state after the operations before the failed one.
fn inapplicable(error: &PatchError, object: &Value) -> String {
    let path = error.path.to_string();
    let mut parents = path.match_indices('/').skip(1).map(|(end, _)| &path[..end]);
    match parents.find(|parent| object.pointer(parent).is_none()) {
        Some(missing) => format!(
            "there is no {missing} for {path} to be in (operation {}): add that before",
            error.operation + 1
        ),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn object() -> Value {
        json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {}})
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!({"a": inner}))
    }

    /// Each `copy` puts the annotations into themselves, so that thirty operations would create 10^9 annotations.
    #[test]
    fn rejects_copy_operations() {
        let mut operations = vec![json!({"op": "add", "path": "/metadata/annotations", "value": {"a": "x"}})];
        operations.extend((0..30).map(|i| {
            let path = format!("/metadata/annotations/k{i}");
            json!({"op": "copy", "from": "/metadata/annotations", "path": path})
        }));
        let refused = apply(&object(), &Value::from(operations).to_string());
        let (field, message) = refused.expect_err("a patch with a copy is refused");
        assert_eq!(field, "");
        assert!(
            message.contains("operation 2 is a `copy`, which no policy may use"),
            "{message}"
        );
    }

    #[rstest]
    #[case::moves(json!([{"op": "move", "from": "/metadata/labels", "path": "/spec/a"}]), "operation 1 is a `move`")]
    #[case::many(json!(vec![json!({"op": "test", "path": "/spec", "value": {}}); 1001]), "it has 1001 operations")]
    #[case::deep_value(json!([{"op": "add", "path": "/spec/a", "value": nested(63)}]), "writes 65 levels down")]
    #[case::deep_path(json!([{"op": "remove", "path": "/a".repeat(65)}]), "writes 65 levels down")]
    #[case::no_patch(json!([{"op": "add"}]), "missing field")]
    fn rejects_forbidden_patches(#[case] patch: Value, #[case] problem: &str) {
        let text = patch.to_string();
        let (_, message) = apply(&object(), &text).expect_err("the patch is refused");
        assert!(message.contains(problem), "{message}");
        let message = check_patch(&object(), &text).expect_err("the patch is refused");
        assert!(message.contains(problem), "{message}");
    }

    /// Each `remove` would move all remaining items.
    #[test]
    fn long_lists_can_only_be_replaced_as_a_whole() {
        let object = json!({"spec": {"list": vec![0; 100_000]}});
        let removed = json!(vec![json!({"op": "remove", "path": "/spec/list/0"}); 1000]);
        let (_, message) = apply(&object, &removed.to_string()).expect_err("the patch is refused");
        assert!(
            message.ends_with("there is a list of 100000 items: `replace` the list"),
            "{message}"
        );
        let replaced = json!([{"op": "replace", "path": "/spec/list", "value": []}]);
        let patched = apply(&object, &replaced.to_string()).expect("the patch can be applied");
        assert_eq!(patched, json!({"spec": {"list": []}}));
    }

    #[test]
    fn applies_an_allowed_patch() {
        let patch = json!([
            {"op": "test", "path": "/spec", "value": {}},
            {"op": "add", "path": "/spec/a", "value": nested(62)},
            {"op": "remove", "path": "/metadata/labels/x"},
        ]);
        let patched = apply(&object(), &patch.to_string()).expect("the patch can be applied");
        let expected = json!({"metadata": {"name": "a", "labels": {}}, "spec": {"a": nested(62)}});
        assert_eq!(patched, expected);
    }

    #[rstest]
    #[case::missing(json!([{"op": "remove", "path": "/spec/size"}]), None)]
    #[case::fine(json!([{"op": "add", "path": "/spec/size", "value": 1}]), None)]
    #[case::renames(
        json!([{"op": "replace", "path": "/metadata/name", "value": "b"}]),
        Some("it changes metadata.name, which is not allowed")
    )]
    fn a_patch_is_checked_on_a_sample(#[case] patch: Value, #[case] expected: Option<&str>) {
        let checked = check_patch(&object(), &patch.to_string());
        assert_eq!(checked.err().as_deref(), expected);
    }
}
