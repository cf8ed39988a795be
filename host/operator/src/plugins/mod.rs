//! Components that decide about Dask resources: their selection and their calls.
//!
//! Components from the command line are active from the start. [`Manager`] watches DaskPlugin and ClusterDaskPlugin resources,
//! loads the components that they name, and exchanges the [`Catalog`]. The active version of a plugin stays active until its
//! successor is fetched, verified, compiled and tried on a sample.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use dask_operator_core::category::Retry;
use dask_operator_evaluator::logic::{Failure, LogicPlugin, PluginOwner};
use dask_operator_evaluator::plan::{PlanError, Unchecked};
use dask_operator_evaluator::policy::Policy;
use dask_operator_evaluator::review::{ReviewError, Reviewed, review};
use dask_operator_evaluator::{AllowedKinds, Evaluator};
use dask_operator_runtime::contract::{DesiredChild, Observation, Timestamp};
use dask_operator_runtime::{CallError, until};
use thiserror::Error;

use crate::key::PluginId;

use crate::key::ParentKey;
use crate::threads::shares::{Denied, Shares, call_time};
use crate::threads::{self, Load};

mod admit;
pub(crate) mod args;
mod attempt;
mod awaited;
mod catalog;
pub(crate) mod defaults;
mod entry;
mod failure;
mod fetch;
mod guard;
mod guarded;
mod held;
mod kept;
mod known;
mod limits;
mod loads;
mod manager;
mod marks;
pub(crate) mod metrics;
mod namespaces;
mod own_time;
mod prepare;
mod quota;
mod report;
mod resource;
mod rights;
mod sample;
#[cfg(test)]
mod tests;
mod user_info;
mod watching;

pub(crate) use admit::check;
pub(crate) use catalog::Catalog;
#[cfg(test)]
pub(crate) use catalog::Unknown;
pub(crate) use entry::{Entry, Scope, Subject};
pub(crate) use fetch::Sources;
pub(crate) use kept::Kept;
pub(crate) use manager::{Manager, Parts};
#[cfg(test)]
pub(crate) use own_time::OwnTime;
pub(crate) use own_time::with_own_time;
pub(crate) use rights::TenantRights;
#[cfg(test)]
pub(crate) use sample::try_logic;

/// Reason why there is no answer from a component.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{title}: {message}")]
pub(crate) struct PluginError {
    /// Title of the component, as [`LogicPlugin::title`].
    pub(crate) title: String,
    /// Reason as one word in CamelCase.
    pub(crate) reason: &'static str,
    /// Message for users.
    pub(crate) message: String,
}

impl PluginError {
    /// Creates the error of a component that can't be used.
    #[must_use]
    pub(crate) fn unusable(title: &str, message: String) -> Self {
        Self {
            title: title.to_owned(),
            reason: "PluginUnusable",
            message,
        }
    }

    /// Returns whether the components are not known yet, so that one that forbids something may be among them.
    #[must_use]
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.reason, "PluginsUnknown" | "NamespaceUnknown")
    }

    /// Creates the error of a call of the component `title` that gave no answer.
    #[must_use]
    pub(crate) fn no_answer(title: &str, error: &Failure) -> Self {
        let (reason, message) = match (error.downcast_ref::<CallError>(), error.downcast_ref::<Denied>()) {
            (Some(error), _) => (error.failure.reason(), error.failure.to_string()),
            (None, Some(denied)) => (denied.reason(), denied.to_string()),
            (None, None) => ("PluginFailed", error.to_string()),
        };
        Self {
            title: title.to_owned(),
            reason,
            message,
        }
    }

    /// Returns the way to retry.
    #[must_use]
    pub(crate) fn retry(&self) -> Retry {
        if self.reason == crate::threads::shares::OTHERS_FIRST {
            Retry::Passing
        } else {
            Retry::BackOff
        }
    }
}

/// Holder of the catalog for all resources. The catalog is exchanged as a whole; calls that are running then finish with the
/// components of the former catalog.
pub(crate) struct Plugins {
    catalog: RwLock<Arc<Catalog>>,
    /// Kinds of children that the administrator allows in addition to the default ones.
    allowed_kinds: AllowedKinds,
    /// Permits for calls.
    shares: Shares,
}

impl Plugins {
    /// Creates a holder whose calls share the time of this number of processors.
    #[must_use]
    pub(crate) fn new(catalog: Catalog, allowed_kinds: AllowedKinds, cores: usize) -> Self {
        Self {
            catalog: RwLock::new(Arc::new(catalog)),
            allowed_kinds,
            shares: Shares::new(cores),
        }
    }

    /// Returns the current catalog.
    #[must_use]
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the current catalog.
    pub(crate) fn exchange(&self, catalog: Catalog) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
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

    fn evaluator_of(&self, logic: Arc<LogicPlugin>, policies: Vec<Arc<Policy>>) -> Evaluator {
        Evaluator {
            logic,
            policies,
            allowed_kinds: self.allowed_kinds.clone(),
            strict: false,
        }
    }

    /// Waits for a permit and runs `question`, which calls components for a namespace, on a thread that may block. All of its
    /// calls together have [`call_time`]. The permit is released when `question` ends, even if the caller no longer waits.
    ///
    /// # Errors
    ///
    /// Returns an error if `question` panicked, or if components of the namespace itself got no permit.
    async fn ask<T: Send + 'static>(
        &self,
        namespace: &str,
        owner: PluginOwner,
        load: Load,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        // A tenant's component must not delay other work.
        let load = if owner == PluginOwner::Tenant {
            Load::Heavy
        } else {
            load
        };
        let permit = self.shares.permit(namespace, owner, load).await?;
        let span = tracing::Span::current();
        let answer = threads::spawn(load, move || {
            let _permit = permit;
            span.in_scope(|| until(Instant::now() + call_time(owner), question))
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
        load: Load,
        observation: Observation,
    ) -> Result<Unchecked, PlanError> {
        let owned = evaluator.clone();
        let plan = self
            .ask(namespace, evaluator.logic.owner, load, move || {
                owned.ask(&observation)
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
        policies: Vec<Arc<Policy>>,
        key: &ParentKey,
        load: Load,
        parent: Arc<str>,
        children: Vec<DesiredChild>,
        now: Timestamp,
    ) -> Result<Reviewed, ReviewError> {
        let (catalog, kind) = (self.catalog(), key.kind);
        // A policy that is not active any more counts as one of the namespace.
        let (of_cluster, of_namespace): (Vec<_>, Vec<_>) = policies
            .into_iter()
            .partition(|policy| catalog.is_of_cluster(policy));
        let mut reviewed = Reviewed {
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
                .ask(&key.namespace, owner, load, move || {
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
