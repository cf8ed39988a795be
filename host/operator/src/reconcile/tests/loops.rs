//! Rate limits that stop loops.

use super::*;

#[tokio::test]
async fn the_requeue_delay_has_a_minimum() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            requeue_after: Some(0),
            ..empty()
        }))
    };
    let world = World::new(None, &[parent("DaskCluster", &json!({}))], plan);
    assert_eq!(
        world.reconcile(DaskKind::Cluster).await,
        Outcome::Done(Some(Duration::from_secs(1)))
    );
}

#[tokio::test]
async fn new_children_in_each_reconcile_are_rate_limited() {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    let plan = |_: &Observation| {
        let name = format!("p{}", NAMES.fetch_add(1, Ordering::Relaxed));
        Ok(Ok(Plan {
            children: vec![pod(&name)],
            status: "{}".into(),
            ..empty()
        }))
    };
    let world = World::new(None, &[parent("DaskWorkerGroup", &json!({}))], plan);
    // 120, one for the wanted child and one for its replacement; the other children are deleted.
    for _ in 0..122 {
        assert_eq!(world.reconcile(DaskKind::WorkerGroup).await, Outcome::Done(None));
    }
    let delayed = world.reconcile(DaskKind::WorkerGroup).await;
    assert!(
        matches!(delayed, Outcome::Done(Some(wait)) if wait <= Duration::from_secs(60)),
        "{delayed:?}"
    );
    let requests = world.server.requests();
    let created = requests.iter().filter(|request| *request == "POST pods").count();
    assert_eq!(created, 122);
}

/// Each child has a new name, so no counter of a name reaches its limit.
#[tokio::test]
async fn many_new_children_in_each_reconcile_are_rate_limited() {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    let plan = |_: &Observation| {
        let names = || format!("s{}", NAMES.fetch_add(1, Ordering::Relaxed));
        let service = || child("Service", &names(), ChildAction::Apply);
        Ok(Ok(Plan {
            children: (0..20).map(|_| service()).collect(),
            status: "{}".into(),
            ..empty()
        }))
    };
    let world = World::new(None, &[parent("DaskCluster", &json!({}))], plan);
    let mut outcomes = Vec::new();
    for _ in 0..40 {
        outcomes.push(world.reconcile(DaskKind::Cluster).await);
    }
    assert_eq!(outcomes[0], Outcome::Done(None));
    let delayed = outcomes[39];
    assert!(
        matches!(delayed, Outcome::Done(Some(wait)) if wait <= Duration::from_secs(60)),
        "{delayed:?}"
    );
    // The fixed number for every resource, and four for each existing or planned child.
    let writes = world.server.requests().len();
    assert!((480..=480 + 4 * 40).contains(&writes), "{writes}");
}

/// The plan publishes events in each reconcile.
#[tokio::test]
async fn events_in_each_reconcile_are_rate_limited() {
    static PASSES: AtomicUsize = AtomicUsize::new(0);
    let plan = |_: &Observation| {
        let event = Event {
            type_: EventType::Normal,
            reason: "Said".into(),
            message: "again".into(),
        };
        Ok(Ok(Plan {
            events: vec![event; 50],
            status: json!({"passes": PASSES.fetch_add(1, Ordering::Relaxed)}).to_string(),
            ..empty()
        }))
    };
    let world = World::new(None, &[parent("DaskCluster", &json!({}))], plan);
    for _ in 0..3 {
        assert_eq!(world.reconcile(DaskKind::Cluster).await, Outcome::Done(None));
    }
    let requests = world.server.requests();
    let of = |what: &str| requests.iter().filter(|request| *request == what).count();
    assert_eq!((of("POST events"), of("APPLY daskclusters/a/status")), (60, 3));
}

/// Another client removes the owner each time.
#[tokio::test]
async fn repeated_changes_of_the_owner_are_rate_limited() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            owner: Some(cluster_owner("c")),
            status: "{}".into(),
            ..empty()
        }))
    };
    let mut cluster = parent("DaskCluster", &json!({}));
    cluster["metadata"]["uid"] = "c".into();
    let world = World::new(None, &[parent("DaskAutoscaler", &json!({})), cluster], plan);
    let autoscalers = ResourceType::dask(DaskKind::Autoscaler).resource;
    for number in 0..130 {
        let mut anew = parent("DaskAutoscaler", &json!({}));
        anew["metadata"]["resourceVersion"] = (2000 + number).to_string().into();
        let store = world.reconciler.stores.of(&autoscalers);
        store.map(|store| store.apply_event(object(&anew)));
        world.reconcile(DaskKind::Autoscaler).await;
    }
    assert_eq!(world.server.requests(), ["PATCH daskautoscalers/a"; 120]);
}

/// Another client scales the group back each time.
#[tokio::test]
async fn repeated_scaling_is_rate_limited() {
    let plan = |_: &Observation| {
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
    for number in 0..120 {
        assert_eq!(
            world.reconcile(DaskKind::Autoscaler).await,
            Outcome::Done(None),
            "reconcile {number}"
        );
    }
    let delayed = world.reconcile(DaskKind::Autoscaler).await;
    assert!(
        matches!(delayed, Outcome::Done(Some(wait)) if wait <= Duration::from_secs(60)),
        "{delayed:?}"
    );
    assert_eq!(world.server.requests(), ["PATCH daskworkergroups/g/scale"; 120]);
}

/// Another client creates the child again each time.
#[tokio::test]
async fn repeated_deletions_of_a_child_are_rate_limited() {
    let objects = [parent("DaskCluster", &json!({"phase": "Running"}))];
    let world = World::new(None, &objects, |_| Ok(Ok(empty())));
    let mut outcomes = Vec::new();
    for number in 0..122 {
        let mut again = owned("Pod", "p");
        again["metadata"]["uid"] = format!("uid-{number}").into();
        again["metadata"]["resourceVersion"] = (20 + number).to_string().into();
        let pods = world.reconciler.stores.of(&ResourceKind::new("v1", "Pod"));
        pods.map(|store| store.apply_event(object(&again)));
        outcomes.push(world.reconcile(DaskKind::Cluster).await);
    }
    assert_eq!(outcomes[..120], [Outcome::Done(None); 120]);
    for delayed in &outcomes[120..] {
        assert!(
            matches!(delayed, Outcome::Done(Some(wait)) if *wait <= Duration::from_secs(60)),
            "{delayed:?}"
        );
    }
    assert_eq!(world.server.requests(), ["DELETE pods/p"; 120]);
}
