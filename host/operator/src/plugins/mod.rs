//! Components that decide about Dask resources: their selection and their calls. Pure, except for [`load`].
//!
//! Pure means: no module here sends requests, or reads or writes files. Each is a rule or a state machine, which a test calls
//! without an API server.
//!
//! * [`catalog`]: the active plugins, and the resources that each applies to ([`entry`]).
//! * [`state`]: state of one plugin resource ([`resource`]): which version is active, what is loaded next, rollbacks, retries.
//!   [`request`] and [`loaded`] are the input and the result of an attempt to load.
//! * [`startup`]: what must be known before anything is decided. [`load_queue`]: the order of loads. [`quota`]: plugins of a
//!   namespace that are loaded. [`namespace_labels`]: labels by which plugins select namespaces.
//! * [`validate`], [`sources`], [`rights`], [`limits`]: what a plugin resource may contain. [`status`]: what its status reports.
//! * Wrappers of components: [`monitored`] counts failures for the [`breaker`], [`time_budget`] and [`user_info`] restrict
//!   components of tenants, [`unavailable`] replaces a component that can't be used.
//!
//! [`load`] does all I/O: the [`Manager`](load::Manager) watches DaskPlugin and ClusterDaskPlugin resources, loads the components
//! that they name, and exchanges the [`Catalog`]. The active version of a plugin stays active until its successor is fetched,
//! verified, compiled and tried on a sample. No module here imports [`load`].

use std::sync::Arc;
use std::time::Instant;

use dask_operator_evaluator::logic::{LogicPlugin, PluginFailure, PluginOwner};
use dask_operator_evaluator::plan::{PlanError, UncheckedPlan};
use dask_operator_evaluator::policy::PolicyPlugin;
use dask_operator_evaluator::review::{ReviewError, ReviewedChildren, review};
use dask_operator_evaluator::{AllowedKinds, Evaluator};
use dask_operator_runtime::contract::{DesiredChild, Observation, Timestamp};
use dask_operator_runtime::until;
use parking_lot::RwLock;

use crate::key::ParentKey;
use crate::threads::fair_permits::{FairPermits, call_time};
use crate::threads::{self, Weight};

mod breaker;
mod catalog;
mod entry;
mod error;
mod limits;
pub(crate) mod load;
mod load_queue;
mod loaded;
pub(crate) mod metrics;
mod monitored;
mod namespace_labels;
mod quota;
mod request;
mod resource;
mod rights;
mod sources;
mod startup;
mod state;
mod status;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time_budget;
mod unavailable;
mod user_info;
mod validate;
mod watch_scope;

pub(crate) use catalog::Catalog;
#[cfg(test)]
pub(crate) use catalog::Unknown;
#[cfg(test)]
pub(crate) use entry::Entry;
#[cfg(test)]
pub(crate) use entry::Scope;
pub(crate) use entry::Subject;
pub(crate) use error::{PluginError, PluginErrorReason};
#[cfg(test)]
pub(crate) use rights::TenantRights;
pub(crate) use sources::Sources;
pub(crate) use status::ReadyReason;
#[cfg(test)]
pub(crate) use time_budget::TenantComponent;
pub(crate) use time_budget::with_time_budget;
pub(crate) use validate::check;

/// Holder of the catalog for all resources. The catalog is exchanged as a whole; calls that are running then finish with the
/// components of the former catalog.
pub(crate) struct Plugins {
    catalog: RwLock<Arc<Catalog>>,
    /// Kinds of children that the administrator allows in addition to the default ones.
    allowed_kinds: AllowedKinds,
    /// Permits for calls.
    permits: FairPermits,
}

impl Plugins {
    /// Creates a holder whose calls share the time of this number of processors.
    #[must_use]
    pub(crate) fn new(catalog: Catalog, allowed_kinds: AllowedKinds, cores: usize) -> Self {
        Self {
            catalog: RwLock::new(Arc::new(catalog)),
            allowed_kinds,
            permits: FairPermits::new(cores),
        }
    }

    /// Returns the current catalog.
    #[must_use]
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.read().clone()
    }

    /// Replaces the current catalog.
    pub(crate) fn exchange(&self, catalog: Catalog) {
        *self.catalog.write() = Arc::new(catalog);
    }

    /// Returns the kinds of children that the administrator allows in addition to the default ones.
    #[must_use]
    pub(crate) fn allowed_kinds(&self) -> &AllowedKinds {
        &self.allowed_kinds
    }

    /// Returns what decides about the plans of a resource.
    ///
    /// # Errors
    ///
    /// Returns an error if the logic or a policy can't be used, or if it is not known yet which ones apply.
    pub(crate) fn evaluator(&self, subject: &Subject<'_>) -> Result<Evaluator, PluginError> {
        let catalog = self.catalog();
        Ok(self.evaluator_of(catalog.logic(subject)?, catalog.policies(subject)?))
    }

    /// Returns what decides about an admission request. A component that was active and can't be used now fails when it is called,
    /// so that the others are still called.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not known yet which components apply.
    pub(crate) fn evaluator_at_admission(&self, subject: &Subject<'_>) -> Result<Evaluator, PluginError> {
        let (logic, policies) = self.catalog().at_admission(subject)?;
        Ok(self.evaluator_of(logic, policies))
    }

    fn evaluator_of(&self, logic: Arc<LogicPlugin>, policies: Vec<Arc<PolicyPlugin>>) -> Evaluator {
        Evaluator {
            logic,
            policies,
            allowed_kinds: self.allowed_kinds.clone(),
            strict: false,
        }
    }

    /// Waits for a permit and runs `calls`, which calls components for a namespace, on a thread that may block. All of these
    /// calls together have [`call_time`]. The permit is released when `calls` ends, even if the caller no longer waits.
    ///
    /// # Errors
    ///
    /// Returns an error if `calls` panicked, or if components of the namespace itself got no permit.
    async fn call<T: Send + 'static>(
        &self,
        namespace: &str,
        owner: PluginOwner,
        weight: Weight,
        calls: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PluginFailure> {
        // A tenant's component must not delay other work.
        let weight = if owner == PluginOwner::Tenant {
            Weight::Heavy
        } else {
            weight
        };
        let permit = self.permits.permit(namespace, owner, weight).await?;
        let span = tracing::Span::current();
        let answer = threads::spawn(weight, move || {
            let _permit = permit;
            span.in_scope(|| until(Instant::now() + call_time(owner), calls))
        });
        Ok(answer.await?)
    }

    /// Calls the logic plugin of `evaluator` for a plan for a resource in a namespace.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no plan.
    pub(crate) async fn plan(
        &self,
        evaluator: &Evaluator,
        namespace: &str,
        weight: Weight,
        observation: Observation,
    ) -> Result<UncheckedPlan, PlanError> {
        let owned = evaluator.clone();
        let plan = self
            .call(namespace, evaluator.logic.owner, weight, move || {
                owned.call_logic(&observation)
            })
            .await;
        plan.unwrap_or_else(|failure| {
            Err(PlanError::Call {
                title: evaluator.logic.title.clone(),
                failure,
            })
        })
    }

    /// Calls `policies` in order for a review of the children that were planned for `parent`, a JSON object in a namespace.
    /// Policies of the namespace come first; their time is separate from that of the others.
    ///
    /// # Errors
    ///
    /// Returns an error if a policy refuses the children or gives no usable answer.
    pub(crate) async fn review(
        &self,
        policies: Vec<Arc<PolicyPlugin>>,
        key: &ParentKey,
        weight: Weight,
        parent: Arc<str>,
        children: Vec<DesiredChild>,
        now: Timestamp,
    ) -> Result<ReviewedChildren, ReviewError> {
        let (catalog, kind) = (self.catalog(), key.kind);
        // A policy that is not active any more counts as one of the namespace.
        let (of_cluster, of_namespace): (Vec<_>, Vec<_>) = policies
            .into_iter()
            .partition(|policy| catalog.is_of_cluster(policy));
        let mut reviewed = ReviewedChildren {
            children,
            remarks: Vec::new(),
        };
        for (owner, policies) in [
            (PluginOwner::Tenant, of_namespace),
            (PluginOwner::Administrator, of_cluster),
        ] {
            if policies.is_empty() {
                continue;
            }
            let titles: Vec<_> = policies.iter().map(|policy| policy.title.clone()).collect();
            let (children, parent) = (std::mem::take(&mut reviewed.children), parent.clone());
            let answer = self
                .call(&key.namespace, owner, weight, move || {
                    review(&policies, kind, &parent, children, now)
                })
                .await;
            let answer = answer.unwrap_or_else(|failure| {
                Err(ReviewError::Failed {
                    title: titles.join(", "),
                    failure,
                })
            })?;
            reviewed.children = answer.children;
            reviewed.remarks.extend(answer.remarks);
        }
        Ok(reviewed)
    }
}
