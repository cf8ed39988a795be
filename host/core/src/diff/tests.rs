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
fn finds_equivalent_values(#[case] desired: Value, #[case] observed: Value) {
    assert!(holds(&desired, &observed));
}

#[rstest]
#[case::other(json!({"a": 1}), json!({"a": 2}))]
#[case::missing(json!({"a": 1}), json!({}))]
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
#[case::not_a_quantity_at_this_position(
    json!({"env": [{"name": "a", "value": "1000m"}]}),
    json!({"env": [{"name": "a", "value": "1"}]})
)]
#[case::label(json!({"labels": {"a": "b"}}), json!({"labels": {"a": "c"}}))]
fn finds_differences(#[case] desired: Value, #[case] observed: Value) {
    assert!(!holds(&desired, &observed));
}

/// Compares two objects. Returns whether `observed` contains `desired`, and the number of steps that the comparison takes for
/// each value of both objects, rounded up.
fn compare(desired: &Value, observed: &Value) -> (bool, usize) {
    let all = Steps::for_comparing(desired, observed);
    let mut left = all;
    let holds = Position::default().holds(desired, Some(observed), &mut left);
    (
        holds,
        (all.0 - left.0).div_ceil(count_values(desired) + count_values(observed)),
    )
}

/// Number of items of the longest list that a megabyte of text can contain.
const LONG: usize = 50_000;

fn list(count: usize, name: fn(usize) -> String) -> Vec<Value> {
    (0..count)
        .map(|i| json!({"name": name(i), "value": i.to_string()}))
        .collect()
}

#[test]
fn long_lists_with_unique_keys_take_one_step_per_value() {
    let desired = list(LONG, |i| i.to_string());
    let mut observed = desired.clone();
    observed.reverse();
    let (desired, mut observed) = (json!({"env": desired}), json!({"env": observed}));
    assert_eq!(compare(&desired, &observed), (true, 1));
    observed["env"][LONG - 1]["value"] = json!("y");
    assert_eq!(compare(&desired, &observed), (false, 1));
}

#[rstest]
#[case::in_order(LONG, false, true, 1)]
#[case::in_another_order(50, true, true, 13)]
#[case::too_many_in_another_order(LONG, true, false, STEPS)]
fn lists_with_equal_keys_take_more_steps_in_another_order(
    #[case] count: usize,
    #[case] reversed: bool,
    #[case] expected: bool,
    #[case] steps: usize,
) {
    let desired = list(count, |_| "a".into());
    let mut observed = desired.clone();
    if reversed {
        observed.reverse();
    }
    assert_eq!(
        compare(&json!({"env": desired}), &json!({"env": observed})),
        (expected, steps)
    );
}

/// Nested lists whose items have the same key and differ only in their last leaf. In reverse order, a full comparison would
/// take 421 steps for each of these values.
#[test]
fn the_comparison_of_nested_lists_ends_at_the_step_limit() {
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
    assert_eq!(compare(&desired, &desired), (true, 1));
    let (holds, steps) = compare(&desired, &reversed);
    assert!(!holds, "the object is applied once more");
    assert_eq!(steps, STEPS);
}

/// A map or a list is no merge key: it may be large, and its comparison would take more than one step.
#[test]
fn a_structure_is_not_a_merge_key() {
    let list = |names: [u8; 2]| json!(names.map(|name| json!({"name": {"x": name}})));
    assert!(holds(&list([1, 2]), &list([1, 2])));
    assert!(!holds(&list([1, 2]), &list([2, 1])));
}

#[rstest]
#[case::same("h", "h", 1, true)]
#[case::a_field_was_removed("h", "g", 1, false)]
#[case::content_was_changed("h", "h", 2, false)]
fn in_sync_compares_hash_and_content(
    #[case] wanted: &str,
    #[case] hash: &str,
    #[case] value: i32,
    #[case] expected: bool,
) {
    let object = |hash: &str, value: i32| json!({"metadata": {"annotations": {ANNOTATION_HASH: hash}}, "spec": {"a": value}});
    assert_eq!(in_sync(&object(wanted, 1), &object(hash, value)), expected);
}

#[test]
fn an_object_without_a_hash_is_not_in_sync() {
    assert!(!in_sync(&json!({}), &json!({})));
}

#[test]
fn a_fingerprint_ignores_status_and_versions() {
    let one = json!({"metadata": {"name": "a", "resourceVersion": "1"}, "spec": {}, "status": {"x": 1}});
    let two = json!({"metadata": {"name": "a", "resourceVersion": "2", "generation": 7}, "spec": {}});
    assert_eq!(fingerprint(&one), fingerprint(&two));
    assert_ne!(
        fingerprint(&one),
        fingerprint(&json!({"metadata": {"name": "a"}, "spec": {"a": 1}}))
    );
}
