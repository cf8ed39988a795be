use serde_json::json;

use super::*;
use crate::client::object::tests::object;

fn pod(name: &str, uid: &str, version: u64) -> Object {
    object(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "n", "uid": uid, "resourceVersion": version.to_string(),
            "labels": {"dask.org/cluster-name": "a"},
            "ownerReferences": [{"kind": "DaskWorkerGroup", "name": "g", "uid": "owner"}],
        },
    }))
}

fn names(store: &Store) -> Vec<String> {
    store
        .owned_by("n", "owner")
        .iter()
        .map(|object| object.name.to_string())
        .collect()
}

#[test]
fn objects_are_found_by_owner() {
    let store = Store::default();
    store.apply_event(pod("b", "1", 1));
    store.apply_event(pod("a", "2", 2));
    assert_eq!(names(&store), ["a", "b"]);
    store.remove(&pod("a", "2", 3));
    assert_eq!(names(&store), ["b"]);
    store.remove(&pod("b", "1", 4));
    assert!(names(&store).is_empty() && store.read().by_owner.is_empty());
}

/// Users may write any uid into the owner references of their own objects.
#[test]
fn an_owner_in_another_namespace_does_not_count() {
    let store = Store::default();
    let mut elsewhere = pod("a", "1", 1);
    elsewhere.namespace = "m".into();
    store.apply_event(elsewhere.clone());
    assert!(names(&store).is_empty());
    assert_eq!(store.owned_by("m", "owner").len(), 1);
    store.apply_event(pod("a", "2", 2));
    store.remove(&elsewhere);
    assert_eq!(names(&store), ["a"]);
}

#[test]
fn the_size_follows_additions_and_removals() {
    let store = Store::default();
    let size = || store.size();
    store.apply_event(pod("a", "1", 1));
    let (_, one) = size();
    store.record_write(pod("a", "1", 22));
    assert_eq!(size(), (1, one + 1), "another version, of one digit more");
    store.mark_deleted(&pod("a", "1", 22));
    store.apply_event(pod("b", "2", 3));
    assert_eq!(size(), (2, 2 * one + 1));
    store.remove(&pod("a", "1", 23));
    assert_eq!(size(), (1, one));
    let generation = store.begin_relist();
    store.end_relist(generation, None);
    assert_eq!(size(), (0, 0));
}

#[test]
fn worker_groups_and_schedulers_are_found_by_cluster() {
    let store = Store::default();
    let group = json!({
        "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup",
        "metadata": {"name": "g", "namespace": "n", "uid": "1"}, "spec": {"cluster": "a"},
    });
    let labels = json!({"dask.org/cluster-name": "a", "dask.org/component": "scheduler"});
    let scheduler = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "s", "namespace": "n", "uid": "2", "labels": labels},
    });
    store.apply_event(object(&group));
    store.apply_event(object(&scheduler));
    store.apply_event(pod("w", "3", 1));
    let found: Vec<_> = store
        .of_cluster("n", "a")
        .iter()
        .map(|object| object.name.to_string())
        .collect();
    assert_eq!(found, ["g", "s"]);
    assert!(store.of_cluster("m", "a").is_empty());
}

#[tokio::test(start_paused = true)]
async fn written_objects_are_visible_at_once_and_become_overdue() {
    let store = Store::default();
    store.record_write(pod("a", "1", 5));
    assert_eq!(names(&store), ["a"]);
    assert!(
        store.apply_event(pod("a", "0", 3)).is_none(),
        "an older object with the same name"
    );
    assert_eq!(
        store.get("n", "a").map(|object| object.uid.to_string()),
        Some("1".into())
    );
    tokio::time::advance(UNCONFIRMED).await;
    assert_eq!(names(&store), ["a"], "the watch may not work");
    assert_eq!(store.overdue().len(), 1, "the object must be looked up");
    assert!(store.apply_lookup(pod("a", "1", 5)).is_some());
    assert!(store.overdue().is_empty(), "it exists");
    store.record_write(pod("b", "2", 6));
    tokio::time::advance(UNCONFIRMED).await;
    let overdue = store.overdue();
    assert_eq!(
        overdue.iter().map(|object| &*object.name).collect::<Vec<_>>(),
        ["b"]
    );
    let gone = store.remove(&overdue[0]);
    assert!(gone.is_some_and(|gone| gone.before.is_some() && gone.after.is_none()));
    assert!(store.overdue().is_empty());
    assert!(
        store.apply_lookup(pod("b", "2", 6)).is_none(),
        "its deletion has been shown"
    );
    assert_eq!(names(&store), ["a"]);
}

#[test]
fn objects_written_during_a_relist_stay() {
    let store = Store::default();
    store.record_write(pod("a", "1", 5));
    let generation = store.begin_relist();
    store.record_write(pod("b", "2", 6));
    let gone = store.end_relist(generation, None);
    assert_eq!(gone.len(), 1);
    assert_eq!(names(&store), ["b"]);
}

/// The answer to a write is slow, and the object is deleted meanwhile.
#[test]
fn an_answer_after_the_deletion_is_ignored() {
    let store = Store::default();
    store.apply_event(pod("a", "1", 5));
    store.remove(&pod("a", "1", 7));
    store.record_write(pod("a", "1", 6));
    assert!(names(&store).is_empty());
    store.record_write(pod("a", "2", 8));
    assert_eq!(names(&store), ["a"], "another object with the same name");
    let generation = store.begin_relist();
    assert_eq!(store.end_relist(generation, None).len(), 1);
    store.record_write(pod("a", "2", 9));
    assert!(names(&store).is_empty(), "a relist did not contain it");
}

/// The watch does not work, and the existing object must not look deleted.
#[tokio::test(start_paused = true)]
async fn a_shown_object_with_an_unconfirmed_version_is_not_overdue() {
    let store = Store::default();
    store.apply_event(pod("a", "1", 5));
    store.record_write(pod("a", "1", 7));
    tokio::time::advance(2 * UNCONFIRMED).await;
    assert_eq!(names(&store), ["a"]);
    assert!(store.overdue().is_empty());
    assert!(
        store.apply_event(pod("a", "1", 6)).is_none(),
        "older than what is known"
    );
    assert!(store.apply_event(pod("a", "1", 7)).is_some());
}

#[tokio::test(start_paused = true)]
async fn confirmed_objects_stay() {
    let store = Store::default();
    store.record_write(pod("a", "1", 5));
    let change = store.apply_event(pod("a", "1", 5));
    assert!(
        change.is_some_and(|change| change.before.is_none()),
        "the watch shows it for the first time"
    );
    assert!(
        store.apply_event(pod("a", "1", 5)).is_none(),
        "it was shown before"
    );
    tokio::time::advance(UNCONFIRMED).await;
    assert_eq!(names(&store), ["a"]);
    assert!(
        store
            .apply_event(pod("a", "1", 6))
            .is_some_and(|change| change.before.is_some())
    );
    store.record_write(pod("a", "1", 5));
    assert_eq!(
        store
            .get("n", "a")
            .map(|object| object.resource_version.to_string()),
        Some("6".into())
    );
}

#[tokio::test(start_paused = true)]
async fn deleted_objects_terminate_despite_a_lagging_watch() {
    let store = Store::default();
    store.apply_event(pod("a", "1", 5));
    store.mark_deleted(&pod("a", "1", 5));
    let terminating = || store.get("n", "a").is_some_and(|object| object.terminating);
    assert!(terminating());
    store.apply_event(pod("a", "1", 6));
    assert!(terminating(), "a change from before the deletion");
    store.remove(&pod("a", "1", 7));
    store.apply_event(pod("a", "2", 8));
    assert!(!terminating(), "a new object");
}

#[test]
fn the_deletion_of_a_predecessor_does_not_remove_its_successor() {
    let store = Store::default();
    store.record_write(pod("a", "2", 9));
    assert!(store.remove(&pod("a", "1", 8)).is_none());
    assert_eq!(names(&store), ["a"]);
}

#[test]
fn a_relist_removes_missing_objects() {
    let store = Store::default();
    store.apply_event(pod("a", "1", 1));
    store.apply_event(pod("b", "2", 2));
    let generation = store.begin_relist();
    store.apply_event(pod("a", "1", 1));
    let gone = store.end_relist(generation, None);
    assert_eq!(gone.len(), 1);
    assert_eq!(names(&store), ["a"]);
    let generation = store.begin_relist();
    assert!(
        store.end_relist(generation, Some("other")).is_empty(),
        "another namespace's list"
    );
}
