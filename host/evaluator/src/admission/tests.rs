use std::sync::Arc;
use std::time::Duration;

use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan;
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Answer, ChildAction, ChildKey, DesiredChild, Finding, Observation,
    Operation, Plan, ResourceKind, Review, ReviewRequest, Severity, Verdict,
};
use dask_operator_runtime::{Digest, Failure as CallFailure};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::AllowedKinds;
use crate::logic::{LogicInterface, LogicPlugin, PluginOwner};
use crate::policy::PolicyInterface;

mod policies;

/// Logic plugin that is controlled by the object: `spec.size` defaults to 1 and must not be 13; `spec.trap` is the function that
/// fails; `spec.rename` changes the name; `spec.child` is the name of the only child.
struct TestLogic;

impl LogicInterface for TestLogic {
    fn child_kinds(&self, _: &str) -> Result<Vec<ResourceKind>, PluginFailure> {
        Ok(Vec::new())
    }

    fn default(&self, object: &str, _: &str) -> Result<Answer<String>, PluginFailure> {
        let mut object: Value = serde_json::from_str(object)?;
        if object["spec"]["trap"] == "default" {
            return Err("it trapped".into());
        }
        if object["spec"]["rename"] == true {
            object["metadata"]["name"] = json!("other");
        }
        if object["spec"]["size"].is_null() {
            object["spec"]["size"] = json!(1);
        }
        Ok(Ok(object.to_string()))
    }

    fn validate(&self, object: &str, _: Option<&str>, _: &str) -> Result<Vec<Finding>, PluginFailure> {
        let object: Value = serde_json::from_str(object)?;
        if object["spec"]["trap"] == "validate" {
            return Err("it trapped".into());
        }
        let finding = |severity, message: &str| Finding {
            severity,
            field: "spec.size".into(),
            message: message.into(),
        };
        Ok(match object["spec"]["size"].as_u64() {
            Some(13) => vec![finding(Severity::Error, "13 brings bad luck: write 12")],
            Some(50) => vec![finding(
                Severity::Mistake,
                "50 is what the example has: write your own",
            )],
            Some(100..) => vec![finding(Severity::Warning, "that is a lot")],
            _ => Vec::new(),
        })
    }

    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, PluginFailure> {
        let parent: Value = serde_json::from_str(&observation.parent)?;
        if parent["spec"]["trap"] == "plan" {
            return Err("it trapped".into());
        }
        let labels = json!({"dask.org/cluster-name": parent["metadata"]["name"]});
        let child = parent["spec"]["child"].as_str().map(|name| DesiredChild {
            key: ChildKey {
                api_version: "v1".into(),
                kind: "Pod".into(),
                name: name.into(),
            },
            action: ChildAction::Create(match parent["spec"]["bomb"].as_u64() {
                None => json!({"metadata": {"labels": labels}}).to_string(),
                Some(maps) => format!(
                    "[{}]",
                    r#"{"":0}, "#.repeat(usize::try_from(maps).unwrap_or_default())
                ),
            }),
        });
        Ok(Ok(Plan {
            children: child.into_iter().collect(),
            ..Plan::default()
        }))
    }
}

/// Failure of a call for which earlier calls left no time.
fn late() -> PluginFailure {
    failure(CallFailure::NoTime { left: Duration::ZERO })
}

/// Failure of a call that exceeded its deadline.
fn overdue() -> PluginFailure {
    failure(CallFailure::Deadline {
        limit: Duration::ZERO,
    })
}

/// Failure of a call that exceeded its memory limit.
fn exceeds() -> PluginFailure {
    failure(CallFailure::Memory { limit: 1 << 20 })
}

fn failure(cause: CallFailure) -> PluginFailure {
    Box::new(CallError {
        component: "p".into(),
        digest: Digest::of(b""),
        interface: "policy",
        function: "admit",
        failure: Box::new(cause),
    })
}

/// A policy that refuses objects without the label `owner`, returns a patch, or fails.
#[derive(Clone)]
enum Rule {
    Owner,
    Patch(Value),
    Trap,
    Late,
    Overdue,
    Exceeds,
}

impl PolicyInterface for Rule {
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        let object: Value = serde_json::from_str(&request.object)?;
        let verdict = match self {
            Self::Trap => return Err("it trapped".into()),
            Self::Late => return Err(late()),
            Self::Overdue => return Err(overdue()),
            Self::Exceeds => return Err(exceeds()),
            Self::Patch(patch) => Verdict::Patch(patch.to_string()),
            Self::Owner if object["metadata"]["labels"]["owner"].is_string() => Verdict::Allow,
            Self::Owner => Verdict::Refuse(vec![Finding {
                severity: Severity::Error,
                field: "metadata.labels.owner".into(),
                message: "it is missing: write whose it is".into(),
            }]),
        };
        Ok(Ok(AdmissionResponse {
            verdict,
            warnings: Vec::new(),
        }))
    }

    fn review_plan(&self, _: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        Ok(Ok(Review::Allow))
    }
}

const KINDS: &[(&str, &str)] = &[("v1", "Pod")];

fn evaluator(policies: &[(Rule, Mode)]) -> Evaluator {
    let kinds: Vec<_> = KINDS
        .iter()
        .map(|(version, kind)| plan::ResourceKind::new(*version, *kind))
        .collect();
    let policy = |(rule, mode): &(Rule, Mode)| PolicyPlugin {
        title: "p".into(),
        settings: "{}".into(),
        mode: *mode,
        rules: Box::new(rule.clone()),
    };
    Evaluator {
        logic: Arc::new(LogicPlugin {
            title: "test".into(),
            settings: "{}".into(),
            child_kinds: kinds,
            owner: PluginOwner::Administrator,
            logic: Arc::new(TestLogic),
        }),
        policies: policies.iter().map(policy).map(Arc::new).collect(),
        allowed_kinds: AllowedKinds::default(),
        strict: false,
    }
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster",
           "metadata": {"name": "c", "namespace": "n"}, "spec": spec})
}

fn create(object: &Value) -> Request<'_> {
    Request {
        kind: DaskKind::Cluster,
        operation: Operation::Create,
        object,
        old: None,
        user_info: "{}",
        dry_run: false,
    }
}

fn update<'a>(old: &'a Value, object: &'a Value) -> Request<'a> {
    Request {
        operation: Operation::Update,
        old: Some(old),
        ..create(object)
    }
}

#[rstest]
#[case::fine(json!({}), "")]
#[case::invalid(json!({"size": 13}), "spec.size: 13 brings bad luck: write 12")]
#[case::default_traps(json!({"trap": "default"}), "the component test failed: it trapped")]
#[case::validate_traps(json!({"trap": "validate"}), "the component test failed: it trapped")]
#[case::renames(json!({"rename": true}), "metadata.name: the component's `default` changed it")]
fn findings_and_failures_of_the_logic_refuse_the_object(#[case] spec: Value, #[case] refusal: &str) {
    let object = object(spec);
    for outcome in [
        mutate(&evaluator(&[]), &create(&object)),
        validate(&evaluator(&[]), &create(&object), 0),
        admit(&evaluator(&[]), &create(&object), 0),
    ] {
        assert_eq!(outcome.is_allowed(), refusal.is_empty(), "{outcome:?}");
        assert!(outcome.refusal().contains(refusal), "{outcome:?}");
    }
}

#[rstest]
#[case::gate(json!({"child": "A_b"}), "would be refused: Pod A_b, metadata.name: \"A_b\" is no name")]
#[case::trap(json!({"trap": "plan"}), "the component test failed: it trapped")]
fn the_plan_is_checked(#[case] spec: Value, #[case] refusal: &str) {
    let object = object(spec);
    assert!(mutate(&evaluator(&[]), &create(&object)).is_allowed());
    let outcome = validate(&evaluator(&[]), &create(&object), 0);
    assert!(outcome.refusal().contains(refusal), "{}", outcome.refusal());
}

#[test]
fn a_plan_that_takes_too_much_memory_is_not_checked() {
    let object = object(json!({"child": "a", "bomb": 100_000}));
    let outcome = validate(&evaluator(&[]), &create(&object), 0);
    assert!(outcome.is_allowed(), "{outcome:?}");
    assert_eq!(
        outcome.notices(),
        ["what would be made of it takes 77 MiB of memory, and is not tried"]
    );
}

#[test]
fn a_generated_name_is_allowed() {
    let mut object = object(json!({"child": "a"}));
    object["metadata"] = json!({"generateName": "c-", "namespace": "n"});
    assert!(validate(&evaluator(&[]), &create(&object), 0).is_allowed());
}

#[test]
fn nulls_that_the_api_server_removes_are_ignored() {
    let object = object(json!({"suspend": null}));
    let changed = admit(&evaluator(&[]), &create(&object), 0).changed;
    assert_eq!(
        changed.map(|object| object["spec"].clone()),
        Some(json!({"size": 1}))
    );
}

/// Defaults are not applied twice, and the validating webhook changes nothing.
#[test]
fn the_outcome_has_a_changed_object_only_if_it_differs() {
    let object = object(json!({}));
    let changed = mutate(&evaluator(&[]), &create(&object)).changed;
    let filled = changed.unwrap_or_else(|| panic!("no defaults were added"));
    assert_eq!(filled["spec"]["size"], 1);
    assert_eq!(mutate(&evaluator(&[]), &create(&filled)).changed, None);
    assert_eq!(validate(&evaluator(&[]), &create(&object), 0).changed, None);
    let both = admit(&evaluator(&[]), &create(&object), 0);
    assert_eq!(both.changed, Some(filled));
    let patches = [json!(2), json!(1)].map(|size| {
        let patch = json!([{"op": "add", "path": "/spec/size", "value": size}]);
        (Rule::Patch(patch), Mode::Protect)
    });
    let there_and_back = mutate(&evaluator(&patches), &create(&self::object(json!({"size": 1}))));
    assert_eq!(there_and_back, AdmissionOutcome::default());
}

#[test]
fn objects_that_are_being_deleted_pass() {
    let old = object(json!({"size": 13}));
    let mut deleted = object(json!({"size": 13, "trap": "default"}));
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let policies = [(Rule::Trap, Mode::Protect)];
    assert!(mutate(&evaluator(&policies), &update(&old, &deleted)).is_allowed());
    assert!(validate(&evaluator(&policies), &update(&old, &deleted), 0).is_allowed());
    let delete = Request {
        operation: Operation::Delete,
        ..create(&old)
    };
    assert!(mutate(&evaluator(&policies), &delete).is_allowed());
    let outcome = validate(&evaluator(&policies), &delete, 0);
    assert!(outcome.is_allowed());
    assert_eq!(outcome.notices(), ["policy p: it could not decide: it trapped"]);
    let policies = [(Rule::Owner, Mode::Protect)];
    assert!(
        !validate(&evaluator(&policies), &delete, 0).is_allowed(),
        "a policy may refuse deletions"
    );
}

/// The API server checks the schema only after the mutating webhook.
#[test]
fn values_that_the_schema_does_not_allow_are_refused() {
    let pod = |grace: Value| json!({"spec": {"containers": [{"name": "w"}], "terminationGracePeriodSeconds": grace}});
    let invalid = object(json!({"worker": pod(json!("60"))}));
    let message = "spec.worker.spec.terminationGracePeriodSeconds: \"60\" is text, and must be a number: write 60 without quotes";
    assert_eq!(mutate(&evaluator(&[]), &create(&invalid)).refusal(), message);
    assert_eq!(admit(&evaluator(&[]), &create(&invalid), 0).refusal(), message);
    // An object that was stored before the schema had the field can still be changed.
    let more = object(json!({"worker": pod(json!("60")), "more": true}));
    let outcome = admit(&evaluator(&[]), &update(&invalid, &more), 0);
    assert!(outcome.is_allowed(), "{outcome:?}");
    assert_eq!(outcome.notices(), [message]);
    let valid = object(json!({"worker": pod(json!(60))}));
    assert!(admit(&evaluator(&[]), &update(&invalid, &valid), 0).is_allowed());
}

/// A volume is empty if the field that sets its source is misspelt.
#[test]
fn a_volume_without_a_source_is_refused_only_in_strict_mode() {
    let volume = json!({"name": "keys", "secretName": "keys"});
    let object = object(json!({"worker": {"spec": {"containers": [{"name": "w"}], "volumes": [volume]}}}));
    let outcome = admit(&evaluator(&[]), &create(&object), 0);
    assert!(outcome.is_allowed(), "{outcome:?}");
    assert_eq!(outcome.notices().len(), 1, "{outcome:?}");
    let strict = Evaluator {
        strict: true,
        ..evaluator(&[])
    };
    let outcome = admit(&strict, &create(&object), 0);
    assert!(
        outcome
            .refusal()
            .starts_with("spec.worker.spec.volumes[0].secretName: "),
        "{outcome:?}"
    );
}

#[test]
fn existing_objects_can_be_labelled_despite_earlier_errors() {
    let old = object(json!({"trap": "validate"}));
    let mut labelled = old.clone();
    labelled["metadata"]["finalizers"] = json!(["a/b"]);
    let policies = [(Rule::Trap, Mode::Protect)];
    assert_eq!(
        mutate(&evaluator(&policies), &update(&old, &labelled)),
        AdmissionOutcome::default()
    );
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let outcome = mutate(&evaluator(&policies), &update(&old, &labelled));
    assert!(outcome.is_allowed() && outcome.changed.is_none(), "{outcome:?}");
    assert!(validate(&evaluator(&policies), &update(&old, &labelled), 0).is_allowed());
    // The object had no owner label before the update either.
    let policies = [(Rule::Owner, Mode::Protect)];
    assert!(mutate(&evaluator(&policies), &update(&old, &labelled)).is_allowed());
    // An update that removes the owner label is refused.
    let mut owned = old.clone();
    owned["metadata"]["labels"] = json!({"owner": "a"});
    assert!(!mutate(&evaluator(&policies), &update(&owned, &old)).is_allowed());
}

/// A failed call may succeed later, while a refusal is final.
#[test]
fn failed_calls_are_distinguished_from_refusals() {
    for (spec, is_undecided) in [
        (json!({"size": 13}), false),
        (json!({"child": "A_b"}), false),
        (json!({"trap": "default"}), true),
        (json!({"trap": "validate"}), true),
        (json!({"trap": "plan"}), true),
    ] {
        let object = object(spec);
        let outcome = admit(&evaluator(&[]), &create(&object), 0);
        assert!(!outcome.is_allowed());
        assert_eq!(outcome.may_pass_later(), is_undecided, "{outcome:?}");
    }
}

#[test]
fn errors_that_the_object_had_before_are_warnings() {
    let old = object(json!({"size": 13}));
    let new = object(json!({"size": 13, "more": true}));
    let outcome = admit(&evaluator(&[]), &update(&old, &new), 0);
    assert!(outcome.is_allowed(), "{outcome:?}");
    assert_eq!(outcome.notices(), ["spec.size: 13 brings bad luck: write 12"]);
    let valid = object(json!({"size": 12}));
    assert!(!validate(&evaluator(&[]), &update(&valid, &new), 0).is_allowed());
}

#[test]
fn a_mistake_is_a_warning_and_refused_in_strict_mode() {
    let message = "spec.size: 50 is what the example has: write your own";
    let (valid, mistaken) = (object(json!({"size": 12})), object(json!({"size": 50})));
    let outcome = admit(&evaluator(&[]), &create(&mistaken), 0);
    assert!(outcome.is_allowed(), "{outcome:?}");
    assert_eq!(outcome.notices(), [message]);
    let strict = Evaluator {
        strict: true,
        ..evaluator(&[])
    };
    for request in [create(&mistaken), update(&valid, &mistaken)] {
        assert_eq!(mutate(&strict, &request).refusal(), message);
        assert_eq!(validate(&strict, &request, 0).refusal(), message);
    }
    // An object that was stored before strict mode was enabled can still be changed.
    let mut labelled = object(json!({"size": 50, "more": true}));
    let outcome = admit(&strict, &update(&mistaken, &labelled), 0);
    assert!(outcome.is_allowed(), "{outcome:?}");
    assert_eq!(outcome.notices(), [message]);
    labelled["spec"] = mistaken["spec"].clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert!(admit(&strict, &update(&mistaken, &labelled), 0).is_allowed());
}

#[test]
fn warnings_are_not_repeated_on_each_update() {
    let spec = json!({"size": 100, "worker": {"spec": {"containers": [{"name": "w", "imagePullPolice": "Always"}]}}});
    let old = object(spec.clone());
    let mut new = object(spec);
    new["spec"]["more"] = json!(true);
    let outcome = admit(&evaluator(&[]), &update(&old, &new), 0);
    assert_eq!(outcome.notices(), [""; 0]);
    new["spec"]["size"] = json!(101);
    let small = object(json!({"size": 1}));
    let outcome = admit(&evaluator(&[]), &update(&small, &new), 0);
    assert_eq!(outcome.notices().len(), 2, "{outcome:?}");
}

#[test]
fn mutate_and_validate_report_a_warning_once() {
    let spec = json!({"size": 100, "worker": {"spec": {"containers": [{"name": "w", "imagePullPolice": "Always"}]}}});
    let object = object(spec);
    let outcome = admit(&evaluator(&[]), &create(&object), 0);
    assert_eq!(
        outcome.notices(),
        [
            "spec.size: that is a lot",
            "spec.worker.spec.containers[0].imagePullPolice: Kubernetes has no such field and drops it; did you mean \
             `imagePullPolicy`?"
        ]
    );
}

#[test]
fn an_update_reports_new_warnings_only() {
    let pod_spec = json!({"spec": {"containers": [{"name": "w", "imagePullPolice": "Always"}]}});
    let old = object(json!({"size": 100, "worker": pod_spec}));
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let scaled = object(json!({"size": 100, "worker": pod_spec, "more": true}));
    for new in [&labelled, &scaled] {
        assert_eq!(
            admit(&evaluator(&[]), &update(&old, new), 0).notices(),
            [""; 0],
            "{new}"
        );
    }
    let worse = object(json!({"size": 200}));
    let small = object(json!({"size": 1}));
    assert_eq!(
        admit(&evaluator(&[]), &update(&small, &worse), 0).notices(),
        ["spec.size: that is a lot"]
    );
}

/// A comparison of each finding with each earlier one would take minutes.
#[rstest]
#[timeout(Duration::from_secs(20))]
fn many_findings_are_compared_fast() {
    let finding = |i: u32| Finding {
        severity: Severity::Error,
        field: format!("spec.f{i}"),
        message: "it is wrong".into(),
    };
    let mut findings: Vec<_> = (0..50_000).map(finding).collect();
    relax(&mut findings, || (1..50_000).rev().map(finding).collect());
    assert_eq!(findings.len(), 50_000);
    let errors: Vec<_> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].field, "spec.f0");
}
