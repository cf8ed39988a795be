//! Creation, apply and deletion of children.

use super::*;

#[tokio::test]
async fn missing_children_are_created_and_a_second_reconcile_writes_nothing() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: vec![pod("p1"), pod("p2"), child("Service", "s", ChildAction::Apply)],
            requeue_after: Some(1500),
            ..empty()
        }))
    };
    let world = World::new(None, &[parent("DaskCluster", &json!({}))], plan);
    assert_eq!(
        world.reconcile(DaskKind::Cluster).await,
        Outcome::Done(Some(Duration::from_millis(1500)))
    );
    let first = world.server.requests();
    assert_eq!(
        first,
        [
            "APPLY daskclusters/a/status",
            "APPLY services/s",
            "POST pods",
            "POST pods"
        ]
    );

    let (uri, service) = world.server.request("APPLY services/s");
    assert!(
        uri.contains("fieldManager=dask-operator") && !uri.contains("force=true"),
        "{uri}"
    );
    // No object has this version: the apply creates the object, or fails.
    assert_eq!(service["metadata"]["resourceVersion"], "1");
    assert_eq!(service["metadata"]["ownerReferences"][0]["uid"], "parent");
    assert!(service["metadata"]["annotations"]["kubernetes.dask.org/last-applied-hash"].is_string());
    let (uri, status) = world.server.request("APPLY daskclusters/a/status");
    assert!(uri.contains("force=true"), "{uri}");
    assert_eq!(
        (&status["status"], &status["metadata"]["resourceVersion"]),
        (&json!({"phase": "Running"}), &json!("10"))
    );

    // No watch has shown anything yet.
    world.reconcile(DaskKind::Cluster).await;
    assert_eq!(world.server.requests(), first);
}

/// A component would regard children that can't be listed as missing.
#[tokio::test]
async fn a_kind_that_can_not_be_listed_blocks_only_resources_that_need_it() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: vec![pod("p1")],
            ..empty()
        }))
    };
    let world = World::new(None, &[parent("DaskCluster", &json!({}))], plan);
    let listings = world.reconciler.stores.listings();
    let kind = |kind: &str| ResourceKind::new("v1", kind);
    listings.set_unlisted(&kind("Service"), Some("n"), "no right".to_owned());
    listings.set_unlisted(&kind("Gadget"), None, "no right".to_owned());
    let outcome = world.reconcile(DaskKind::Cluster).await;
    assert_eq!(outcome, Outcome::Failed(RetryPolicy::BackOff, None));
    // An event is posted, too.
    assert!(!world.server.requests().contains(&"POST pods".to_owned()));
    let (_, status) = world.server.request("APPLY daskclusters/a/status");
    let condition = &status["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["reason"]),
        (&json!("KindNotListed"), &json!("Unlisted"))
    );
    assert_eq!(
        condition["message"],
        "fixed 1.0.0 (abc) has to know which Service objects there are, and nothing is changed until it does: no right"
    );

    listings.set_listed(&kind("Service"), Some("n"));
    world.reconcile(DaskKind::Cluster).await;
    assert!(world.server.requests().contains(&"POST pods".to_owned()));
}

/// The operator must not delete objects that users created, whatever labels and owners they have.
#[rstest]
#[case::by_a_user("kubectl-client-side-apply", true, false)]
#[case::by_a_user_without_owner("kubectl-client-side-apply", false, false)]
#[case::by_a_plugin_of_the_predecessor("kopf", true, false)]
#[case::by_this_operator("dask-operator", true, true)]
#[tokio::test]
async fn only_objects_of_the_operator_are_deleted(
    #[case] manager: &str,
    #[case] has_owner: bool,
    #[case] goes: bool,
    #[values("Pod", "Service")] kind: &str,
) {
    let mut decoy = owned(kind, "decoy");
    decoy["metadata"]["managedFields"] = json!([{"manager": manager, "fieldsV1": {"f:metadata": {"f:labels": {"f:dask.org/cluster-name": {}}}}}]);
    if !has_owner {
        decoy["metadata"]["ownerReferences"] = json!([]);
    }
    let objects = [parent("DaskCluster", &json!({"phase": "Running"})), decoy];
    let world = World::new(None, &objects, |_| Ok(Ok(empty())));
    world.reconcile(DaskKind::Cluster).await;
    assert_eq!(
        !world.server.requests().is_empty(),
        goes,
        "{:?}",
        world.server.requests()
    );
}

/// Uids are not secret, and users may write any owner into their own objects.
#[rstest]
#[case::in_another_namespace("/metadata/namespace", json!("elsewhere"))]
#[case::of_another_api("/metadata/ownerReferences/0/apiVersion", json!("no.such/v1"))]
#[case::of_another_kind("/metadata/ownerReferences/0/kind", json!("DaskJob"))]
#[case::of_another_name("/metadata/ownerReferences/0/name", json!("b"))]
#[tokio::test]
async fn an_object_with_a_forged_owner_is_not_a_child(#[case] pointer: &str, #[case] value: Value) {
    let plan = |observation: &Observation| {
        let told: usize = observation.children.iter().map(|kind| kind.objects.len()).sum();
        Ok(Ok(Plan {
            status: json!({"told": told}).to_string(),
            ..empty()
        }))
    };
    let mut decoy = owned("Pod", "p");
    *decoy.pointer_mut(pointer).expect("a field of the pod") = value;
    let world = World::new(None, &[parent("DaskCluster", &json!({"told": 0})), decoy], plan);
    assert_eq!(world.reconcile(DaskKind::Cluster).await, Outcome::Done(None));
    assert!(
        world.server.requests().is_empty(),
        "{:?}",
        world.server.requests()
    );
}

/// An object with the same name in another namespace does not block a child.
#[tokio::test]
async fn the_same_name_in_another_namespace_does_not_block_a_child() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: vec![child("Service", "s", ChildAction::Apply), pod("p")],
            ..empty()
        }))
    };
    let elsewhere = |kind: &str, name: &str| {
        let mut object = owned(kind, name);
        object["metadata"]["namespace"] = "elsewhere".into();
        object
    };
    let objects = [
        parent("DaskCluster", &json!({"phase": "Running"})),
        elsewhere("Service", "s"),
        elsewhere("Pod", "p"),
    ];
    let world = World::new(None, &objects, plan);
    assert_eq!(world.reconcile(DaskKind::Cluster).await, Outcome::Done(None));
    assert_eq!(world.server.requests(), ["APPLY services/s", "POST pods"]);
}

/// The operator must not apply over objects that users created, whether a watch shows them or not.
#[rstest]
#[case::with_the_label("decoy")]
#[case::without(FOREIGN)]
#[tokio::test]
async fn a_name_taken_by_a_user_is_reported(#[case] name: &'static str) {
    let plan: Planned = match name {
        FOREIGN => |_| {
            Ok(Ok(Plan {
                children: vec![child("Service", FOREIGN, ChildAction::Apply)],
                ..empty()
            }))
        },
        _ => |_| {
            Ok(Ok(Plan {
                children: vec![child("Service", "decoy", ChildAction::Apply)],
                ..empty()
            }))
        },
    };
    let mut decoy = owned("Service", "decoy");
    decoy["metadata"]["managedFields"] = json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]);
    decoy["metadata"]["ownerReferences"] = json!([]);
    let objects = [parent("DaskCluster", &json!({"phase": "Running"})), decoy];
    let world = World::new(None, &objects, plan);
    assert_eq!(
        world.reconcile(DaskKind::Cluster).await,
        Outcome::Failed(RetryPolicy::BackOff, None)
    );
    let sent = world.server.sent.lock().clone();
    let is_about_it = |(_, uri, _): &&Sent| uri.contains(&format!("services/{name}"));
    for (_, uri, body) in sent.iter().filter(is_about_it) {
        assert!(!uri.contains("force=true"), "{uri}");
        assert_eq!(
            body["metadata"]["resourceVersion"], "1",
            "it may only create the object"
        );
    }
    // Only an object that no watch shows is found out by trying to create it.
    let attempt = (name == FOREIGN).then(|| format!("APPLY services/{FOREIGN}"));
    let mut expected = vec!["APPLY daskclusters/a/status".to_owned()];
    expected.extend(attempt);
    expected.push("POST events".to_owned());
    assert_eq!(world.server.requests(), expected);
    let (_, body) = world.server.request("APPLY daskclusters/a/status");
    let message = body["status"]["conditions"][0]["message"]
        .as_str()
        .unwrap_or_default();
    assert_eq!(
        message,
        format!(
            "apply Service {name}: it exists, and this operator has not made it: delete or rename it, or give the Dask resource \
             another name"
        )
    );
}

/// The operator must not apply over an object that a user created after the lookup.
#[rstest]
#[case::nothing_differs("the object has been modified", RetryPolicy::Soon)]
#[case::fields_differ("Apply failed with 1 conflict", RetryPolicy::BackOff)]
#[tokio::test]
async fn a_child_that_was_not_there_is_only_created(
    #[case] message: &'static str,
    #[case] retry: RetryPolicy,
) {
    let refuse = Some(Refusal {
        what: ("APPLY", "/services/s"),
        answer: (409, "Conflict", message),
    });
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: vec![child("Service", "s", ChildAction::Apply)],
            ..empty()
        }))
    };
    let objects = [parent("DaskCluster", &json!({"phase": "Running"}))];
    let world = World::new(refuse, &objects, plan);
    assert_eq!(
        world.reconcile(DaskKind::Cluster).await,
        Outcome::Failed(retry, None)
    );
    let (uri, body) = world.server.request("APPLY services/s");
    assert!(!uri.contains("force=true"), "{uri}");
    assert_eq!(body["metadata"]["resourceVersion"], "1");
}

/// The answer to the creation was lost, and no watch has shown the object yet.
#[tokio::test]
async fn an_existing_child_that_no_watch_has_shown_is_applied_over() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: vec![child("Service", OURS, ChildAction::Apply)],
            ..empty()
        }))
    };
    let objects = [parent("DaskCluster", &json!({"phase": "Running"}))];
    let world = World::new(None, &objects, plan);
    assert_eq!(world.reconcile(DaskKind::Cluster).await, Outcome::Done(None));
    let sent = world.server.sent.lock();
    let applies = sent.iter().filter(|(_, uri, _)| uri.contains("services/ours"));
    let versions: Vec<_> = applies
        .map(|(_, uri, body)| {
            (
                uri.contains("force=true"),
                body["metadata"]["resourceVersion"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(versions, [(false, "1"), (true, "20")]);
}

#[rstest]
#[case::waits("Pending", json!("20"))]
#[case::runs("Running", Value::Null)]
#[tokio::test]
async fn a_pod_that_has_not_started_is_deleted_only_in_the_observed_version(
    #[case] phase: &str,
    #[case] version: Value,
) {
    let mut pod = owned("Pod", "p");
    pod["status"] = json!({"phase": phase});
    let world = World::new(
        None,
        &[parent("DaskCluster", &json!({"phase": "Running"})), pod],
        |_| Ok(Ok(empty())),
    );
    world.reconcile(DaskKind::Cluster).await;
    let (_, body) = world.server.request("DELETE pods/p");
    assert_eq!(body["preconditions"]["resourceVersion"], version);
}

#[tokio::test]
async fn unwanted_children_are_deleted_if_the_uid_matches() {
    let world = World::new(
        None,
        &[
            parent("DaskCluster", &json!({"phase": "Running"})),
            owned("Pod", "p"),
        ],
        |_| Ok(Ok(empty())),
    );
    assert_eq!(world.reconcile(DaskKind::Cluster).await, Outcome::Done(None));
    assert_eq!(world.server.requests(), ["DELETE pods/p"]);
    let (_, body) = world.server.request("DELETE pods/p");
    assert_eq!(
        (&body["preconditions"]["uid"], &body["propagationPolicy"]),
        (&json!("uid-p"), &json!("Background"))
    );
    world.reconcile(DaskKind::Cluster).await;
    assert_eq!(world.server.requests().len(), 1, "it is being deleted");
}

/// A conflict does not mean that the object is gone.
#[tokio::test]
async fn a_deletion_with_a_conflict_is_retried() {
    let refuse = Some(Refusal {
        what: ("DELETE", "/pods/p"),
        answer: (409, "Conflict", "the object has been modified"),
    });
    let world = World::new(
        refuse,
        &[
            parent("DaskCluster", &json!({"phase": "Running"})),
            owned("Pod", "p"),
        ],
        |_| Ok(Ok(empty())),
    );
    for _ in 0..2 {
        assert_eq!(
            world.reconcile(DaskKind::Cluster).await,
            Outcome::Failed(RetryPolicy::Soon, None)
        );
    }
    assert_eq!(world.server.requests(), ["DELETE pods/p"; 2]);
}

#[tokio::test]
async fn existing_children_are_applied_over_the_observed_version() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: vec![child("Service", "s", ChildAction::Apply)],
            ..empty()
        }))
    };
    let objects = [
        parent("DaskCluster", &json!({"phase": "Running"})),
        owned("Service", "s"),
    ];
    let world = World::new(None, &objects, plan);
    world.reconcile(DaskKind::Cluster).await;
    assert_eq!(world.server.requests(), ["APPLY services/s"]);
    let (uri, body) = world.server.request("APPLY services/s");
    assert!(uri.contains("force=true"), "{uri}");
    assert_eq!(body["metadata"]["resourceVersion"], "20");
}
