//! How much a plan may hold.

use rstest::rstest;
use serde_json::json;

use super::*;

fn refusal(plan: Plan) -> Refusal {
    let declared = declared();
    let checked = check(&parent(DaskKind::Cluster), &Rules::new(&declared), &World, plan);
    match checked {
        Ok(plan) => panic!("it passed: {plan:?}"),
        Err(refusal) => refusal,
    }
}

#[test]
fn of_thousands_of_violations_a_hundred_are_kept() {
    let children = (0..1000).map(|i| child("Pod", &format!("p{i}"), json!({})));
    let refusal = refusal(plan(children.collect()));
    assert_eq!((refusal.violations.len(), refusal.more), (100, 900));
    assert!(refusal.to_string().ends_with("; and 990 more"), "{refusal}");
}

#[test]
fn a_violation_is_one_line_of_a_person_s_length() {
    let name = format!("a\n{}", "b".repeat(1 << 20));
    let refusal = refusal(plan(vec![child("Pod", &name, good())]));
    let text = refusal.to_string();
    assert!(text.starts_with("Pod a b") && !text.contains('\n'), "{text}");
    assert!(text.len() < 3000, "{}", text.len());
}

#[test]
fn an_object_has_few_fields() {
    let many: Map<String, Value> = (0..101).map(|i| (format!("f{i}"), json!(0))).collect();
    let text = refusal(plan(vec![child("Pod", "p", many.into())])).to_string();
    assert!(text.starts_with("Pod p: has 101 fields"), "{text}");
}

/// What is small as text and large as a tree.
fn bomb() -> Value {
    json!(vec![json!({"": 0}); 50])
}

#[rstest]
#[case::applied(Action::Apply(json!({"spec": bomb()}).to_string()), true)]
#[case::created(Action::Create(json!({"spec": bomb(), "metadata": good()["metadata"]}).to_string()), false)]
#[case::metadata(Action::Create(json!({"metadata": {"labels": bomb()}}).to_string()), true)]
fn what_becomes_a_tree_is_weighed_before(#[case] action: Action, #[case] is_refused: bool) {
    let child = DesiredChild {
        key: key("Pod", "p"),
        action,
    };
    let said = violations(DaskKind::Cluster, plan(vec![child]));
    if is_refused {
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with("plan, children: would take more than 20000 bytes"),
            "{said:?}"
        );
    } else {
        assert_eq!(said, [""; 0]);
    }
}

#[test]
fn trees_are_weighed_together_and_refused_once() {
    let children = (0..3).map(|i| child("Pod", &format!("p{i}"), json!({"x": vec![json!({}); 20]})));
    let said = violations(DaskKind::Cluster, plan(children.collect()));
    // The first fits; it has no label.
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].starts_with("plan, children: would take"), "{said:?}");
}

#[rstest]
#[case::many(3, 10, "plan, conditions: has 3; at most 2 are allowed")]
#[case::long(2, 30_000, "plan, conditions: 60020 bytes of text; at most 50000 are allowed")]
fn conditions_are_few_and_short(#[case] count: usize, #[case] length: usize, #[case] sentence: &str) {
    let condition = |i| Condition {
        type_: format!("Type{i}"),
        status: ConditionStatus::True,
        reason: "Words".into(),
        message: "m".repeat(length),
    };
    let plan = Plan {
        conditions: (0..count).map(condition).collect(),
        ..plan(vec![])
    };
    assert_eq!(violations(DaskKind::Cluster, plan), [sentence]);
}

#[rstest]
#[case::questions(
    SchedulerRequest { questions: vec![SchedulerQuestion::Workers; 11], ..request(&[]) },
    "plan, scheduler.questions: has 11; write each question once"
)]
#[case::retire(request(&["a"; 4]), "plan, scheduler.retire: has 4; at most 3 are allowed")]
fn a_scheduler_is_asked_little(#[case] request: SchedulerRequest, #[case] sentence: &str) {
    let plan = Plan {
        scheduler: Some(request),
        ..plan(vec![])
    };
    assert_eq!(violations(DaskKind::WorkerGroup, plan), [sentence]);
}
