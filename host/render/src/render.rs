//! Computation of the children of manifests, as the operator would create them on a cluster without any of them.
//!
//! Pure: does no I/O.

use std::collections::HashMap;

use dask_operator_core::names::{ANNOTATION_HASH, DASK_API_VERSION};
use dask_operator_core::parent::{DaskKind, Parent, seed};
use dask_operator_core::stamp::stamp;
use dask_operator_evaluator::PluginSet;
use dask_operator_evaluator::logic::PluginFailure;
use dask_operator_evaluator::plan::PlanError;
use dask_operator_runtime::contract::{
    self, Error, Finding, Observation, ObservedObject, SchedulerState, Severity, Timestamp,
};
use serde_json::Value;

use crate::documents::Document;

mod conflicts;
mod existing;
mod message;
mod prepare;

use existing::Existing;
pub use message::{Level, Message, Rendered};

/// Renders documents. `namespace` is the namespace of objects that do not set one; if it is `None`, they go into `default`.
/// `now` is the time that the components receive.
pub fn render(
    documents: Vec<Document>,
    plugins: &PluginSet,
    namespace: Option<&str>,
    now: Timestamp,
) -> Rendered {
    let mut renderer = Renderer {
        plugins,
        namespace,
        now,
        resources: Vec::new(),
        generated: HashMap::new(),
        rendered: Rendered::default(),
    };
    for document in documents {
        renderer.prepare(&document.source.to_string(), document.object, true);
    }
    renderer.report_duplicates();
    renderer.report_autoscaler_conflicts();
    // A cluster is planned before its worker groups and autoscalers, which depend on it.
    let order = [
        DaskKind::Job,
        DaskKind::Cluster,
        DaskKind::WorkerGroup,
        DaskKind::Autoscaler,
    ];
    let given = renderer.resources.len();
    for kind in order {
        for i in (0..given)
            .filter(|i| renderer.resources[*i].parent.kind == kind)
            .collect::<Vec<_>>()
        {
            renderer.plan(i);
        }
    }
    renderer.rendered
}

/// A Dask resource that has been defaulted and validated.
struct PreparedResource {
    source: String,
    parent: Parent,
    object: Value,
    /// True if no error was found, so that the resource can be planned.
    is_valid: bool,
    /// True for a resource from a manifest, false for a planned child.
    written: bool,
    /// True if a later manifest defines the same resource.
    replaced: bool,
}

/// State of one call of [`render`].
struct Renderer<'a> {
    plugins: &'a PluginSet,
    namespace: Option<&'a str>,
    now: Timestamp,
    /// The valid and invalid resources so far, from manifests and from plans.
    resources: Vec<PreparedResource>,
    /// Number of names that were generated, by kind, namespace and `generateName`.
    generated: HashMap<(DaskKind, String, String), usize>,
    rendered: Rendered,
}

impl Renderer<'_> {
    /// Adds a message.
    fn report(&mut self, level: Level, source: &str, object: &str, field: &str, text: impl Into<String>) {
        self.rendered.messages.push(Message {
            level,
            source: source.to_owned(),
            object: object.to_owned(),
            field: field.to_owned(),
            text: text.into(),
        });
    }

    /// Adds a message for each finding.
    fn report_findings(&mut self, source: &str, object: &str, findings: Vec<Finding>) {
        for finding in findings {
            let level = match finding.severity {
                Severity::Error => Level::Error,
                Severity::Mistake => Level::Mistake,
                Severity::Warning => Level::Warning,
            };
            self.report(level, source, object, &finding.field, finding.message);
        }
    }

    /// Adds an error for a failed call of a plugin.
    fn report_failure(&mut self, source: &str, object: &str, failure: &PluginFailure) {
        self.report(Level::Error, source, object, "", failure.to_string());
    }

    /// Adds the errors that a logic plugin returned.
    fn report_error(&mut self, source: &str, object: &str, error: Error) {
        match error {
            Error::Invalid(findings) => self.report_findings(source, object, findings),
            Error::Failed(text) => self.report(Level::Error, source, object, "", text),
        }
    }

    /// Adds the reasons why there is no plan.
    fn report_plan_error(&mut self, source: &str, object: &str, error: PlanError) {
        match error {
            PlanError::Call { failure, .. } => self.report_failure(source, object, &failure),
            PlanError::Invalid(findings) => self.report_findings(source, object, findings),
            PlanError::GaveUp { message, .. } => self.report(Level::Error, source, object, "", message),
            PlanError::Refused { refusal, .. } => {
                for violation in refusal.violations {
                    let text = format!("the plan was refused: {violation}");
                    self.report(Level::Error, source, object, "", text);
                }
                if refusal.more > 0 {
                    let more = format!(
                        "the plan was refused: {} more things are wrong with it",
                        refusal.more
                    );
                    self.report(Level::Error, source, object, "", more);
                }
            }
            error @ (PlanError::TooLarge { .. } | PlanError::Review(_)) => {
                self.report(Level::Error, source, object, "", error.to_string());
            }
        }
    }

    /// Adds the children of the resource at `index`, and the children of those that are Dask resources.
    fn plan(&mut self, index: usize) {
        let PreparedResource {
            source,
            parent,
            object,
            is_valid,
            replaced,
            ..
        } = &self.resources[index];
        if !is_valid || *replaced {
            return;
        }
        let (source, parent, object) = (source.clone(), parent.clone(), object.to_string());
        let title = format!("{} {}", parent.kind.kind(), parent.name);
        let evaluator = self.plugins.evaluator(parent.kind);
        let related = self.related(&parent);
        let is = |object: &ObservedObject, kind: DaskKind| object.key.kind == kind.kind();
        let has_cluster = related.iter().any(|object| is(object, DaskKind::Cluster));
        if !has_cluster && matches!(parent.kind, DaskKind::WorkerGroup | DaskKind::Autoscaler) {
            let text = format!(
                "there is no DaskCluster {} in these manifests: nothing to compute",
                parent.cluster
            );
            return self.report(Level::Note, &source, &title, "spec.cluster", text);
        }
        self.report_missing_group(index, &related);
        let mut existing = Existing::default();
        for _ in 0..plan_count(parent.kind) {
            let observation = Observation {
                parent: object.clone(),
                children: existing.of_kinds(&evaluator.logic.child_kinds),
                related: related.clone(),
                scheduler: SchedulerState::NotAsked,
                now: self.now,
                seed: parent.seed(),
                settings: evaluator.logic.settings.clone(),
            };
            let evaluated = match evaluator.plan(&parent, &observation, None) {
                Ok(evaluated) => evaluated,
                Err(error) => return self.report_plan_error(&source, &title, error),
            };
            for remark in evaluated.remarks {
                self.report(Level::Warning, &source, &title, "", remark.message);
            }
            let plan = evaluated.checked;
            existing.conditions = plan.conditions;
            for child in stamp(&parent, plan.children) {
                let key = child.key.clone();
                let Some(mut child) = child.object() else {
                    continue;
                };
                if !existing.add(&key, &child) {
                    continue;
                }
                let dask = DaskKind::from_kind(&key.kind.kind);
                if let Some(other) =
                    dask.and_then(|kind| self.find_written(kind, &parent.namespace, &key.name))
                {
                    self.report_child_collision(&parent, other);
                    continue;
                }
                strip(&mut child);
                self.rendered.objects.push(child.clone());
                if dask.is_some()
                    && let Some(index) = self.prepare(&source, child, false)
                {
                    self.plan(index);
                }
            }
        }
        if parent.kind == DaskKind::Job
            && let Some(reason) = existing.runner_delay()
        {
            self.report(
                Level::Note,
                &source,
                &title,
                "",
                format!("its runner comes later: {reason}"),
            );
        }
    }

    /// Returns the related resources that the contract promises a component in addition to the children.
    fn related(&self, parent: &Parent) -> Vec<ObservedObject> {
        let same_cluster = |resource: &&PreparedResource| {
            resource.parent.namespace == parent.namespace && resource.parent.cluster == parent.cluster
        };
        let is_related = |resource: &&PreparedResource| {
            matches!(
                (parent.kind, resource.parent.kind),
                (DaskKind::WorkerGroup | DaskKind::Autoscaler, DaskKind::Cluster)
                    | (DaskKind::Cluster | DaskKind::Autoscaler, DaskKind::WorkerGroup)
                    | (DaskKind::Autoscaler, DaskKind::Autoscaler)
            ) && resource.parent.uid != parent.uid
        };
        self.resources
            .iter()
            .filter(|resource| !resource.replaced)
            .filter(is_related)
            .filter(same_cluster)
            .map(observed)
            .collect()
    }
}

/// Returns the number of plans until all children exist. A job takes two.
fn plan_count(kind: DaskKind) -> usize {
    match kind {
        DaskKind::Job => 2,
        DaskKind::Cluster | DaskKind::WorkerGroup | DaskKind::Autoscaler => 1,
    }
}

fn observed(resource: &PreparedResource) -> ObservedObject {
    ObservedObject {
        key: contract::ChildKey {
            api_version: DASK_API_VERSION.to_owned(),
            kind: resource.parent.kind.kind().to_owned(),
            name: resource.parent.name.clone(),
        },
        uid: resource.parent.uid.clone(),
        terminating: false,
        object: resource.object.to_string(),
    }
}

/// Returns a uid that depends only on the kind, the namespace and the name.
fn uid(kind: &str, namespace: &str, name: &str) -> String {
    let number = seed(&format!("{kind}/{namespace}/{name}"));
    format!(
        "00000000-0000-0000-{:04x}-{:012x}",
        number >> 48,
        number & 0xffff_ffff_ffff
    )
}

/// Removes metadata that is meaningful on a cluster only. An owner reference to an owner that does not exist would make the
/// garbage collector delete the object.
fn strip(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    metadata.remove("ownerReferences");
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION_HASH);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}
