//! First step of a reconcile: gathers what a plan may depend on from the informer cache, and records it for plugin authors
//! if they enabled that. Sends no requests.
//!
//! The cost of this and of the two next steps grows with the input of tenants and their components, so none of it runs on
//! the threads that serve requests.

use std::sync::Arc;

use dask_operator_core::parent::Parent;
use dask_operator_evaluator::Evaluator;
use dask_operator_evaluator::logic::LogicPlugin;
use dask_operator_runtime::contract::Observation;
use k8s_openapi::jiff::Timestamp;

use crate::cache::Stores;
use crate::client::object::Object;
use crate::key::{ClusterKey, ParentKey};
use crate::plugins::{Plugins, Subject};
use crate::reconcile::memory_budget::Reservation;
use crate::reconcile::observed::Observed;
use crate::reconcile::outcome::NoPlan;
use crate::reconcile::problem::Problem;
use crate::recording::Recording;
use crate::schedulers::Schedulers;
use crate::threads::blocking::BlockingThreads;

/// Limit of the JSON that one component receives, in bytes: 20,000 pods, the maximum of a worker group, of 13 kB each. The
/// component has it in its memory, and the operator has a second copy.
pub(crate) const MAX_OBSERVATION_BYTES: usize = 256 << 20;

/// Input of a plan, against which the plan is also checked.
pub(crate) struct PlanInput {
    /// Resource that owns the planned children.
    pub(crate) parent: Parent,
    /// Observed state.
    pub(crate) observed: Observed,
    /// Time of the observation, in milliseconds since 1970.
    pub(crate) now: i64,
    /// The logic plugin and the policies that apply.
    pub(crate) evaluator: Evaluator,
}

/// Request for a plan.
pub(crate) struct PlanRequest {
    /// Input of the plan.
    pub(crate) input: PlanInput,
    /// The same input in the form that the component receives.
    pub(crate) observation: Observation,
    /// Memory reserved for the input.
    pub(crate) reservation: Reservation,
}

/// Gathers the input of plans.
#[derive(Clone)]
pub(crate) struct Observer {
    stores: Stores,
    plugins: Arc<Plugins>,
    schedulers: Schedulers,
    recording: Recording,
    blocking: BlockingThreads,
    /// Limit of the JSON that one component receives, in bytes.
    pub(crate) max_bytes: usize,
}

impl Observer {
    /// Returns an observer with the limit [`MAX_OBSERVATION_BYTES`].
    pub(crate) fn new(
        stores: Stores,
        plugins: Arc<Plugins>,
        schedulers: Schedulers,
        recording: Recording,
        blocking: BlockingThreads,
    ) -> Self {
        Self {
            stores,
            plugins,
            schedulers,
            recording,
            blocking,
            max_bytes: MAX_OBSERVATION_BYTES,
        }
    }

    /// Gathers the input of a plan for `object`. `reservation` is the memory that is reserved so far.
    ///
    /// # Errors
    ///
    /// Returns an error if the object is invalid, if no component can plan for it, or if the input is too large.
    pub(crate) async fn observe(
        &self,
        key: &ParentKey,
        object: Arc<Object>,
        reservation: Reservation,
    ) -> Result<PlanRequest, NoPlan> {
        let weight = reservation.weight(&object.json);
        let (observer, owned) = (self.clone(), key.clone());
        let gather = move || observer.gather(&owned, object, reservation);
        self.blocking.run(&key.namespace, weight, gather).await
    }

    fn gather(
        &self,
        key: &ParentKey,
        object: Arc<Object>,
        mut reservation: Reservation,
    ) -> Result<PlanRequest, NoPlan> {
        let parent = object.parent(key.kind);
        let parent = parent.map_err(|error| Problem::invalid(error.to_string()))?;
        let evaluator = self.evaluator(key, &object)?;
        let plugin = &evaluator.logic;
        tracing::Span::current().record("plugin", &plugin.title);
        self.check_listings(key, plugin)?;
        let mut observed = Observed::new(&self.stores, object, &parent, &plugin.child_kinds);
        let cluster = ClusterKey::new(&parent.namespace, &parent.cluster);
        let bytes = observed.bytes();
        if bytes > self.max_bytes {
            return Err(Problem::too_large(&plugin.title, self.max_bytes).into());
        }
        observed.scheduler = self.schedulers.state(&cluster, key);
        // The component has a copy of the scheduler's facts.
        reservation.extend(bytes + observed.parent.json.len() + 2 * observed.scheduler_bytes())?;
        let input = PlanInput {
            parent,
            observed,
            now: Timestamp::now().as_millisecond(),
            evaluator,
        };
        let observation = input.observation();
        self.recording
            .observation(key.kind.kind(), &key.namespace, &key.name, &observation);
        Ok(PlanRequest {
            input,
            observation,
            reservation,
        })
    }

    /// Returns the logic plugin and the policies that apply to a resource.
    fn evaluator(&self, key: &ParentKey, object: &Object) -> Result<Evaluator, Problem> {
        let labels = object.labels();
        let subject = Subject {
            kind: key.kind,
            namespace: &key.namespace,
            labels: &labels,
        };
        let evaluator = self.plugins.evaluator(&subject);
        evaluator.map_err(|error| Problem::plugin(&error))
    }

    /// Checks that the children of every kind that a component declares are listed: a component would regard children
    /// that it can't see as missing.
    fn check_listings(&self, key: &ParentKey, plugin: &LogicPlugin) -> Result<(), Problem> {
        let listings = self.stores.listings();
        for kind in &plugin.child_kinds {
            if let Some(why) = listings.reason(kind, &key.namespace) {
                return Err(Problem::not_listed(&plugin.title, kind, &why));
            }
        }
        Ok(())
    }
}

impl PlanInput {
    /// Returns the input in the form that the component receives.
    fn observation(&self) -> Observation {
        self.observed
            .observation(&self.parent, self.now, &self.evaluator.logic.settings)
    }
}
