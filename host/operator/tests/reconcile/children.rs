//! Children: what is created, applied and deleted.

use super::*;

#[tokio::test]
async fn what_is_missing_is_created_and_a_second_pass_writes_nothing() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: vec![pod("p1"), pod("p2"), child("Service", "s", ChildAction::Apply)],
            requeue_after: Some(1500),
            ..empty()
        }))
    };
    let world = World::new(None, &[parent("DaskCluster", &json!({}))], plan);
    assert_eq!(
        world.pass(DaskKind::Cluster).await,
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
    // The version of no object: it is created, or nothing is done.
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
    world.pass(DaskKind::Cluster).await;
    assert_eq!(world.server.requests(), first);
}

/// A component that can't be told of some children would take them for missing.
#[tokio::test]
async fn a_kind_that_can_not_be_listed_holds_what_needs_it_and_nothing_else() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: vec![pod("p1")],
            ..empty()
        }))
    };
    let world = World::new(None, &[parent("DaskCluster", &json!({}))], plan);
    let listings = world.reconciler.stores.listings();
    let kind = |kind: &str| ResourceKind::new("v1", kind);
    listings.hindered(&kind("Service"), Some("n"), "no right".to_owned());
    listings.hindered(&kind("Gadget"), None, "no right".to_owned());
    let outcome = world.pass(DaskKind::Cluster).await;
    assert_eq!(outcome, Outcome::Failed(Retry::BackOff, None));
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

    listings.known(&kind("Service"), Some("n"));
    world.pass(DaskKind::Cluster).await;
    assert!(world.server.requests().contains(&"POST pods".to_owned()));
}

/// What a user has made is not the operator's to delete, whatever its labels and owners are.
#[rstest]
#[case::by_a_user("kubectl-client-side-apply", true, false)]
#[case::by_a_user_without_owner("kubectl-client-side-apply", false, false)]
#[case::by_a_plugin_of_the_predecessor("kopf", true, false)]
#[case::by_this_operator("dask-operator", true, true)]
#[tokio::test]
async fn only_what_was_made_here_is_deleted(
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
    world.pass(DaskKind::Cluster).await;
    assert_eq!(
        !world.server.requests().is_empty(),
        goes,
        "{:?}",
        world.server.requests()
    );
}

/// Uids are no secret, and everybody may write any owner into what is theirs.
#[rstest]
#[case::in_another_namespace("/metadata/namespace", json!("elsewhere"))]
#[case::of_another_api("/metadata/ownerReferences/0/apiVersion", json!("no.such/v1"))]
#[case::of_another_kind("/metadata/ownerReferences/0/kind", json!("DaskJob"))]
#[case::of_another_name("/metadata/ownerReferences/0/name", json!("b"))]
#[tokio::test]
async fn what_only_says_that_it_belongs_to_somebody_is_no_child(#[case] pointer: &str, #[case] value: Value) {
    let plan = |observation: &Observation| {
        let told: usize = observation.children.iter().map(|kind| kind.objects.len()).sum();
        Ok(Ok(Plan {
            status: json!({"told": told}).to_string(),
            ..empty()
        }))
    };
    let mut decoy = owned("Pod", "p");
    *decoy.pointer_mut(pointer).expect("a field of it") = value;
    let world = World::new(None, &[parent("DaskCluster", &json!({"told": 0})), decoy], plan);
    assert_eq!(world.pass(DaskKind::Cluster).await, Outcome::Done(None));
    assert!(
        world.server.requests().is_empty(),
        "{:?}",
        world.server.requests()
    );
}

/// Nor does an object of the same name in another namespace stand in the way of a child.
#[tokio::test]
async fn a_child_is_made_beside_its_namesake_in_another_namespace() {
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
    assert_eq!(world.pass(DaskKind::Cluster).await, Outcome::Done(None));
    assert_eq!(world.server.requests(), ["APPLY services/s", "POST pods"]);
}

/// Nor to apply over, whether a watch shows it or not.
#[rstest]
#[case::with_the_label("decoy")]
#[case::without(FOREIGN)]
#[tokio::test]
async fn a_name_that_a_user_has_taken_is_said(#[case] name: &'static str) {
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
        world.pass(DaskKind::Cluster).await,
        Outcome::Failed(Retry::BackOff, None)
    );
    assert_eq!(
        world.server.requests(),
        ["APPLY daskclusters/a/status", "POST events"]
    );
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

/// Nor one that somebody made after it was looked for.
#[rstest]
#[case::nothing_differs("the object has been modified", Retry::Soon)]
#[case::fields_differ("Apply failed with 1 conflict", Retry::BackOff)]
#[tokio::test]
async fn a_child_that_was_not_there_is_only_created(#[case] message: &'static str, #[case] retry: Retry) {
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
    assert_eq!(world.pass(DaskKind::Cluster).await, Outcome::Failed(retry, None));
    let (uri, body) = world.server.request("APPLY services/s");
    assert!(!uri.contains("force=true"), "{uri}");
    assert_eq!(body["metadata"]["resourceVersion"], "1");
}

/// A lost answer: it was made, and no watch has shown it yet.
#[tokio::test]
async fn a_child_that_is_there_after_all_is_applied_over() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: vec![child("Service", OURS, ChildAction::Apply)],
            ..empty()
        }))
    };
    let objects = [parent("DaskCluster", &json!({"phase": "Running"}))];
    let world = World::new(None, &objects, plan);
    assert_eq!(world.pass(DaskKind::Cluster).await, Outcome::Done(None));
    let (uri, body) = world.server.request("APPLY services/ours");
    assert!(uri.contains("force=true"), "{uri}");
    assert_eq!(body["metadata"]["resourceVersion"], "20");
}

#[rstest]
#[case::waits("Pending", json!("20"))]
#[case::runs("Running", Value::Null)]
#[tokio::test]
async fn a_pod_that_has_not_started_is_deleted_only_as_it_was_seen(
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
    world.pass(DaskKind::Cluster).await;
    let (_, body) = world.server.request("DELETE pods/p");
    assert_eq!(body["preconditions"]["resourceVersion"], version);
}

#[tokio::test]
async fn what_is_not_wanted_is_deleted_if_it_is_still_the_same() {
    let world = World::new(
        None,
        &[
            parent("DaskCluster", &json!({"phase": "Running"})),
            owned("Pod", "p"),
        ],
        |_| Ok(Ok(empty())),
    );
    assert_eq!(world.pass(DaskKind::Cluster).await, Outcome::Done(None));
    assert_eq!(world.server.requests(), ["DELETE pods/p"]);
    let (_, body) = world.server.request("DELETE pods/p");
    assert_eq!(
        (&body["preconditions"]["uid"], &body["propagationPolicy"]),
        (&json!("uid-p"), &json!("Background"))
    );
    world.pass(DaskKind::Cluster).await;
    assert_eq!(world.server.requests().len(), 1, "it is on its way out");
}

/// A conflict says nothing about who won: it may be there still.
#[tokio::test]
async fn a_deletion_that_met_a_conflict_is_tried_again() {
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
            world.pass(DaskKind::Cluster).await,
            Outcome::Failed(Retry::Soon, None)
        );
    }
    assert_eq!(world.server.requests(), ["DELETE pods/p"; 2]);
}

#[tokio::test]
async fn what_exists_is_applied_over_the_version_that_was_seen() {
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
    world.pass(DaskKind::Cluster).await;
    assert_eq!(world.server.requests(), ["APPLY services/s"]);
    let (uri, body) = world.server.request("APPLY services/s");
    assert!(uri.contains("force=true"), "{uri}");
    assert_eq!(body["metadata"]["resourceVersion"], "20");
}
