//! Failures of plans and writes.

use super::*;

#[rstest]
#[case::trap(|_: &Observation| Err("it trapped".into()), "PluginFailed", RetryPolicy::BackOff, json!("Running"))]
#[case::gave_up(|_: &Observation| Ok(Err(contract::Error::Failed("no idea".into()))), "PluginFailed", RetryPolicy::BackOff, json!("Running"))]
#[case::refused(
    |_: &Observation| Ok(Ok(Plan { children: vec![pod("Bad_Name")], ..empty() })), "PlanRefused", RetryPolicy::BackOff, json!("Running")
)]
#[case::invalid(
    |_: &Observation| {
        let finding = Finding { severity: Severity::Error, field: "spec.worker".into(), message: "is missing".into() };
        Ok(Err(contract::Error::Invalid(vec![finding])))
    },
    "SpecInvalid",
    RetryPolicy::OnChange,
    json!("Error")
)]
#[tokio::test]
async fn without_a_plan_nothing_is_changed_and_the_status_contains_the_reason(
    #[case] plan: Planned,
    #[case] condition: &str,
    #[case] retry: RetryPolicy,
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
    assert_eq!(
        world.reconcile(DaskKind::Cluster).await,
        Outcome::Failed(retry, None)
    );
    assert_eq!(
        world.server.requests(),
        ["APPLY daskclusters/a/status", "POST events"]
    );
    let (_, body) = world.server.request("APPLY daskclusters/a/status");
    let reported = &body["status"]["conditions"][0];
    assert_eq!(
        (&reported["type"], &reported["status"], &body["status"]["phase"]),
        (&json!(condition), &json!("True"), &phase)
    );
    world.reconcile(DaskKind::Cluster).await;
    assert_eq!(world.server.requests().len(), 2, "it is reported once");
}

#[tokio::test]
async fn a_plugin_that_was_not_loaded_is_reported() {
    let broken = || {
        Err(PluginError::unusable(
            "DaskCluster",
            "mine.wasm: forbidden import".into(),
        ))
    };
    let world = World::with(None, &[parent("DaskCluster", &json!({}))], broken);
    assert_eq!(
        world.reconcile(DaskKind::Cluster).await,
        Outcome::Failed(RetryPolicy::BackOff, None)
    );
    let (_, body) = world.server.request("APPLY daskclusters/a/status");
    let message = body["status"]["conditions"][0]["message"]
        .as_str()
        .unwrap_or_default();
    assert!(message.contains("mine.wasm: forbidden import"), "{message}");
}

/// Returns the refusal of all creations of pods.
fn no_pods(code: u16, reason: &'static str, message: &'static str) -> Option<Refusal> {
    Some(Refusal {
        what: ("POST", "/pods"),
        answer: (code, reason, message),
    })
}

#[rstest]
#[case::quota(
    no_pods(403, "Forbidden", "pods \"p1\" is forbidden: exceeded quota: q"),
    RetryPolicy::Passing, Some("QuotaExceeded"), json!("Running")
)]
#[case::invalid(no_pods(422, "Invalid", "Pod \"p1\" is invalid"), RetryPolicy::OnChange, Some("Invalid"), json!("Error"))]
#[case::in_use(
    no_pods(422, "Invalid", "is invalid: spec.ports[0].nodePort: Invalid value: 30086: provided port is already allocated"),
    RetryPolicy::Passing, Some("InUse"), json!("Running")
)]
#[case::server(no_pods(500, "InternalError", "etcd"), RetryPolicy::Passing, None, json!("Running"))]
#[case::exists(no_pods(409, "AlreadyExists", "exists"), RetryPolicy::Soon, None, json!("Running"))]
#[case::namespace_ends(
    no_pods(403, "Forbidden", "unable to create new content in namespace n because it is being terminated"),
    RetryPolicy::After(Duration::from_secs(30)), None, json!("Running")
)]
#[tokio::test]
async fn an_error_does_not_stop_other_writes_and_lasting_ones_are_reported(
    #[case] refuse: Option<Refusal>,
    #[case] retry: RetryPolicy,
    #[case] reason: Option<&str>,
    #[case] phase: Value,
) {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: vec![pod("p1"), child("Service", "s", ChildAction::Apply)],
            ..empty()
        }))
    };
    let world = World::new(refuse, &[parent("DaskCluster", &json!({}))], plan);
    assert_eq!(
        world.reconcile(DaskKind::Cluster).await,
        Outcome::Failed(retry, None)
    );
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
async fn an_error_that_affects_all_creations_stops_them(
    #[case] refuse: Option<Refusal>,
    #[case] most: usize,
) {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: (0..100).map(|i| pod(&format!("p{i}"))).collect(),
            ..empty()
        }))
    };
    let world = World::new(refuse, &[parent("DaskCluster", &json!({}))], plan);
    world.reconcile(DaskKind::Cluster).await;
    let creations = world
        .server
        .requests()
        .iter()
        .filter(|request| *request == "POST pods")
        .count();
    assert!(creations <= most, "{creations}");
}

/// Failed creations are retried with a back-off, and the condition stays.
#[tokio::test]
async fn failing_creations_are_not_a_loop() {
    let plan = |_: &Observation| {
        Ok(Ok(Plan {
            children: (0..100).map(|i| pod(&format!("p{i}"))).collect(),
            ..empty()
        }))
    };
    let refuse = no_pods(403, "Forbidden", "exceeded quota: q");
    let world = World::new(refuse, &[parent("DaskCluster", &json!({}))], plan);
    for number in 0..20 {
        assert_eq!(
            world.reconcile(DaskKind::Cluster).await,
            Outcome::Failed(RetryPolicy::Passing, None),
            "reconcile {number}"
        );
    }
}

/// Nothing is deleted if the observation is too large for a component.
#[tokio::test]
async fn an_observation_that_is_too_large_is_reported() {
    let objects = [
        parent("DaskCluster", &json!({"phase": "Running"})),
        owned("Pod", "p"),
    ];
    let mut world = World::new(None, &objects, |_| Ok(Ok(empty())));
    world.reconciler.observer.max_bytes = 100;
    for _ in 0..2 {
        assert_eq!(
            world.reconcile(DaskKind::Cluster).await,
            Outcome::Failed(RetryPolicy::BackOff, None)
        );
    }
    assert_eq!(
        world.server.requests(),
        ["APPLY daskclusters/a/status", "POST events"],
        "it is reported once"
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

/// Waits until the children of `least` clusters are applied, and returns the names of all clusters whose children are.
async fn applied(server: &Server, least: usize) -> Vec<String> {
    let names = || {
        let requests = server.requests();
        let name = |request: String| request.strip_prefix("APPLY services/").map(str::to_owned);
        requests.into_iter().filter_map(name).collect::<Vec<_>>()
    };
    while names().len() < least {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Further, unwanted requests would arrive in this time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    names()
}

/// An object to apply is a JSON tree until it is written, here with a hundred times the memory of its text. The trees
/// of many clusters together would end the operator.
#[tokio::test]
async fn large_plans_are_executed_within_the_memory_budget() -> Result<(), tokio::time::error::Elapsed> {
    let plan = |observation: &Observation| {
        let parent: Value = serde_json::from_str(&observation.parent).unwrap_or_default();
        let name = parent["metadata"]["name"].as_str().unwrap_or_default();
        let labels = json!({"dask.org/cluster-name": name});
        let lists = vec!["[]"; 330_000].join(",");
        let mut service = child("Service", name, ChildAction::Apply);
        service.action = ChildAction::Apply(format!(
            r#"{{"metadata": {{"labels": {labels}}}, "spec": {{"x": [{lists}]}}}}"#
        ));
        Ok(Ok(Plan {
            children: vec![service],
            ..empty()
        }))
    };
    let clusters = ["a", "b", "c"].map(|name| {
        let mut cluster = parent("DaskCluster", &json!({}));
        cluster["metadata"]["name"] = name.into();
        cluster["metadata"]["uid"] = name.into();
        cluster
    });
    let never = Refusal {
        what: ("APPLY", ""),
        answer: (0, "", ""),
    };
    let World { server, reconciler } = World::new(Some(never), &clusters, plan);
    let reconciler = Arc::new(reconciler);
    let tasks = ["a", "b", "c"].map(|name| {
        let reconciler = reconciler.clone();
        let reconciles = async move {
            let key = ParentKey::new(DaskKind::Cluster, "n", name);
            while reconciler.reconcile(&key, 0).await == Outcome::OverBudget {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        (name, tokio::spawn(reconciles))
    });
    let limit = Duration::from_secs(60);
    let first = tokio::time::timeout(limit, applied(&server, 2)).await?;
    assert_eq!(first.len(), 2, "{first:?}");
    for (name, task) in &tasks {
        if first.iter().any(|first| first == name) {
            task.abort();
        }
    }
    let all = tokio::time::timeout(limit, applied(&server, 3)).await?;
    assert_eq!(all, ["a", "b", "c"]);
    Ok(())
}
