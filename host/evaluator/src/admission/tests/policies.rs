//! Tests of patches by policies, monitor mode, and policies that fail.

use super::*;

#[test]
fn a_policy_receives_the_object_from_the_previous_one() {
    let add = json!([{"op": "add", "path": "/metadata/labels", "value": {"owner": "a"}}]);
    let policies = [(Rule::Patch(add), Mode::Protect), (Rule::Owner, Mode::Protect)];
    let object = object(json!({}));
    let outcome = mutate(&evaluator(&policies), &create(&object));
    assert_eq!(outcome.refusals, []);
    let changed = outcome.changed.unwrap_or_default();
    assert_eq!(changed["metadata"]["labels"]["owner"], "a");
    assert_eq!(changed["spec"]["size"], 1);
    // In reverse order, the policy that requires the label is called before the one that adds it.
    let [first, second] = policies;
    let outcome = mutate(&evaluator(&[second, first]), &create(&object));
    assert_eq!(
        outcome.refusal(),
        "policy p: metadata.labels.owner: it is missing: write whose it is"
    );
}

#[rstest]
#[case::refuses(
    Rule::Owner,
    "policy p: metadata.labels.owner: it is missing: write whose it is"
)]
#[case::traps(Rule::Trap, "policy p: it could not decide: it trapped")]
#[case::breaks(Rule::Patch(json!([{"op": "remove", "path": "/x"}])), "policy p: its patch can't be applied")]
#[case::renames(Rule::Patch(json!([{"op": "add", "path": "/metadata/namespace", "value": "kube-system"}])),
    "policy p: metadata.namespace: its patch changes it, which is not allowed")]
fn a_policy_in_monitor_mode_only_reports(#[case] policy: Rule, #[case] message: &str) {
    let object = object(json!({"size": 1}));
    let policies = [(policy, Mode::Protect)];
    let outcome = mutate(&evaluator(&policies), &create(&object));
    assert!(outcome.refusal().starts_with(message), "{outcome:?}");
    let [(policy, _)] = policies;
    let policies = [(policy, Mode::Monitor)];
    let outcome = mutate(&evaluator(&policies), &create(&object));
    assert!(outcome.is_allowed() && outcome.changed.is_none());
    assert!(
        outcome.notices()[0].starts_with(&format!("only monitored: {message}")),
        "{outcome:?}"
    );
}

#[test]
fn the_message_about_a_patch_names_the_missing_parent() {
    let patch = json!([
        {"op": "add", "path": "/spec/a", "value": {}},
        {"op": "add", "path": "/spec/a/b/c", "value": 1},
    ]);
    let object = object(json!({"size": 1}));
    let policies = [(Rule::Patch(patch), Mode::Protect)];
    let outcome = mutate(&evaluator(&policies), &create(&object));
    assert_eq!(
        outcome.refusal(),
        "policy p: its patch can't be applied: there is no /spec/a/b for /spec/a/b/c to be in (operation 2): add that before"
    );
    assert_eq!(outcome.changed, None);
}

#[test]
fn a_patch_in_monitor_mode_changes_nothing() {
    let patch = json!([{"op": "add", "path": "/spec/size", "value": 2}]);
    let object = object(json!({"size": 1}));
    let policies = [(Rule::Patch(patch), Mode::Monitor)];
    let outcome = mutate(&evaluator(&policies), &create(&object));
    assert_eq!(outcome.changed, None);
    assert!(
        outcome.notices()[0].contains("it would change the object"),
        "{outcome:?}"
    );
}

#[test]
fn a_policy_that_had_too_little_time_is_not_bypassed() {
    let old = object(json!({"size": 1}));
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let delete = Request {
        operation: Operation::Delete,
        ..create(&old)
    };
    let requests = [create(&old), update(&old, &labelled), delete];
    let outcome = |rule, mode, request| validate(&evaluator(&[(rule, mode)]), request, 0);
    for request in &requests {
        for rule in [Rule::Late, Rule::Overdue] {
            let late = outcome(rule.clone(), Mode::Protect, request);
            assert!(late.refusal().contains("policy.admit: not done"), "{late:?}");
            assert!(late.may_pass_later());
            assert!(outcome(rule, Mode::Monitor, request).is_allowed());
        }
    }
    let [_, labels, deletes] = &requests;
    for request in [labels, deletes] {
        let broken = outcome(Rule::Trap, Mode::Protect, request);
        assert!(broken.is_allowed() && broken.undecided == 0, "{broken:?}");
    }
    // Updates by the API server and its controllers pass without a call of the policy.
    let mut freed = old.clone();
    freed["metadata"]["finalizers"] = json!([]);
    assert!(outcome(Rule::Late, Mode::Protect, &update(&old, &freed)).is_allowed());
}

#[rstest]
#[case::small(0, true)]
#[case::large(LARGE, false)]
fn a_policy_that_fails_on_a_large_object_is_not_bypassed(#[case] padding: usize, #[case] passes: bool) {
    let old = object(json!({"size": 1, "padding": "x".repeat(padding)}));
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let delete = Request {
        operation: Operation::Delete,
        ..create(&old)
    };
    for request in [update(&old, &labelled), delete] {
        let outcome = validate(&evaluator(&[(Rule::Exceeds, Mode::Protect)]), &request, 0);
        assert_eq!(
            (outcome.is_allowed(), outcome.may_pass_later()),
            (passes, !passes),
            "{outcome:?}"
        );
        // A policy that can't be called at all is broken, regardless of the size of the object.
        let failed = validate(&evaluator(&[(Rule::Trap, Mode::Protect)]), &request, 0);
        assert!(failed.is_allowed(), "{failed:?}");
    }
}

#[test]
fn a_patch_with_a_copy_is_refused() {
    let patch = json!([{"op": "copy", "from": "/spec", "path": "/spec/a"}]);
    let object = object(json!({"size": 1}));
    for mode in [Mode::Protect, Mode::Monitor] {
        let outcome = mutate(
            &evaluator(&[(Rule::Patch(patch.clone()), mode)]),
            &create(&object),
        );
        let message = outcome.refusal() + &outcome.notices().concat();
        assert!(
            message.contains("its patch can't be applied: operation 1 is a `copy`, which no policy may use"),
            "{message}"
        );
        assert_eq!(outcome.changed, None);
    }
}
