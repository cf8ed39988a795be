//! Execution of a plugin as in the operator: admission and plans with the plugin and without it.
//!
//! All decisions are made by the operator's own code.

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

/// Namespace of manifests without one.
const NAMESPACE: &str = "default";

/// Environment in which plugins are run: an engine, and the default components.
pub struct Bench {
    engine: Engine,
    defaults: Plugins,
}

impl Bench {
    /// Loads the default components.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be created or a default component cannot be loaded.
    pub fn new() -> Result<Self, AuthorError> {
        let args = PluginArgs::default();
        let (engine, _) = engine(&args).map_err(|error| AuthorError::Default(error.into()))?;
        let defaults = Plugins::load(&engine, &args, Limits::default()).map_err(AuthorError::Default)?;
        Ok(Self { engine, defaults })
    }

    /// Returns the default components without a plugin.
    #[must_use]
    pub fn without(&self) -> InPlace<'_> {
        InPlace {
            defaults: &self.defaults,
            plugin: None,
            policies: Vec::new(),
        }
    }

    /// Loads a plugin. It replaces the default logic of every kind that it implements, and is added as a policy if it
    /// implements that interface.
    ///
    /// # Errors
    ///
    /// Returns an error if the component cannot be loaded, refuses the settings, or fails when it checks them.
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

/// The logic of a plugin, and its settings.
struct InstalledLogic {
    logic: Vec<(DaskKind, ComponentLogic)>,
    settings: String,
}

/// The logic and the policies that decide, with or without a plugin.
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
    /// The kind of the resource.
    pub kind: DaskKind,
    /// The requested operation.
    pub operation: Operation,
    /// The resource.
    pub object: &'a Value,
    /// The resource before an update. `None` for other operations.
    pub old: Option<&'a Value>,
    /// The user that sends the request, as in `userInfo` of an admission request.
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

    /// Runs admission for a request and returns its outcome.
    ///
    /// # Errors
    ///
    /// Returns an error if the component's declaration of its child kinds fails.
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
            // A deleted object was checked when it was received.
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
            let notice = Said::new("", &finding.field, finding.message);
            if finding.severity != Severity::Error {
                outcome.warnings.push(notice);
            } else if !outcome.refusals.iter().any(|other| other.field == notice.field) {
                // The component may report the field with a better message.
                outcome.refusals.push(notice);
            }
        }
        Ok(outcome)
    }

    /// Renders the children of manifests, on a cluster where none of them exists yet.
    #[must_use]
    pub fn render(&self, documents: Vec<Document>, now: Timestamp) -> Rendered {
        render(documents, self, Some(NAMESPACE), now)
    }

    /// Plans a hand-written observation and reviews the plan with the policies.
    ///
    /// # Errors
    ///
    /// Returns an error if the observation is not valid or a call of a component failed.
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

    /// Plans an observation in the form of the contract and reviews the plan with the policies.
    ///
    /// # Errors
    ///
    /// Returns an error if the call of the logic failed.
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

/// A reason why a request or a plan is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Path of the field. Empty if the reason is about the whole object.
    pub field: String,
    /// The reason, and what to write instead if that is known.
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
