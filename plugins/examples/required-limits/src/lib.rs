//! Refuses pods without resource limits and resources without an owner label.
//!
//! A single worker without a memory limit can exhaust a whole node, and the cost of a cluster without an owner can't be
//! assigned.

use dask_operator_plugin::dask::pods::{PodSpecField, planned_pod_spec, pods};
use dask_operator_plugin::dask::role::Role;
use dask_operator_plugin::prelude::*;
use dask_operator_plugin::{schemars, serde};

/// Settings of the plugin.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(
    crate = "dask_operator_plugin::serde",
    default,
    deny_unknown_fields,
    rename_all = "camelCase"
)]
#[schemars(crate = "dask_operator_plugin::schemars")]
pub struct Settings {
    /// Resources for which every container must have a limit.
    pub limits: Vec<String>,
    /// Kinds of pods that must have limits: `worker`, `scheduler`, `runner`.
    pub pods: Vec<PodKind>,
    /// Labels that every Dask resource must have, such as `example.com/owner`.
    pub labels: Vec<String>,
}

/// A kind of pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "dask_operator_plugin::serde", rename_all = "lowercase")]
#[schemars(crate = "dask_operator_plugin::schemars")]
pub enum PodKind {
    /// Workers of a cluster, of a worker group or of a job's cluster.
    Worker,
    /// Schedulers of a cluster or of a job's cluster.
    Scheduler,
    /// The pod that runs a job's code.
    Runner,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: vec!["memory".to_owned()],
            pods: vec![PodKind::Worker],
            labels: Vec::new(),
        }
    }
}

impl From<Role> for PodKind {
    fn from(role: Role) -> Self {
        match role {
            Role::Worker => Self::Worker,
            Role::Scheduler => Self::Scheduler,
            Role::Runner => Self::Runner,
        }
    }
}

/// The policy component.
#[derive(Debug)]
pub struct RequiredLimits;

impl Plugin for RequiredLimits {
    const NAME: &str = "required-limits";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Refuses pods without limits and resources without an owner's label.";
    type Settings = Settings;

    fn check_settings(settings: &Settings) -> Vec<Finding> {
        let empty = |names: &[String]| names.iter().position(|name| name.trim().is_empty());
        [
            ("limits", &settings.limits, "memory"),
            ("labels", &settings.labels, "example.com/owner"),
        ]
        .into_iter()
        .filter_map(|(field, names, example)| Some((field, empty(names)?, example)))
        .map(|(field, i, example)| {
            Finding::error(
                format!("{field}[{i}]"),
                format!("it is empty: write a name, as `{example}`"),
            )
        })
        .collect()
    }
}

impl Policy for RequiredLimits {
    fn admit(request: &AdmissionRequest, settings: &Settings) -> Result<AdmissionResponse, String> {
        if request.operation == Operation::Delete {
            return Ok(AdmissionResponse::allow());
        }
        let check = |object: &Value| {
            let pods = pods(&request.kind.kind, object);
            let checked = pods.iter().filter(|pod| concerns(pod.role, settings));
            let mut findings: Vec<Finding> = checked.flat_map(|pod| limits(pod, settings)).collect();
            findings.extend(labels(object, settings));
            findings
        };
        let before = request.old_json()?.as_ref().map(check).unwrap_or_default();
        Ok(AdmissionResponse::of_new_findings(
            check(&request.object_json()?),
            &before,
        ))
    }

    /// Refuses pods without limits in any plan, whichever logic planned them and even if their parent was admitted.
    fn review_plan(request: &ReviewRequest, settings: &Settings) -> Result<Review, String> {
        let of_parent = Role::of_parent(&request.parent_kind.kind);
        for child in &request.children {
            let Some(object) = child.action.object_json()? else {
                continue;
            };
            let Some(place) = planned_pod_spec(&child.key.kind, &object) else {
                continue;
            };
            let mut roles = [Role::of(&object), of_parent].into_iter().flatten();
            let Some(role) = roles.find(|role| concerns(*role, settings)) else {
                continue;
            };
            let findings = limits(&PodSpecField { role, place }, settings);
            if !findings.is_empty() {
                let child_name = format!("{} {}", child.key.kind, child.key.name);
                let of_child =
                    |finding: Finding| Finding::error("", format!("{child_name}: {}", finding.sentence()));
                // The other children of the same template lack the same limits, so one is enough.
                return Ok(Review::Refuse(findings.into_iter().map(of_child).collect()));
            }
        }
        Ok(Review::Allow)
    }
}

/// Returns whether pods of this role must have limits.
fn concerns(role: Role, settings: &Settings) -> bool {
    settings.pods.contains(&role.into())
}

/// Returns a finding for each limit that a pod lacks.
fn limits(pod: &PodSpecField<'_>, settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for container in pod.containers() {
        let limits = &container.value["resources"]["limits"];
        for resource in settings
            .limits
            .iter()
            .filter(|resource| limits[resource.as_str()].is_null())
        {
            let field = format!("{}.resources.limits.{resource}", container.field);
            let message = format!(
                "it is missing: write how much {resource} {} of a {} may use, as `{resource}: {}`",
                container.title(),
                pod.role,
                example(resource)
            );
            findings.push(Finding::error(field, message));
        }
    }
    findings
}

/// Returns an example of a limit, for a message.
fn example(resource: &str) -> &'static str {
    match resource {
        "memory" => "4Gi",
        "ephemeral-storage" => "10Gi",
        _ => "2",
    }
}

/// Returns a finding for each missing label. Worker groups of a cluster get theirs from the operator.
fn labels(object: &Value, settings: &Settings) -> Vec<Finding> {
    let has = |label: &str| {
        object["metadata"]["labels"][label]
            .as_str()
            .is_some_and(|value| !value.is_empty())
    };
    let missing = settings.labels.iter().filter(|label| !has(label));
    missing
        .map(|label| {
            let message = format!(
                "it is missing: write under metadata who can be asked about it, as `labels: {{{label}: your-team}}`"
            );
            Finding::error(format!("metadata.labels.{label}"), message)
        })
        .collect()
}

export!(RequiredLimits: policy);

#[cfg(test)]
mod tests {
    use dask_operator_plugin::testing::yaml;

    use super::*;

    fn admit(
        operation: Operation,
        object: &str,
        old: Option<&str>,
        settings: &Settings,
    ) -> AdmissionResponse {
        let object = yaml(object);
        let request = AdmissionRequest {
            kind: ResourceKind::new(
                "kubernetes.dask.org/v1",
                object["kind"].as_str().unwrap_or_default(),
            ),
            operation,
            object: object.to_string(),
            old: old.map(|old| yaml(old).to_string()),
            user_info: "{}".to_owned(),
            dry_run: false,
            settings: "{}".to_owned(),
        };
        RequiredLimits::admit(&request, settings).expect("a response")
    }

    fn refused(response: AdmissionResponse) -> Vec<String> {
        match response.verdict {
            Verdict::Refuse(findings) => findings.into_iter().map(|finding| finding.field).collect(),
            Verdict::Allow | Verdict::Patch(_) => Vec::new(),
        }
    }

    const WITHOUT: &str = "{kind: DaskWorkerGroup, spec: {worker: {spec: {containers: [{name: worker}]}}}}";
    const MEMORY: &str = "spec.worker.spec.containers[0].resources.limits.memory";

    #[test]
    fn requires_limits_of_the_configured_pods() {
        let job = "{kind: DaskJob, spec: {
            job: {spec: {containers: [{name: job}]}},
            cluster: {spec: {worker: {spec: {containers: [{resources: {limits: {memory: 1Gi}}}, {}]}}}}}}";
        let all = Settings {
            limits: vec!["memory".into(), "cpu".into()],
            pods: vec![PodKind::Runner, PodKind::Worker],
            ..Settings::default()
        };
        let cluster = "spec.cluster.spec.worker.spec.containers";
        for (object, settings, expected) in [
            (WITHOUT, &Settings::default(), vec![MEMORY.to_owned()]),
            (
                job,
                &Settings::default(),
                vec![format!("{cluster}[1].resources.limits.memory")],
            ),
            (
                job,
                &all,
                vec![
                    "spec.job.spec.containers[0].resources.limits.memory".to_owned(),
                    "spec.job.spec.containers[0].resources.limits.cpu".to_owned(),
                    format!("{cluster}[0].resources.limits.cpu"),
                    format!("{cluster}[1].resources.limits.memory"),
                    format!("{cluster}[1].resources.limits.cpu"),
                ],
            ),
            ("{kind: DaskAutoscaler, spec: {}}", &all, vec![]),
        ] {
            assert_eq!(
                refused(admit(Operation::Create, object, None, settings)),
                expected,
                "{object}"
            );
        }
    }

    #[test]
    fn requires_labels_of_all_kinds() {
        let settings = Settings {
            labels: vec!["example.com/owner".into()],
            ..Settings::default()
        };
        let owned = "{kind: DaskAutoscaler, metadata: {labels: {example.com/owner: ann}}}";
        assert_eq!(refused(admit(Operation::Create, owned, None, &settings)), [""; 0]);
        let anonymous = "{kind: DaskAutoscaler, metadata: {labels: {example.com/owner: ''}}}";
        let response = admit(Operation::Create, anonymous, None, &settings);
        assert_eq!(refused(response), ["metadata.labels.example.com/owner"]);
    }

    #[test]
    fn existing_resources_can_be_scaled_and_deleted() {
        let settings = Settings::default();
        assert_eq!(
            refused(admit(Operation::Delete, WITHOUT, None, &settings)),
            [""; 0]
        );
        let update = admit(Operation::Update, WITHOUT, Some(WITHOUT), &settings);
        assert_eq!(update.verdict, Verdict::Allow);
        assert!(update.warnings[0].starts_with(MEMORY), "{:?}", update.warnings);
        let with = "{kind: DaskWorkerGroup, spec: {worker: {spec: {containers: [{resources: {limits: {memory: 1Gi}}}]}}}}";
        assert_eq!(
            refused(admit(Operation::Update, WITHOUT, Some(with), &settings)),
            [MEMORY]
        );
    }

    #[test]
    fn refuses_plans_of_pods_without_limits() {
        let review = |parent: &str, kind: &str, object: &str, settings: &Settings| -> Vec<String> {
            let request = ReviewRequest {
                parent_kind: ResourceKind::new("kubernetes.dask.org/v1", parent),
                parent: "{}".to_owned(),
                children: vec![DesiredChild::create(
                    ResourceKind::new("v1", kind).key("c"),
                    yaml(object),
                )],
                now: 0,
                settings: "{}".to_owned(),
            };
            match RequiredLimits::review_plan(&request, settings).expect("a review") {
                Review::Refuse(findings) => findings.into_iter().map(|finding| finding.message).collect(),
                Review::Allow | Review::Change(_) => Vec::new(),
            }
        };
        let usual = Settings::default();
        let lacks = "{metadata: {labels: {dask.org/component: worker}}, spec: {containers: [{name: w}]}}";
        let unlabelled = "{spec: {containers: [{name: w}]}}";
        let mark = "{metadata: {labels: {dask.org/component: worker}, annotations: {a: b}}}";
        let has = "{spec: {containers: [{name: w, resources: {limits: {memory: 1Gi}}}]}}";
        let deployment = "{spec: {template: {spec: {containers: [{name: w}]}}}}";
        for (parent, kind, object, refused) in [
            ("DaskWorkerGroup", "Pod", lacks, true),
            ("DaskWorkerGroup", "Pod", unlabelled, true),
            ("DaskWorkerGroup", "Deployment", deployment, true),
            ("DaskWorkerGroup", "Pod", mark, false),
            ("DaskWorkerGroup", "Pod", has, false),
            ("DaskWorkerGroup", "Service", unlabelled, false),
            ("DaskCluster", "Pod", lacks, true),
            ("DaskCluster", "Pod", unlabelled, false),
        ] {
            let messages = review(parent, kind, object, &usual);
            assert_eq!(
                !messages.is_empty(),
                refused,
                "{parent} {kind} {object}: {messages:?}"
            );
        }
        assert_eq!(
            review("DaskWorkerGroup", "Pod", lacks, &usual),
            [
                "Pod c: spec.containers[0].resources.limits.memory: it is missing: write how much memory container \"w\" \
                 of a worker may use, as `memory: 4Gi`"
            ]
        );
    }

    #[test]
    fn reports_invalid_settings() {
        let settings = Settings {
            labels: vec![" ".into()],
            ..Settings::default()
        };
        assert_eq!(RequiredLimits::check_settings(&settings)[0].field, "labels[0]");
        assert_eq!(RequiredLimits::check_settings(&Settings::default()), []);
    }
}
