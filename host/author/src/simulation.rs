//! Simulation of the operator with a plugin and without it: admission and plans, without a cluster.
//!
//! All decisions are made by the operator's own code.

use std::sync::Arc;

use dask_operator_components::load::{PluginArgs, load};
use dask_operator_core::gate;
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_evaluator::admission::{self, AdmissionFinding, AdmissionOutcome, Request};
use dask_operator_evaluator::findings::to_text;
use dask_operator_evaluator::logic::{ComponentLogic, LogicPlugin, PluginFailure, interface, title};
use dask_operator_evaluator::plan::PlanError;
use dask_operator_evaluator::policy::{Mode, PolicyPlugin};
use dask_operator_evaluator::{AllowedKinds, ByKind, PluginSet, convert, manifest};
use dask_operator_render::documents::Document;
use dask_operator_render::render::{Rendered, render};
use dask_operator_runtime::contract::{Observation, Operation, Plan, Severity, Timestamp};
use dask_operator_runtime::{CallLimits, Component, Engine, Interface};
use serde_json::{Map, Value};

use crate::error::AuthorError;
use crate::observation::ObservationFile;

/// Namespace of manifests without one.
const NAMESPACE: &str = "default";

/// Returns the engine of a command.
pub(crate) fn engine() -> Result<Engine, AuthorError> {
    let cached = PluginArgs::default().engine();
    let cached = cached.map_err(|error| AuthorError::Default(error.into()))?;
    Ok(cached.engine)
}

/// Loads plugins into simulations: an engine, and the default components.
pub struct Simulator {
    engine: Engine,
    defaults: PluginSet,
}

impl Simulator {
    /// Loads the default components. `allowed_kinds` are kinds of children that are allowed in addition to the default ones.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be created or a default component cannot be loaded.
    pub fn new(allowed_kinds: AllowedKinds) -> Result<Self, AuthorError> {
        let engine = engine()?;
        let defaults = load(
            &engine,
            &PluginArgs::default(),
            allowed_kinds,
            CallLimits::default(),
        );
        let defaults = defaults.map_err(AuthorError::Default)?;
        Ok(Self { engine, defaults })
    }

    /// Returns a simulation with the default components only.
    #[must_use]
    pub fn without_plugin(&self) -> Simulation {
        Simulation {
            plugins: self.defaults.clone(),
        }
    }

    /// Loads a plugin. It replaces the default logic of every kind that it implements, and is added as a policy if it
    /// implements that interface.
    ///
    /// # Errors
    ///
    /// Returns an error if the component cannot be loaded, refuses the settings, or fails when it checks them or declares the
    /// kinds of its children.
    pub fn with_plugin(
        &self,
        origin: &str,
        bytes: &[u8],
        settings: Map<String, Value>,
    ) -> Result<Simulation, AuthorError> {
        let component =
            Component::load(&self.engine, origin, bytes, CallLimits::default()).map_err(Box::new)?;
        let settings = Value::Object(settings).to_string();
        let findings = component.validate_settings(&settings).map_err(Box::new)?;
        if !findings.is_empty() {
            return Err(AuthorError::Settings(to_text(&findings)));
        }
        let logic = ByKind::try_new(|kind| {
            let interface = interface(kind);
            if !component.has(interface) {
                return Ok(self.defaults.logic.of(kind).clone());
            }
            let component = component.clone();
            let logic = ComponentLogic { component, interface };
            LogicPlugin::of_component(logic, settings.clone()).map(Arc::new)
        });
        let policies = component.has(Interface::Policy).then(|| {
            Arc::new(PolicyPlugin {
                title: title(&component),
                settings: settings.clone(),
                mode: Mode::Protect,
                rules: Box::new(component.clone()),
            })
        });
        Ok(Simulation {
            plugins: PluginSet {
                logic: logic.map_err(AuthorError::ChildKinds)?,
                policies: policies.into_iter().collect(),
                ..self.defaults.clone()
            },
        })
    }
}

/// The operator's decisions with a set of plugins.
pub struct Simulation {
    plugins: PluginSet,
}

/// An admission request.
#[derive(Debug)]
pub struct AdmissionInput {
    /// The kind of the resource.
    pub kind: DaskKind,
    /// The requested operation.
    pub operation: Operation,
    /// The resource; for a deletion, the resource that is deleted.
    pub object: Value,
    /// The resource before an update. `None` for other operations.
    pub old: Option<Value>,
    /// The user that sends the request, as in `userInfo`. An empty object if the request has none.
    pub user: Value,
}

impl Simulation {
    /// Creates a simulation with these plugins.
    #[must_use]
    pub fn of(plugins: PluginSet) -> Self {
        Self { plugins }
    }

    /// Runs admission for a request and returns its outcome.
    #[must_use]
    pub fn admit(&self, input: &AdmissionInput, now: Timestamp) -> AdmissionOutcome {
        let evaluator = self.plugins.evaluator(input.kind);
        let user_info = input.user.to_string();
        let mut object = input.object.clone();
        let received = match input.operation {
            // A deleted object was checked when it was received.
            Operation::Delete => Vec::new(),
            Operation::Create | Operation::Update => manifest::receive(input.kind, &mut object),
        };
        let request = Request {
            kind: input.kind,
            operation: input.operation,
            object: &object,
            old: input.old.as_ref(),
            user_info: &user_info,
            dry_run: false,
        };
        let mut outcome = admission::admit(&evaluator, &request, now);
        for finding in received {
            let notice = AdmissionFinding::new("", &finding.field, finding.message);
            if finding.severity != Severity::Error {
                outcome.warnings.push(notice);
            } else if !outcome.refusals.iter().any(|other| other.field == notice.field) {
                // The component may report the field with a better message.
                outcome.refusals.push(notice);
            }
        }
        outcome
    }

    /// Renders the children of manifests, on a cluster where none of them exists yet.
    #[must_use]
    pub fn render(&self, documents: Vec<Document>, now: Timestamp) -> Rendered {
        render(documents, &self.plugins, Some(NAMESPACE), now)
    }

    /// Plans a hand-written observation, and checks and reviews the plan.
    ///
    /// # Errors
    ///
    /// Returns an error if the observation is not valid or a call of a component failed.
    pub fn plan(
        &self,
        file: &ObservationFile,
        now: Timestamp,
    ) -> Result<Result<Plan, Vec<RefusalReason>>, PluginFailure> {
        let kind = file.kind()?;
        let plugin = self.plugins.logic.of(kind);
        let declared = plugin.child_kinds.iter().map(convert::contract_kind).collect();
        let observation = file.observation(declared, now, &plugin.settings)?;
        self.plan_observation(kind, &observation)
    }

    /// Plans an observation in the form of the contract, and checks and reviews the plan.
    ///
    /// # Errors
    ///
    /// Returns an error if the call of the logic failed, or if the parent in the observation is not valid.
    pub fn plan_observation(
        &self,
        kind: DaskKind,
        observation: &Observation,
    ) -> Result<Result<Plan, Vec<RefusalReason>>, PluginFailure> {
        let parent = Parent::from_object(&serde_json::from_str(&observation.parent)?)?;
        let refusal = |field: String, message: String| RefusalReason { field, message };
        let mut plan = Plan::default();
        let evaluated = self
            .plugins
            .evaluator(kind)
            .plan_and_inspect(&parent, observation, None, |last| plan = last.clone());
        let refusals = match evaluated {
            Ok(_) => return Ok(Ok(plan)),
            Err(PlanError::Call { failure, .. }) => return Err(failure),
            Err(PlanError::Invalid(findings)) => findings
                .into_iter()
                .map(|finding| refusal(finding.field, finding.message))
                .collect(),
            Err(PlanError::GaveUp { message, .. }) => vec![refusal(String::new(), message)],
            Err(PlanError::Refused {
                refusal: gate::Refusal { violations, more },
                ..
            }) => {
                let texts = violations
                    .iter()
                    .map(|violation| format!("the plan was refused: {violation}"));
                let more =
                    (more > 0).then(|| format!("the plan was refused: {more} more things are wrong with it"));
                texts
                    .chain(more)
                    .map(|text| refusal(String::new(), text))
                    .collect()
            }
            Err(error @ (PlanError::TooLarge { .. } | PlanError::Review(_))) => {
                vec![refusal(String::new(), error.to_string())]
            }
        };
        Ok(Err(refusals))
    }
}

/// A reason why a request or a plan is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalReason {
    /// Path of the field. Empty if the reason is about the whole object.
    pub field: String,
    /// The reason, and what to write instead if that is known.
    pub message: String,
}

impl std::fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}
