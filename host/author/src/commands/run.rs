//! The subcommand `dask-operator plugin run`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use dask_operator_components::load::AllowedKindArgs;
use dask_operator_core::parent::DaskKind;
use dask_operator_evaluator::logic::PluginFailure;
use dask_operator_render::documents::{self, Document};
use dask_operator_render::render::Level;
use dask_operator_runtime::contract::{Observation, Operation, Plan};
use serde_json::{Value, json};

use super::{CommandResult, Streams, now, settings};
use crate::diff::differences;
use crate::error::AuthorError;
use crate::input::{Input, classify};
use crate::observation::{self, plan_value};
use crate::registry::RegistryArgs;
use crate::simulation::{AdmissionInput, RefusalReason, Simulation, Simulator};

/// Shows the effect of a plugin on manifests and observations: the outcome of admission and its changes, the children,
/// and the differences that the plugin makes. Needs no cluster.
///
/// The exit code is 1 if something is refused.
#[derive(Args, Clone, Debug)]
pub struct PluginRunArgs {
    /// The component: a file, or an image in a registry.
    #[arg(value_name = "FILE|IMAGE")]
    pub source: String,

    /// Manifests, a recorded AdmissionReview, or an observation: a file, a folder, or - for standard input. Can be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// A YAML file with the component's settings.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,

    /// Manifests before an update: a manifest with the same kind, name and namespace makes the request an update.
    #[arg(long, value_name = "FILE")]
    pub old: Option<PathBuf>,

    /// The user that sends the requests.
    #[arg(long, value_name = "NAME", default_value = "somebody")]
    pub user: String,

    /// A group of that user. Can be repeated.
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,

    /// The current time of the requests, as 2026-01-31T12:00:00Z. [default: now]
    #[arg(long, value_name = "TIME", value_parser = observation::time)]
    pub now: Option<i64>,

    /// Kinds of children.
    #[command(flatten)]
    pub allowed_kinds: AllowedKindArgs,

    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

pub(super) fn run(args: &PluginRunArgs, streams: &mut Streams<'_>) -> CommandResult {
    let bytes = args.registry.bytes(&args.source, streams.stdin)?;
    let simulator = Simulator::new(args.allowed_kinds.kinds())?;
    let with = simulator.with_plugin(&args.source, &bytes, settings(args.settings.as_deref())?)?;
    let without = simulator.without_plugin();
    let now = args.now.unwrap_or_else(now);
    let old = match &args.old {
        Some(path) => read(path, streams)?,
        None => Vec::new(),
    };
    let user = json!({"username": args.user, "groups": args.groups});
    let mut succeeded = true;
    let (mut written, mut admitted) = (Vec::new(), Vec::new());
    for path in &args.files {
        for document in read(path, streams)? {
            match classify(document).map_err(AuthorError::Usage)? {
                Input::Manifest(document) => {
                    let Some(kind) = document.object["kind"].as_str().and_then(DaskKind::from_kind) else {
                        writeln!(
                            streams.err,
                            "note: {}: skipped, it is not a Dask resource",
                            document.source
                        )?;
                        continue;
                    };
                    let old = before(&document.object, &old).cloned();
                    let operation = if old.is_some() {
                        Operation::Update
                    } else {
                        Operation::Create
                    };
                    let input = AdmissionInput {
                        kind,
                        operation,
                        object: document.object.clone(),
                        old,
                        user: user.clone(),
                    };
                    let object = admit(&with, &input, now, streams)?;
                    succeeded &= object.is_some();
                    if let Some(object) = object {
                        admitted.push(Document {
                            object,
                            ..document.clone()
                        });
                    }
                    written.push(document);
                }
                Input::Review(input) => succeeded &= admit(&with, &input, now, streams)?.is_some(),
                Input::Observation(observation) => {
                    let kind = recorded_kind(&observation)?;
                    let plan = |simulation: &Simulation| simulation.plan_observation(kind, &observation);
                    succeeded &= plans(plan(&with), plan(&without), streams)?;
                }
                Input::Written(file) => {
                    let plan = |simulation: &Simulation| simulation.plan(&file, now);
                    succeeded &= plans(plan(&with), plan(&without), streams)?;
                }
            }
        }
    }
    if !admitted.is_empty() {
        succeeded &= children(&with, admitted, &without, written, now, streams)?;
    }
    Ok(succeeded)
}

/// A plan, or the reasons why it was refused.
type Planned = Result<Plan, Vec<RefusalReason>>;

/// Reads the documents of a file. Writes a note if there are none.
fn read(path: &std::path::Path, streams: &mut Streams<'_>) -> Result<Vec<Document>, AuthorError> {
    let (documents, errors) = documents::read(path, streams.stdin);
    match errors.first() {
        None => {
            if documents.is_empty() {
                writeln!(streams.err, "note: {}", documents::nothing(path))?;
            }
            Ok(documents)
        }
        Some(error) => Err(AuthorError::Usage(error.to_string())),
    }
}

/// Returns the object with the same kind, name and namespace before an update. `None` if there is none.
fn before<'a>(object: &Value, old: &'a [Document]) -> Option<&'a Value> {
    let same = |other: &&Document| {
        ["/kind", "/metadata/name", "/metadata/namespace"]
            .iter()
            .all(|pointer| other.object.pointer(pointer) == object.pointer(pointer))
    };
    old.iter().find(same).map(|document| &document.object)
}

/// Returns the kind of the parent of a recorded observation.
fn recorded_kind(observation: &Observation) -> Result<DaskKind, AuthorError> {
    let parent: Value = serde_json::from_str(&observation.parent).unwrap_or_default();
    let kind = parent["kind"].as_str().unwrap_or_default();
    DaskKind::from_kind(kind).ok_or_else(|| {
        AuthorError::Usage(format!(
            "the observation's parent is a {kind:?}, which is not a Dask resource"
        ))
    })
}

/// Runs admission and writes its outcome. Returns the object that would be stored, or `None` if it is refused.
fn admit(
    simulation: &Simulation,
    input: &AdmissionInput,
    now: i64,
    streams: &mut Streams<'_>,
) -> Result<Option<Value>, AuthorError> {
    let outcome = simulation.admit(input, now);
    let out = &mut *streams.out;
    let name = input.object["metadata"]["name"].as_str().unwrap_or_default();
    let title = format!("{} {name}", input.kind.kind());
    let (verdict, operation) = (
        if outcome.is_allowed() {
            "admitted"
        } else {
            "refused"
        },
        match input.operation {
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Delete => "delete",
        },
    );
    writeln!(out, "{title}: {verdict} ({operation})")?;
    for refusal in &outcome.refusals {
        writeln!(out, "  error: {refusal}")?;
    }
    for notice in outcome.notices() {
        writeln!(out, "  warning: {notice}")?;
    }
    if !outcome.is_allowed() {
        return Ok(None);
    }
    let stored = outcome.changed.unwrap_or_else(|| input.object.clone());
    let changes = differences(&input.object, &stored);
    if !changes.is_empty() {
        writeln!(out, "  filled in and changed:")?;
        for change in changes {
            writeln!(out, "    {change}")?;
        }
    }
    Ok(Some(stored))
}

/// Writes the children, and the differences that the plugin makes. Returns whether all children were rendered.
fn children(
    with: &Simulation,
    admitted: Vec<Document>,
    without: &Simulation,
    written: Vec<Document>,
    now: i64,
    streams: &mut Streams<'_>,
) -> CommandResult {
    let rendered = with.render(admitted, now);
    let mut succeeded = true;
    for message in rendered
        .messages
        .iter()
        .filter(|message| message.level == Level::Error)
    {
        writeln!(streams.out, "{message}")?;
        succeeded = false;
    }
    let other = without.render(written, now);
    let named = |objects: &[Value]| -> BTreeMap<String, Value> {
        objects
            .iter()
            .map(|object| (title(object), object.clone()))
            .collect()
    };
    let (ours, theirs) = (named(&rendered.objects), named(&other.objects));
    writeln!(streams.out, "\nchildren: {}", ours.len())?;
    for title in ours.keys() {
        writeln!(streams.out, "  {title}")?;
    }
    let mut titles: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
    titles.sort();
    titles.dedup();
    let mut is_first = true;
    for title in titles {
        let found = match (theirs.get(title), ours.get(title)) {
            (Some(before), Some(after)) => differences(before, after)
                .iter()
                .map(ToString::to_string)
                .collect(),
            (None, Some(_)) => vec!["+ it exists with the plugin only".to_owned()],
            _ => vec!["- it exists without the plugin only".to_owned()],
        };
        if found.is_empty() {
            continue;
        }
        if std::mem::take(&mut is_first) {
            writeln!(streams.out, "\nwhat the plugin changes:")?;
        }
        writeln!(streams.out, "  {title}")?;
        for line in found {
            writeln!(streams.out, "    {line}")?;
        }
    }
    if is_first {
        writeln!(streams.out, "\nwithout the plugin they are the same")?;
    }
    Ok(succeeded)
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// Writes a plan, and the differences that the plugin makes. Returns false if the plan is refused.
fn plans(
    with: Result<Planned, PluginFailure>,
    without: Result<Planned, PluginFailure>,
    streams: &mut Streams<'_>,
) -> CommandResult {
    let with = with.map_err(|failure| AuthorError::Usage(failure.to_string()))?;
    let plan = match with {
        Ok(plan) => plan_value(&plan),
        Err(refusals) => {
            writeln!(streams.out, "refused")?;
            for refusal in refusals {
                writeln!(streams.out, "  error: {refusal}")?;
            }
            return Ok(false);
        }
    };
    let text = serde_saphyr::to_string(&plan).unwrap_or_else(|_| plan.to_string());
    writeln!(streams.out, "planned:")?;
    for line in text.trim_end().lines() {
        writeln!(streams.out, "  {line}")?;
    }
    let Ok(Ok(other)) = without else {
        writeln!(streams.out, "without the plugin there is no plan")?;
        return Ok(true);
    };
    let found = differences(&plan_value(&other), &plan);
    if found.is_empty() {
        writeln!(streams.out, "without the plugin it is the same")?;
        return Ok(true);
    }
    writeln!(streams.out, "what the plugin changes:")?;
    for difference in found {
        writeln!(streams.out, "  {difference}")?;
    }
    Ok(true)
}
