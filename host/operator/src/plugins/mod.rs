//! Components that decide about Dask resources: their selection and their calls.
//!
//! Components from the command line are active from the start. [`Manager`] watches DaskPlugin and ClusterDaskPlugin resources,
//! loads the components that they name, and exchanges the [`Catalog`]. The active version of a plugin stays active until its
//! successor is fetched, verified, compiled and tried on a sample.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use dask_operator_core::category::Retry;
use dask_operator_core::plan::ResourceKind;
use dask_operator_render::convert;
use dask_operator_render::logic::{Failure, Logic};
use dask_operator_render::policy::Policy;
use dask_operator_render::review::{ReviewError, Reviewed, review};
use dask_operator_runtime::contract::{Answer, DesiredChild, Observation, Plan, Timestamp};
use dask_operator_runtime::{CallError, until};
use thiserror::Error;

use crate::routes::ParentKey;
use crate::threads::{self, Load};

mod admit;
pub mod args;
mod attempt;
mod awaited;
mod catalog;
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
pub mod metrics;
mod namespaces;
mod own_time;
mod prepare;
mod quota;
mod report;
mod resource;
mod rights;
mod sample;
mod shares;
#[cfg(test)]
mod tests;
mod used;
mod user_info;
mod watching;

pub use admit::{Remarks, check};
pub use catalog::{Catalog, Unknown};
pub use entry::{Entry, Labels, Loaded, PluginId, Scope, Subject};
pub use fetch::Sources;
pub use kept::Kept;
pub(crate) use loads::AT_ONCE as LOADS;
pub use manager::{Manager, Parts, Swapped};
#[cfg(test)]
pub(crate) use own_time::OwnTime;
pub(crate) use own_time::with_own_time;
pub use rights::TenantRights;
pub(crate) use shares::places;
pub use shares::{Denied, Permit, Shares, Whose};
pub(crate) use used::Used;

/// A component as the logic of one kind.
pub struct Plugin {
    /// Name and digest of the component, for conditions and logs.
    pub title: String,
    /// Settings of the component, a JSON object.
    pub settings: String,
    /// Kinds of children that the component declares.
    pub child_kinds: Vec<ResourceKind>,
    /// Owner of the component, on whose share its calls count.
    pub whose: Whose,
    /// The component. Its calls may block, so that they run on threads that may (`ask`).
    pub logic: Box<dyn Logic>,
}

/// Reason why there is no answer from a component.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{title}: {message}")]
pub struct PluginError {
    /// Title of the component, as [`Plugin::title`].
    pub title: String,
    /// Reason as one word in CamelCase.
    pub reason: &'static str,
    /// Message for users.
    pub message: String,
}

impl PluginError {
    /// Creates the error of a component that can't be used.
    #[must_use]
    pub fn unusable(title: &str, message: String) -> Self {
        Self {
            title: title.to_owned(),
            reason: "PluginUnusable",
            message,
        }
    }

    /// Returns whether the components are not known yet, so that one that forbids something may be among them.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.reason, "PluginsUnknown" | "NamespaceUnknown")
    }

    /// Creates the error of a call of the component `title` that gave no answer.
    #[must_use]
    pub fn no_answer(title: &str, error: &Failure) -> Self {
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
    pub fn retry(&self) -> Retry {
        if self.reason == shares::OTHERS_FIRST {
            Retry::Passing
        } else {
            Retry::BackOff
        }
    }
}

impl Plugin {
    /// Creates the plugin of an administrator, and calls `logic` for the kinds of its children.
    ///
    /// # Errors
    ///
    /// Returns an error if that call fails.
    pub fn new(title: String, settings: String, logic: Box<dyn Logic>) -> Result<Self, PluginError> {
        let kinds = logic
            .child_kinds(&settings)
            .map_err(|error| PluginError::no_answer(&title, &error))?;
        let child_kinds = kinds.into_iter().map(convert::kind).collect();
        Ok(Self {
            title,
            settings,
            child_kinds,
            whose: Whose::Operators,
            logic,
        })
    }

    /// Returns whether users of a namespace named the component, and not an administrator.
    #[must_use]
    pub fn is_of_tenant(&self) -> bool {
        self.whose == Whose::Tenants
    }
}

/// Holder of the catalog for all resources. The catalog is exchanged as a whole; calls that are running then finish with the
/// components of the former catalog.
pub struct Plugins {
    catalog: RwLock<Arc<Catalog>>,
    /// Permits for calls.
    shares: Shares,
}

impl Plugins {
    /// Creates a holder whose calls share the time of this number of processors.
    #[must_use]
    pub fn new(catalog: Catalog, cores: usize) -> Self {
        Self {
            catalog: RwLock::new(Arc::new(catalog)),
            shares: Shares::new(cores),
        }
    }

    /// Returns the current catalog.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the current catalog.
    pub fn exchange(&self, catalog: Catalog) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }

    /// Returns the logic of a resource.
    ///
    /// # Errors
    ///
    /// Returns an error if the logic can't be used.
    pub fn logic(&self, subject: &Subject<'_>) -> Result<Arc<Plugin>, PluginError> {
        self.catalog().logic(subject)
    }

    /// Returns the policies of a resource in the order of their calls.
    ///
    /// # Errors
    ///
    /// Returns an error if a policy that was active can't be used now.
    pub fn policies(&self, subject: &Subject<'_>) -> Result<Vec<Arc<Policy>>, PluginError> {
        self.catalog().policies(subject)
    }

    /// Waits for a permit and runs `question`, which calls components for a namespace, on a thread that may block. All of its
    /// calls together have [`Whose::time`]. The permit is released when `question` ends, even if the caller no longer waits.
    ///
    /// # Errors
    ///
    /// Returns an error if `question` panicked, or if components of the namespace itself got no permit.
    async fn ask<T: Send + 'static>(
        &self,
        namespace: &str,
        whose: Whose,
        load: Load,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        // A tenant's component must not delay other work.
        let load = if whose == Whose::Tenants {
            Load::Heavy
        } else {
            load
        };
        let permit = self.shares.permit(namespace, whose, load).await?;
        let span = tracing::Span::current();
        let answer = threads::spawn(load, move || {
            let _permit = permit;
            span.in_scope(|| until(Instant::now() + whose.time(), question))
        });
        Ok(answer.await?)
    }

    /// Calls `plugin` for a plan for a resource in a namespace.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
    pub(crate) async fn plan(
        &self,
        plugin: &Arc<Plugin>,
        namespace: &str,
        load: Load,
        observation: Observation,
    ) -> Result<Answer<Plan>, PluginError> {
        let asked = plugin.clone();
        let answer = self
            .ask(namespace, plugin.whose, load, move || {
                asked.logic.plan(&observation)
            })
            .await;
        answer
            .flatten()
            .map_err(|error| PluginError::no_answer(&plugin.title, &error))
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
        for (whose, policies) in [(Whose::Tenants, of_namespace), (Whose::Operators, of_cluster)] {
            if policies.is_empty() {
                continue;
            }
            let titles: Vec<_> = policies.iter().map(|policy| policy.title.clone()).collect();
            let (children, parent) = (std::mem::take(&mut reviewed.children), parent.clone());
            let answer = self
                .ask(&key.namespace, whose, load, move || {
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
