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
