//! One pass over one Dask resource: observe, ask the component, check, write
//! what differs, report.

mod children;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dask_operator_core::category::{Cause, Retry};
use dask_operator_core::finish::finish;
use dask_operator_core::memo::{Answers, Breaker};
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::plan::{Event, Owner, ResourceKind};
use dask_operator_core::status;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::changes::{Change, changes};
use crate::errors::WriteError;
use crate::events::Events;
use crate::kinds::{ExtraKinds, Kind};
use crate::metrics::Metrics;
use crate::object::{Object, OwnerReference};
use crate::observe::Observed;
use crate::planning::Planned;
use crate::plugins::Plugins;
use crate::recording::Recording;
use crate::routes::ParentKey;
use crate::schedulers::{ClusterKey, Schedulers};
use crate::selection::Selection;
use crate::stores::Stores;
use crate::trouble::{HOST_CONDITIONS, Trouble};
use crate::unwritten::Unwritten;
use crate::writes::Writes;
use crate::written::{Written, Wrote, soonest};

/// The time in which writes are counted, and how many of it one object may have. Two a second for a minute: what more needs is
/// a loop.
const BREAKER_WINDOW: Duration = Duration::from_secs(60);
const MOST_WRITES: usize = 120;

/// A plan that wants to be asked again sooner is not: what changes brings the resource back anyhow.
const SOONEST: Duration = Duration::from_millis(100);

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
    memory: Mutex<Memory>,
    start: Instant,
}

struct Memory {
    answers: Answers,
    breaker: Breaker,
    unwritten: Unwritten,
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
            memory: Mutex::new(Memory {
                answers: Answers::default(),
                breaker: Breaker::new(BREAKER_WINDOW),
                unwritten: Unwritten::default(),
            }),
            start: Instant::now(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        let mut memory = self.memory();
        memory.answers.forget(uid);
        memory.unwritten.forget(uid);
    }

    /// Drops what is remembered of objects that have not been written for long.
    pub fn sweep(&self) {
        let now = self.start.elapsed();
        self.memory().breaker.sweep(now);
    }

    /// Goes over the resource once. `failures` is how often that failed in a row.
    pub async fn reconcile(&self, key: &ParentKey, failures: u32) -> Outcome {
        let object = self.stores.parent(key).filter(|object| !object.terminating);
        let Some(object) = object.filter(|_| self.selection.has(&key.namespace)) else {
            self.schedulers.forget(key);
            return Outcome::Gone;
        };
        if self.stores.is_left_over(&object) {
            debug!(%key, "waits for garbage collection: its owner was deleted and made anew");
            self.schedulers.forget(key);
            // It may also be that the watch of owners lags behind: not everybody is told when it shows the new one.
            return Outcome::Done(Some(LEFT_OVER));
        }
        let object = self.memory().unwritten.over(object);
        let span = info_span!(
            "reconcile", kind = key.kind.kind(), namespace = %key.namespace, name = %key.name, plugin = tracing::field::Empty
        );
        self.pass(key, object, failures).instrument(span).await
    }

    async fn pass(&self, key: &ParentKey, object: Arc<Object>, failures: u32) -> Outcome {
        let start = Instant::now();
        let value = object.value();
        let planned = self.plan(key, &object, &value).await;
        let duration = start.elapsed();
        let planned = match planned {
            Ok(planned) => planned,
            Err(trouble) => return self.fail_static(key, &object, &value, trouble).await,
        };
        debug!(?duration, children = planned.plan.children.len(), "planned");
        self.carry_out(key, planned, failures).await
    }

    /// There is no plan: nothing is deleted or scaled, and the resource says why.
    async fn fail_static(
        &self,
        key: &ParentKey,
        object: &Arc<Object>,
        value: &Value,
        trouble: Trouble,
    ) -> Outcome {
        warn!(
            reason = trouble.reason,
            "{}: {}", trouble.condition, trouble.message
        );
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut wanted = status::with_condition(value, &HOST_CONDITIONS, &trouble.as_condition(), &now);
        if trouble.is_fatal && has_phase(key.kind) {
            wanted["phase"] = "Error".into();
        }
        let is_new = !trouble.stands_in(value);
        // What has to be said is said soon, even if nothing can be done about it.
        let unsaid = match self.write_status(key, object, value, &wanted).await {
            Ok((Wrote::Done, _)) if is_new => {
                self.events.publish(key, object, &trouble.as_event()).await;
                None
            }
            Ok((Wrote::Withheld(wait), _)) => Some(Retry::After(wait)),
            Ok(_) => None,
            Err(error) => {
                warn!("{error}");
                Some(error.retry())
            }
        };
        let retry = unsaid.filter(|_| trouble.retry == Retry::OnChange);
        Outcome::Failed(retry.unwrap_or(trouble.retry), None)
    }

    async fn carry_out(&self, key: &ParentKey, planned: Planned, failures: u32) -> Outcome {
        let start = Instant::now();
        let Planned {
            parent,
            observed,
            plan,
            remarks,
        } = planned;
        let (parent, observed) = (&parent, &observed);
        let wanted = plan.children.len();
        let children = plan
            .children
            .into_iter()
            .map(|child| finish(parent, child))
            .collect();
        let to_do = changes(observed, children, &self.memory().answers);
        let mut written = self.write_children(key, parent, wanted, to_do).await;
        self.schedulers.want(&cluster(parent), key, plan.scheduler);
        for scale in &plan.scale {
            match self
                .scale(observed, parent, &scale.worker_group, scale.replicas)
                .await
            {
                Ok(wrote) => written.add(wrote),
                Err(error) => written.errors.push(error),
            }
        }
        let mut object = observed.parent.clone();
        if let Some(owner) = &plan.owner {
            match self.adopt(key, &object, owner).await {
                Ok(Some(adopted)) => object = Arc::new(adopted),
                Ok(None) => {}
                Err(error) => written.errors.push(error),
            }
        }

        let value = object.value();
        let trouble = Trouble::writing(&written.errors, failures);
        let mut conditions = plan.conditions;
        conditions.extend(trouble.iter().chain(&remarks).map(Trouble::as_condition));
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut wanted = status::desired(&plan.status, &conditions, &value, &now);
        if trouble.as_ref().is_some_and(|trouble| trouble.is_fatal) && has_phase(key.kind) {
            wanted["phase"] = "Error".into();
        }
        let news = trouble
            .iter()
            .chain(&remarks)
            .filter(|trouble| !trouble.stands_in(&value))
            .map(Trouble::as_event);
        let events: Vec<_> = plan.events.iter().cloned().chain(news).collect();
        match self.write_status(key, &object, &value, &wanted).await {
            Ok((Wrote::Withheld(wait), _)) => {
                if self.remember(&object, &value, &written, wanted) {
                    self.tell(key, &object, &events).await;
                }
                written.add(Wrote::Withheld(wait));
            }
            Ok((Wrote::Done | Wrote::Nothing, newer)) => {
                self.tell(key, &object, &events).await;
                if let Some(newer) = newer {
                    object = Arc::new(newer);
                }
            }
            Err(error) => {
                if self.remember(&object, &value, &written, wanted) {
                    self.tell(key, &object, &events).await;
                }
                written.errors.push(error);
            }
        }
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

    /// Keeps a status that could not be written, where something was done that it tells of. Gives whether it was. `value` is the
    /// object with the status that the plan was made from.
    fn remember(&self, object: &Object, value: &Value, written: &Written, status: Value) -> bool {
        let is_done = written.done > 0;
        if is_done {
            let before = &value["status"];
            self.memory().unwritten.keep(&object.uid, status, before);
        }
        is_done
    }

    /// Tells people, when it is sure that the same will not be planned again from the same status.
    async fn tell(&self, key: &ParentKey, object: &Object, events: &[Event]) {
        for event in events {
            if !self.events.publish(key, object, event).await {
                break;
            }
        }
    }

    /// Asks whether an object may be written now, where `most` writes are in a minute; says so when not, and for how
    /// long.
    fn admit(&self, id: &str, most: usize, kind: &str) -> Result<(), Duration> {
        let admitted = self.memory().breaker.admit(id, most, self.start.elapsed());
        if let Err(wait) = admitted {
            self.metrics.withheld(kind);
            warn!(
                ?wait,
                id,
                "a {kind} is written too often, and the next write has to wait: does something change it back, or do its children \
                 end at once?"
            );
        }
        admitted
    }

    /// Scales a worker group, unless its number is another one than that on which this was decided: somebody has said
    /// meanwhile how many there shall be.
    async fn scale(
        &self,
        observed: &Observed,
        parent: &Parent,
        group: &str,
        replicas: u32,
    ) -> Result<Wrote, WriteError> {
        let key = ParentKey::new(DaskKind::WorkerGroup, &parent.namespace, group);
        let Some(object) = self.stores.parent(&key) else {
            return Ok(Wrote::Nothing);
        };
        let number = |object: &Object| object.value()["spec"]["worker"]["replicas"].take();
        let before = number(&object);
        if before == replicas {
            return Ok(Wrote::Nothing);
        }
        if observed
            .worker_group(group)
            .is_some_and(|seen| number(seen) != before)
        {
            return Err(WriteError::overtaken(format!("scale {group} to {replicas}")));
        }
        let id = format!("{} scales", object.uid);
        if let Err(wait) = self.admit(&id, MOST_WRITES, key.kind.kind()) {
            return Ok(Wrote::Withheld(wait));
        }
        info!(group, replicas, %before, "scales");
        self.writes
            .scale(&Kind::dask(DaskKind::WorkerGroup), &object, replicas)
            .await?;
        Ok(Wrote::Done)
    }

    /// Makes `owner` one of the parent's owners. Gives the parent as it is then,
    /// none when it is one already.
    async fn adopt(
        &self,
        key: &ParentKey,
        object: &Object,
        owner: &Owner,
    ) -> Result<Option<Object>, WriteError> {
        // Only a cluster owns by a plan: the gate sees to that.
        let is_known = |known: &OwnerReference| known.names(DaskKind::Cluster, &owner.name, &owner.uid);
        if object.owners.iter().any(is_known) {
            return Ok(None);
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
        Ok(Some(adopted))
    }

    /// Writes the status if it says something else than the one that is there; `value` may have one that is only remembered.
    /// Gives the object as it is then, if it was written.
    async fn write_status(
        &self,
        key: &ParentKey,
        object: &Object,
        value: &Value,
        wanted: &Value,
    ) -> Result<(Wrote, Option<Object>), WriteError> {
        let is_unwritten = self.memory().unwritten.has(&object.uid);
        if !is_unwritten && status::same(wanted, &value["status"]) {
            return Ok((Wrote::Nothing, None));
        }
        if let Err(wait) = self.admit(&object.uid, MOST_WRITES, key.kind.kind()) {
            return Ok((Wrote::Withheld(wait), None));
        }
        let kind = Kind::dask(key.kind);
        let written = self.writes.apply_status(&kind, object, wanted).await?;
        self.memory().unwritten.forget(&object.uid);
        if let Some(store) = self.stores.of(&kind.resource) {
            store.wrote(written.clone());
        }
        Ok((Wrote::Done, Some(written)))
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

/// Kinds whose status has a `phase`.
fn has_phase(kind: DaskKind) -> bool {
    matches!(kind, DaskKind::Cluster | DaskKind::WorkerGroup)
}

impl Change {
    fn kind(&self) -> &ResourceKind {
        match self {
            Self::Create(key, _) | Self::Apply(key, _, _) => &key.kind,
            Self::Delete(kind, _) => kind,
        }
    }
}
