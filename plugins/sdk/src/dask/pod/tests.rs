use serde_json::{Value, json};

use super::*;
use crate::contract::ChildAction;
use crate::dask::kinds;
use crate::testing::START;

fn observed(object: &Value) -> ObservedObject {
    ObservedObject {
        key: kinds::pod().key("p"),
        uid: "u".into(),
        terminating: false,
        object: object.to_string(),
    }
}

fn pod(status: Value) -> Pod {
    let object = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status});
    Pod::of(&observed(&object)).expect("pod")
}

#[test]
fn recognises_an_early_end() {
    let over = |end: Value| {
        let state = json!({"terminated": {"exitCode": 1, "finishedAt": end}});
        pod(json!({"phase": "Failed", "containerStatuses": [{"state": state}]})).early_end()
    };
    assert_eq!(over(json!("2026-01-01T00:00:03Z")), Some(START + 3000));
    assert_eq!(over(json!("2026-01-01T00:01:00Z")), None, "it ran for a minute");
    assert_eq!(over(json!("2025-12-31T23:00:00Z")), Some(START));
    assert_eq!(
        pod(json!({"phase": "Failed", "reason": "OutOfcpu"})).early_end(),
        Some(START)
    );
    let evicted = |time: &str| {
        let conditions = json!([{"type": "DisruptionTarget", "status": "True", "lastTransitionTime": time}]);
        pod(json!({"phase": "Failed", "reason": "Evicted", "conditions": conditions})).early_end()
    };
    assert_eq!(evicted("2026-01-01T00:00:30Z"), Some(START + 30_000));
    assert_eq!(evicted("2026-01-01T01:00:00Z"), None);
    assert_eq!(pod(json!({"phase": "Running"})).early_end(), None);
}

/// The time for pulling an image does not count as running time.
#[test]
fn an_early_end_counts_from_the_start_of_the_first_container() {
    let state = |start: &str, end: &str| json!({"terminated": {"exitCode": 1, "startedAt": start, "finishedAt": end}});
    let end = |containers: Value, before: Value| {
        pod(json!({"phase": "Failed", "containerStatuses": containers, "initContainerStatuses": before}))
            .early_end()
    };
    let slow = state("2026-01-01T00:05:00Z", "2026-01-01T00:05:02Z");
    assert_eq!(end(json!([{"state": slow}]), json!([])), Some(START + 302_000));
    let work = state("2026-01-01T00:05:00Z", "2026-01-01T00:06:00Z");
    assert_eq!(end(json!([{"state": work}]), json!([])), None);
    // The running time of init containers counts.
    let download = json!([{"state": state("2026-01-01T00:01:00Z", "2026-01-01T00:04:59Z")}]);
    assert_eq!(end(json!([{"state": slow}]), download), None);
    let failed = json!([{"state": state("2026-01-01T00:05:00Z", "2026-01-01T00:05:03Z")}]);
    let waiting = json!([{"state": {"waiting": {"reason": "PodInitializing"}}}]);
    assert_eq!(end(waiting, failed), Some(START + 303_000));
    let before = state("2026-01-01T00:04:50Z", "2026-01-01T00:04:51Z");
    let again =
        |restarts: u32| json!([{"restartCount": restarts, "state": slow, "lastState": before.clone()}]);
    assert_eq!(end(again(1), json!([])), Some(START + 302_000));
    assert_eq!(end(again(7), json!([])), None, "it may have run for long");
}

fn reason(status: Value) -> Option<String> {
    pod(status).trouble(START).map(|cause| cause.reason)
}

#[test]
fn missing_labels_are_applied() {
    let observed =
        observed(&json!({"metadata": {"labels": {"a": "1", "b": "2"}, "annotations": {"c": "3"}}}));
    let pod = Pod::of(&observed).expect("pod");
    let kept = |metadata: Value| {
        let wanted = Metadata::embedded(Some(&metadata)).changeable();
        pod.kept_with(&observed, &wanted).action == ChildAction::Keep
    };
    assert!(kept(json!({"labels": {"a": "1"}, "annotations": {"c": "3"}})));
    assert!(!kept(json!({"labels": {"a": "2"}})));
    assert!(!kept(json!({"annotations": {"d": "4"}})));
    let fixed = json!({"annotations": {"container.apparmor.security.beta.kubernetes.io/worker": "x"}});
    assert!(kept(fixed), "the annotation is immutable");
}

#[test]
fn reasons_become_camel_case() {
    for (reported, expected) in [
        ("CrashLoopBackOff", "CrashLoopBackOff"),
        ("Waiting for capacity", "WaitingForCapacity"),
        ("seccomp: killed (é)", "SeccompKilled"),
        ("1 of 3", "Of3"),
        ("…", "Unknown"),
        ("", "Unknown"),
    ] {
        assert_eq!(Cause::reported(reported, "m").reason, expected);
    }
    assert_eq!(Cause::reported(&"x".repeat(200), "m").reason.len(), 128);
    let waiting =
        json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "No node"}}}]});
    assert_eq!(reason(waiting).as_deref(), Some("NoNode"));
    let disrupted =
        json!({"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True"}]});
    assert_eq!(reason(disrupted).as_deref(), Some("Unknown"));
}

#[test]
fn a_pod_that_only_needs_time_has_no_trouble() {
    assert_eq!(reason(json!({})), None);
    assert_eq!(reason(json!({"phase": "Pending"})), None);
    let creating = json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]});
    assert_eq!(reason(creating.clone()), None);
    assert!(!pod(creating).has_run());
}

/// A missing Secret that is mounted as a volume is not visible in the status of any container.
#[test]
fn missing_volumes_are_trouble_after_a_minute() {
    let waits = |ready: &str, spec: Value| {
        let status = json!({
            "phase": "Pending",
            "conditions": [{"type": "PodReadyToStartContainers", "status": ready, "lastTransitionTime": "2026-01-01T00:00:05Z"}],
            "containerStatuses": [{"name": "worker", "state": {"waiting": {"reason": "ContainerCreating"}}}],
        });
        Pod::of(&observed(&json!({"spec": spec, "status": status}))).expect("pod")
    };
    let on_node = || json!({"nodeName": "n"});
    let waiting = waits("False", on_node());
    assert_eq!(
        (
            waiting.trouble(START + 64_000),
            waiting.look_again_at(START + 64_000)
        ),
        (None, Some(START + 65_000))
    );
    let trouble = waiting.trouble(START + 65_000).expect("trouble");
    assert_eq!(
        trouble.to_string(),
        "ContainersNotCreated: since 2026-01-01T00:00:05Z its node has not set up its volumes and its network; a Secret or \
         ConfigMap that does not exist may be the cause: `kubectl describe pod p` says it"
    );
    assert_eq!(
        (
            waiting.trouble(START + 9_000_000),
            waiting.look_again_at(START + 65_000)
        ),
        (Some(trouble), None),
        "no further change is expected"
    );
    let pulling = waits("True", on_node());
    assert_eq!(pulling.trouble(START + 9_000_000), None, "the image may be large");
    let without_node = waits("False", json!({}));
    assert_eq!(without_node.trouble(START + 9_000_000), None);
}

#[test]
fn an_overdue_deletion_is_stuck() {
    let going = |spec: Value| {
        let object = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:30Z"}, "spec": spec});
        let observed = ObservedObject {
            terminating: true,
            ..observed(&object)
        };
        Pod::of(&observed).expect("pod")
    };
    let pod = going(json!({"nodeName": "n"}));
    assert_eq!(
        (pod.stuck(START + 149_000), pod.look_again_at(START + 149_000)),
        (None, Some(START + 150_000))
    );
    assert_eq!(
        pod.stuck(START + 150_000).as_deref(),
        Some(
            "pod p was to be gone at 2026-01-01T00:00:30Z, and node n does not say that it is: if that is lost, `kubectl delete \
             pod p --force --grace-period=0`"
        )
    );
    assert_eq!(pod.look_again_at(START + 150_000), None);
    let anywhere = going(json!({})).stuck(START + 150_000).expect("stuck");
    assert!(anywhere.contains("and its node does not say"), "{anywhere}");
}

#[test]
fn reports_the_cause_of_trouble() {
    let waiting = |reason: &str| {
        json!({"phase": "Pending", "containerStatuses": [
        {"name": "worker", "state": {"waiting": {"reason": reason, "message": "m"}}}]})
    };
    assert_eq!(
        reason(waiting("ImagePullBackOff")).as_deref(),
        Some("ImagePullBackOff")
    );
    assert_eq!(
        reason(json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]}))
        .as_deref(),
        Some("Unschedulable")
    );
    assert_eq!(
        reason(json!({"phase": "Failed", "reason": "Evicted", "message": "memory"})).as_deref(),
        Some("Evicted")
    );
    assert_eq!(
        reason(json!({"phase": "Failed", "conditions": [
        {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]}))
        .as_deref(),
        Some("PreemptionByScheduler")
    );
    assert_eq!(
        reason(json!({"phase": "Failed", "containerStatuses": [
        {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}))
        .as_deref(),
        Some("OOMKilled")
    );
}

#[test]
fn a_crash_loop_includes_the_last_end() {
    let pod = pod(
        json!({"phase": "Running", "containerStatuses": [{"name": "scheduler", "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
        "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}}]}),
    );
    let trouble = pod.trouble(START).expect("trouble");
    assert_eq!(
        trouble.message,
        "container scheduler: back-off 40s, last time it ended with code 2"
    );
    assert!(pod.has_run() && !pod.is_ready());
}

#[test]
fn reports_out_of_memory() {
    let over = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "a\nb\nc\nd"}});
    let between = pod(json!({"phase": "Running", "containerStatuses": [{"name": "worker", "state": over}]}));
    assert_eq!(
        between.trouble(START).map(|cause| cause.to_string()).as_deref(),
        Some("OOMKilled: container worker: it ended with code 137 (OOMKilled): b | c | d")
    );
    let again = pod(
        json!({"phase": "Running", "containerStatuses": [{"name": "worker", "restartCount": 1,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}, "lastState": over}]}),
    );
    assert_eq!(
        again.trouble(START).map(|cause| cause.to_string()).as_deref(),
        Some(
            "CrashLoopBackOff: container worker: back-off, last time it ended with code 137 (OOMKilled): b | c | d"
        )
    );
}

#[test]
fn reads_addresses_and_disruptions() {
    let pod = pod(
        json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "hostIP": "10.0.0.1",
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]}),
    );
    assert_eq!(pod.addresses().len(), 2);
    assert!(pod.is_on_host_network());
    assert_eq!(
        pod.disruption().map(|cause| cause.to_string()).as_deref(),
        Some("EvictionByEvictionAPI")
    );
}

#[test]
fn reads_times_of_the_containers() {
    let pod = pod(json!({"phase": "Succeeded", "containerStatuses": [
        {"state": {"terminated": {"exitCode": 0, "startedAt": "2026-01-01T00:00:05Z", "finishedAt": "2026-01-01T00:01:00Z"}}},
        {"state": {"terminated": {"exitCode": 0, "startedAt": "2026-01-01T00:00:04Z", "finishedAt": "2026-01-01T00:00:50Z"}}}]}));
    let time = |text| time::parse(text);
    assert_eq!(pod.started(), time("2026-01-01T00:00:04Z"));
    assert_eq!(pod.finished(), time("2026-01-01T00:01:00Z"));
    assert_eq!(pod.created, time("2026-01-01T00:00:00Z"));
    assert!(pod.is_over());
}

#[test]
fn a_pod_is_over_when_its_main_container_is() {
    let terminated = |code: i32| json!({"terminated": {"exitCode": code, "reason": "Error"}});
    let running = json!({"running": {}});
    let observe = |phase: &str, main: &Value, proxy: &Value, policy: &str| {
        let pod = pod(json!({"phase": phase, "containerStatuses": [
            {"name": "proxy", "restartCount": 7, "state": proxy}, {"name": "job", "restartCount": 1, "state": main}]}));
        let pod = pod.without_sidecars("job", policy);
        let message = pod
            .is_over()
            .then(|| pod.trouble(START).map(|cause| cause.message))
            .flatten();
        (
            pod.phase().to_owned(),
            pod.restarts(),
            message.unwrap_or_default(),
        )
    };
    let is = |phase: &str, restarts: u64, message: &str| (phase.to_owned(), restarts, message.to_owned());
    let failed = "container job: it ended with code 3";
    assert_eq!(
        observe("Running", &terminated(3), &running, "Never"),
        is("Failed", 1, failed)
    );
    assert_eq!(
        observe("Running", &terminated(0), &terminated(0), "Never"),
        is("Running", 1, ""),
        "the kubelet sets the phase"
    );
    assert_eq!(
        observe("Running", &terminated(3), &running, "OnFailure"),
        is("Running", 1, "")
    );
    assert_eq!(
        observe("Running", &running, &terminated(3), "Never"),
        is("Running", 1, "")
    );
    assert_eq!(
        observe("Failed", &terminated(3), &terminated(0), "Never"),
        is("Failed", 1, failed)
    );
    for policy in ["Never", "OnFailure"] {
        let (phase, ..) = observe("Running", &terminated(0), &running, policy);
        assert_eq!(phase, "Succeeded");
    }
    assert_eq!(
        observe("Running", &terminated(0), &running, "Always"),
        is("Running", 1, "")
    );
    assert_eq!(
        observe("Failed", &terminated(0), &terminated(2), "Never"),
        is("Failed", 7, "container proxy: it ended with code 2"),
        "another container has failed"
    );
}
