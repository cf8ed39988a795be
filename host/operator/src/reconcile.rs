//! One pass over one Dask resource: observe, ask the component, check, write
//! what differs, report.

mod children;
pub(crate) mod memory;
mod pace;
mod report;
pub(crate) mod room;

use std::sync::Arc;
use std::time::Duration;

use dask_operator_core::category::{Cause, Retry};
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::plan::{Owner, ResourceKind};
use serde_json::json;
use tokio::time::Instant;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::aside::Aside;
use crate::changes::Change;
use crate::errors::WriteError;
use crate::events::Events;
use crate::kinds::{ExtraKinds, Kind};
use crate::metrics::Metrics;
use crate::object::{Object, OwnerReference};
use crate::observe::Observed;
use crate::planning::{Planned, Unplanned};
use crate::plugins::Plugins;
use crate::recording::Recording;
use crate::routes::ParentKey;
use crate::schedulers::{ClusterKey, Schedulers};
use crate::selection::Selection;
use crate::stores::Stores;
use crate::threads::Load;
use crate::trouble::Trouble;
use crate::writes::Writes;
use crate::written::{Wrote, soonest};
use memory::Memory;
use pace::{Account, Count, MOST_WRITES, WINDOW};
use report::Said;
use room::{Room, Share};

/// A plan that wants to be asked again sooner is not: what changes brings the resource back anyhow.
const SOONEST: Duration = Duration::from_secs(1);

/// How long what is left to garbage collection is left alone, at the most.
const LEFT_OVER: Duration = Duration::from_secs(30);

/// What components are told of at most: 20,000 pods, as many as a worker group can have, of 13 kB each.
pub(crate) const MOST_TOLD: usize = 256 << 20;

/// What a pass came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it shall be, or on its way there. Again after that time at the
    /// latest, where there is one.
    Done(Option<Duration>),
    /// Something went wrong. The plan wanted to be asked again after that time at the latest,
    /// where there was one.
    Failed(Retry, Option<Duration>),
    /// It takes memory that others have now, and nothing was done. Again soon, with nothing said about it.
    NoRoom,
    /// There is no such resource (any more), or its namespace is not looked after.
    Gone,
}

/// Everything that a pass needs.
pub struct Reconciler {
    /// What is known of the cluster.
    pub stores: Stores,
    /// Who decides.
    pub plugins: Arc<Plugins>,
    /// What Dask schedulers say.
    pub schedulers: Schedulers,
    /// How something is changed.
    pub writes: Writes,
    /// How people are told.
    pub events: Events,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Kinds of children that the administrator allows beyond the usual.
    pub extra_kinds: ExtraKinds,
    /// In which namespaces something is done.
    pub selection: Arc<Selection>,
    /// Where observations are kept for authors of plugins.
    pub recording: Recording,
    /// How many bytes of JSON a component is told of at most: it has them in its memory, and the operator has them once more.
    pub most_told: usize,
    pub(crate) memory: Memory,
    pub(crate) aside: Aside,
    pub(crate) room: Room,
    start: Instant,
}

impl Reconciler {
    /// A reconciler that remembers nothing yet.
    #[must_use]
    pub fn new(
        stores: Stores,
        plugins: Arc<Plugins>,
        schedulers: Schedulers,
        writes: Writes,
        events: Events,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            stores,
            plugins,
            schedulers,
            writes,
            events,
            metrics,
            extra_kinds: ExtraKinds::default(),
            selection: Arc::default(),
            recording: Recording::default(),
            most_told: MOST_TOLD,
            memory: Memory::new(WINDOW),
            aside: Aside::default(),
            room: Room::default(),
            start: Instant::now(),
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        let mut memory = self.memory.lock();
        memory.answers.forget(uid);
        memory.unwritten.forget(uid);
    }

    /// Drops what is remembered of objects that have not been written for long.
    pub fn sweep(&self) {
        let now = self.start.elapsed();
        self.memory.lock().breaker.sweep(now);
    }

    /// Goes over the resource once. `failures` is how often that failed in a row.
    pub async fn reconcile(&self, key: &ParentKey, failures: u32) -> Outcome {
        let object = self.stores.parent(key).filter(|object| !object.terminating);
        let Some(object) = object.filter(|_| self.selection.has(&key.namespace)) else {
            self.schedulers.forget(key);
            self.room.forget(key);
            return Outcome::Gone;
        };
        if self.stores.is_left_over(&object) {
            debug!(%key, "waits for garbage collection: its owner was deleted and made anew");
            self.schedulers.forget(key);
            // It may also be that the watch of owners lags behind: not everybody is told when it shows the new one.
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
        self.carry_out(key, object, planned, failures).await
    }

    async fn carry_out(
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
        self.schedulers.want(&cluster(parent), key, plan.scheduler);
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
        let said = Said {
            status: plan.status,
            conditions: plan.conditions,
            events: plan.events,
            troubles: trouble.into_iter().chain(remarks).collect(),
        };
        let object = self.say(key, object, said, &mut written).await;
        if let Some(why) = &plan.delete_parent
            && written.errors.is_empty()
        {
            info!("deletes it: {why}");
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
                "there are too many writes, and the next ones have to wait: does something change them back, or do children end at \
                 once?"
            );
        }
        written.say_errors(failures);
        let again = plan
            .requeue_after
            .map(Duration::from_millis)
            .map(|again| again.max(SOONEST));
        match soonest(&written.errors) {
            Some(retry) => Outcome::Failed(retry, again),
            None => Outcome::Done([again, written.later].into_iter().flatten().min()),
        }
    }

    /// Scales a worker group, unless its number is another one than that on which this was decided: somebody has said
    /// meanwhile how many there shall be.
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
            most: MOST_WRITES,
            kind: key.kind.kind(),
        };
        if let Err(wait) = self.admit(account, &write) {
            return Ok(Wrote::Withheld(wait));
        }
        info!(group, replicas, %before, "scales");
        self.writes
            .scale(&Kind::dask(DaskKind::WorkerGroup), &object, replicas)
            .await?;
        Ok(Wrote::Done)
    }

    /// Makes `owner` one of the parent's owners. Gives the parent as it is then, if it was written.
    async fn adopt(
        &self,
        key: &ParentKey,
        account: &Account,
        object: &Object,
        owner: &Owner,
    ) -> Result<(Wrote, Option<Object>), WriteError> {
        // Only a cluster owns by a plan: the gate sees to that.
        let is_known = |known: &OwnerReference| known.names(DaskKind::Cluster, &owner.name, &owner.uid);
        if object.owners.iter().any(is_known) {
            return Ok((Wrote::Nothing, None));
        }
        let write = Count {
            id: format!("{} is owned", object.uid),
            most: MOST_WRITES,
            kind: key.kind.kind(),
        };
        if let Err(wait) = self.admit(account, &write) {
            return Ok((Wrote::Withheld(wait), None));
        }
        // With this uid and anything else wrong, garbage collection would take it for an owner that is gone.
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

    /// Deletes the parent, if it is still as it was when that was decided: somebody may just have changed it.
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

/// The Dask cluster that a resource is or belongs to.
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

    /// How many bytes of text it has in memory.
    fn text_bytes(&self) -> usize {
        match self {
            Self::Create(_, object) => object.text_bytes(),
            Self::Apply(..) | Self::Delete(..) => 0,
        }
    }
}
