//! A pass over a resource against an API server that is played by the test: what
//! is sent, and what is made of the answers.

mod world;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dask_operator::kinds::Kind;
use dask_operator::kopf;
use dask_operator::plugins::{Plugin, PluginError};
use dask_operator::reconcile::Outcome;
use dask_operator::routes::ParentKey;
use dask_operator::stores::Stores;
use dask_operator::writes::Writes;
use dask_operator_core::category::Retry;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_render::logic::{Failure, Logic};
use dask_operator_runtime::contract::{
    self, Answer, ChildAction, Event, EventType, Finding, Observation, Owner, Plan, Scale, Severity,
};
use rstest::rstest;
use serde_json::{Value, json};

use world::*;

#[tokio::test]
async fn what_is_missing_is_created_and_a_second_pass_writes_nothing() {
    let plan = || {
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
    let plan = || {
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
    let world = World::new(None, &objects, || Ok(Ok(empty())));
    world.pass(DaskKind::Cluster).await;
    assert_eq!(
        !world.server.requests().is_empty(),
        goes,
        "{:?}",
        world.server.requests()
    );
}

/// Nor to apply over, whether a watch shows it or not.
#[rstest]
#[case::with_the_label("decoy")]
#[case::without(FOREIGN)]
#[tokio::test]
async fn a_name_that_a_user_has_taken_is_said(#[case] name: &'static str) {
    let plan: fn() -> Result<Answer<Plan>, Failure> = match name {
        FOREIGN => || {
            Ok(Ok(Plan {
                children: vec![child("Service", FOREIGN, ChildAction::Apply)],
                ..empty()
            }))
        },
        _ => || {
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
        || Ok(Ok(empty())),
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
        || Ok(Ok(empty())),
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
        || Ok(Ok(empty())),
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
    let plan = || {
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

#[rstest]
#[case::trap(|| Err("it trapped".into()), "PluginFailed", Retry::BackOff, json!("Running"))]
#[case::gave_up(|| Ok(Err(contract::Error::Failed("no idea".into()))), "PluginFailed", Retry::BackOff, json!("Running"))]
#[case::refused(
    || Ok(Ok(Plan { children: vec![pod("Bad_Name")], ..empty() })), "PlanRefused", Retry::BackOff, json!("Running")
)]
#[case::invalid(
    || {
        let finding = Finding { severity: Severity::Error, field: "spec.worker".into(), message: "is missing".into() };
        Ok(Err(contract::Error::Invalid(vec![finding])))
    },
    "SpecInvalid",
    Retry::OnChange,
    json!("Error")
)]
#[tokio::test]
async fn without_a_plan_nothing_is_touched_and_the_status_says_why(
    #[case] plan: fn() -> Result<Answer<Plan>, Failure>,
    #[case] condition: &str,
    #[case] retry: Retry,
    #[case] phase: Value,
) {
    let world = World::new(
        None,
        &[
            parent("DaskCluster", &json!({"phase": "Running"})),
            owned("Pod", "p"),
        ],
        plan,
    );
    assert_eq!(world.pass(DaskKind::Cluster).await, Outcome::Failed(retry, None));
    assert_eq!(
        world.server.requests(),
        ["APPLY daskclusters/a/status", "POST events"]
    );
    let (_, body) = world.server.request("APPLY daskclusters/a/status");
    let told = &body["status"]["conditions"][0];
    assert_eq!(
        (&told["type"], &told["status"], &body["status"]["phase"]),
        (&json!(condition), &json!("True"), &phase)
    );
    world.pass(DaskKind::Cluster).await;
    assert_eq!(world.server.requests().len(), 2, "it is told once");
}

#[tokio::test]
async fn a_plugin_that_was_not_loaded_is_named() {
    let broken = || {
        Err(PluginError::unusable(
            "DaskCluster",
            "mine.wasm: forbidden import".into(),
        ))
    };
    let world = World::with(None, &[parent("DaskCluster", &json!({}))], broken);
    assert_eq!(
        world.pass(DaskKind::Cluster).await,
        Outcome::Failed(Retry::BackOff, None)
    );
    let (_, body) = world.server.request("APPLY daskclusters/a/status");
    let message = body["status"]["conditions"][0]["message"]
        .as_str()
        .unwrap_or_default();
    assert!(message.contains("mine.wasm: forbidden import"), "{message}");
}

/// The creation of pods fails with this.
fn no_pods(code: u16, reason: &'static str, message: &'static str) -> Option<Refusal> {
    Some(Refusal {
        what: ("POST", "/pods"),
        answer: (code, reason, message),
    })
}

#[rstest]
#[case::quota(
    no_pods(403, "Forbidden", "pods \"p1\" is forbidden: exceeded quota: q"),
    Retry::Passing, Some("QuotaExceeded"), json!("Running")
)]
#[case::invalid(no_pods(422, "Invalid", "Pod \"p1\" is invalid"), Retry::OnChange, Some("Invalid"), json!("Error"))]
#[case::in_use(
    no_pods(422, "Invalid", "is invalid: spec.ports[0].nodePort: Invalid value: 30086: provided port is already allocated"),
    Retry::Passing, Some("InUse"), json!("Running")
)]
#[case::server(no_pods(500, "InternalError", "etcd"), Retry::Passing, None, json!("Running"))]
#[case::exists(no_pods(409, "AlreadyExists", "exists"), Retry::Soon, None, json!("Running"))]
#[case::namespace_ends(
    no_pods(403, "Forbidden", "unable to create new content in namespace n because it is being terminated"),
    Retry::After(Duration::from_secs(30)), None, json!("Running")
)]
#[tokio::test]
async fn an_error_does_not_stop_the_others_and_is_told_if_it_is_for_people(
    #[case] refuse: Option<Refusal>,
    #[case] retry: Retry,
    #[case] reason: Option<&str>,
    #[case] phase: Value,
) {
    let plan = || {
        Ok(Ok(Plan {
            children: vec![pod("p1"), child("Service", "s", ChildAction::Apply)],
            ..empty()
        }))
    };
    let world = World::new(refuse, &[parent("DaskCluster", &json!({}))], plan);
    assert_eq!(world.pass(DaskKind::Cluster).await, Outcome::Failed(retry, None));
    assert!(world.server.requests().contains(&"APPLY services/s".to_owned()));
    let (_, body) = world.server.request("APPLY daskclusters/a/status");
    assert_eq!(body["status"]["phase"], phase);
    assert_eq!(body["status"]["conditions"][0]["reason"].as_str(), reason);
    assert_eq!(
        world.server.requests().contains(&"POST events".to_owned()),
        reason.is_some()
    );
}

#[rstest]
#[case::quota(no_pods(403, "Forbidden", "exceeded quota: q"), 8)]
#[case::invalid(no_pods(422, "Invalid", "Pod is invalid"), 18)]
#[tokio::test]
async fn what_all_others_would_meet_stops_their_creation(
    #[case] refuse: Option<Refusal>,
    #[case] most: usize,
) {
    let plan = || {
        Ok(Ok(Plan {
            children: (0..100).map(|i| pod(&format!("p{i}"))).collect(),
            ..empty()
        }))
    };
    let world = World::new(refuse, &[parent("DaskCluster", &json!({}))], plan);
    world.pass(DaskKind::Cluster).await;
    let creations = world
        .server
        .requests()
        .iter()
        .filter(|request| *request == "POST pods")
        .count();
    assert!(creations <= most, "{creations}");
}

/// What was not made is tried again as often as its back-off says, and its condition stays.
#[tokio::test]
async fn creations_that_fail_are_no_loop() {
    let plan = || {
        Ok(Ok(Plan {
            children: (0..100).map(|i| pod(&format!("p{i}"))).collect(),
            ..empty()
        }))
    };
    let refuse = no_pods(403, "Forbidden", "exceeded quota: q");
    let world = World::new(refuse, &[parent("DaskCluster", &json!({}))], plan);
    for pass in 0..20 {
        assert_eq!(
            world.pass(DaskKind::Cluster).await,
            Outcome::Failed(Retry::Passing, None),
            "pass {pass}"
        );
    }
}

#[tokio::test]
async fn events_are_sent_when_the_status_was_written() {
    let plan = || {
        let event = Event {
            type_: EventType::Normal,
            reason: "Scaled".into(),
            message: "from 1 to 2".into(),
        };
        Ok(Ok(Plan {
            events: vec![event],
            ..empty()
        }))
    };
    let refuse = Some(Refusal {
        what: ("APPLY", "/status"),
        answer: (409, "Conflict", "the object has been modified"),
    });
    let stale = World::new(refuse, &[parent("DaskCluster", &json!({}))], plan);
    assert_eq!(
        stale.pass(DaskKind::Cluster).await,
        Outcome::Failed(Retry::Soon, None)
    );
    assert_eq!(stale.server.requests(), ["APPLY daskclusters/a/status"]);

    let world = World::new(None, &[parent("DaskCluster", &json!({}))], plan);
    world.pass(DaskKind::Cluster).await;
    let (_, event) = world.server.request("POST events");
    assert_eq!(
        (
            &event["reason"],
            &event["note"],
            &event["reportingController"],
            &event["regarding"]["uid"]
        ),
        (
            &json!("Scaled"),
            &json!("from 1 to 2"),
            &json!("dask-operator"),
            &json!("parent")
        )
    );
}

#[tokio::test]
async fn groups_are_scaled_and_owners_set_and_parents_deleted() {
    let plan = || {
        let owner = Owner {
            api_version: DASK.into(),
            kind: "DaskCluster".into(),
            name: "a".into(),
            uid: "c".into(),
        };
        let scale = vec![Scale {
            worker_group: "g".into(),
            replicas: 7,
        }];
        Ok(Ok(Plan {
            owner: Some(owner),
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
    let outcome = world.pass(DaskKind::Autoscaler).await;
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
async fn a_number_that_somebody_has_changed_meanwhile_is_not_written_over() {
    static STORES: OnceLock<Stores> = OnceLock::new();
    const GROUP: fn(u32, &str) -> Value = |replicas, version| {
        json!({
            "apiVersion": DASK, "kind": "DaskWorkerGroup", "spec": {"cluster": "a", "worker": {"replicas": replicas}},
            "metadata": {"name": "g", "namespace": "n", "uid": "uid-g", "resourceVersion": version},
        })
    };
    // The change comes while the plan is made.
    let plan = || {
        let groups = Kind::dask(DaskKind::WorkerGroup).resource;
        let store = STORES.get().and_then(|stores| stores.of(&groups));
        store.map(|store| store.shown(object(&GROUP(5, "6"))));
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
        world.pass(DaskKind::Autoscaler).await,
        Outcome::Failed(Retry::Soon, None)
    );
    let requests = world.server.requests();
    assert!(
        !requests.iter().any(|request| request.ends_with("/scale")),
        "{requests:?}"
    );
}

/// Somebody who changes a cluster just when its idle timeout is over keeps it.
#[tokio::test]
async fn a_parent_that_has_changed_is_not_deleted_for_what_it_was() {
    let refuse = Some(Refusal {
        what: ("DELETE", "/daskclusters/a"),
        answer: (409, "Conflict", "the object has been modified"),
    });
    let plan = || {
        Ok(Ok(Plan {
            delete_parent: Some("idle".into()),
            ..empty()
        }))
    };
    for (status, version) in [(json!({"phase": "Running"}), "10"), (json!({}), "1000")] {
        let world = World::new(refuse, &[parent("DaskCluster", &status)], plan);
        assert_eq!(
            world.pass(DaskKind::Cluster).await,
            Outcome::Failed(Retry::Soon, None)
        );
        let (_, deleted) = world.server.request("DELETE daskclusters/a");
        assert_eq!(deleted["preconditions"]["resourceVersion"], version);
    }
}

/// What is wrong with a resource is said although the first attempt to say it failed.
#[tokio::test]
async fn a_status_that_could_not_be_written_is_tried_again_soon() {
    let refuse = Some(Refusal {
        what: ("APPLY", "/status"),
        answer: (503, "ServiceUnavailable", "etcd has no leader"),
    });
    let plan = || Ok(Err(contract::Error::Invalid(Vec::new())));
    let world = World::new(refuse, &[parent("DaskCluster", &json!({}))], plan);
    assert_eq!(
        world.pass(DaskKind::Cluster).await,
        Outcome::Failed(Retry::Passing, None)
    );
}

#[tokio::test]
async fn who_wants_to_be_asked_at_once_again_and_again_is_asked_now_and_then() {
    let plan = || {
        Ok(Ok(Plan {
            requeue_after: Some(0),
            ..empty()
        }))
    };
    let world = World::new(None, &[parent("DaskCluster", &json!({}))], plan);
    assert_eq!(
        world.pass(DaskKind::Cluster).await,
        Outcome::Done(Some(Duration::from_millis(100)))
    );
}

/// Events are told if that goes, and hold nobody up if not.
#[tokio::test(start_paused = true)]
async fn a_pass_does_not_wait_for_ever_for_an_event() {
    let silent = Some(Refusal {
        what: ("POST", "/events"),
        answer: (0, "", ""),
    });
    let plan = || {
        let event = Event {
            type_: EventType::Normal,
            reason: "Scaled".into(),
            message: "from 1 to 2".into(),
        };
        Ok(Ok(Plan {
            events: vec![event; 100],
            ..empty()
        }))
    };
    let world = World::new(silent, &[parent("DaskCluster", &json!({}))], plan);
    let pass = tokio::time::timeout(Duration::from_secs(60), world.pass(DaskKind::Cluster));
    assert_eq!(pass.await, Ok(Outcome::Done(None)));
}

#[tokio::test]
async fn new_children_in_each_pass_are_a_loop_that_is_held_up() {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    let plan = || {
        let name = format!("p{}", NAMES.fetch_add(1, Ordering::Relaxed));
        Ok(Ok(Plan {
            children: vec![pod(&name)],
            status: "{}".into(),
            ..empty()
        }))
    };
    let world = World::new(None, &[parent("DaskWorkerGroup", &json!({}))], plan);
    // 120, one for the child that is wanted and one in its place; what was made is deleted.
    for _ in 0..122 {
        assert_eq!(world.pass(DaskKind::WorkerGroup).await, Outcome::Done(None));
    }
    let held_up = world.pass(DaskKind::WorkerGroup).await;
    assert!(
        matches!(held_up, Outcome::Done(Some(wait)) if wait <= Duration::from_secs(60)),
        "{held_up:?}"
    );
    let requests = world.server.requests();
    let created = requests.iter().filter(|request| *request == "POST pods").count();
    assert_eq!(created, 122);
}

/// A group that somebody else scales back each time.
#[tokio::test]
async fn a_number_that_does_not_stay_is_a_loop_that_is_held_up() {
    let plan = || {
        Ok(Ok(Plan {
            scale: vec![Scale {
                worker_group: "g".into(),
                replicas: 5,
            }],
            status: "{}".into(),
            ..empty()
        }))
    };
    let group = json!({
        "apiVersion": DASK, "kind": "DaskWorkerGroup", "spec": {"cluster": "a", "worker": {"replicas": 3}},
        "metadata": {"name": "g", "namespace": "n", "uid": "uid-g", "resourceVersion": "5"},
    });
    let world = World::new(None, &[parent("DaskAutoscaler", &json!({})), group], plan);
    for pass in 0..120 {
        assert_eq!(
            world.pass(DaskKind::Autoscaler).await,
            Outcome::Done(None),
            "pass {pass}"
        );
    }
    let held_up = world.pass(DaskKind::Autoscaler).await;
    assert!(
        matches!(held_up, Outcome::Done(Some(wait)) if wait <= Duration::from_secs(60)),
        "{held_up:?}"
    );
    assert_eq!(world.server.requests(), ["PATCH daskworkergroups/g/scale"; 120]);
}

/// A child that somebody else makes anew each time.
#[tokio::test]
async fn a_child_that_comes_back_is_a_loop_that_is_held_up() {
    let objects = [parent("DaskCluster", &json!({"phase": "Running"}))];
    let world = World::new(None, &objects, || Ok(Ok(empty())));
    let mut outcomes = Vec::new();
    for number in 0..122 {
        let mut again = owned("Pod", "p");
        again["metadata"]["uid"] = format!("uid-{number}").into();
        again["metadata"]["resourceVersion"] = (20 + number).to_string().into();
        let pods = world.reconciler.stores.of(&ResourceKind::new("v1", "Pod"));
        pods.map(|store| store.shown(object(&again)));
        outcomes.push(world.pass(DaskKind::Cluster).await);
    }
    assert_eq!(outcomes[..120], [Outcome::Done(None); 120]);
    for held_up in &outcomes[120..] {
        assert!(
            matches!(held_up, Outcome::Done(Some(wait)) if *wait <= Duration::from_secs(60)),
            "{held_up:?}"
        );
    }
    assert_eq!(world.server.requests(), ["DELETE pods/p"; 120]);
}

/// Logic that scales the group `g` once, and knows by its status that it has.
struct ScalesOnce;

impl Logic for ScalesOnce {
    fn child_kinds(&self, _: &str) -> Result<Vec<contract::ResourceKind>, Failure> {
        Ok(Vec::new())
    }

    fn default(&self, object: &str, _: &str) -> Result<Answer<String>, Failure> {
        Ok(Ok(object.to_owned()))
    }

    fn validate(&self, _: &str, _: Option<&str>, _: &str) -> Result<Vec<Finding>, Failure> {
        Ok(Vec::new())
    }

    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, Failure> {
        let parent: Value = serde_json::from_str(&observation.parent)?;
        let mut plan = Plan {
            status: json!({"lastScaleTime": "2026-01-01T00:00:00Z"}).to_string(),
            ..empty()
        };
        if parent["status"]["lastScaleTime"].is_null() {
            plan.scale.push(Scale {
                worker_group: "g".into(),
                replicas: 5,
            });
            plan.events.push(Event {
                type_: EventType::Normal,
                reason: "Scaled".into(),
                message: "from 3 to 5".into(),
            });
        }
        Ok(Ok(plan))
    }
}

/// When the last step was stands in the status, and the next one must not come too soon.
#[tokio::test]
async fn what_was_done_is_remembered_where_the_status_could_not_be_written() {
    let refuse = Some(Refusal {
        what: ("APPLY", "/status"),
        answer: (503, "ServiceUnavailable", "etcd has no leader"),
    });
    let group = json!({
        "apiVersion": DASK, "kind": "DaskWorkerGroup", "spec": {"cluster": "a", "worker": {"replicas": 3}},
        "metadata": {"name": "g", "namespace": "n", "uid": "uid-g", "resourceVersion": "5"},
    });
    let world = World::with(refuse, &[parent("DaskAutoscaler", &json!({})), group], || {
        Plugin::new("steps 1.0.0 (abc)".into(), "{}".into(), Box::new(ScalesOnce))
    });
    for _ in 0..3 {
        assert_eq!(
            world.pass(DaskKind::Autoscaler).await,
            Outcome::Failed(Retry::Passing, None)
        );
    }
    assert_eq!(
        world.server.requests(),
        [
            "APPLY daskautoscalers/a/status",
            "APPLY daskautoscalers/a/status",
            "APPLY daskautoscalers/a/status",
            "PATCH daskworkergroups/g/scale",
            "POST events",
        ],
        "one step, told once, and its status is tried again"
    );
    let (_, status) = world.server.request("APPLY daskautoscalers/a/status");
    assert_eq!(status["status"]["lastScaleTime"], "2026-01-01T00:00:00Z");

    // Another status counts more: another replica may have written it.
    let mut changed = parent("DaskAutoscaler", &json!({"by": "another replica"}));
    changed["metadata"]["resourceVersion"] = "11".into();
    let autoscalers = Kind::dask(DaskKind::Autoscaler).resource;
    let store = world.reconciler.stores.of(&autoscalers);
    store.map(|store| store.shown(object(&changed)));
    world.pass(DaskKind::Autoscaler).await;
    let steps = world.server.requests();
    assert_eq!(steps.iter().filter(|step| step.ends_with("/scale")).count(), 2);
}

/// Nothing is deleted because a component has no room for what it would have to know.
#[tokio::test]
async fn more_than_a_component_can_be_told_is_said() {
    let objects = [
        parent("DaskCluster", &json!({"phase": "Running"})),
        owned("Pod", "p"),
    ];
    let mut world = World::new(None, &objects, || Ok(Ok(empty())));
    world.reconciler.most_told = 100;
    for _ in 0..2 {
        assert_eq!(
            world.pass(DaskKind::Cluster).await,
            Outcome::Failed(Retry::BackOff, None)
        );
    }
    assert_eq!(
        world.server.requests(),
        ["APPLY daskclusters/a/status", "POST events"],
        "it is said once"
    );
    let (_, body) = world.server.request("APPLY daskclusters/a/status");
    let condition = &body["status"]["conditions"][0];
    assert_eq!(condition["reason"], "ObservationTooLarge");
    let message = condition["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("divide the workers among several worker groups"),
        "{message}"
    );
}

#[tokio::test]
async fn what_is_being_deleted_is_left_alone() {
    let mut deleted = parent("DaskCluster", &json!({}));
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let world = World::new(None, &[deleted], || {
        Ok(Ok(Plan {
            children: vec![pod("p")],
            ..empty()
        }))
    });
    assert_eq!(world.pass(DaskKind::Cluster).await, Outcome::Gone);
    assert!(world.server.requests().is_empty());
}

/// A service as the cluster made it that was deleted a moment ago, before another was made of the same name.
fn left_over(kind: &str) -> Value {
    let mut object = owned(kind, "s");
    object["metadata"]["ownerReferences"][0]["uid"] = "the parent before".into();
    object["metadata"]["ownerReferences"][0]["controller"] = true.into();
    object
}

#[tokio::test]
async fn what_garbage_collection_has_not_reached_is_not_taken_over() {
    let plan = || {
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
        world.pass(DaskKind::Cluster).await,
        Outcome::Failed(Retry::Soon, None)
    );
    assert_eq!(
        world.server.requests(),
        ["POST pods"],
        "the others are not held up"
    );
}

/// Neither with the labels of a child nor as one that a user made.
#[rstest]
#[case::child(json!({"dask.org/cluster-name": "a"}))]
#[case::made_by_a_user(json!({}))]
#[tokio::test]
async fn a_group_of_a_cluster_that_was_made_anew_is_left_to_garbage_collection(#[case] labels: Value) {
    let plan = || {
        Ok(Ok(Plan {
            children: vec![pod("p")],
            owner: Some(Owner {
                api_version: DASK.into(),
                kind: "DaskCluster".into(),
                name: "a".into(),
                uid: "parent".into(),
            }),
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

/// An object that a policy of the cluster does not let anybody change, and others behind it.
#[tokio::test(start_paused = true)]
async fn marks_that_can_not_be_taken_off_hold_up_no_others() {
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
        (Kind::dask(DaskKind::Cluster), Arc::new(object))
    };
    for name in ["stuck", "stuck", "stuck", "b"] {
        marked.send(cluster(name)).expect("somebody listens");
    }
    let cleaning = kopf::clean(listening, Stores::new([]), Writes::new(server.client.clone(), 8));
    let requests = tokio::select! {
        () = cleaning => Vec::new(),
        () = tokio::time::sleep(Duration::from_millis(500)) => server.requests(),
    };
    assert_eq!(requests, ["PATCH daskclusters/b", "PATCH daskclusters/stuck"]);
}
