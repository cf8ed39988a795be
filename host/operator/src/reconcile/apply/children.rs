//! Creates, applies and deletes children. Sends requests to the API server.

use std::sync::Arc;

use dask_operator_core::api_error::{ErrorClass, RetryPolicy};
use dask_operator_core::apply_cache::AppliedResponse;
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::plan::{ChildKey, ResourceKind};
use dask_operator_core::predecessor;
use futures::{StreamExt, stream};
use parking_lot::Mutex;

use super::Applier;
use crate::client::error::WriteError;
use crate::client::object::Object;
use crate::client::resource::ResourceType;
use crate::client::writer::Precondition;
use crate::key::ParentKey;
use crate::reconcile::diff::ChildChange;
use crate::reconcile::memory_budget::Reservation;
use crate::reconcile::outcome::{ApplySummary, KindFailures, WriteOutcome};
use crate::reconcile::write_budget::{MAX_WRITES, TotalLimit, WriteLimit};
use crate::threads::Weight;

impl Applier {
    /// Writes all changes, many at once. A failure does not stop the other changes, unless it would affect all
    /// creations of the same kind. `planned` is the number of children in the plan. `reservation` is the memory reserved
    /// for the changes: that of the texts of a thousand pods is released as they are created, the rest after the last
    /// change.
    pub(super) async fn apply_children(
        &self,
        key: &ParentKey,
        parent: &Parent,
        total: &TotalLimit,
        planned: usize,
        changes: Vec<ChildChange>,
        mut reservation: Reservation,
    ) -> ApplySummary {
        let mut summary = ApplySummary::default();
        let failures = Mutex::new(KindFailures::default());
        let failures = || failures.lock();
        let results = stream::iter(changes).map(async |change| {
            let kind = change.kind().clone();
            let creates = matches!(change, ChildChange::Create(..) | ChildChange::Copy(..));
            let bytes = change.text_bytes();
            if creates && failures().are_blocked(&kind) {
                return (bytes, None);
            }
            let result = self.write_child(key, parent, total, planned, change).await;
            match &result {
                Err(error) => failures().add(kind, error.class),
                Ok(WriteOutcome::Withheld(_)) if creates => failures().withhold(kind),
                Ok(_) => {}
            }
            (bytes, Some(result))
        });
        let mut results = std::pin::pin!(results.buffer_unordered(self.writer.in_flight()));
        while let Some((bytes, result)) = results.next().await {
            reservation.reduce(reservation.bytes().saturating_sub(bytes));
            if let Some(result) = result {
                summary.add(result);
            }
        }
        summary
    }

    /// Writes one change to a child of `parent`, whose plan has `planned` children, unless there are too many writes. A
    /// failed write that is not retried at once does not count, because it has its own back-off.
    async fn write_child(
        &self,
        key: &ParentKey,
        parent: &Parent,
        total: &TotalLimit,
        planned: usize,
        change: ChildChange,
    ) -> Result<WriteOutcome, WriteError> {
        let (id, most) = match &change {
            // In one minute, each child may be created once and replaced once, and a few more may be created.
            ChildChange::Create(child, _) | ChildChange::Copy(child, _) => {
                let id = format!("{} creates {}", parent.uid, child.kind.kind);
                (id, MAX_WRITES + 2 * planned)
            }
            ChildChange::Apply(_, _, Some(over)) => (over.uid.to_string(), MAX_WRITES),
            ChildChange::Apply(child, _, None) => (format!("{} applies {child}", parent.uid), MAX_WRITES),
            ChildChange::Delete(kind, object) => {
                let id = format!("{} deletes {}/{}", parent.uid, kind.kind, object.name);
                (id, MAX_WRITES)
            }
        };
        let kind = change.kind().kind.clone();
        let write = WriteLimit {
            id,
            most,
            kind: &kind,
        };
        if let Err(wait) = self.budget.admit(total, &write) {
            return Ok(WriteOutcome::Withheld(wait));
        }
        let sent = self.send_child(key, parent, change).await;
        if let Err(error) = &sent
            && error.retry() != RetryPolicy::Soon
        {
            self.budget.take_back(total, &write);
        }
        sent.map(|()| WriteOutcome::Done)
    }

    /// Creates a child from the text of its object.
    async fn create_child(
        &self,
        key: &ParentKey,
        parent: &Parent,
        child: &ChildKey,
        text: String,
    ) -> Result<(), WriteError> {
        let kind = self.known(&child.kind);
        let created = match self.writer.create(&kind, &key.namespace, &child.name, text).await {
            Err(error) if error.class == ErrorClass::AlreadyExists => {
                self.existing_child(&kind, child, parent).await?;
                return Err(error);
            }
            created => created?,
        };
        if let Some(store) = self.stores.of(&child.kind) {
            store.record_write(created);
        }
        Ok(())
    }

    /// Returns how the API server serves a kind.
    fn known(&self, kind: &ResourceKind) -> ResourceType {
        let kinds = self.stores.kinds();
        kinds
            .get(kind)
            .cloned()
            .unwrap_or_else(|| ResourceType::of(kind.clone()))
    }

    async fn send_child(
        &self,
        key: &ParentKey,
        parent: &Parent,
        change: ChildChange,
    ) -> Result<(), WriteError> {
        let store = |kind: &ResourceKind| self.stores.of(kind);
        match change {
            ChildChange::Create(child, object) => {
                self.create_child(key, parent, &child, object.to_text()).await?;
            }
            ChildChange::Copy(child, text) => {
                self.create_child(key, parent, &child, text.named(&child.name))
                    .await?;
            }
            ChildChange::Apply(child, object, over) => {
                let kind = self.known(&child.kind);
                let cached = self.stores.of(&child.kind);
                let is_cached =
                    || cached.is_some_and(|store| store.get(&key.namespace, &child.name).is_some());
                let over = match over {
                    None if is_cached() => self.existing_child(&kind, &child, parent).await?,
                    over => over,
                };
                let apply = async |over: Option<&Object>| {
                    let precondition = over.map_or(Precondition::Absent, |over| {
                        Precondition::Version(&over.resource_version)
                    });
                    self.writer
                        .apply(&kind, &key.namespace, &object, precondition)
                        .await
                };
                let mut applied = apply(over.as_deref()).await;
                // An object that no watch shows: a new child, or one of another owner. It is looked up only now, because there is
                // usually none.
                if let Err(error) = &applied
                    && over.is_none()
                    && matches!(error.class, ErrorClass::Stale | ErrorClass::Taken)
                    && let Some(existing) = self.existing_child(&kind, &child, parent).await?
                {
                    applied = apply(Some(&existing)).await;
                }
                let (answer, applied) = applied?;
                let uid = applied.uid.clone();
                let entry = move || AppliedResponse::of(&object, &answer);
                let entry = self.blocking.run(&key.namespace, Weight::Light, entry).await;
                self.responses.insert(&uid, entry);
                if let Some(store) = store(&child.kind) {
                    store.record_write(applied);
                }
            }
            ChildChange::Delete(kind, object) => {
                // A pod that has not started can be deleted without a drain, but it may have started since.
                let version = object.has_not_started().then_some(&*object.resource_version);
                match self.writer.delete(&self.known(&kind), &object, version).await {
                    Ok(()) => {}
                    // A conflict may mean that the object was created again, or that it was changed meanwhile and still
                    // exists. If the kind is gone, the object is gone too.
                    Err(error) if matches!(error.class, ErrorClass::Gone | ErrorClass::KindNotServed) => {}
                    Err(error) => return Err(error),
                }
                if let Some(store) = store(&kind) {
                    store.mark_deleted(&object);
                }
            }
        }
        Ok(())
    }

    /// Looks up the object that has the name of a child that was not observed. Returns `None` if there is none, or an
    /// object that is a child nevertheless and may be applied over.
    ///
    /// # Errors
    ///
    /// Returns an error if the object belongs to another owner, which would lose it if it became a child, and if it would
    /// get an owner that is gone.
    async fn existing_child(
        &self,
        kind: &ResourceType,
        child: &ChildKey,
        parent: &Parent,
    ) -> Result<Option<Arc<Object>>, WriteError> {
        let stored = self
            .stores
            .of(&child.kind)
            .and_then(|store| store.get(&parent.namespace, &child.name));
        // A watch shows only objects with the label.
        let existing = match stored {
            Some(existing) => existing,
            None => match self.writer.find(kind, &parent.namespace, &child.name).await? {
                Some(existing) => Arc::new(existing),
                None => return Ok(None),
            },
        };
        let what = format!("apply {child}");
        let may_be_applied_over = match existing.controller() {
            Some(owner) if *owner.uid != *parent.uid => Err(WriteError::owned_by_another(what, owner)),
            // The previous operator creates worker groups first, and sets their owners afterwards.
            None if child.kind.kind == DaskKind::WorkerGroup.kind()
                && predecessor::makes(
                    parent,
                    &child.kind,
                    &child.name,
                    existing.component_label.as_deref(),
                ) =>
            {
                let owner = ParentKey::new(parent.kind, &parent.namespace, &parent.name);
                self.check_owner(&owner, &parent.uid, what).await
            }
            // The operator waits for its deletion, as it does for an observed child.
            _ if existing.is_child_of(&child.kind, parent) && existing.terminating => {
                Err(WriteError::overtaken(what))
            }
            _ if existing.is_child_of(&child.kind, parent) => Ok(()),
            _ => Err(WriteError::made_by_another(what)),
        };
        may_be_applied_over.map(|()| Some(existing))
    }
}
