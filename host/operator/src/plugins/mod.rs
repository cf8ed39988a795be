//! The components that decide for Dask resources: which one it is, and how it is asked.
//!
//! Those that the command line names are there from the start. [`Manager`] watches DaskPlugin and
//! ClusterDaskPlugin resources, loads what they ask for and exchanges the [`Catalog`]. What is in force
//! stays so until its successor was fetched, verified, compiled and tried on a sample.

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

/// A component in the role that it has for one kind.
pub struct Plugin {
    /// What it is called in conditions and logs: its name and digest.
    pub title: String,
    /// The settings that it gets, a JSON object.
    pub settings: String,
    /// The kinds of children that it declares.
    pub child_kinds: Vec<ResourceKind>,
    /// Whose it is.
    pub whose: Whose,
    /// Who is asked, on threads that may block (`ask`).
    pub logic: Box<dyn Logic>,
}

/// Why there is no answer from a component.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{title}: {message}")]
pub struct PluginError {
    /// The component, as [`Plugin::title`].
    pub title: String,
    /// What happened, in one word in CamelCase.
    pub reason: &'static str,
    /// What happened.
    pub message: String,
}

impl PluginError {
    /// The component `title` can't be used.
    #[must_use]
    pub fn unusable(title: &str, message: String) -> Self {
        Self {
            title: title.to_owned(),
            reason: "PluginUnusable",
            message,
        }
    }

    /// Returns whether nobody knows yet which components there are, so that one that forbids something may be among them.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.reason, "PluginsUnknown" | "NamespaceUnknown")
    }

    /// A call of the component `title` gave no answer.
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

    /// When to ask again.
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
    /// Asks `logic`, which an administrator named, which children it has.
    ///
    /// # Errors
    ///
    /// When it does not say.
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

    /// Returns whether users of a namespace named it, and not an administrator.
    #[must_use]
    pub fn is_of_tenant(&self) -> bool {
        self.whose == Whose::Tenants
    }
}

/// Who decides, for every resource. Exchanged as a whole while calls are made: what was
/// asked before an exchange is answered by the one that was asked.
pub struct Plugins {
    catalog: RwLock<Arc<Catalog>>,
    /// Who may call them, and when.
    shares: Shares,
}

impl Plugins {
    /// Plugins, which share the time of so many processors.
    #[must_use]
    pub fn new(catalog: Catalog, cores: usize) -> Self {
        Self {
            catalog: RwLock::new(Arc::new(catalog)),
            shares: Shares::new(cores),
        }
    }

    /// Who decides now.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lets others decide from now on.
    pub fn exchange(&self, catalog: Catalog) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }

    /// The component that decides what a resource consists of.
    ///
    /// # Errors
    ///
    /// When it can't be used.
    pub fn logic(&self, subject: &Subject<'_>) -> Result<Arc<Plugin>, PluginError> {
        self.catalog().logic(subject)
    }

    /// The policies that are asked about a resource, in that order.
    ///
    /// # Errors
    ///
    /// When one that was in force can't be used now.
    pub fn policies(&self, subject: &Subject<'_>) -> Result<Vec<Arc<Policy>>, PluginError> {
        self.catalog().policies(subject)
    }

    /// Runs `question`, which calls components for a namespace, on a thread that may block, when it is its turn: all calls
    /// together have [`Whose::time`]. Its place is taken until it has ended, whether somebody still waits for it or not.
    ///
    /// # Errors
    ///
    /// When it panicked, or it is not the turn of components of the namespace itself.
    async fn ask<T: Send + 'static>(
        &self,
        namespace: &str,
        whose: Whose,
        load: Load,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        // What a tenant's component takes is nobody else's.
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

    /// Asks `plugin` for a plan for something in a namespace.
    ///
    /// # Errors
    ///
    /// When it did not answer.
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

    /// Asks `policies` in turn about the children that were planned for `parent`, a JSON
    /// object in a namespace: those of the namespace first, whose time is not that of the others.
    ///
    /// # Errors
    ///
    /// When one refuses them or gives no answer that can be used.
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
        // One that is not in force any more counts as one of the namespace.
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
