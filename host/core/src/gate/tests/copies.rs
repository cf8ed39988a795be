//! Tests of children that copy the object of another child.

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::stamp::{StampedChild, stamp};

/// A pod whose object contains its name.
fn pod(name: &str) -> DesiredChild {
    let object = json!({
        "metadata": {"name": name, "labels": {"dask.org/cluster-name": "a"}},
        "spec": {"hostname": name},
    });
    created("Pod", name, &object.to_string())
}

fn created(kind: &str, name: &str, text: &str) -> DesiredChild {
    DesiredChild {
        key: key(kind, name),
        action: Action::Create(text.to_owned()),
    }
}

fn copy(kind: &str, name: &str, original: usize) -> DesiredChild {
    DesiredChild {
        key: key(kind, name),
        action: Action::Copy(original),
    }
}

#[test]
fn copies_become_the_objects_that_their_names_stand_for() {
    let objects = |children: Vec<DesiredChild>| -> Vec<Option<Value>> {
        let (declared, parent) = (declared(), parent(DaskKind::Cluster));
        let checked = check(&parent, &Rules::new(&declared), &TestState, plan(children));
        let children = checked.unwrap_or_else(|refusal| panic!("{refusal}")).children;
        stamp(&parent, children)
            .iter()
            .map(StampedChild::object)
            .collect()
    };
    let copies = objects(vec![
        pod("w-1"),
        copy("Pod", "w-2", 0),
        pod("x-1"),
        copy("Pod", "x-2", 2),
        copy("Pod", "w-3", 0),
    ]);
    let originals = objects(vec![pod("w-1"), pod("w-2"), pod("x-1"), pod("x-2"), pod("w-3")]);
    assert_eq!(copies, originals);
}

#[rstest]
#[case::itself(
    vec![copy("Pod", "p", 0)],
    "Pod p: can't copy the child at index 0: only 0 come before it"
)]
#[case::later(
    vec![copy("Pod", "p", 1), pod("w-1")],
    "Pod p: can't copy the child at index 1: only 0 come before it"
)]
#[case::kept(
    vec![DesiredChild { key: key("Pod", "kept"), action: Action::Keep }, copy("Pod", "p", 0)],
    "Pod p: can't copy Pod kept: its action is not `create`"
)]
#[case::copy_of_a_copy(
    vec![pod("w-1"), copy("Pod", "w-2", 0), copy("Pod", "w-3", 1)],
    "Pod w-3: can't copy Pod w-2: its action is not `create`"
)]
#[case::another_kind(
    vec![pod("w-1"), copy("Service", "s", 0)],
    "Service s: can't copy Pod w-1, which has another kind"
)]
#[case::name(
    vec![pod("w-1"), copy("Pod", "W", 0)],
    "Pod W, metadata.name: \"W\" is no name"
)]
#[case::twice(
    vec![pod("w-1"), copy("Pod", "w-1", 0)],
    "Pod w-1: stands in the plan twice"
)]
#[case::part_of_a_label(
    vec![created("Pod", "clust", r#"{"metadata": {"labels": {"dask.org/cluster-name": "a"}}}"#), copy("Pod", "p", 0)],
    "Pod clust, metadata.labels[dask.org/cluster-name]: can't be copied, because its name occurs in other places. \
     With the name \"stand-in\": is missing"
)]
#[case::number(
    vec![created("Pod", "80", r#"{"metadata": {"labels": {"dask.org/cluster-name": "a"}}, "spec": {"port": 8080}}"#), copy("Pod", "p", 0)],
    "Pod 80: can't be copied, because its name occurs in other places. With the name \"stand-in\": is no JSON"
)]
#[case::escape_sequence(
    vec![created("Pod", "n", r#"{"metadata": {"labels": {"dask.org/cluster-name": "a"}}, "x": "\n"}"#), copy("Pod", "p", 0)],
    "Pod n: can't be copied, because its name occurs in other places"
)]
#[case::field(
    vec![created("Pod", "x", r#"{"metadata": {"labels": {"dask.org/cluster-name": "a"}}, "x": {}}"#), copy("Pod", "status", 0)],
    "Pod x: can't be copied, because its name occurs in other places. With the name \"stand-in\": this name is the name of a field"
)]
#[case::many_occurrences(
    vec![created("Pod", "x", r#"{"metadata": {"labels": {"dask.org/cluster-name": "a"}}, "y": "xxx"}"#), copy("Pod", "p", 0)],
    "Pod x: can't be copied: with a long name instead of \"x\" it has 827 bytes of JSON; at most 600 are allowed"
)]
fn invalid_copies_are_refused(#[case] children: Vec<DesiredChild>, #[case] expected: &str) {
    let violations = violations(DaskKind::Cluster, plan(children));
    let is_first = violations
        .first()
        .is_some_and(|violation| violation.starts_with(expected));
    assert!(is_first, "{violations:?}");
}

#[test]
fn an_invalid_original_is_reported_once() {
    let children = vec![created("Pod", "w-1", "{}"), copy("Pod", "w-2", 0)];
    let violations = violations(DaskKind::Cluster, plan(children));
    assert_eq!(violations.len(), 1, "{violations:?}");
}
