//! From manifests to children: what the operator would make of them on a
//! cluster where nothing of it exists yet.

use std::fmt;
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
use crate::fields::{FIELDS, instead};
use crate::findings::keep_for_author;
use crate::logic::{Failure, Logic};
use crate::policy::Policy;
use crate::review::{Remark, ReviewError, review};

mod existing;

use existing::{Existing, exists};

/// What the `apiVersion` of all Dask resources begins with.
const DASK_GROUP: &str = "kubernetes.dask.org/";

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

/// How bad a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It is good to know.
    Note,
    /// It works but is unwise.
    Warning,
    /// It runs and is very likely not what its author wants.
    Mistake,
    /// It can't work.
    Error,
}

/// What there is to say about a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How bad it is.
    pub level: Level,
    /// Where the object stands.
    pub source: String,
    /// The object, as `DaskCluster simple`; empty where it isn't known.
    pub object: String,
    /// The field; empty for the whole object.
    pub field: String,
    /// A sentence.
    pub text: String,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Mistake => "mistake",
            Level::Error => "error",
        };
        write!(f, "{level}: {}", self.source)?;
        let parts = [&self.object, &self.field, &self.text];
        parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .try_for_each(|part| write!(f, ": {part}"))
    }
}

/// The children, and what there is to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// All children, each Dask resource among them followed by its own.
    pub objects: Vec<Value>,
    /// What there is to say, in the order of the documents.
    pub messages: Vec<Message>,
}

impl Rendered {
    /// The same with mistakes as errors.
    #[must_use]
    pub fn strictly(mut self) -> Self {
        for message in &mut self.messages {
            if message.level == Level::Mistake {
                message.level = Level::Error;
            }
        }
        self
    }

    /// Whether something can't work.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.messages.iter().any(|message| message.level == Level::Error)
    }
}

/// Renders documents. `namespace` is where objects go that name none; `now` is
/// what components take for the time.
pub fn render(
    documents: Vec<Document>,
    deciders: &dyn Deciders,
    namespace: &str,
    now: Timestamp,
) -> Rendered {
    let mut renderer = Renderer {
        deciders,
        namespace,
        now,
        known: Vec::new(),
        rendered: Rendered::default(),
    };
    for document in documents {
        renderer.prepare(&document.source.to_string(), document.object, true);
    }
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
}

struct Renderer<'a> {
    deciders: &'a dyn Deciders,
    namespace: &'a str,
    now: Timestamp,
    known: Vec<Known>,
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

    /// Completes, defaults and checks an object; gives its place in `known`. Of one that isn't
    /// `written` by somebody but planned, only errors are said: what is unwise in it was said of
    /// what it comes from.
    fn prepare(&mut self, source: &str, mut object: Value, written: bool) -> Option<usize> {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        let title = format!("{kind} {name}").trim().to_owned();
        if api_version.is_empty() || kind.is_empty() {
            let missing = if kind.is_empty() { "kind" } else { "apiVersion" };
            self.say(
                Level::Error,
                source,
                &title,
                missing,
                "it is missing: every manifest has apiVersion and kind",
            );
            return None;
        }
        if !api_version.starts_with(DASK_GROUP) {
            let text = format!("skipped: {api_version} {kind} is no Dask resource");
            self.say(Level::Note, source, &title, "", text);
            return None;
        }
        let Some(dask) = DaskKind::from_kind(&kind) else {
            let text = format!(
                "{kind:?} is unknown; {}",
                instead(&kind, DaskKind::ALL.map(DaskKind::kind))
            );
            self.say(Level::Error, source, &title, "kind", text);
            return None;
        };
        if api_version != DASK_API_VERSION {
            let text = format!("{api_version:?} is unknown: write {DASK_API_VERSION}");
            self.say(Level::Error, source, &title, "apiVersion", text);
            return None;
        }
        let Some(metadata) = object
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
            .filter(|_| !name.is_empty())
        else {
            self.say(
                Level::Error,
                source,
                &title,
                "metadata.name",
                "it is missing: give the resource a name",
            );
            return None;
        };
        metadata
            .entry("namespace")
            .or_insert_with(|| self.namespace.into());
        let namespace = metadata["namespace"].as_str().unwrap_or_default().to_owned();
        // Only the API server gives uids; this one makes names the same each time.
        metadata.insert("uid".into(), uid(&kind, &namespace, &name).into());

        let mut unknown = Vec::new();
        if written {
            FIELDS.prune_nulls(dask, &mut object);
            unknown = FIELDS.unknown(dask, &object);
            unknown.extend(FIELDS.of_kubernetes(dask, &object));
        }
        let (wrong, mut dropped): (Vec<_>, Vec<_>) = unknown
            .into_iter()
            .partition(|finding| finding.severity == Severity::Error);
        let fields_exist = wrong.is_empty();
        self.findings(source, &title, wrong);
        let mut fit = true;
        let logic = self.deciders.logic(dask);
        let settings = self.deciders.settings(dask);
        let given = object.clone();
        match logic.default(&object.to_string(), settings) {
            Err(failure) => {
                self.failure(source, &title, &failure);
                return None;
            }
            Ok(Err(error)) => {
                self.error(source, &title, error);
                fit = false;
            }
            Ok(Ok(defaulted)) => match serde_json::from_str(&defaulted) {
                Ok(defaulted) => object = defaulted,
                Err(error) => {
                    self.say(
                        Level::Error,
                        source,
                        &title,
                        "",
                        format!("the component's `default` gave no JSON: {error}"),
                    );
                    return None;
                }
            },
        }
        match logic.validate(&object.to_string(), None, settings) {
            Err(failure) => {
                self.failure(source, &title, &failure);
                return None;
            }
            // What kept it from being defaulted has been said.
            Ok(mut findings) if fit => {
                findings.retain(|finding| written || finding.severity == Severity::Error);
                if written {
                    // The API server's refusals by the definition, where the component has none of its own.
                    let is_said = |field: &str| {
                        let mut errors = findings.iter().filter(|other| other.severity == Severity::Error);
                        errors.any(|other| other.field == field)
                    };
                    let mut others = FIELDS.values(dask, &object);
                    others.retain(|wrong| !is_said(&wrong.field));
                    findings.append(&mut others);
                }
                fit = !findings.iter().any(|finding| finding.severity == Severity::Error);
                keep_for_author(&mut findings, &given, &object);
                // The component may say more of a field.
                dropped.retain(|finding| !findings.iter().any(|other| other.field == finding.field));
                self.findings(source, &title, dropped);
                self.findings(source, &title, findings);
            }
            Ok(_) => {}
        }
        let parent = match Parent::from_object(&object) {
            Ok(parent) => parent,
            Err(error) => {
                if fit {
                    self.say(Level::Error, source, &title, "", error.to_string());
                }
                return None;
            }
        };
        self.known.push(Known {
            source: source.to_owned(),
            parent,
            object,
            fit: fit && fields_exist,
        });
        Some(self.known.len() - 1)
    }

    /// Adds the children of the resource at `index`, and theirs.
    fn plan(&mut self, index: usize) {
        let Known {
            source,
            parent,
            object,
            fit,
        } = &self.known[index];
        if !fit {
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
                known.children.push(exists(key, child.clone()));
                strip(&mut child);
                let dask = child["kind"].as_str().and_then(DaskKind::from_kind).is_some();
                self.rendered.objects.push(child.clone());
                if dask && let Some(index) = self.prepare(&source, child, false) {
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
