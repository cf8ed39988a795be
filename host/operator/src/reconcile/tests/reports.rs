//! Status and events.

use super::*;

#[tokio::test]
async fn events_are_sent_after_the_status_was_written() {
    let plan = |_: &Observation| {
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
        stale.reconcile(DaskKind::Cluster).await,
        Outcome::Failed(RetryPolicy::Soon, None)
    );
    assert_eq!(stale.server.requests(), ["APPLY daskclusters/a/status"]);

    let world = World::new(None, &[parent("DaskCluster", &json!({}))], plan);
    world.reconcile(DaskKind::Cluster).await;
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

/// A problem is reported although the first attempt to write the status failed.
#[tokio::test]
async fn a_failed_write_of_the_status_is_retried_soon() {
    let refuse = Some(Refusal {
        what: ("APPLY", "/status"),
        answer: (503, "ServiceUnavailable", "etcd has no leader"),
    });
    let plan = |_: &Observation| Ok(Err(contract::Error::Invalid(Vec::new())));
    let world = World::new(refuse, &[parent("DaskCluster", &json!({}))], plan);
    assert_eq!(
        world.reconcile(DaskKind::Cluster).await,
        Outcome::Failed(RetryPolicy::Passing, None)
    );
}

/// Events are best effort, and do not delay a reconcile.
#[tokio::test(start_paused = true)]
async fn the_wait_for_an_event_is_limited() {
    let silent = Some(Refusal {
        what: ("POST", "/events"),
        answer: (0, "", ""),
    });
    let plan = |_: &Observation| {
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
    let reconcile = tokio::time::timeout(Duration::from_secs(60), world.reconcile(DaskKind::Cluster));
    assert_eq!(reconcile.await, Ok(Outcome::Done(None)));
}

/// Plans one scaling of the group `g`, and reads from the status whether it has happened.
fn scales_once(observation: &Observation) -> Result<Answer<Plan>, PluginFailure> {
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

/// The status contains the time of the last step, and the next step must not come too soon.
#[tokio::test]
async fn executed_steps_are_remembered_if_the_status_could_not_be_written() {
    let refuse = Some(Refusal {
        what: ("APPLY", "/status"),
        answer: (503, "ServiceUnavailable", "etcd has no leader"),
    });
    let group = json!({
        "apiVersion": DASK, "kind": "DaskWorkerGroup", "spec": {"cluster": "a", "worker": {"replicas": 3}},
        "metadata": {"name": "g", "namespace": "n", "uid": "uid-g", "resourceVersion": "5"},
    });
    let world = World::new(
        refuse,
        &[parent("DaskAutoscaler", &json!({})), group],
        scales_once,
    );
    for _ in 0..3 {
        assert_eq!(
            world.reconcile(DaskKind::Autoscaler).await,
            Outcome::Failed(RetryPolicy::Passing, None)
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
        "one step, reported once, and the write of its status is retried"
    );
    let (_, status) = world.server.request("APPLY daskautoscalers/a/status");
    assert_eq!(status["status"]["lastScaleTime"], "2026-01-01T00:00:00Z");

    // A changed status takes precedence: another replica may have written it.
    let mut changed = parent("DaskAutoscaler", &json!({"by": "another replica"}));
    changed["metadata"]["resourceVersion"] = "11".into();
    let autoscalers = ResourceType::dask(DaskKind::Autoscaler).resource;
    let store = world.reconciler.stores.of(&autoscalers);
    store.map(|store| store.apply_event(object(&changed)));
    world.reconcile(DaskKind::Autoscaler).await;
    let steps = world.server.requests();
    assert_eq!(steps.iter().filter(|step| step.ends_with("/scale")).count(), 2);
}
