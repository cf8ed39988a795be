//! Tests of `schedulerUpdate`.

use dask_operator_plugin::dask::metadata::{ANNOTATION_RESTARTED_AT, ANNOTATION_TEMPLATE_HASH};

use super::*;

const UP_TO_DATE: &str = "SchedulerUpToDate";

/// Returns a cluster whose scheduler was created from its spec.
fn made() -> Scenario {
    let first = plan(&simple());
    let annotations =
        first.object("Pod", "simple-scheduler").expect("pod")["metadata"]["annotations"].clone();
    assert!(annotations[ANNOTATION_TEMPLATE_HASH].is_string());
    let mut pod = ready_pod();
    pod["metadata"]["annotations"] = annotations;
    pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    complete_cluster(pod).after(600_000)
}

fn recreate(scenario: Scenario) -> Scenario {
    scenario.change(|cluster| cluster["spec"]["schedulerUpdate"] = json!("Recreate"))
}

fn other_image(scenario: Scenario) -> Scenario {
    scenario.change(|cluster| {
        cluster["spec"]["scheduler"] =
            json!({"spec": {"containers": [{"name": "scheduler", "image": "other"}]}});
    })
}

fn keeps(plan: &Outcome) -> bool {
    plan.summary()[0] == "keep Pod simple-scheduler"
}

#[test]
fn reports_an_up_to_date_scheduler() {
    for scenario in [made(), recreate(made())] {
        let plan = plan(&scenario);
        assert!(keeps(&plan));
        assert!(
            plan.condition(UP_TO_DATE)
                .is_some_and(|text| text.starts_with("True UpToDate"))
        );
    }
}

#[test]
fn only_template_changes_make_a_scheduler_outdated() {
    let change = |change: fn(&mut Value)| plan(&made().change(change));
    let is_up_to_date = |plan: Outcome| {
        plan.condition(UP_TO_DATE)
            .is_some_and(|text| text.starts_with("True"))
    };
    let other_node = |cluster: &mut Value| {
        cluster["spec"]["scheduler"] = json!({"spec": {"nodeSelector": {"a": "b"}}});
    };
    assert!(!is_up_to_date(change(other_node)));
    let harmless: [fn(&mut Value); 7] = [
        |cluster| cluster["metadata"]["labels"] = json!({"team": "a"}),
        |cluster| cluster["spec"]["scheduler"] = json!({"metadata": {"annotations": {"a": "b"}}}),
        |cluster| cluster["spec"]["worker"]["replicas"] = json!(7),
        |cluster| cluster["spec"]["idleTimeout"] = json!(7),
        |cluster| {
            cluster["spec"]["scheduler"] =
                json!({"service": {"type": "NodePort"}, "spec": {"nodeSelector": null}})
        },
        |cluster| {
            cluster["metadata"]["annotations"] =
                json!({"kubernetes.dask.org/x": "y", "kubectl.kubernetes.io/a": "b"})
        },
        |cluster| cluster["metadata"]["labels"] = json!({"dask.org/cluster-name": "x"}),
    ];
    for change_it in harmless {
        assert!(is_up_to_date(change(change_it)));
    }
}

#[test]
fn applies_changed_labels_to_an_existing_scheduler() {
    let changed = recreate(made()).change(|cluster| {
        cluster["metadata"]["labels"] = json!({"team": "a", "helm.sh/chart": "x-2"});
    });
    let first = plan(&changed);
    assert_eq!(first.summary()[0], "apply Pod simple-scheduler");
    assert_eq!(
        first.object("Pod", "simple-scheduler").expect("pod")["metadata"]["labels"]["team"],
        "a"
    );
    assert!(
        keeps(&plan(&changed.with(&first))),
        "a repeated plan changes nothing"
    );
    // Labels that tools add to the cluster are ignored.
    let marked = made().change(|cluster| cluster["metadata"]["labels"] = json!({"helm.sh/chart": "x-2"}));
    assert!(keeps(&plan(&marked)));
}

#[test]
fn on_delete_waits_for_the_user() {
    let plan = plan(&other_image(made()));
    assert!(keeps(&plan));
    assert_eq!(
        plan.condition(UP_TO_DATE).as_deref(),
        Some(
            "False OnDelete: the scheduler was made from another spec than the present one: delete Pod \
             simple-scheduler or set `schedulerUpdate: Recreate`; tasks and results that it knows are lost then"
        )
    );
    assert_eq!(plan.events(), [""; 0]);
}

#[test]
fn recreate_deletes_and_then_creates() {
    let seen = json!({"phase": "Running", "schedulerUid": "uid-of-simple-scheduler"});
    let outdated = recreate(other_image(made())).status(seen);
    let first = plan(&outdated);
    assert_eq!(first.summary(), WITHOUT_SCHEDULER);
    assert_eq!(first.status()["phase"], "Running");
    assert_eq!(first.0.events.len(), 1);
    assert!(first.events()[0].starts_with("SchedulerRecreated: "));
    // The deletion was refused. The plan is repeated, without another event.
    let status = outdated.clone().with(&first).parent()["status"].clone();
    assert_eq!(plan(&outdated.clone().status(status.clone())).events(), [""; 0]);
    let gone = recreate(other_image(simple()))
        .child(service("ClusterIP", &Value::Null))
        .child(group(2, 2))
        .status(status);
    let second = plan(&gone);
    assert_eq!(second.summary()[0], "create Pod simple-scheduler");
    assert_eq!(
        (second.events(), &second.status()["schedulerRestarts"]),
        (vec![], &json!(1)),
        "the restart is counted, but not reported as a loss"
    );
    let third = plan(&gone.with(&second));
    assert!(keeps(&third));
    assert!(
        third
            .condition(UP_TO_DATE)
            .is_some_and(|text| text.starts_with("True"))
    );
}

/// The clock of the user who requests a restart may be ahead of the API server's.
#[test]
fn a_scheduler_created_for_a_restart_is_up_to_date() {
    let requested = |scenario: Scenario, time: &str| {
        recreate(scenario)
            .change(|cluster| cluster["metadata"]["annotations"] = json!({ANNOTATION_RESTARTED_AT: time}))
            .after(600_000)
    };
    let first = plan(&requested(simple(), "2026-01-01T00:05:00Z"));
    let made = first.object("Pod", "simple-scheduler").expect("pod");
    assert_eq!(
        made["metadata"]["annotations"][ANNOTATION_RESTARTED_AT],
        "2026-01-01T00:05:00.000Z"
    );
    let mut pod = ready_pod();
    pod["metadata"]["annotations"] = made["metadata"]["annotations"].clone();
    // According to the API server, the pod was created before the requested time.
    pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:04:00Z");
    let up_to_date = plan(&requested(complete_cluster(pod.clone()), "2026-01-01T00:05:00Z"));
    assert!(keeps(&up_to_date));
    assert!(
        up_to_date
            .condition(UP_TO_DATE)
            .is_some_and(|text| text.starts_with("True UpToDate"))
    );
    let again = plan(&requested(complete_cluster(pod), "2026-01-01T00:07:00Z"));
    assert!(!keeps(&again), "another restart");
}

#[test]
fn a_scheduler_without_a_hash_is_left_alone_until_a_restart_is_requested() {
    let of_another_release = |requested: Option<&str>| {
        let mut pod = ready_pod();
        pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        let scenario = recreate(other_image(complete_cluster(pod))).after(600_000);
        plan(&match requested {
            Some(requested) => scenario.change(|cluster| {
                cluster["metadata"]["annotations"] = json!({ANNOTATION_RESTARTED_AT: requested})
            }),
            None => scenario,
        })
    };
    for requested in [
        None,
        Some("2025-12-31T00:00:00Z"),
        Some("yesterday"),
        Some("2026-01-02T00:00:00Z"),
    ] {
        let plan = of_another_release(requested);
        assert!(keeps(&plan), "{requested:?}");
        assert_eq!(plan.condition(UP_TO_DATE), None);
    }
    let requested = of_another_release(Some("2026-01-01T00:05:00Z"));
    assert!(!keeps(&requested));
    let group = requested
        .object("DaskWorkerGroup", "simple-default")
        .expect("group");
    assert_eq!(
        group["metadata"]["annotations"][ANNOTATION_RESTARTED_AT], "2026-01-01T00:05:00Z",
        "the workers are restarted too"
    );
}
