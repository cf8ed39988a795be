//! Fourth step of a reconcile: carries out a plan. Sends requests to the API server.
//!
//! * [`children`]: creates, applies and deletes children.
//! * [`parent`]: sets the owner of the parent, and deletes it.
//! * [`scale`]: scales worker groups.

mod children;
mod parent;
mod scale;

use std::sync::Arc;

use dask_operator_core::gate::CheckedPlan;
use tokio::time::Instant;

use crate::cache::Stores;
use crate::client::object::Object;
use crate::client::writer::Writer;
use crate::key::{ClusterKey, ParentKey};
use crate::reconcile::diff::Diff;
use crate::reconcile::outcome::ApplySummary;
use crate::reconcile::problem::Problem;
use crate::reconcile::response_cache::ResponseCache;
use crate::reconcile::write_budget::{TotalLimit, WriteBudget};
use crate::schedulers::Schedulers;
use crate::threads::blocking::BlockingThreads;

/// Writes children, worker groups and parents.
pub(crate) struct Applier {
    /// Informer cache, which receives the written objects.
    pub(super) stores: Stores,
    /// Receives the scheduler requests of plans.
    pub(super) schedulers: Schedulers,
    /// Sends the write requests.
    pub(super) writer: Writer,
    /// Limits the number of writes.
    pub(super) budget: WriteBudget,
    /// Stores the responses to applies.
    pub(super) responses: ResponseCache,
    /// Threads for work that depends on tenants' input.
    pub(super) blocking: BlockingThreads,
}

/// A plan that was applied, as far as possible.
pub(crate) struct Applied {
    /// The parent in its newest version.
    pub(crate) object: Arc<Object>,
    /// The plan without its children.
    pub(crate) plan: CheckedPlan,
    /// Violations that policies in monitor mode reported.
    pub(crate) violations: Option<Problem>,
    /// Results of the writes.
    pub(crate) summary: ApplySummary,
    /// Start of the writes.
    pub(crate) start: Instant,
}

impl Applier {
    /// Carries out the plan, except for the report and the deletion of the parent. `object` is the parent. A failure does
    /// not stop the other writes.
    pub(crate) async fn apply(&self, key: &ParentKey, object: Arc<Object>, diff: Diff) -> Applied {
        let start = Instant::now();
        let Diff {
            input,
            mut plan,
            children,
            changes,
            violations,
            reservation,
        } = diff;
        let (parent, observed) = (&input.parent, &input.observed);
        let present = observed.all().filter(|(_, child)| !child.terminating).count();
        let total = TotalLimit::new(parent, children.max(present));
        let mut summary = self
            .apply_children(key, parent, &total, children, changes, reservation)
            .await;
        let cluster = ClusterKey::new(&parent.namespace, &parent.cluster);
        self.schedulers.subscribe(&cluster, key, plan.scheduler.take());
        for scale in &plan.scale {
            summary.add(self.scale(observed, &total, scale).await);
        }
        let object = match &plan.owner {
            Some(owner) => self.adopt(key, &total, object, owner, &mut summary).await,
            None => object,
        };
        Applied {
            object,
            plan,
            violations,
            summary,
            start,
        }
    }

    /// Removes the stored responses for an object that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.responses.remove(uid);
    }
}
