//! Objects that are being deleted, left to garbage collection, or marked by the previous operator.

use super::*;

#[tokio::test]
async fn resources_that_are_being_deleted_are_ignored() {
    let mut deleted = parent("DaskCluster", &json!({}));
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let world = World::new(None, &[deleted], |_| {
        Ok(Ok(Plan {
            children: vec![pod("p")],
            ..empty()
        }))
    });
    assert_eq!(world.reconcile(DaskKind::Cluster).await, Outcome::Gone);
    assert!(world.server.requests().is_empty());
}

/// Returns an object of a cluster with the same name that was deleted a moment ago, before the present one was created.
fn left_over(kind: &str) -> Value {
    let mut object = owned(kind, "s");
    object["metadata"]["ownerReferences"][0]["uid"] = "the parent before".into();
    object["metadata"]["ownerReferences"][0]["controller"] = true.into();
    object
}

#[tokio::test]
async fn objects_left_to_garbage_collection_are_not_adopted() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: vec![child("Service", "s", ChildAction::Apply), pod("p")],
            ..empty()
        }))
    };
    let objects = [
        parent("DaskCluster", &json!({"phase": "Running"})),
        left_over("Service"),
    ];
    let world = World::new(None, &objects, plan);
    assert_eq!(
        world.reconcile(DaskKind::Cluster).await,
        Outcome::Failed(RetryPolicy::Soon, None)
    );
    assert_eq!(
        world.server.requests(),
        ["POST pods"],
        "other children are not delayed"
    );
}

/// The group may have the labels of a child, or be one that a user created.
#[rstest]
#[case::child(json!({"dask.org/cluster-name": "a"}))]
#[case::made_by_a_user(json!({}))]
#[tokio::test]
async fn a_group_of_a_deleted_cluster_is_left_to_garbage_collection(#[case] labels: Value) {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: vec![pod("p")],
            owner: Some(cluster_owner("parent")),
            ..empty()
        }))
    };
    let mut group = left_over("");
    group["apiVersion"] = DASK.into();
    group["kind"] = "DaskWorkerGroup".into();
    group["metadata"]["name"] = "g".into();
    group["metadata"]["labels"] = labels;
    group["spec"] = json!({"cluster": "a"});
    group["status"] = json!({"phase": "Running"});
    let world = World::new(None, &[parent("DaskCluster", &json!({})), group], plan);
    let key = ParentKey::new(DaskKind::WorkerGroup, "n", "g");
    let again = Outcome::Done(Some(Duration::from_secs(30)));
    assert_eq!(world.reconciler.reconcile(&key, 0).await, again);
    assert!(world.server.requests().is_empty());
}

/// A policy of the cluster forbids changes of one object, and others wait behind it.
#[tokio::test(start_paused = true)]
async fn marks_that_can_not_be_removed_do_not_delay_others() {
    let server = Server::start(Some(Refusal {
        what: ("PATCH", "/daskclusters/stuck"),
        answer: (403, "Forbidden", "denied by a policy"),
    }));
    let (marked, listening) = tokio::sync::mpsc::unbounded_channel();
    let cluster = |name: &str| {
        let object = object(&json!({
            "apiVersion": DASK, "kind": "DaskCluster",
            "metadata": {"name": name, "namespace": "n", "uid": name, "annotations": {"kopf.zalando.org/x": "1"}},
        }));
        (ResourceType::dask(DaskKind::Cluster), Arc::new(object))
    };
    for name in ["stuck", "stuck", "stuck", "b"] {
        marked.send(cluster(name)).expect("the receiver exists");
    }
    let cleaning = kopf::clean(listening, Stores::new([]), Writer::new(server.client.clone(), 8));
    let requests = tokio::select! {
        () = cleaning => Vec::new(),
        () = tokio::time::sleep(Duration::from_millis(500)) => server.requests(),
    };
    assert_eq!(requests, ["PATCH daskclusters/b", "PATCH daskclusters/stuck"]);
}

/// A standby replica would collect every version of a repeatedly changed object.
#[tokio::test]
async fn only_the_leader_collects_marks() {
    let world = World::new(None, &[], |_| Ok(Ok(empty())));
    let (mark, mut marked) = tokio::sync::mpsc::unbounded_channel();
    let (_tell, news) = tokio::sync::mpsc::unbounded_channel();
    let leadership = Leadership::not_yet();
    let health = Arc::new(Health::new(leadership.clone()));
    let metrics = ControllerMetrics::register(&mut Registry::default());
    let controller = Controller::new(world.reconciler, health, metrics, mark, news);
    let appears = || {
        let cluster = object(&json!({
            "apiVersion": DASK, "kind": "DaskCluster",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "annotations": {"kopf.zalando.org/x": "1"}},
        }));
        let change = ObjectChange {
            before: None,
            after: Some(Arc::new(cluster)),
        };
        controller.changed(&ResourceType::dask(DaskKind::Cluster), change);
    };
    appears();
    assert!(marked.try_recv().is_err());
    leadership.until(tokio::time::Instant::now() + Duration::from_secs(7));
    appears();
    assert!(marked.try_recv().is_ok());
}
