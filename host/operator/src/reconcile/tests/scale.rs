//! Scaling, adoption and the deletion of the parent.

use super::*;

#[tokio::test]
async fn a_plan_scales_groups_sets_the_owner_and_deletes_the_parent() {
    let plan = |_: &Observation| {
        let scale = vec![Scale {
            worker_group: "g".into(),
            replicas: 7,
        }];
        Ok(Ok(Plan {
            owner: Some(cluster_owner("c")),
            scale,
            delete_parent: Some("idle".into()),
            status: "{}".into(),
            ..empty()
        }))
    };
    let group = json!({
        "apiVersion": DASK, "kind": "DaskWorkerGroup", "spec": {"cluster": "a", "worker": {"replicas": 3}},
        "metadata": {"name": "g", "namespace": "n", "uid": "uid-g", "resourceVersion": "5"},
    });
    let mut cluster = parent("DaskCluster", &json!({}));
    cluster["metadata"]["uid"] = "c".into();
    let world = World::new(
        None,
        &[parent("DaskAutoscaler", &json!({})), group, cluster],
        plan,
    );
    let outcome = world.reconcile(DaskKind::Autoscaler).await;
    assert_eq!(outcome, Outcome::Gone, "{:?}", world.server.sent);
    assert_eq!(
        world.server.requests(),
        [
            "DELETE daskautoscalers/a",
            "PATCH daskautoscalers/a",
            "PATCH daskworkergroups/g/scale"
        ]
    );
    let (_, scale) = world.server.request("PATCH daskworkergroups/g/scale");
    assert_eq!(
        scale,
        json!({"metadata": {"resourceVersion": "5"}, "spec": {"replicas": 7}})
    );
    let (_, adopted) = world.server.request("PATCH daskautoscalers/a");
    assert_eq!(adopted["metadata"]["ownerReferences"][0]["uid"], "c");
    let (_, deleted) = world.server.request("DELETE daskautoscalers/a");
    assert_eq!(
        deleted["preconditions"],
        json!({"uid": "parent", "resourceVersion": "1000"}),
        "the version that the patch made"
    );
}

#[tokio::test]
async fn replicas_that_changed_meanwhile_are_not_overwritten() {
    static STORES: OnceLock<Stores> = OnceLock::new();
    const GROUP: fn(u32, &str) -> Value = |replicas, version| {
        json!({
            "apiVersion": DASK, "kind": "DaskWorkerGroup", "spec": {"cluster": "a", "worker": {"replicas": replicas}},
            "metadata": {"name": "g", "namespace": "n", "uid": "uid-g", "resourceVersion": version},
        })
    };
    // The group changes while the plan is computed.
    let plan = |_: &Observation| {
        let groups = ResourceType::dask(DaskKind::WorkerGroup).resource;
        let store = STORES.get().and_then(|stores| stores.of(&groups));
        store.map(|store| store.apply_event(object(&GROUP(5, "6"))));
        Ok(Ok(Plan {
            scale: vec![Scale {
                worker_group: "g".into(),
                replicas: 7,
            }],
            ..empty()
        }))
    };
    let objects = [parent("DaskAutoscaler", &json!({})), GROUP(3, "5")];
    let world = World::new(None, &objects, plan);
    let _ = STORES.set(world.reconciler.stores.clone());
    assert_eq!(
        world.reconcile(DaskKind::Autoscaler).await,
        Outcome::Failed(RetryPolicy::Soon, None)
    );
    let requests = world.server.requests();
    assert!(
        !requests.iter().any(|request| request.ends_with("/scale")),
        "{requests:?}"
    );
}

/// A cluster that a user changes when its idle timeout ends is not deleted.
#[tokio::test]
async fn a_parent_that_changed_since_the_decision_is_not_deleted() {
    let refuse = Some(Refusal {
        what: ("DELETE", "/daskclusters/a"),
        answer: (409, "Conflict", "the object has been modified"),
    });
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            delete_parent: Some("idle".into()),
            ..empty()
        }))
    };
    for (status, version) in [(json!({"phase": "Running"}), "10"), (json!({}), "1000")] {
        let world = World::new(refuse, &[parent("DaskCluster", &status)], plan);
        assert_eq!(
            world.reconcile(DaskKind::Cluster).await,
            Outcome::Failed(RetryPolicy::Soon, None)
        );
        let (_, deleted) = world.server.request("DELETE daskclusters/a");
        assert_eq!(deleted["preconditions"]["resourceVersion"], version);
    }
}

/// The informer cache lags behind: it still contains a cluster that was deleted, and perhaps created again, before the user
/// created the group. With the deleted cluster as owner, garbage collection would delete the group.
#[rstest]
#[case::exists(Some(json!({"uid": "c"})), true)]
#[case::deleted(None, false)]
#[case::created_again(Some(json!({"uid": "d"})), false)]
#[case::being_deleted(Some(json!({"uid": "c", "deletionTimestamp": "2026-01-01T00:00:00Z"})), false)]
#[tokio::test]
async fn only_a_cluster_that_exists_becomes_an_owner(#[case] now: Option<Value>, #[case] exists: bool) {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            owner: Some(cluster_owner("c")),
            status: "{}".into(),
            ..empty()
        }))
    };
    let mut cached = parent("DaskCluster", &json!({}));
    cached["metadata"]["uid"] = "c".into();
    let group = parent("DaskWorkerGroup", &json!({}));
    let world = World::new(None, &[group, cached], plan);
    *world.server.objects.lock() = Vec::from_iter(now.map(|mut metadata| {
        let mut cluster = parent("DaskCluster", &json!({}));
        metadata["name"] = "a".into();
        metadata["namespace"] = "n".into();
        cluster["metadata"] = metadata;
        cluster
    }));
    let outcome = world.reconcile(DaskKind::WorkerGroup).await;
    let sets_owner = world
        .server
        .requests()
        .contains(&"PATCH daskworkergroups/a".to_owned());
    assert_eq!(sets_owner, exists);
    let expected = match exists {
        true => Outcome::Done(None),
        false => Outcome::Failed(RetryPolicy::Soon, None),
    };
    assert_eq!(outcome, expected);
}
