//! Writes what differs from the plan: children are created, applied and deleted.

use std::sync::{Arc, Mutex, PoisonError};

use dask_operator_core::category::{Cause, Retry};
use dask_operator_core::memo::Answer;
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::plan::{ChildKey, ResourceKind};
use dask_operator_core::predecessor;
use futures::{StreamExt, stream};

use super::Reconciler;
use super::pace::{Account, Count, MOST_WRITES};
use super::room::Share;
use crate::changes::Change;
use crate::errors::WriteError;
use crate::kinds::Kind;
use crate::object::Object;
use crate::routes::ParentKey;
use crate::threads::Load;
use crate::writes::Precondition;
use crate::written::{Failures, Written, Wrote};

impl Reconciler {
    /// Writes all changes, many at once. One that fails does not stop the others,
    /// unless all of its kind would fail likewise. `wanted` is how many children the plan has; `share` is the room in memory that
    /// the changes have: that of the texts of a thousand pods is given back as they are made, the rest after the last one.
    pub(super) async fn write_children(
        &self,
        key: &ParentKey,
        parent: &Parent,
        account: &Account,
        wanted: usize,
        to_do: Vec<Change>,
        mut share: Share,
    ) -> Written {
        let mut written = Written::default();
        let failures = Mutex::new(Failures::default());
        let failures = || failures.lock().unwrap_or_else(PoisonError::into_inner);
        let results = stream::iter(to_do).map(async |change| {
            let kind = change.kind().clone();
            let creates = matches!(change, Change::Create(..));
            let bytes = change.text_bytes();
            if creates && failures().are_hopeless(&kind) {
                return (bytes, None);
            }
            let result = self.write_child(key, parent, account, wanted, change).await;
            match &result {
                Err(error) => failures().add(kind, error.cause),
                Ok(Wrote::Withheld(_)) if creates => failures().withhold(kind),
                Ok(_) => {}
            }
            (bytes, Some(result))
        });
        let mut results = std::pin::pin!(results.buffer_unordered(self.writes.in_flight()));
        while let Some((bytes, result)) = results.next().await {
            share.reduce(share.bytes().saturating_sub(bytes));
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
        account: &Account,
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
        let kind = change.kind().kind.clone();
        let write = Count {
            id,
            most,
            kind: &kind,
        };
        if let Err(wait) = self.admit(account, &write) {
            return Ok(Wrote::Withheld(wait));
        }
        let sent = self.send_child(key, parent, change).await;
        if let Err(error) = &sent
            && error.retry() != Retry::Soon
        {
            self.take_back(account, &write);
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
                        self.holder(&kind, &child, parent).await?;
                        return Err(error);
                    }
                    created => created?,
                };
                if let Some(store) = store(&child.kind) {
                    store.wrote(created);
                }
            }
            Change::Apply(child, object, over) => {
                let kind = known(&child.kind);
                let over = match over {
                    Some(over) => Some(over),
                    None => self.holder(&kind, &child, parent).await?,
                };
                let precondition = over.as_ref().map_or(Precondition::Absent, |over| {
                    Precondition::Version(&over.resource_version)
                });
                let applied = self
                    .writes
                    .apply(&kind, &key.namespace, &object, precondition)
                    .await;
                let (answer, applied) = match applied {
                    Err(error) if over.is_none() && matches!(error.cause, Cause::Stale | Cause::Taken) => {
                        // Somebody has made one since: says whose it is.
                        self.holder(&kind, &child, parent).await?;
                        return Err(error);
                    }
                    applied => applied?,
                };
                let uid = applied.uid.clone();
                let made = move || Answer::of(&object, &answer);
                let made = self.aside.run(&key.namespace, Load::Light, made).await;
                self.memory.lock().answers.keep(&uid, made);
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

    /// Looks who has the name of a child that was not observed: nobody, or an object that is a child all the same and may be
    /// applied over. An error where somebody else has, who would lose the object if it became a child.
    async fn holder(
        &self,
        kind: &Kind,
        child: &ChildKey,
        parent: &Parent,
    ) -> Result<Option<Arc<Object>>, WriteError> {
        let stored = self
            .stores
            .of(&child.kind)
            .and_then(|store| store.get(&parent.namespace, &child.name));
        // A watch shows only what has a label.
        let holder = match stored {
            Some(holder) => holder,
            None => match self.writes.look(kind, &parent.namespace, &child.name).await? {
                Some(holder) => Arc::new(holder),
                None => return Ok(None),
            },
        };
        let what = format!("apply {child}");
        let may_be_applied_over = match holder.controller() {
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
            // It is waited for, as one that was observed is.
            _ if holder.is_child_of(&child.kind, parent) && holder.terminating => {
                Err(WriteError::overtaken(what))
            }
            _ if holder.is_child_of(&child.kind, parent) => Ok(()),
            _ => Err(WriteError::made_by_another(what)),
        };
        may_be_applied_over.map(|()| Some(holder))
    }
}
