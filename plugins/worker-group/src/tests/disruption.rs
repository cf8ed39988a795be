//! Tests of workers that are about to lose their node.

use super::*;

fn node(name: &str, taint: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"taints": [{"key": taint, "effect": "NoSchedule"}]}})
}

fn on(node: &str, mut pod: Value) -> Value {
    pod["spec"] = json!({"nodeName": node});
    pod
}

#[test]
fn workers_of_a_node_marked_for_removal_are_drained_and_replaced() {
    let scenario = group(3)
        .child(on("spot", pod("a", running())))
        .child(on("other", pod("b", running())))
        .child(on("spot", pod("c", pending())))
        .related(node("spot", "karpenter.sh/disrupted"))
        .related(node("other", "dedicated"));
    let first = plan(&scenario.clone().scheduler(facts(0, &[("a", 1, 1), ("b", 1, 1)])));
    assert_eq!(first.summary()[..2], ["keep Pod b", "apply Pod a"]);
    assert_eq!(count(&first, "create"), 2, "{:?}", first.summary());
    assert_eq!(
        first.events(),
        [
            "WorkersRetiring: 1 worker is told to hand on all results and leave (node spot is about to go: it has the \
             taint karpenter.sh/disrupted): a"
        ]
    );
    let second = plan(
        &scenario
            .clone()
            .with(&first)
            .scheduler(facts(10, &[("a", 1, 1), ("b", 1, 1)]))
            .after(10),
    );
    assert_eq!(
        (
            count(&second, "keep"),
            count(&second, "create"),
            count(&second, "apply")
        ),
        (4, 0, 0)
    );
    assert_eq!(retired(&second), Some(vec!["tcp://a:1".to_owned()]));
    // Without the scheduler the workers leave too, because the node does not wait.
    let blind = plan(&scenario.unreachable("no"));
    assert_eq!(
        (with_action(&blind, "apply"), count(&blind, "create")),
        (vec!["a".to_owned()], 2)
    );
}

#[test]
fn the_drain_taints_are_configurable() {
    let scenario = group(1)
        .child(on("n", pod("a", running())))
        .related(node("n", "mine"))
        .settings(&json!({"drainTaints": ["mine"]}));
    assert_eq!(with_action(&plan(&scenario), "apply"), ["a"]);
    let cordoned = group(1)
        .child(on("n", pod("a", running())))
        .related(node("n", "node.kubernetes.io/unschedulable"));
    assert_eq!(plan(&cordoned).summary(), ["keep Pod a"]);
    let tolerates = scenario.change(|group| {
        group["spec"]["worker"]["spec"] = json!({"tolerations": [{"key": "mine", "operator": "Exists"}]});
    });
    assert_eq!(plan(&tolerates).summary(), ["keep Pod a"]);
}

#[test]
fn drains_pods_that_will_be_evicted() {
    let mut status = running();
    status["conditions"].as_array_mut().expect("conditions").push(
        json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "bye"}),
    );
    let evicted = pod("a", status);
    let first = plan(
        &group(1)
            .child(evicted.clone())
            .scheduler(facts(0, &[("a", 1, 1)])),
    );
    assert_eq!(
        (with_action(&first, "apply"), count(&first, "create")),
        (vec!["a".to_owned()], 1)
    );
    // The worker can still move its results during its grace period.
    let mut going = evicted;
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let asked = plan(&group(1).child(going.clone()).child(pod("b", running())));
    assert_eq!(retired(&asked), Some(vec![]));
    let told = plan(
        &group(1)
            .child(going)
            .child(pod("b", running()))
            .scheduler(facts(0, &[("a", 1, 1)])),
    );
    assert_eq!(
        (count(&told, "keep"), retired(&told)),
        (2, Some(vec!["tcp://a:1".to_owned()]))
    );
}
