//! Test files of `dask-operator plugin test`.
//!
//! ```yaml
//! component: target/plugin/worker-limit.wasm # from this file's folder
//! manifest: cluster.yaml                     # a file or a manifest, for all cases without their own
//! cases:
//!   - name: too many workers
//!     change: {spec: {worker: {replicas: 1000}}}   # merged into the manifest
//!     expect:
//!       verdict: refuse
//!       errors: [{field: spec.worker.replicas, message: at most 100}]
//! ```

use std::path::{Path, PathBuf};

use dask_operator_core::parent::DaskKind;
use dask_operator_render::documents::{Document, DocumentSource};
use dask_operator_render::render::Level;
use dask_operator_runtime::contract::{Operation, Timestamp};
use dask_operator_yaml as yaml;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::AuthorError;
use crate::observation::{self, ObservationFile, plan_value};
use crate::simulation::{AdmissionInput, RefusalReason, Simulation, Simulator};

mod expect;

use expect::Expect;

/// The current time of a test that sets none, in milliseconds since 1970: 2026-01-01T00:00:00Z.
const NOW: Timestamp = 1_767_225_600_000;

/// A test file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestFile {
    /// Path of the component, relative to the folder of the test file. `None` if the command line names the component.
    pub component: Option<PathBuf>,
    /// Settings of the cases without their own.
    #[serde(default)]
    settings: Map<String, Value>,
    /// Manifest of the cases without their own.
    manifest: Option<ManifestSource>,
    /// The test cases.
    #[serde(default)]
    pub cases: Vec<Case>,
}

/// A manifest, or the path of its file relative to the folder of the test file.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum ManifestSource {
    File(PathBuf),
    Inline(Value),
}

/// A test case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Name of the test case.
    pub name: String,
    /// The manifest that the user applies.
    manifest: Option<ManifestSource>,
    /// JSON Merge Patch that is applied to the manifest.
    change: Option<Value>,
    /// The object before an update.
    old: Option<ManifestSource>,
    /// Other existing manifests, such as the cluster of a worker group.
    #[serde(default)]
    with: Vec<ManifestSource>,
    /// The observation that the logic receives, instead of a manifest.
    observation: Option<ObservationFile>,
    /// Settings of the component. `None` selects those of the file.
    settings: Option<Map<String, Value>>,
    /// The operation. `None` stands for an update if there is an old object, otherwise for a creation.
    operation: Option<OperationName>,
    /// The user that sends the request, as `{username: ann, groups: [team-a]}`.
    user: Option<Value>,
    /// The current time, as `2026-01-31T12:00:00Z`. `None` selects [`NOW`].
    now: Option<String>,
    /// The expected outcome.
    #[serde(default)]
    expect: Expect,
}

/// Name of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OperationName {
    Create,
    Update,
    Delete,
}

/// The outcome of a test case.
#[derive(Debug, Default)]
struct Outcome {
    refusals: Vec<RefusalReason>,
    warnings: Vec<String>,
    object: Option<Value>,
    /// The plan in the form of [`plan_value`]. Only `children` is set if the test case is about a manifest.
    plan: Value,
}

/// The result of a test case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Name of the test case.
    pub name: String,
    /// The reasons why the test case failed. Empty if it passed.
    pub problems: Vec<String>,
}

impl TestFile {
    /// Reads a test file.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read or has no test cases.
    pub fn read(path: &Path) -> Result<Self, AuthorError> {
        let text = std::fs::read_to_string(path).map_err(AuthorError::io(path))?;
        let file: Self = serde_saphyr::from_str(&text)
            .map_err(|error| AuthorError::file(path, crate::error::first_line(&error.to_string())))?;
        if file.cases.is_empty() {
            return Err(AuthorError::file(
                path,
                "it has no `cases`: write at least one test",
            ));
        }
        Ok(file)
    }

    /// Runs all test cases. Paths in the file are relative to `folder`.
    ///
    /// # Errors
    ///
    /// Returns an error if the component cannot be loaded or a call of it fails while the settings are checked.
    pub fn run(
        &self,
        folder: &Path,
        simulator: &Simulator,
        origin: &str,
        component: &[u8],
    ) -> Result<Vec<Report>, AuthorError> {
        let reports = self.cases.iter().map(|case| {
            let settings = case.settings.as_ref().unwrap_or(&self.settings).clone();
            let problems = match simulator.with_plugin(origin, component, settings) {
                // A test case cannot expect its settings to be refused: the file is not valid.
                Err(AuthorError::Settings(why)) => vec![format!("settings: {why}")],
                Err(error) => return Err(error),
                Ok(plugin) => match self.outcome(case, folder, &plugin) {
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

    fn outcome(&self, case: &Case, folder: &Path, plugin: &Simulation) -> Result<Outcome, String> {
        let now = case.now.as_deref().map_or(Ok(NOW), observation::time)?;
        if let Some(file) = &case.observation {
            if case.manifest.is_some() || case.change.is_some() || case.operation.is_some() {
                return Err("an `observation` takes the place of `manifest`, `change` and `operation`: leave those out".to_owned());
            }
            return match plugin.plan(file, now).map_err(|failure| failure.to_string())? {
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
            (Some(OperationName::Update), None) => {
                return Err("an update needs `old`: write what there was before".to_owned());
            }
            (Some(OperationName::Create | OperationName::Delete), Some(_)) => {
                return Err("`old` is for updates: leave it out, or write `operation: update`".to_owned());
            }
            (Some(OperationName::Delete), None) => Operation::Delete,
            (Some(OperationName::Update) | None, Some(_)) => Operation::Update,
            (Some(OperationName::Create) | None, None) => Operation::Create,
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
        let input = AdmissionInput {
            kind,
            operation,
            object,
            old,
            user,
        };
        let admitted = plugin.admit(&input, now);
        let stored = admitted.changed.clone().unwrap_or(input.object);
        let mut outcome = Outcome {
            refusals: admitted
                .refusals
                .iter()
                .map(|refusal| RefusalReason {
                    field: refusal.field.clone(),
                    message: refusal.message.clone(),
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
            let rendered = plugin.render(documents.collect(), now);
            let errors = rendered
                .messages
                .iter()
                .filter(|message| message.level == Level::Error);
            let refusal = |message: &dask_operator_render::render::Message| RefusalReason {
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
    let source = DocumentSource {
        file: PathBuf::from("manifest"),
        document: None,
    };
    Document { source, object }
}

impl ManifestSource {
    fn read(&self, folder: &Path) -> Result<Value, String> {
        match self {
            Self::Inline(object) => Ok(object.clone()),
            Self::File(path) => {
                let path = folder.join(path);
                let invalid =
                    |problem: String| format!("{}: {}", path.display(), crate::error::first_line(&problem));
                let text = std::fs::read_to_string(&path).map_err(|error| invalid(error.to_string()))?;
                yaml::document(&text).map_err(|error| invalid(error.to_string()))
            }
        }
    }
}
