//! Reconcile of one Dask resource: observe it, call the component, check the plan, write the differences and report the
//! result.

mod apply;
mod diff;
pub(crate) mod kopf;
mod memory;
pub(crate) mod metrics;
mod observe;
mod outcome;
mod pace;
mod plan;
mod problem;
mod report;
pub(crate) mod room;
#[cfg(test)]
mod tests;
mod unwritten;

use std::sync::Arc;
use std::time::Duration;

use dask_operator_core::category::{Cause, Retry};
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::plan::{Owner, ResourceKind};
use serde_json::json;
use tokio::time::Instant;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::cache::Stores;
use crate::client::error::WriteError;
use crate::client::events::Events;
use crate::client::object::{Object, OwnerReference};
use crate::client::resource::Kind;
use crate::client::writer::Writes;
use crate::key::ClusterKey;
use crate::key::ParentKey;
use crate::plugins::Plugins;
use crate::reconcile::diff::Change;
use crate::reconcile::metrics::ReconcileMetrics;
use crate::reconcile::observe::Observed;
use crate::reconcile::outcome::{Wrote, soonest};
use crate::reconcile::plan::{Planned, Unplanned};
use crate::reconcile::problem::Trouble;
use crate::recording::Recording;
use crate::schedulers::Schedulers;
use crate::selection::Selection;
use crate::threads::Load;
use crate::threads::aside::Aside;
use memory::Memory;
use pace::{Account, Count, MAX_WRITES, WINDOW};
use report::PlanReport;
use room::{Room, Share};

/// Minimum of the requeue delay that a plan requests. Changes requeue the resource anyway.
const MIN_REQUEUE: Duration = Duration::from_secs(1);

/// Longest time for which an object that is left to garbage collection is ignored.
const LEFT_OVER: Duration = Duration::from_secs(30);

/// Limit of the JSON that one component receives, in bytes: 20,000 pods, the maximum of a worker group, of 13 kB each.
pub(crate) const MAX_OBSERVATION_BYTES: usize = 256 << 20;

/// Result of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The resource is in the planned state, or on its way there. Requeue no later than after this time, if given.
    Done(Option<Duration>),
    /// The reconcile failed. Requeue no later than after this time, if the plan requested it.
    Failed(Retry, Option<Duration>),
    /// The memory that the reconcile needs is in use by others. Nothing was done and nothing is reported; the resource
    /// is requeued soon.
    NoRoom,
    /// The resource does not exist (any more), or its namespace is not managed.
    Gone,
}

/// Everything that a reconcile needs.
pub(crate) struct Reconciler {
    /// Informer cache.
    pub(crate) stores: Stores,
    /// Logic plugins and policies.
    pub(crate) plugins: Arc<Plugins>,
    /// Facts from the Dask schedulers.
    pub(crate) schedulers: Schedulers,
    /// Sends the write requests.
    pub(crate) writes: Writes,
    /// Publishes events.
    pub(crate) events: Events,
    /// Metrics of reconciles.
    pub(crate) metrics: ReconcileMetrics,
    /// The managed namespaces.
    pub(crate) selection: Arc<Selection>,
    /// Records observations for plugin authors.
    pub(crate) recording: Recording,
    /// Limit of the JSON that one component receives, in bytes. The component has it in its memory, and the operator
    /// has a second copy.
    pub(crate) max_observation_bytes: usize,
    pub(crate) memory: Memory,
    pub(crate) aside: Aside,
    pub(crate) room: Room,
    start: Instant,
}

impl Reconciler {
    /// Returns a reconciler with an empty memory.
    #[must_use]
    pub(crate) fn new(
        stores: Stores,
        plugins: Arc<Plugins>,
        schedulers: Schedulers,
        writes: Writes,
        events: Events,
        metrics: ReconcileMetrics,
    ) -> Self {
        Self {
            stores,
            plugins,
            schedulers,
            writes,
            events,
            metrics,
            selection: Arc::default(),
            recording: Recording::default(),
            max_observation_bytes: MAX_OBSERVATION_BYTES,
            memory: Memory::new(WINDOW),
            aside: Aside::default(),
            room: Room::default(),
            start: Instant::now(),
        }
    }

    /// Removes the memory of an object that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        let mut memory = self.memory.lock();
        memory.answers.forget(uid);
        memory.unwritten.forget(uid);
    }

    /// Removes the write counts of objects that have not been written for long.
    pub(crate) fn sweep(&self) {
        let now = self.start.elapsed();
        self.memory.lock().breaker.sweep(now);
    }

    /// Reconciles the resource. `failures` is the number of failed reconciles in a row.
    pub(crate) async fn reconcile(&self, key: &ParentKey, failures: u32) -> Outcome {
        let object = self.stores.parent(key).filter(|object| !object.terminating);
        let Some(object) = object.filter(|_| self.selection.has(&key.namespace)) else {
            self.schedulers.unsubscribe(key);
            self.room.forget(key);
            return Outcome::Gone;
        };
        if self.stores.is_left_over(&object) {
            debug!(%key, "waits for garbage collection: its owner was deleted and created again");
            self.schedulers.unsubscribe(key);
            // The watch of owners may also lag behind. Not all children are queued when it shows the new owner, so the
            // resource is requeued.
            return Outcome::Done(Some(LEFT_OVER));
        }
        let Ok(share) = self.room.begin(key) else {
            return Outcome::NoRoom;
        };
        let span = info_span!(
            "reconcile", kind = key.kind.kind(), namespace = %key.namespace, name = %key.name, plugin = tracing::field::Empty
        );
        self.pass(key, object, failures, share).instrument(span).await
    }

    async fn pass(&self, key: &ParentKey, object: Arc<Object>, failures: u32, share: Share) -> Outcome {
        let start = Instant::now();
        let (object, planned) = self.plan(key, object, share).await;
        let duration = start.elapsed();
        let planned = match planned {
            Ok(planned) => planned,
            Err(Unplanned::Trouble(trouble)) => return self.fail_static(key, &object, trouble).await,
            Err(Unplanned::NoRoom) => return Outcome::NoRoom,
        };
        debug!(?duration, children = planned.children, "planned");
        self.execute(key, object, planned, failures).await
    }

    async fn execute(
        &self,
        key: &ParentKey,
        mut object: Arc<Object>,
        planned: Planned,
        failures: u32,
    ) -> Outcome {
        let start = Instant::now();
        let Planned {
            ground,
            plan,
            children,
            to_do,
            remarks,
            share,
        } = planned;
        let (parent, observed) = (&ground.parent, &ground.observed);
        let present = observed.all().filter(|(_, child)| !child.terminating).count();
        let account = Account::new(parent, children.max(present));
        let mut written = self
            .write_children(key, parent, &account, children, to_do, share)
            .await;
        self.schedulers.subscribe(&cluster(parent), key, plan.scheduler);
        for scale in &plan.scale {
            match self
                .scale(observed, &account, &scale.worker_group, scale.replicas)
                .await
            {
                Ok(wrote) => written.add(wrote),
                Err(error) => written.errors.push(error),
            }
        }
        if let Some(owner) = &plan.owner {
            match self.adopt(key, &account, &object, owner).await {
                Ok((wrote, adopted)) => {
                    written.add(wrote);
                    object = adopted.map_or(object, Arc::new);
                }
                Err(error) => written.errors.push(error),
            }
        }
        let trouble = Trouble::writing(&written.errors, failures);
        let report = PlanReport {
            status: plan.status,
            conditions: plan.conditions,
            events: plan.events,
            troubles: trouble.into_iter().chain(remarks).collect(),
        };
        let object = self.report(key, object, report, &mut written).await;
        if let Some(why) = &plan.delete_parent
            && written.errors.is_empty()
        {
            info!("deleting the resource: {why}");
            match self.delete_parent(key, &object).await {
                Ok(()) => return Outcome::Gone,
                Err(error) => written.errors.push(error),
            }
        }
        if written.done > 0 {
            info!(written = written.done, duration = ?start.elapsed(), "reconciled");
        }
        if written.withheld > 0 {
            warn!(
                writes = written.withheld, wait = ?written.later,
                "too many writes: the next ones are delayed. Does another client revert them, or do children end at \
                 once?"
            );
        }
        written.log_errors(failures);
        let again = plan
            .requeue_after
            .map(Duration::from_millis)
            .map(|again| again.max(MIN_REQUEUE));
        match soonest(&written.errors) {
            Some(retry) => Outcome::Failed(retry, again),
            None => Outcome::Done([again, written.later].into_iter().flatten().min()),
        }
    }

    /// Scales a worker group, unless its number of replicas has changed since the observation on which the plan is
    /// based: a user has set the number meanwhile.
    async fn scale(
        &self,
        observed: &Observed,
        account: &Account,
        group: &str,
        replicas: u32,
    ) -> Result<Wrote, WriteError> {
        let key = ParentKey::new(DaskKind::WorkerGroup, &observed.parent.namespace, group);
        let Some(object) = self.stores.parent(&key) else {
            return Ok(Wrote::Nothing);
        };
        let (now, then) = (object.clone(), observed.worker_group(group).cloned());
        let numbers = move || (now.replicas(), then.map(|then| then.replicas()));
        let (before, seen) = self.aside.run(&key.namespace, Load::Light, numbers).await;
        if before == replicas {
            return Ok(Wrote::Nothing);
        }
        if seen.is_some_and(|seen| seen != before) {
            return Err(WriteError::overtaken(format!("scale {group} to {replicas}")));
        }
        let write = Count {
            id: format!("{} scales", object.uid),
            most: MAX_WRITES,
            kind: key.kind.kind(),
        };
        if let Err(wait) = self.admit(account, &write) {
            return Ok(Wrote::Withheld(wait));
        }
        info!(group, replicas, %before, "scaling");
        self.writes
            .scale(&Kind::dask(DaskKind::WorkerGroup), &object, replicas)
            .await?;
        Ok(Wrote::Done)
    }

    /// Adds `owner` to the owners of the parent. Returns the new version of the parent, if it was written.
    async fn adopt(
        &self,
        key: &ParentKey,
        account: &Account,
        object: &Object,
        owner: &Owner,
    ) -> Result<(Wrote, Option<Object>), WriteError> {
        // Only a cluster can be the owner that a plan sets: the gate checks that.
        let is_known = |known: &OwnerReference| known.names(DaskKind::Cluster, &owner.name, &owner.uid);
        if object.owners.iter().any(is_known) {
            return Ok((Wrote::Nothing, None));
        }
        let write = Count {
            id: format!("{} is owned", object.uid),
            most: MAX_WRITES,
            kind: key.kind.kind(),
        };
        if let Err(wait) = self.admit(account, &write) {
            return Ok((Wrote::Withheld(wait), None));
        }
        // Garbage collection would regard a reference with this uid and any other difference as an owner that is gone.
        let others = || object.owners.iter().filter(move |known| *known.uid != *owner.uid);
        let new = OwnerReference {
            api_version: owner.kind.api_version.as_str().into(),
            kind: owner.kind.kind.as_str().into(),
            name: owner.name.as_str().into(),
            uid: owner.uid.as_str().into(),
            controller: !others().any(|known| known.controller),
            block_owner_deletion: true,
        };
        let owners: Vec<_> = others().chain([&new]).collect();
        let kind = Kind::dask(key.kind);
        let adopted = self
            .writes
            .merge_metadata(&kind, object, json!({"ownerReferences": owners}))
            .await?;
        if let Some(store) = self.stores.of(&kind.resource) {
            store.wrote(adopted.clone());
        }
        Ok((Wrote::Done, Some(adopted)))
    }

    /// Deletes the parent, if it has not changed since the decision: a user may just have changed it.
    async fn delete_parent(&self, key: &ParentKey, object: &Object) -> Result<(), WriteError> {
        let kind = Kind::dask(key.kind);
        match self
            .writes
            .delete(&kind, object, Some(&object.resource_version))
            .await
        {
            Err(error) if error.cause != Cause::Gone => return Err(error),
            _ => {}
        }
        if let Some(store) = self.stores.of(&kind.resource) {
            store.deleted(object);
        }
        Ok(())
    }
}

/// Returns the Dask cluster that a resource is or belongs to.
fn cluster(parent: &Parent) -> ClusterKey {
    ClusterKey::new(&parent.namespace, &parent.cluster)
}

impl Change {
    fn kind(&self) -> &ResourceKind {
        match self {
            Self::Create(key, _) | Self::Apply(key, _, _) => &key.kind,
            Self::Delete(kind, _) => kind,
        }
    }

    /// Returns the number of bytes of text that the change has in memory.
    fn text_bytes(&self) -> usize {
        match self {
            Self::Create(_, object) => object.text_bytes(),
            Self::Apply(..) | Self::Delete(..) => 0,
        }
    }
}
