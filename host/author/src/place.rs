//! A plugin in its place: what admission and plans say with it and without it. All of it is the operator's own code.

use std::borrow::Cow;
use std::sync::Arc;

use dask_operator_core::parent::DaskKind;
use dask_operator_render::admission::{self, Chain, Decider, Outcome, Request, Said};
use dask_operator_render::convert;
use dask_operator_render::documents::Document;
use dask_operator_render::findings::sentences;
use dask_operator_render::logic::{ComponentLogic, Failure, Logic, interface};
use dask_operator_render::manifest;
use dask_operator_render::plugins::{PluginArgs, Plugins, engine};
use dask_operator_render::policy::{Mode, Policy, title};
use dask_operator_render::render::{Deciders, Rendered, render};
use dask_operator_render::review::review;
use dask_operator_runtime::contract::{Error, Observation, Operation, Plan, Severity, Timestamp};
use dask_operator_runtime::{Component, Engine, Interface, Limits};
use serde_json::{Map, Value};

use crate::error::AuthorError;
use crate::observation::ObservationFile;

/// The namespace of manifests that name none.
const NAMESPACE: &str = "default";

/// Where plugins are put to the test: an engine, and the default components.
pub struct Bench {
    engine: Engine,
    defaults: Plugins,
}

impl Bench {
    /// Loads the default components.
    ///
    /// # Errors
    ///
    /// When there is no engine for this machine.
    pub fn new() -> Result<Self, AuthorError> {
        let args = PluginArgs::default();
        let (engine, _) = engine(&args).map_err(|error| AuthorError::Default(error.into()))?;
        let defaults = Plugins::load(&engine, &args, Limits::default()).map_err(AuthorError::Default)?;
        Ok(Self { engine, defaults })
    }

    /// Everything as it is without any plugin.
    #[must_use]
    pub fn without(&self) -> InPlace<'_> {
        InPlace {
            defaults: &self.defaults,
            plugin: None,
            policies: Vec::new(),
        }
    }

    /// Puts a component into its place: of all logic that it has, and on top as a policy if it is one.
    ///
    /// # Errors
    ///
    /// When the component is unfit, or refuses the settings.
    pub fn with(
        &self,
        origin: &str,
        bytes: &[u8],
        settings: Map<String, Value>,
    ) -> Result<InPlace<'_>, AuthorError> {
        let component = Component::load(&self.engine, origin, bytes, Limits::default()).map_err(Box::new)?;
        let settings = Value::Object(settings).to_string();
        let findings = component.validate_settings(&settings).map_err(Box::new)?;
        if !findings.is_empty() {
            return Err(AuthorError::Settings(sentences(&findings)));
        }
        let policies = component.has(Interface::Policy).then(|| {
            Arc::new(Policy {
                title: title(&component),
                settings: settings.clone(),
                mode: Mode::Protect,
                rules: Box::new(component.clone()),
            })
        });
        let logic = DaskKind::ALL
            .into_iter()
            .filter(|kind| component.has(interface(*kind)));
        let logic = logic.map(|kind| {
            (
                kind,
                ComponentLogic {
                    component: component.clone(),
                    interface: interface(kind),
                },
            )
        });
        Ok(InPlace {
            defaults: &self.defaults,
            plugin: Some(InstalledLogic {
                logic: logic.collect(),
                settings,
            }),
            policies: policies.into_iter().collect(),
        })
    }
}

struct InstalledLogic {
    logic: Vec<(DaskKind, ComponentLogic)>,
    settings: String,
}

/// Who decides, with a plugin in its place.
pub struct InPlace<'a> {
    defaults: &'a Plugins,
    plugin: Option<InstalledLogic>,
    policies: Vec<Arc<Policy>>,
}

impl Deciders for InPlace<'_> {
    fn logic(&self, kind: DaskKind) -> &dyn Logic {
        self.component(kind)
    }

    fn settings(&self, kind: DaskKind) -> &str {
        match &self.plugin {
            Some(plugin) if plugin.logic.iter().any(|(of, _)| *of == kind) => &plugin.settings,
            _ => self.defaults.settings(kind),
        }
    }

    fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }
}

/// A request to admit an object.
pub struct Asked<'a> {
    /// Which kind of resource.
    pub kind: DaskKind,
    /// What shall be done with it.
    pub operation: Operation,
    /// The resource.
    pub object: &'a Value,
    /// The resource before an update.
    pub old: Option<&'a Value>,
    /// Who asks.
    pub user: &'a Value,
}

impl InPlace<'_> {
    fn component(&self, kind: DaskKind) -> &ComponentLogic {
        let own = self
            .plugin
            .iter()
            .flat_map(|plugin| &plugin.logic)
            .find(|(of, _)| *of == kind);
        own.map_or_else(|| self.defaults.of(kind), |(_, logic)| logic)
    }

    /// What admission says.
    ///
    /// # Errors
    ///
    /// When a component did not say which children it has.
    pub fn admit(&self, asked: &Asked<'_>, now: Timestamp) -> Result<Outcome, Failure> {
        let logic = self.component(asked.kind);
        let settings = Deciders::settings(self, asked.kind);
        let child_kinds = logic
            .child_kinds(settings)?
            .into_iter()
            .map(convert::kind)
            .collect();
        let chain = Chain {
            logic: Decider {
                title: Cow::Owned(title(&logic.component)),
                logic,
                settings: Cow::Borrowed(settings),
                child_kinds: Cow::Owned(child_kinds),
                extra_kinds: Cow::Borrowed(&[]),
            },
            policies: self.policies.clone(),
            strict: false,
        };
        let user_info = asked.user.to_string();
        let mut object = asked.object.clone();
        let received = match asked.operation {
            // What is deleted was received before.
            Operation::Delete => Vec::new(),
            Operation::Create | Operation::Update => manifest::receive(asked.kind, &mut object),
        };
        let request = Request {
            kind: asked.kind,
            operation: asked.operation,
            object: &object,
            old: asked.old,
            user_info: &user_info,
            dry_run: false,
        };
        let mut outcome = admission::admit(&chain, &request, now);
        for finding in received {
            let said = Said::new("", &finding.field, finding.message);
            if finding.severity != Severity::Error {
                outcome.warnings.push(said);
            } else if !outcome.refusals.iter().any(|other| other.field == said.field) {
                // The component may say more of it.
                outcome.refusals.push(said);
            }
        }
        Ok(outcome)
    }

    /// The children of manifests, on a cluster where there is nothing yet.
    #[must_use]
    pub fn render(&self, documents: Vec<Document>, now: Timestamp) -> Rendered {
        render(documents, self, Some(NAMESPACE), now)
    }

    /// What is planned for an observation, policies included.
    ///
    /// # Errors
    ///
    /// When the observation makes no sense, or a component did not answer.
    pub fn plan(
        &self,
        file: &ObservationFile,
        now: Timestamp,
    ) -> Result<Result<Plan, Vec<Refusal>>, Failure> {
        let kind = file.kind()?;
        let logic = self.component(kind);
        let settings = Deciders::settings(self, kind);
        let observation = file.observation(logic.child_kinds(settings)?, now, settings)?;
        self.plan_observation(kind, &observation)
    }

    /// The same for an observation as the contract has it.
    ///
    /// # Errors
    ///
    /// When a component did not answer.
    pub fn plan_observation(
        &self,
        kind: DaskKind,
        observation: &Observation,
    ) -> Result<Result<Plan, Vec<Refusal>>, Failure> {
        let plan = match self.component(kind).plan(observation)? {
            Ok(plan) => plan,
            Err(Error::Invalid(findings)) => {
                let refusals = findings.into_iter().map(|finding| Refusal {
                    field: finding.field,
                    message: finding.message,
                });
                return Ok(Err(refusals.collect()));
            }
            Err(Error::Failed(message)) => {
                return Ok(Err(vec![Refusal {
                    field: String::new(),
                    message,
                }]));
            }
        };
        match review(
            &self.policies,
            kind,
            &observation.parent,
            plan.children,
            observation.now,
        ) {
            Ok(reviewed) => Ok(Ok(Plan {
                children: reviewed.children,
                ..plan
            })),
            Err(error) => Ok(Err(vec![Refusal {
                field: String::new(),
                message: error.to_string(),
            }])),
        }
    }
}

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field; empty for the whole.
    pub field: String,
    /// A sentence.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}
