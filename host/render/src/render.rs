//! From manifests to children: what the operator would make of them on a
//! cluster where nothing of it exists yet.

use std::collections::HashMap;
use std::sync::Arc;

use dask_operator_core::finish::finish;
use dask_operator_core::gate::{self, Observed as _, Rules};
use dask_operator_core::names::{ANNOTATION_HASH, DASK_API_VERSION};
use dask_operator_core::parent::{DaskKind, Parent, seed};
use dask_operator_runtime::contract::{
    self, Error, Finding, Observation, ObservedObject, SchedulerState, Severity, Timestamp,
};
use serde_json::Value;

use crate::convert;
use crate::documents::Document;
use crate::logic::{Failure, Logic};
use crate::policy::Policy;
use crate::review::{Remark, ReviewError, review};

mod conflicts;
mod existing;
mod message;
mod prepare;

use existing::{Existing, exists};
pub use message::{Level, Message, Rendered};
pub(crate) use prepare::DASK_GROUP;

/// Who decides, and with what settings.
pub trait Deciders {
    /// The logic of a kind of resource.
    fn logic(&self, kind: DaskKind) -> &dyn Logic;
    /// Its settings: a JSON object.
    fn settings(&self, kind: DaskKind) -> &str;
    /// The policies, in the order in which they are asked.
    fn policies(&self) -> &[Arc<Policy>] {
        &[]
    }
}

/// Renders documents. `namespace` is where objects go that name none: the default
/// one where it is not known. `now` is what components take for the time.
pub fn render(
    documents: Vec<Document>,
    deciders: &dyn Deciders,
    namespace: Option<&str>,
    now: Timestamp,
) -> Rendered {
    let mut renderer = Renderer {
        deciders,
        namespace,
        now,
        known: Vec::new(),
        generated: HashMap::new(),
        rendered: Rendered::default(),
    };
    for document in documents {
        renderer.prepare(&document.source.to_string(), document.object, true);
    }
    renderer.twice();
    renderer.rivals();
    // Clusters before what belongs to them, so that it finds them.
    let order = [
        DaskKind::Job,
        DaskKind::Cluster,
        DaskKind::WorkerGroup,
        DaskKind::Autoscaler,
    ];
    let given = renderer.known.len();
    for kind in order {
        for i in (0..given)
            .filter(|i| renderer.known[*i].parent.kind == kind)
            .collect::<Vec<_>>()
        {
            renderer.plan(i);
        }
    }
    renderer.rendered
}

/// A Dask resource, defaulted and checked.
struct Known {
    source: String,
    parent: Parent,
    object: Value,
    fit: bool,
    /// It stands in a manifest; otherwise it is a child.
    written: bool,
    /// A later manifest has the same resource.
    replaced: bool,
}

struct Renderer<'a> {
    deciders: &'a dyn Deciders,
    namespace: Option<&'a str>,
    now: Timestamp,
    known: Vec<Known>,
    /// How many names were made of a kind, a namespace and a `generateName`.
    generated: HashMap<(DaskKind, String, String), usize>,
    rendered: Rendered,
}

impl Renderer<'_> {
    fn say(&mut self, level: Level, source: &str, object: &str, field: &str, text: impl Into<String>) {
        self.rendered.messages.push(Message {
            level,
            source: source.to_owned(),
            object: object.to_owned(),
            field: field.to_owned(),
            text: text.into(),
        });
    }

    fn findings(&mut self, source: &str, object: &str, findings: Vec<Finding>) {
        for finding in findings {
            let level = match finding.severity {
                Severity::Error => Level::Error,
                Severity::Mistake => Level::Mistake,
                Severity::Warning => Level::Warning,
            };
            self.say(level, source, object, &finding.field, finding.message);
        }
    }

    fn failure(&mut self, source: &str, object: &str, failure: &Failure) {
        self.say(Level::Error, source, object, "", failure.to_string());
    }

    fn error(&mut self, source: &str, object: &str, error: Error) {
        match error {
            Error::Invalid(findings) => self.findings(source, object, findings),
            Error::Failed(text) => self.say(Level::Error, source, object, "", text),
        }
    }

    /// Adds the children of the resource at `index`, and theirs.
    fn plan(&mut self, index: usize) {
        let Known {
            source,
            parent,
            object,
            fit,
            replaced,
            ..
        } = &self.known[index];
        if !fit || *replaced {
            return;
        }
        let (source, parent, object) = (source.clone(), parent.clone(), object.to_string());
        let title = format!("{} {}", parent.kind.kind(), parent.name);
        let logic = self.deciders.logic(parent.kind);
        let settings = self.deciders.settings(parent.kind);
        let declared = match logic.child_kinds(settings) {
            Ok(kinds) => kinds,
            Err(failure) => return self.failure(&source, &title, &failure),
        };
        let related = self.related(&parent);
        let is = |object: &ObservedObject, kind: DaskKind| object.key.kind == kind.kind();
        let has_cluster = related.iter().any(|object| is(object, DaskKind::Cluster));
        if !has_cluster && matches!(parent.kind, DaskKind::WorkerGroup | DaskKind::Autoscaler) {
            let text = format!(
                "there is no DaskCluster {} in these manifests: nothing to compute",
                parent.cluster
            );
            return self.say(Level::Note, &source, &title, "spec.cluster", text);
        }
        self.named_group(index, &related);
        let mut known = Existing {
            groups: related
                .iter()
                .filter(|object| is(object, DaskKind::WorkerGroup))
                .map(|object| object.key.name.clone())
                .collect(),
            children: Vec::new(),
            conditions: Vec::new(),
        };
        let rules: Vec<_> = declared.iter().cloned().map(convert::kind).collect();
        for _ in 0..rounds(parent.kind) {
            let observation = Observation {
                parent: object.clone(),
                children: known.of_kinds(&declared),
                related: related.clone(),
                scheduler: SchedulerState::NotAsked,
                now: self.now,
                seed: parent.seed(),
                settings: settings.to_owned(),
            };
            let plan = match logic.plan(&observation) {
                Err(failure) => return self.failure(&source, &title, &failure),
                Ok(Err(error)) => return self.error(&source, &title, error),
                Ok(Ok(plan)) => plan,
            };
            let plan = match self.review(&parent, &object, plan) {
                Ok((plan, remarks)) => {
                    for remark in remarks {
                        self.say(Level::Warning, &source, &title, "", remark.message);
                    }
                    convert::plan(plan)
                }
                Err(error) => return self.say(Level::Error, &source, &title, "", error.to_string()),
            };
            let plan = match gate::check(&parent, &Rules::new(&rules), &known, plan) {
                Ok(plan) => plan,
                Err(refusal) => {
                    for violation in refusal.violations {
                        self.say(
                            Level::Error,
                            &source,
                            &title,
                            "",
                            format!("the plan was refused: {violation}"),
                        );
                    }
                    if refusal.more > 0 {
                        let more = format!(
                            "the plan was refused: {} more things are wrong with it",
                            refusal.more
                        );
                        self.say(Level::Error, &source, &title, "", more);
                    }
                    return;
                }
            };
            known.conditions = plan.conditions;
            for child in plan.children {
                let key = child.key.clone();
                let Some(mut child) = finish(&parent, child).object() else {
                    continue;
                };
                if known.has_child(&key) {
                    continue;
                }
                known.children.push(exists(key.clone(), child.clone()));
                let dask = DaskKind::from_kind(&key.kind.kind);
                if let Some(other) = dask.and_then(|kind| self.written(kind, &parent.namespace, &key.name)) {
                    self.made_by_another(&parent, other);
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
            && let Some(why) = known.waits()
        {
            self.say(
                Level::Note,
                &source,
                &title,
                "",
                format!("its runner comes later: {why}"),
            );
        }
    }

    /// Asks the policies about a plan's children.
    fn review(
        &self,
        parent: &Parent,
        object: &str,
        mut plan: contract::Plan,
    ) -> Result<(contract::Plan, Vec<Remark>), ReviewError> {
        let reviewed = review(
            self.deciders.policies(),
            parent.kind,
            object,
            plan.children,
            self.now,
        )?;
        plan.children = reviewed.children;
        Ok((plan, reviewed.remarks))
    }

    /// What the contract promises a component beside the children.
    fn related(&self, parent: &Parent) -> Vec<ObservedObject> {
        let same_cluster = |known: &&Known| {
            known.parent.namespace == parent.namespace && known.parent.cluster == parent.cluster
        };
        let wanted = |known: &&Known| {
            matches!(
                (parent.kind, known.parent.kind),
                (DaskKind::WorkerGroup | DaskKind::Autoscaler, DaskKind::Cluster)
                    | (DaskKind::Cluster | DaskKind::Autoscaler, DaskKind::WorkerGroup)
                    | (DaskKind::Autoscaler, DaskKind::Autoscaler)
            ) && known.parent.uid != parent.uid
        };
        self.known
            .iter()
            .filter(|known| !known.replaced)
            .filter(wanted)
            .filter(same_cluster)
            .map(observed)
            .collect()
    }
}

/// How many plans it takes until all is there: a job's cluster follows its runner.
fn rounds(kind: DaskKind) -> usize {
    match kind {
        DaskKind::Job => 2,
        DaskKind::Cluster | DaskKind::WorkerGroup | DaskKind::Autoscaler => 1,
    }
}

fn observed(known: &Known) -> ObservedObject {
    ObservedObject {
        key: contract::ChildKey {
            api_version: DASK_API_VERSION.to_owned(),
            kind: known.parent.kind.kind().to_owned(),
            name: known.parent.name.clone(),
        },
        uid: known.parent.uid.clone(),
        terminating: false,
        object: known.object.to_string(),
    }
}

/// A uid that is the same for the same resource.
fn uid(kind: &str, namespace: &str, name: &str) -> String {
    let number = seed(&format!("{kind}/{namespace}/{name}"));
    format!(
        "00000000-0000-0000-{:04x}-{:012x}",
        number >> 48,
        number & 0xffff_ffff_ffff
    )
}

/// Takes off what means something on a cluster only. An owner that does not
/// exist would make the garbage collector delete the object.
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
