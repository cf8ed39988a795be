//! Validation of a `DaskJob`.

use dask_operator_plugin::dask::checks::Checks;
use dask_operator_plugin::dask::fields;
use dask_operator_plugin::dask::metadata::{Ignored, Metadata};
use dask_operator_plugin::dask::names;
use dask_operator_plugin::dask::resource;
use dask_operator_plugin::dask::role::Role;
use dask_operator_plugin::prelude::*;

use crate::phase::JobPhase;

/// Returns the findings for the whole object, after defaulting. `old` is the object before an update.
pub(crate) fn job(object: &Value, old: Option<&Value>) -> Vec<Finding> {
    let mut checks = Checks::of(object);
    let name = &names::of(object);
    if let Some(message) = names::wrong_cluster_name("DaskJob", name) {
        checks.error("metadata.name", message);
    }
    let Some(spec) = checks.object(object, "spec", "") else {
        return checks.into_findings();
    };
    if let Some(job) = checks.object(spec, fields::job::JOB, "spec") {
        checks.embedded_metadata(job, "spec.job");
        if let Some(pod_spec) = checks.object(job, fields::template::SPEC, "spec.job") {
            runner(&mut checks, pod_spec);
        }
    }
    if let Some(cluster) = checks.object(spec, fields::job::CLUSTER, "spec") {
        checks.embedded_metadata(cluster, "spec.cluster");
        let labels = Metadata::of(object, &Ignored::default())
            .below(Metadata::embedded(cluster.get(fields::template::METADATA)));
        checks.cluster_spec(
            &cluster[fields::template::SPEC],
            "spec.cluster.spec",
            name,
            &labels,
        );
    }
    life(&mut checks, spec);
    if let Some(old) = old {
        change(&mut checks, spec, old);
    }
    checks.into_findings()
}

/// Adds warnings for changes that have no effect in the present phase.
fn change(checks: &mut Checks, spec: &Value, old: &Value) {
    let changed = [fields::job::JOB, fields::job::CLUSTER]
        .into_iter()
        .find(|part| spec[part] != old["spec"][part]);
    let (Some(part), Some(phase)) = (changed, JobPhase::of(&old["status"])) else {
        return;
    };
    if phase.is_end() {
        checks.warning(
            format!("spec.{part}"),
            format!(
                "the job is over ({}), so that a change has no effect: delete it and apply it again",
                phase.as_str()
            ),
        );
    } else if part == fields::job::JOB && phase > JobPhase::JobCreated {
        checks.warning(
            "spec.job",
            "the runner that there is keeps its spec: the change counts for the next attempt, if there is one",
        );
    }
}

/// Checks the fields that control the life of the job.
fn life(checks: &mut Checks, spec: &Value) {
    for field in [fields::job::BACKOFF_LIMIT, fields::job::WAIT_FOR_WORKERS] {
        checks.whole_number(spec, field, "spec", &format!("0 or more, as `{field}: 2`"));
    }
    for (field, example, instead) in [
        (
            fields::job::ACTIVE_DEADLINE,
            3600,
            "leave it out if the job has no deadline",
        ),
        (
            fields::job::TTL_AFTER_FINISHED,
            86400,
            "leave it out if the job must never be deleted",
        ),
    ] {
        let remedy = format!("0 or more, as `{field}: {example}`");
        checks.duration(spec, field, "spec", &remedy, instead);
    }
    let workers = u64::from(resource::replicas(
        &spec[fields::job::CLUSTER][fields::template::SPEC][fields::cluster::WORKER],
    ));
    let waits = spec[fields::job::WAIT_FOR_WORKERS]
        .as_u64()
        .filter(|waits| *waits > workers);
    if let Some(waits) = waits {
        let remedy = match workers {
            0 => "write more `replicas`".to_owned(),
            _ => format!("write {workers} or less, or more `replicas`"),
        };
        checks.warning(
            "spec.waitForWorkers",
            format!(
                "the runner waits for {waits} workers, and the cluster begins with {workers}: unless it is scaled, \
                 the job never starts; {remedy}"
            ),
        );
    }
}

fn runner(checks: &mut Checks, pod_spec: &Value) {
    checks.pod_spec(pod_spec, "spec.job.spec");
    checks.image_tag(pod_spec, "spec.job.spec", Role::Runner);
    if pod_spec["restartPolicy"] == "Always" {
        checks.mistake(
            "spec.job.spec.restartPolicy",
            "a runner that is always restarted never ends: write `OnFailure` or `Never`",
        );
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_plugin::{Job, Logic};

    use super::*;
    use crate::{DefaultJob, Settings};

    #[test]
    fn reports_invalid_fields() {
        let settings = Settings {
            default_image: Some("i:1".into()),
            ..Settings::default()
        };
        let fields = |name: &str, spec: Value| -> Vec<String> {
            let object = json!({"metadata": {"name": name}, "spec": spec});
            let object = <DefaultJob as Logic<Job>>::default(object, &settings).expect("defaulted");
            job(&object, None)
                .into_iter()
                .map(|finding| finding.field)
                .collect()
        };
        let runner = json!({"spec": {"containers": [{"name": "job", "image": "i:1"}]}});
        assert_eq!(fields("j", json!({"job": runner})), [""; 0]);
        assert_eq!(fields(&"j".repeat(54), json!({"job": runner})), ["metadata.name"]);
        assert_eq!(fields("j", json!({})), ["spec.job"]);
        assert_eq!(
            fields("j", json!({"job": {"spec": {}}})),
            ["spec.job.spec.containers"]
        );
        let cluster = json!({"spec": {"worker": {"replicas": -1}}});
        assert_eq!(
            fields("j", json!({"job": runner, "cluster": cluster})),
            ["spec.cluster.spec.worker.replicas"]
        );
        for invalid in [
            json!({"backoffLimit": -1}),
            json!({"activeDeadlineSeconds": "1h"}),
            json!({"ttlSecondsAfterFinished": 1.5}),
            json!({"waitForWorkers": 2}),
            json!({"activeDeadlineSeconds": 999_999_999_999_i64}),
            json!({"ttlSecondsAfterFinished": i64::MAX}),
        ] {
            let field = invalid
                .as_object()
                .and_then(|invalid| invalid.keys().next())
                .expect("one field");
            let mut spec = invalid.clone();
            spec["job"] = runner.clone();
            assert_eq!(fields("j", spec), [format!("spec.{field}")]);
        }
        let mut always = runner.clone();
        always["spec"]["restartPolicy"] = json!("Always");
        assert_eq!(
            fields("j", json!({"job": always})),
            ["spec.job.spec.restartPolicy"]
        );
    }

    #[test]
    fn warns_about_changes_without_effect() {
        let before = |phase: &str| {
            json!({
                "metadata": {"name": "j"},
                "spec": {"job": {"spec": {"containers": [{"name": "job", "image": "i:1"}]}}},
                "status": {"jobStatus": phase},
            })
        };
        let messages = |phase: &str, pointer: &str, value: Value| {
            let old = before(phase);
            let mut new = old.clone();
            match new.pointer_mut(pointer) {
                Some(changed) => *changed = value,
                None => new["spec"]["ttlSecondsAfterFinished"] = value,
            }
            let new = <DefaultJob as Logic<Job>>::default(new, &Settings::default()).expect("defaulted");
            let old = <DefaultJob as Logic<Job>>::default(old, &Settings::default()).expect("defaulted");
            let findings = job(&new, Some(&old));
            findings
                .into_iter()
                .map(|finding| finding.message)
                .collect::<Vec<_>>()
        };
        let image = "/spec/job/spec/containers/0/image";
        assert_eq!(
            messages("Failed", image, json!("i:2")),
            ["the job is over (Failed), so that a change has no effect: delete it and apply it again"]
        );
        assert_eq!(
            messages("Running", image, json!("i:2")),
            [
                "the runner that there is keeps its spec: the change counts for the next attempt, if there is one"
            ]
        );
        assert_eq!(messages("JobCreated", image, json!("i:2")), [""; 0]);
        assert_eq!(messages("Failed", image, json!("i:1")), [""; 0]);
        assert_eq!(
            messages("Successful", "/spec/ttlSecondsAfterFinished", json!(60)),
            [""; 0]
        );
    }
}
