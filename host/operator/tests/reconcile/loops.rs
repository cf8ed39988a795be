//! Loops are held up.

use super::*;

#[tokio::test]
async fn who_wants_to_be_asked_at_once_again_and_again_is_asked_now_and_then() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            requeue_after: Some(0),
            ..empty()
        }))
    };
    let world = World::new(None, &[parent("DaskCluster", &json!({}))], plan);
    assert_eq!(
        world.pass(DaskKind::Cluster).await,
        Outcome::Done(Some(Duration::from_secs(1)))
    );
}

#[tokio::test]
async fn new_children_in_each_pass_are_a_loop_that_is_held_up() {
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

/// Each child is new, and so is counted by no name.
#[tokio::test]
async fn many_new_children_in_each_pass_are_a_loop_that_is_held_up() {
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
        outcomes.push(world.pass(DaskKind::Cluster).await);
    }
    assert_eq!(outcomes[0], Outcome::Done(None));
    let held_up = outcomes[39];
    assert!(
        matches!(held_up, Outcome::Done(Some(wait)) if wait <= Duration::from_secs(60)),
        "{held_up:?}"
    );
    // As many as any resource may have, and four for each child that it has or shall have.
    let writes = world.server.requests().len();
    assert!((480..=480 + 4 * 40).contains(&writes), "{writes}");
}

/// What a plan says of a resource each time.
#[tokio::test]
async fn events_in_each_pass_are_a_loop_that_is_held_up() {
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
        assert_eq!(world.pass(DaskKind::Cluster).await, Outcome::Done(None));
    }
    let requests = world.server.requests();
    let of = |what: &str| requests.iter().filter(|request| *request == what).count();
    assert_eq!((of("POST events"), of("APPLY daskclusters/a/status")), (60, 3));
}

/// Somebody else who gives a group to nobody each time.
#[tokio::test]
async fn an_owner_that_does_not_stay_is_a_loop_that_is_held_up() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            owner: Some(Owner {
                api_version: DASK.into(),
                kind: "DaskCluster".into(),
                name: "a".into(),
                uid: "c".into(),
            }),
            status: "{}".into(),
            ..empty()
        }))
    };
    let mut cluster = parent("DaskCluster", &json!({}));
    cluster["metadata"]["uid"] = "c".into();
    let world = World::new(None, &[parent("DaskAutoscaler", &json!({})), cluster], plan);
    let autoscalers = Kind::dask(DaskKind::Autoscaler).resource;
    for pass in 0..130 {
        let mut anew = parent("DaskAutoscaler", &json!({}));
        anew["metadata"]["resourceVersion"] = (2000 + pass).to_string().into();
        let store = world.reconciler.stores.of(&autoscalers);
        store.map(|store| store.shown(object(&anew)));
        world.pass(DaskKind::Autoscaler).await;
    }
    assert_eq!(world.server.requests(), ["PATCH daskautoscalers/a"; 120]);
}

/// A group that somebody else scales back each time.
#[tokio::test]
async fn a_number_that_does_not_stay_is_a_loop_that_is_held_up() {
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
    let world = World::new(None, &objects, |_| Ok(Ok(empty())));
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
