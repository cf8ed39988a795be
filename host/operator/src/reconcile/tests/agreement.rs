//! One table of plans for all callers of the evaluator: the reconcile, the dry run of the webhook, the trial of a new plugin,
//! `dask-operator render` and `dask-operator plugin`. They must give the same answers.

use crate::plugins::load::try_logic;
use dask_operator_author::observation::ObservationFile;
use dask_operator_author::simulation::Simulation;
use dask_operator_core::conditions::{self, HostCondition};
use dask_operator_evaluator::admission::{self, Request};
use dask_operator_evaluator::logic::LogicPlugin;
use dask_operator_evaluator::policy::{Mode, PolicyInterface, PolicyPlugin};
use dask_operator_evaluator::{AllowedKinds, ByKind, PluginSet};
use dask_operator_render::documents::{Document, DocumentSource};
use dask_operator_render::render::{Level, render};
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Condition, ConditionStatus, DesiredChild, Operation, Review,
    ReviewRequest, Verdict,
};

use super::*;

type Reviewed = fn(&ReviewRequest) -> Review;

/// Policy that allows all requests, with this review of plans.
struct Reviews(Reviewed);

impl PolicyInterface for Reviews {
    fn admit(&self, _: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        Ok(Ok(AdmissionResponse {
            verdict: Verdict::Allow,
            warnings: Vec::new(),
        }))
    }

    fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        Ok(Ok((self.0)(request)))
    }
}

/// A plugin and perhaps a policy.
struct Plugged {
    plugin: LogicPlugin,
    policies: Vec<Arc<PolicyPlugin>>,
}

impl Plugged {
    fn new(plan: Planned, review: Option<Reviewed>) -> Self {
        let plugin = LogicPlugin::new("logic".into(), "{}".into(), Arc::new(Fixed(plan)));
        let policy = |review| PolicyPlugin {
            title: "policy".into(),
            settings: "{}".into(),
            mode: Mode::Protect,
            rules: Box::new(Reviews(review)),
        };
        Self {
            plugin: plugin.expect("a plugin"),
            policies: review.map(policy).map(Arc::new).into_iter().collect(),
        }
    }

    fn set(&self) -> PluginSet {
        PluginSet {
            logic: ByKind::new(|_| Arc::new(self.plugin.clone())),
            policies: self.policies.clone(),
            allowed_kinds: AllowedKinds::default(),
        }
    }

    /// Returns the problem that a reconcile reports.
    async fn reconciled(&self) -> Option<String> {
        let plugin = || Ok(self.plugin.clone());
        let world = World::with_policies(None, &[cluster()], plugin, self.policies.clone());
        world.reconcile(DaskKind::Cluster).await;
        let (_, body) = world.server.request("APPLY daskclusters/a/status");
        let conditions = body["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut problems = conditions.iter().filter(|condition| {
            let type_ = condition["type"].as_str().unwrap_or_default();
            conditions::OF_HOST.contains(&type_)
        });
        problems.next().map(|problem| text(&problem["message"]))
    }

    /// Returns the refusals of the webhook.
    fn admitted(&self) -> Option<String> {
        let object = cluster();
        let request = Request {
            kind: DaskKind::Cluster,
            operation: Operation::Create,
            object: &object,
            old: None,
            user_info: "{}",
            dry_run: false,
        };
        let outcome = admission::validate(&self.set().evaluator(DaskKind::Cluster), &request, 0);
        joined(outcome.refusals.iter().map(ToString::to_string))
    }

    /// Returns the failure of the trial. It has no policies.
    fn tried(&self) -> Option<String> {
        let plugin = Arc::new(self.plugin.clone());
        let tried = try_logic(&plugin, DaskKind::Cluster, &AllowedKinds::default());
        tried.err().map(|failure| failure.message)
    }

    /// Returns the errors of `render`.
    fn rendered(&self) -> Option<String> {
        let document = Document {
            source: DocumentSource {
                file: "a.yaml".into(),
                document: None,
            },
            object: cluster(),
        };
        let rendered = render(vec![document], &self.set(), None, 0);
        let errors = rendered
            .messages
            .iter()
            .filter(|message| message.level == Level::Error);
        joined(errors.map(ToString::to_string))
    }

    /// Returns the refusals of `plugin run` and `plugin test` for an observation.
    fn simulated(&self) -> Option<String> {
        let file = json!({"parent": cluster()});
        let file: ObservationFile = serde_json::from_value(file).expect("an observation");
        match Simulation::of(self.set()).plan(&file, 0) {
            Ok(Ok(_)) => None,
            Ok(Err(refusals)) => joined(refusals.iter().map(ToString::to_string)),
            Err(failure) => Some(failure.to_string()),
        }
    }
}

fn joined(texts: impl Iterator<Item = String>) -> Option<String> {
    let texts: Vec<_> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Returns a cluster that is valid for the API server.
fn cluster() -> Value {
    let pod = |name: &str| json!({"containers": [{"name": name, "image": "ghcr.io/dask/dask:2026.8.0"}]});
    json!({
        "apiVersion": DASK, "kind": "DaskCluster",
        "metadata": {"name": "a", "namespace": "n", "uid": "parent", "resourceVersion": "10", "generation": 1},
        "spec": {
            "scheduler": {"spec": pod("scheduler"), "service": {
                "selector": {"dask.org/cluster-name": "a", "dask.org/component": "scheduler"},
                "ports": [{"name": "tcp-comm", "port": 8786}],
            }},
            "worker": {"replicas": 1, "spec": pod("worker")},
        },
    })
}

/// Returns a pod of the cluster that is planned for.
fn pod_of(observation: &Observation) -> DesiredChild {
    let parent: Value = serde_json::from_str(&observation.parent).expect("JSON");
    labelled(&text(&parent["metadata"]["name"]))
}

fn labelled(cluster: &str) -> DesiredChild {
    let object = json!({"metadata": {"labels": {"dask.org/cluster-name": cluster}}, "spec": {}});
    DesiredChild {
        action: ChildAction::Create(object.to_string()),
        ..pod("p")
    }
}

fn one_pod(observation: &Observation) -> Result<Answer<Plan>, PluginFailure> {
    Ok(Ok(Plan {
        children: vec![pod_of(observation)],
        ..empty()
    }))
}

fn pod_of_another(_: &Observation) -> Result<Answer<Plan>, PluginFailure> {
    Ok(Ok(Plan {
        children: vec![labelled("another")],
        ..empty()
    }))
}

fn undeclared(_: &Observation) -> Result<Answer<Plan>, PluginFailure> {
    Ok(Ok(Plan {
        children: vec![child("ConfigMap", "c", ChildAction::Create)],
        ..empty()
    }))
}

fn host_condition(observation: &Observation) -> Result<Answer<Plan>, PluginFailure> {
    let condition = Condition {
        type_: HostCondition::PluginFailed.as_str().into(),
        status: ConditionStatus::True,
        reason: "Mine".into(),
        message: "it is mine".into(),
    };
    Ok(Ok(Plan {
        conditions: vec![condition],
        children: vec![pod_of(observation)],
        ..empty()
    }))
}

fn absent_group(_: &Observation) -> Result<Answer<Plan>, PluginFailure> {
    let scale = Scale {
        worker_group: "absent".into(),
        replicas: 1,
    };
    Ok(Ok(Plan {
        scale: vec![scale],
        ..empty()
    }))
}

fn invalid(_: &Observation) -> Result<Answer<Plan>, PluginFailure> {
    Ok(Err(contract::Error::Invalid(vec![Finding {
        severity: Severity::Error,
        field: "spec.size".into(),
        message: "write 12".into(),
    }])))
}

fn gave_up(_: &Observation) -> Result<Answer<Plan>, PluginFailure> {
    Ok(Err(contract::Error::Failed("there is no quorum".into())))
}

fn trap(_: &Observation) -> Result<Answer<Plan>, PluginFailure> {
    Err("it trapped".into())
}

fn refuse(_: &ReviewRequest) -> Review {
    Review::Refuse(vec![Finding {
        severity: Severity::Error,
        field: String::new(),
        message: "not on Fridays".into(),
    }])
}

fn relabel(_: &ReviewRequest) -> Review {
    Review::Change(vec![labelled("another")])
}

fn add_child(_: &ReviewRequest) -> Review {
    Review::Change(vec![pod("q")])
}

/// Expected answer of the trial of the plugin, which has no policies.
enum Trial {
    /// The same as the others.
    Same,
    /// Nothing: the plan is fine without the policy, or the error is about the sample.
    Passes,
}

#[rstest]
#[case::passes(one_pod, None, None, Trial::Same)]
#[case::of_another_cluster(
    pod_of_another,
    None,
    Some("metadata.labels[dask.org/cluster-name]"),
    Trial::Same
)]
#[case::undeclared(undeclared, None, Some("ConfigMap"), Trial::Same)]
#[case::host_condition(host_condition, None, Some(HostCondition::PluginFailed.as_str()), Trial::Same)]
#[case::absent_group(absent_group, None, Some("absent"), Trial::Same)]
#[case::trap(trap, None, Some("it trapped"), Trial::Same)]
#[case::invalid(invalid, None, Some("write 12"), Trial::Passes)]
#[case::gave_up(gave_up, None, Some("there is no quorum"), Trial::Passes)]
#[case::refused(one_pod, Some(refuse as Reviewed), Some("not on Fridays"), Trial::Passes)]
#[case::changed(one_pod, Some(relabel as Reviewed), Some("metadata.labels[dask.org/cluster-name]"), Trial::Passes)]
#[case::added(one_pod, Some(add_child as Reviewed), Some("wants Pod q"), Trial::Passes)]
// The policy would refuse the plan too, but is not called.
#[case::both(host_condition, Some(refuse as Reviewed), Some(HostCondition::PluginFailed.as_str()), Trial::Same)]
#[tokio::test]
async fn all_callers_give_the_same_answer(
    #[case] plan: Planned,
    #[case] review: Option<Reviewed>,
    #[case] expected: Option<&str>,
    #[case] trial: Trial,
) {
    let plugged = Plugged::new(plan, review);
    let in_trial = match trial {
        Trial::Same => expected,
        Trial::Passes => None,
    };
    let answers = [
        ("reconcile", plugged.reconciled().await, expected),
        ("admission", plugged.admitted(), expected),
        ("trial", plugged.tried(), in_trial),
        ("render", plugged.rendered(), expected),
        ("simulation", plugged.simulated(), expected),
    ];
    for (caller, answer, expected) in answers {
        match (&answer, expected) {
            (None, None) => {}
            (Some(answer), Some(expected)) => assert!(answer.contains(expected), "{caller}: {answer}"),
            _ => panic!("{caller}: {answer:?}, expected {expected:?}"),
        }
    }
}
