//! Test files: what a plugin is expected to say.
//!
//! ```yaml
//! component: target/plugin/worker-limit.wasm # from this file's folder
//! manifest: cluster.yaml                     # a file, or a manifest; for all cases that have none of their own
//! cases:
//!   - name: too many workers
//!     change: {spec: {worker: {replicas: 1000}}}   # merged into the manifest
//!     expect:
//!       verdict: refuse
//!       errors: [{field: spec.worker.replicas, message: at most 100}]
//! ```

use std::path::{Path, PathBuf};

use dask_operator_core::parent::DaskKind;
use dask_operator_render::documents::{Document, Source};
use dask_operator_render::render::Level;
use dask_operator_render::yaml;
use dask_operator_runtime::contract::{Operation, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::AuthorError;
use crate::observation::{self, ObservationFile, plan_value};
use crate::place::{Asked, Bench, InPlace, Refusal};

mod expect;

use expect::Expect;

/// The time where a test says none: 2026-01-01T00:00:00Z.
const NOW: Timestamp = 1_767_225_600_000;

/// A file with tests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestFile {
    /// The component's file, from the test file's folder.
    pub component: Option<PathBuf>,
    /// Settings of cases that have none of their own.
    #[serde(default)]
    settings: Map<String, Value>,
    /// The manifest of cases that have none of their own.
    manifest: Option<Given>,
    /// The tests.
    #[serde(default)]
    pub cases: Vec<Case>,
}

/// A manifest, or its file from the test file's folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Given {
    File(PathBuf),
    Inline(Value),
}

/// A test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// What somebody wants to have.
    manifest: Option<Given>,
    /// What is merged into the manifest: a JSON Merge Patch.
    change: Option<Value>,
    /// What there was before an update.
    old: Option<Given>,
    /// Other manifests that are there, as the cluster of a worker group.
    #[serde(default)]
    with: Vec<Given>,
    /// What logic is told, instead of a manifest.
    observation: Option<ObservationFile>,
    /// The component's settings.
    settings: Option<Map<String, Value>>,
    /// What shall be done with the manifest.
    operation: Option<Word>,
    /// Who asks, as `{username: ann, groups: [team-a]}`.
    user: Option<Value>,
    /// The time, as `2026-01-31T12:00:00Z`.
    now: Option<String>,
    /// What is expected.
    #[serde(default)]
    expect: Expect,
}

/// What shall be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Create,
    Update,
    Delete,
}

/// What came out.
#[derive(Debug, Default)]
struct Outcome {
    refusals: Vec<Refusal>,
    warnings: Vec<String>,
    object: Option<Value>,
    /// As [`plan_value`]; of a manifest it has children only.
    plan: Value,
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The test's name.
    pub name: String,
    /// Why it failed; empty when it did not.
    pub problems: Vec<String>,
}

impl TestFile {
    /// Reads a file with tests.
    ///
    /// # Errors
    ///
    /// When it can't be read or has none.
    pub fn read(path: &Path) -> Result<Self, AuthorError> {
        let text = std::fs::read_to_string(path).map_err(AuthorError::io(path))?;
        let file: Self = serde_saphyr::from_str(&text)
            .map_err(|error| AuthorError::file(path, crate::commands::first_line(&error.to_string())))?;
        if file.cases.is_empty() {
            return Err(AuthorError::file(
                path,
                "it has no `cases`: a file without tests tests nothing",
            ));
        }
        Ok(file)
    }

    /// Runs all tests of the file, which stands in `folder`.
    ///
    /// # Errors
    ///
    /// When the component is unfit.
    pub fn run(
        &self,
        folder: &Path,
        bench: &Bench,
        origin: &str,
        component: &[u8],
    ) -> Result<Vec<Report>, AuthorError> {
        let reports = self.cases.iter().map(|case| {
            let settings = case.settings.as_ref().unwrap_or(&self.settings).clone();
            let problems = match bench.with(origin, component, settings) {
                // A case can expect settings to be refused in no way: its file is wrong.
                Err(AuthorError::Settings(why)) => vec![format!("settings: {why}")],
                Err(error) => return Err(error),
                Ok(place) => match self.outcome(case, folder, &place) {
                    Ok(outcome) => case.expect.problems(&outcome),
                    Err(message) => vec![message],
                },
            };
            Ok(Report {
                name: case.name.clone(),
                problems,
            })
        });
        reports.collect()
    }

    fn outcome(&self, case: &Case, folder: &Path, place: &InPlace<'_>) -> Result<Outcome, String> {
        let now = case.now.as_deref().map_or(Ok(NOW), observation::time)?;
        if let Some(file) = &case.observation {
            if case.manifest.is_some() || case.change.is_some() || case.operation.is_some() {
                return Err("an `observation` takes the place of `manifest`, `change` and `operation`: leave those out".to_owned());
            }
            return match place.plan(file, now).map_err(|failure| failure.to_string())? {
                Ok(plan) => Ok(Outcome {
                    plan: plan_value(&plan),
                    ..Outcome::default()
                }),
                Err(refusals) => Ok(Outcome {
                    refusals,
                    ..Outcome::default()
                }),
            };
        }
        let given = case.manifest.as_ref().or(self.manifest.as_ref());
        let mut object = given
            .ok_or("there is no `manifest` and no `observation`: write one, here or for the whole file")?
            .read(folder)?;
        if let Some(change) = &case.change {
            json_patch::merge(&mut object, change);
        }
        let old = case.old.as_ref().map(|old| old.read(folder)).transpose()?;
        let operation = match (case.operation, &old) {
            (Some(Word::Update), None) => {
                return Err("an update needs `old`: write what there was before".to_owned());
            }
            (Some(Word::Create | Word::Delete), Some(_)) => {
                return Err("`old` is for updates: leave it out, or write `operation: update`".to_owned());
            }
            (Some(Word::Delete), None) => Operation::Delete,
            (Some(Word::Update) | None, Some(_)) => Operation::Update,
            (Some(Word::Create) | None, None) => Operation::Create,
        };
        let kind = object["kind"].as_str().unwrap_or_default();
        let kind = DaskKind::from_kind(kind).ok_or_else(|| {
            format!(
                "the manifest's kind is {kind:?}: write {}",
                DaskKind::ALL.map(DaskKind::kind).join(", ")
            )
        })?;
        let user = case
            .user
            .clone()
            .unwrap_or_else(|| json!({"username": "somebody", "groups": []}));
        let asked = Asked {
            kind,
            operation,
            object: &object,
            old: old.as_ref(),
            user: &user,
        };
        let admitted = place.admit(&asked, now).map_err(|failure| failure.to_string())?;
        let stored = admitted.changed.clone().unwrap_or_else(|| object.clone());
        let mut outcome = Outcome {
            refusals: admitted
                .refusals
                .iter()
                .map(|said| Refusal {
                    field: said.field.clone(),
                    message: said.message.clone(),
                })
                .collect(),
            warnings: admitted.notices(),
            object: Some(stored.clone()),
            plan: json!({"children": []}),
        };
        if admitted.is_allowed() && operation != Operation::Delete {
            let with = case
                .with
                .iter()
                .map(|given| given.read(folder))
                .collect::<Result<Vec<_>, _>>()?;
            let documents = with.into_iter().chain([stored]).map(document);
            let rendered = place.render(documents.collect(), now);
            let errors = rendered
                .messages
                .iter()
                .filter(|message| message.level == Level::Error);
            let refusal = |message: &dask_operator_render::render::Message| Refusal {
                field: message.field.clone(),
                message: message.text.clone(),
            };
            outcome.refusals.extend(errors.map(refusal));
            outcome.plan = json!({"children": rendered.objects});
        }
        Ok(outcome)
    }
}

fn document(object: Value) -> Document {
    let source = Source {
        file: PathBuf::from("manifest"),
        document: None,
    };
    Document { source, object }
}

impl Given {
    fn read(&self, folder: &Path) -> Result<Value, String> {
        match self {
            Self::Inline(object) => Ok(object.clone()),
            Self::File(path) => {
                let path = folder.join(path);
                let wrong = |problem: String| {
                    format!("{}: {}", path.display(), crate::commands::first_line(&problem))
                };
                let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
                yaml::document(&text).map_err(|error| wrong(error.to_string()))
            }
        }
    }
}
