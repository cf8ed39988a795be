//! One pass over one Dask resource: observe, ask the component, check, write
//! what differs, report.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dask_operator_core::category::{Cause, Retry};
use dask_operator_core::finish::finish;
use dask_operator_core::memo::{Answers, Breaker};
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::plan::{ChildKey, Event, Owner, ResourceKind};
use dask_operator_core::predecessor;
use dask_operator_core::status;
use futures::StreamExt;
use futures::stream;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::changes::{Change, changes};
use crate::errors::WriteError;
use crate::events::Events;
use crate::kinds::Kind;
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
use crate::writes::{Precondition, Writes};
use crate::written::{Failures, Written, Wrote, soonest};

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
    pub extra_kinds: Vec<ResourceKind>,
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
    /// By uid.
    unwritten: HashMap<Box<str>, Unwritten>,
}

/// A status that could not be written although what it tells of was done.
struct Unwritten {
    status: Value,
    /// The one that is there.
    instead_of: Value,
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
            extra_kinds: Vec::new(),
            selection: Arc::default(),
            recording: Recording::default(),
            most_told: MOST_TOLD,
            memory: Mutex::new(Memory {
                answers: Answers::default(),
                breaker: Breaker::new(BREAKER_WINDOW),
                unwritten: HashMap::new(),
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
        memory.unwritten.remove(uid);
    }

    /// The resource as it would be if its last status had been written. A plan finds in there when workers were scaled or ended,
    /// and would do the next step too soon without.
    fn remembered(&self, object: Arc<Object>) -> Arc<Object> {
        let mut memory = self.memory();
        let Some(unwritten) = memory.unwritten.get(&object.uid) else {
            return object;
        };
        if object.value()["status"] == unwritten.instead_of {
            return Arc::new(object.with_status(&unwritten.status));
        }
        // It was written after all, or by another replica, which knows more.
        memory.unwritten.remove(&object.uid);
        object
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
        let object = self.remembered(object);
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
            let mut memory = self.memory();
            let before = memory.unwritten.remove(&object.uid);
            let instead_of = before.map_or_else(|| value["status"].clone(), |before| before.instead_of);
            memory
                .unwritten
                .insert(object.uid.clone(), Unwritten { status, instead_of });
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

    /// Writes all changes, many at once. One that fails does not stop the others,
    /// unless all of its kind would fail likewise. `wanted` is how many children the plan has.
    async fn write_children(
        &self,
        key: &ParentKey,
        parent: &Parent,
        wanted: usize,
        to_do: Vec<Change>,
    ) -> Written {
        let mut written = Written::default();
        let failures = Mutex::new(Failures::default());
        let failures = || failures.lock().unwrap_or_else(PoisonError::into_inner);
        let results = stream::iter(to_do).map(async |change| {
            let kind = change.kind().clone();
            let creates = matches!(change, Change::Create(..));
            if creates && failures().are_hopeless(&kind) {
                return None;
            }
            let result = self.write_child(key, parent, wanted, change).await;
            match &result {
                Err(error) => failures().add(kind, error.cause),
                Ok(Wrote::Withheld(_)) if creates => failures().withhold(kind),
                Ok(_) => {}
            }
            Some(result)
        });
        let mut results = std::pin::pin!(results.buffer_unordered(self.writes.in_flight()));
        while let Some(result) = results.next().await {
            match result {
                Some(Ok(wrote)) => written.add(wrote),
                Some(Err(error)) => written.errors.push(error),
                None => {}
            }
        }
        written
    }

    /// Writes one change to a child of `parent`, whose plan has so many children, unless there are too many writes. What fails
    /// and is not tried again at once does not count: it has a back-off of its own.
    async fn write_child(
        &self,
        key: &ParentKey,
        parent: &Parent,
        wanted: usize,
        change: Change,
    ) -> Result<Wrote, WriteError> {
        let (id, most) = match &change {
            // Each child may be made once and replaced once in a minute, and a few more.
            Change::Create(child, _) => {
                let id = format!("{} creates {}", parent.uid, child.kind.kind);
                (id, MOST_WRITES + 2 * wanted)
            }
            Change::Apply(_, _, Some(over)) => (over.uid.to_string(), MOST_WRITES),
            Change::Apply(child, _, None) => (format!("{} applies {child}", parent.uid), MOST_WRITES),
            Change::Delete(kind, object) => {
                let id = format!("{} deletes {}/{}", parent.uid, kind.kind, object.name);
                (id, MOST_WRITES)
            }
        };
        if let Err(wait) = self.admit(&id, most, &change.kind().kind) {
            return Ok(Wrote::Withheld(wait));
        }
        let sent = self.send_child(key, parent, change).await;
        if let Err(error) = &sent
            && error.retry() != Retry::Soon
        {
            self.memory().breaker.take_back(&id);
        }
        sent.map(|()| Wrote::Done)
    }

    async fn send_child(&self, key: &ParentKey, parent: &Parent, change: Change) -> Result<(), WriteError> {
        let known = |kind: &ResourceKind| {
            let kinds = self.stores.kinds();
            kinds.get(kind).cloned().unwrap_or_else(|| Kind::of(kind.clone()))
        };
        let store = |kind: &ResourceKind| self.stores.of(kind);
        match change {
            Change::Create(child, object) => {
                let kind = known(&child.kind);
                let created = match self
                    .writes
                    .create(&kind, &key.namespace, &child.name, &object)
                    .await
                {
                    Err(error) if error.cause == Cause::AlreadyExists => {
                        self.check_name(&kind, &child, parent).await?;
                        return Err(error);
                    }
                    created => created?,
                };
                if let Some(store) = store(&child.kind) {
                    store.wrote(created);
                }
            }
            Change::Apply(child, object, over) => {
                if over.is_none() {
                    self.check_name(&known(&child.kind), &child, parent).await?;
                }
                let precondition = over.as_ref().map_or(Precondition::NotForeign, |over| {
                    Precondition::Version(&over.resource_version)
                });
                let (answer, applied) = self
                    .writes
                    .apply(&known(&child.kind), &key.namespace, &object, precondition)
                    .await?;
                self.memory().answers.remember(&applied.uid, &object, &answer);
                if let Some(store) = store(&child.kind) {
                    store.wrote(applied);
                }
            }
            Change::Delete(kind, object) => {
                // A pod that has not started can be deleted without asking anybody, and may have started since.
                let version = object.has_not_started().then_some(&*object.resource_version);
                match self.writes.delete(&known(&kind), &object, version).await {
                    Ok(()) => {}
                    // A conflict may mean that it was made anew, or that it was changed meanwhile and is still there. With its
                    // kind, an object is gone too.
                    Err(error) if matches!(error.cause, Cause::Gone | Cause::KindNotServed) => {}
                    Err(error) => return Err(error),
                }
                if let Some(store) = store(&kind) {
                    store.deleted(&object);
                }
            }
        }
        Ok(())
    }

    /// Looks who has the name of a child that was not observed. An error where somebody has who would lose the object if it
    /// became a child.
    async fn check_name(&self, kind: &Kind, child: &ChildKey, parent: &Parent) -> Result<(), WriteError> {
        let stored = self
            .stores
            .of(&child.kind)
            .and_then(|store| store.get(&parent.namespace, &child.name));
        // A watch shows only what has a label.
        let holder = match stored {
            Some(holder) => holder,
            None => match self.writes.look(kind, &parent.namespace, &child.name).await? {
                Some(holder) => Arc::new(holder),
                None => return Ok(()),
            },
        };
        let what = format!("apply {child}");
        match holder.controller() {
            Some(owner) if *owner.uid != *parent.uid => Err(WriteError::owned_by_another(what, owner)),
            // The predecessor makes worker groups first, and their owners after.
            None if child.kind.kind == DaskKind::WorkerGroup.kind()
                && predecessor::makes(
                    parent,
                    &child.kind,
                    &child.name,
                    holder.component_label.as_deref(),
                ) =>
            {
                Ok(())
            }
            _ if holder.is_child_of(&child.kind, parent) => Ok(()),
            _ => Err(WriteError::made_by_another(what)),
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
        if object.owners.iter().any(|known| *known.uid == *owner.uid) {
            return Ok(None);
        }
        let new = OwnerReference {
            api_version: owner.kind.api_version.as_str().into(),
            kind: owner.kind.kind.as_str().into(),
            name: owner.name.as_str().into(),
            uid: owner.uid.as_str().into(),
            controller: !object.owners.iter().any(|known| known.controller),
            block_owner_deletion: true,
        };
        let owners: Vec<_> = object.owners.iter().chain([&new]).collect();
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
        let is_unwritten = self.memory().unwritten.contains_key(&object.uid);
        if !is_unwritten && status::same(wanted, &value["status"]) {
            return Ok((Wrote::Nothing, None));
        }
        if let Err(wait) = self.admit(&object.uid, MOST_WRITES, key.kind.kind()) {
            return Ok((Wrote::Withheld(wait), None));
        }
        let kind = Kind::dask(key.kind);
        let written = self.writes.apply_status(&kind, object, wanted).await?;
        self.memory().unwritten.remove(&object.uid);
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
