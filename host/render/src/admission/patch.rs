//! Patches that policies write: which are applied, and what an object becomes by one.
//!
//! A patch makes an object at most as much larger as it is long itself, because it copies nothing, and at most so deep
//! as everybody who reads the object can go down.

use json_patch::{Patch, PatchError, PatchOperation};
use serde_json::Value;

use super::renamed;

/// Operations of one patch.
const OPERATIONS: usize = 1000;

/// How many items of lists all operations may move: each that puts in or takes out an item moves those behind it.
const MOVED: usize = 10_000_000;

/// How many levels down an operation may write. Kubernetes' objects have less than twenty.
const DEPTH: usize = 64;

/// Applies a patch (JSON) to an object.
///
/// # Errors
///
/// A field, or nothing for the whole object, and what is wrong.
pub(super) fn apply(object: &Value, text: &str) -> Result<Value, (&'static str, String)> {
    let unusable = |problem: String| ("", format!("its patch can't be applied: {problem}"));
    let patch = read(object, text).map_err(unusable)?;
    let mut patched = object.clone();
    json_patch::patch_unsafe(&mut patched, &patch)
        .map_err(|error| unusable(inapplicable(&error, &patched)))?;
    match renamed(object, &patched) {
        Some(field) => Err((field, "its patch changes it, which nobody may".to_owned())),
        None => Ok(patched),
    }
}

/// Checks a patch (JSON) that a policy wrote when it was tried on a sample. That the sample lacks a field which the
/// patch needs is not wrong: others have it.
///
/// # Errors
///
/// What is wrong with it whatever it is applied to.
pub fn check_patch(sample: &Value, text: &str) -> Result<(), String> {
    let patch = read(sample, text)?;
    let mut patched = sample.clone();
    if json_patch::patch_unsafe(&mut patched, &patch).is_err() {
        return Ok(());
    }
    match renamed(sample, &patched) {
        Some(field) => Err(format!("it changes {field}, which nobody may")),
        None => Ok(()),
    }
}

/// Reads a patch of an object.
fn read(object: &Value, text: &str) -> Result<Patch, String> {
    let patch: Patch = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let count = patch.0.len();
    if count > OPERATIONS {
        return Err(format!("it has {count} operations: write at most {OPERATIONS}"));
    }
    for (at, operation) in patch.0.iter().enumerate() {
        let wrong = |problem: String| format!("operation {} {problem}", at + 1);
        allowed(operation).map_err(wrong)?;
    }
    let values = patch.0.iter().filter_map(written).chain([object]);
    let items = values.map(longest_list).max().unwrap_or(0);
    let moves =
        |operation: &&PatchOperation| matches!(operation, PatchOperation::Add(_) | PatchOperation::Remove(_));
    let moves = patch.0.iter().filter(moves).count();
    if moves * (items + moves) > MOVED {
        return Err(format!(
            "it has {moves} operations `add` and `remove`, and there is a list of {items} items: `replace` the list"
        ));
    }
    Ok(patch)
}

/// The value that an operation writes.
fn written(operation: &PatchOperation) -> Option<&Value> {
    match operation {
        PatchOperation::Add(add) => Some(&add.value),
        PatchOperation::Replace(replace) => Some(&replace.value),
        _ => None,
    }
}

/// The items of the longest list in a value.
fn longest_list(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(longest_list).fold(items.len(), usize::max),
        Value::Object(fields) => fields.values().map(longest_list).max().unwrap_or(0),
        _ => 0,
    }
}

fn allowed(operation: &PatchOperation) -> Result<(), String> {
    let below = match operation {
        PatchOperation::Add(add) => depth(&add.value),
        PatchOperation::Replace(replace) => depth(&replace.value),
        PatchOperation::Test(test) => depth(&test.value),
        PatchOperation::Remove(_) => 0,
        PatchOperation::Copy(_) => return Err(by_value("copy")),
        PatchOperation::Move(_) => return Err(by_value("move")),
    };
    let levels = operation.path().count() + below;
    if levels > DEPTH {
        return Err(format!("writes {levels} levels down: write at most {DEPTH}"));
    }
    Ok(())
}

fn by_value(name: &str) -> String {
    format!("is a `{name}`, which no policy may use: write the value with `add`, and take away with `remove`")
}

/// How many levels there are in a value.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Why a patch can't be applied to an object, of which `object` is what the operations before have left.
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

    /// Each copies the annotations into themselves: thirty operations make a thousand million of them.
    #[test]
    fn nothing_is_copied() {
        let mut operations = vec![json!({"op": "add", "path": "/metadata/annotations", "value": {"a": "x"}})];
        operations.extend((0..30).map(|i| {
            let path = format!("/metadata/annotations/k{i}");
            json!({"op": "copy", "from": "/metadata/annotations", "path": path})
        }));
        let wrong = apply(&object(), &Value::from(operations).to_string());
        let (field, message) = wrong.expect_err("it would be large");
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
    fn what_no_patch_may(#[case] patch: Value, #[case] problem: &str) {
        let text = patch.to_string();
        let (_, message) = apply(&object(), &text).expect_err("it is refused");
        assert!(message.contains(problem), "{message}");
        let message = check_patch(&object(), &text).expect_err("it is refused");
        assert!(message.contains(problem), "{message}");
    }

    /// Each of these would move all items that are left.
    #[test]
    fn long_lists_are_replaced() {
        let object = json!({"spec": {"list": vec![0; 100_000]}});
        let removed = json!(vec![json!({"op": "remove", "path": "/spec/list/0"}); 1000]);
        let (_, message) = apply(&object, &removed.to_string()).expect_err("it is refused");
        assert!(
            message.ends_with("there is a list of 100000 items: `replace` the list"),
            "{message}"
        );
        let replaced = json!([{"op": "replace", "path": "/spec/list", "value": []}]);
        let patched = apply(&object, &replaced.to_string()).expect("it can be applied");
        assert_eq!(patched, json!({"spec": {"list": []}}));
    }

    #[test]
    fn what_a_patch_may() {
        let patch = json!([
            {"op": "test", "path": "/spec", "value": {}},
            {"op": "add", "path": "/spec/a", "value": nested(62)},
            {"op": "remove", "path": "/metadata/labels/x"},
        ]);
        let patched = apply(&object(), &patch.to_string()).expect("it can be applied");
        let expected = json!({"metadata": {"name": "a", "labels": {}}, "spec": {"a": nested(62)}});
        assert_eq!(patched, expected);
    }

    #[rstest]
    #[case::missing(json!([{"op": "remove", "path": "/spec/size"}]), None)]
    #[case::fine(json!([{"op": "add", "path": "/spec/size", "value": 1}]), None)]
    #[case::renames(
        json!([{"op": "replace", "path": "/metadata/name", "value": "b"}]),
        Some("it changes metadata.name, which nobody may")
    )]
    fn what_a_sample_shows(#[case] patch: Value, #[case] wrong: Option<&str>) {
        let checked = check_patch(&object(), &patch.to_string());
        assert_eq!(checked.err().as_deref(), wrong);
    }
}
