//! Tests of the size limits of plans.

use rstest::rstest;
use serde_json::json;

use super::*;

/// Checks a plan with the default limits and returns the refusal.
fn refusal(plan: Plan) -> Refusal {
    let declared = declared();
    let checked = check(
        &parent(DaskKind::Cluster),
        &Rules::new(&declared),
        &TestState,
        plan,
    );
    match checked {
        Ok(plan) => panic!("the plan passed: {plan:?}"),
        Err(refusal) => refusal,
    }
}

#[test]
fn a_refusal_contains_at_most_a_hundred_violations() {
    let children = (0..1000).map(|i| child("Pod", &format!("p{i}"), json!({})));
    let refusal = refusal(plan(children.collect()));
    assert_eq!((refusal.violations.len(), refusal.more), (100, 900));
    assert!(refusal.to_string().ends_with("; and 990 more"), "{refusal}");
}

#[test]
fn a_violation_is_one_line_of_limited_length() {
    let name = format!("a\n{}", "b".repeat(1 << 20));
    let refusal = refusal(plan(vec![child("Pod", &name, valid_object())]));
    let text = refusal.to_string();
    assert!(text.starts_with("Pod a b") && !text.contains('\n'), "{text}");
    assert!(text.len() < 3000, "{}", text.len());
}

#[test]
fn the_number_of_fields_is_limited() {
    let many: Map<String, Value> = (0..101).map(|i| (format!("f{i}"), json!(0))).collect();
    let text = refusal(plan(vec![child("Pod", "p", many.into())])).to_string();
    assert!(text.starts_with("Pod p: has 101 fields"), "{text}");
}

/// A value that is small as text and takes much memory once it is parsed.
fn bomb() -> Value {
    json!(vec![json!({"": 0}); 50])
}

#[rstest]
#[case::applied(Action::Apply(json!({"spec": bomb()}).to_string()), true)]
#[case::created(Action::Create(json!({"spec": bomb(), "metadata": valid_object()["metadata"]}).to_string()), false)]
#[case::metadata(Action::Create(json!({"metadata": {"labels": bomb()}}).to_string()), true)]
fn memory_is_limited_for_json_that_is_parsed(#[case] action: Action, #[case] is_refused: bool) {
    let child = DesiredChild {
        key: key("Pod", "p"),
        action,
    };
    let violations = violations(DaskKind::Cluster, plan(vec![child]));
    if is_refused {
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(
            violations[0].starts_with("plan, children: would take more than 20000 bytes"),
            "{violations:?}"
        );
    } else {
        assert_eq!(violations, [""; 0]);
    }
}

#[test]
fn the_memory_of_all_children_is_limited_and_reported_once() {
    let children = (0..3).map(|i| child("Pod", &format!("p{i}"), json!({"x": vec![json!({}); 20]})));
    let violations = violations(DaskKind::Cluster, plan(children.collect()));
    // The first child is within the limit, but has no label.
    assert_eq!(violations.len(), 2, "{violations:?}");
    assert!(
        violations[1].starts_with("plan, children: would take"),
        "{violations:?}"
    );
}

#[rstest]
#[case::many(3, 10, "plan, conditions: has 3; at most 2 are allowed")]
#[case::long(2, 30_000, "plan, conditions: 60020 bytes of text; at most 50000 are allowed")]
fn conditions_are_limited_in_number_and_size(
    #[case] count: usize,
    #[case] length: usize,
    #[case] message: &str,
) {
    let condition = |i| DesiredCondition {
        type_: format!("Type{i}"),
        status: ConditionStatus::True,
        reason: "Words".into(),
        message: "m".repeat(length),
    };
    let plan = Plan {
        conditions: (0..count).map(condition).collect(),
        ..plan(vec![])
    };
    assert_eq!(violations(DaskKind::Cluster, plan), [message]);
}

#[rstest]
#[case::questions(
    SchedulerRequest { questions: vec![SchedulerQuestion::Workers; 11], ..request(&[]) },
    "plan, scheduler.questions: has 11; write each question once"
)]
#[case::retire(request(&["a"; 4]), "plan, scheduler.retire: has 4; at most 3 are allowed")]
fn scheduler_requests_are_limited(#[case] request: SchedulerRequest, #[case] message: &str) {
    let plan = Plan {
        scheduler: Some(request),
        ..plan(vec![])
    };
    assert_eq!(violations(DaskKind::WorkerGroup, plan), [message]);
}
