//! Sets the owner of the parent, and deletes the parent. Sends requests to the API server.

use std::sync::Arc;

use dask_operator_core::api_error::ErrorClass;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::Owner;
use serde_json::json;
use tracing::info;

use super::Applier;
use crate::client::error::WriteError;
use crate::client::object::{Object, OwnerReference};
use crate::client::resource::ResourceType;
use crate::key::ParentKey;
use crate::reconcile::outcome::{ApplySummary, Reported, WriteOutcome};
use crate::reconcile::write_budget::{MAX_WRITES, TotalLimit, WriteLimit};

impl Applier {
    /// Adds `owner` to the owners of the parent. Returns the newest version of the parent.
    pub(super) async fn adopt(
        &self,
        key: &ParentKey,
        total: &TotalLimit,
        object: Arc<Object>,
        owner: &Owner,
        summary: &mut ApplySummary,
    ) -> Arc<Object> {
        // Only a cluster can be the owner that a plan sets: the gate checks that.
        let is_known = |known: &OwnerReference| known.names(DaskKind::Cluster, &owner.name, &owner.uid);
        if object.owners.iter().any(is_known) {
            return object;
        }
        let write = WriteLimit {
            id: format!("{} is owned", object.uid),
            most: MAX_WRITES,
            kind: key.kind.kind(),
        };
        if let Err(wait) = self.budget.admit(total, &write) {
            summary.add(Ok(WriteOutcome::Withheld(wait)));
            return object;
        }
        match self.write_owner(key, &object, owner).await {
            Ok(adopted) => {
                summary.add(Ok(WriteOutcome::Done));
                Arc::new(adopted)
            }
            Err(error) => {
                summary.add(Err(error));
                object
            }
        }
    }

    async fn write_owner(
        &self,
        key: &ParentKey,
        object: &Object,
        owner: &Owner,
    ) -> Result<Object, WriteError> {
        let kind = ResourceType::dask(key.kind);
        let what = format!("set the owner of {} {}", kind.resource.kind, object.name);
        let cluster = ParentKey::new(DaskKind::Cluster, &object.namespace, &owner.name);
        self.check_owner(&cluster, &owner.uid, what).await?;
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
        let adopted = self
            .writer
            .merge_metadata(&kind, object, json!({"ownerReferences": owners}))
            .await?;
        if let Some(store) = self.stores.of(&kind.resource) {
            store.record_write(adopted.clone());
        }
        Ok(adopted)
    }

    /// Checks with a request to the API server that the Dask resource `owner` exists with this uid and is not being deleted,
    /// before it becomes the owner of an existing object. The informer cache may lag behind and still contain a deleted
    /// resource: with that as owner, garbage collection would delete the object. `what` describes the write.
    ///
    /// # Errors
    ///
    /// Returns an error of class [`ErrorClass::Stale`] if the resource is gone or being deleted, and the error of the
    /// request if it fails.
    pub(super) async fn check_owner(
        &self,
        owner: &ParentKey,
        uid: &str,
        what: String,
    ) -> Result<(), WriteError> {
        let kind = ResourceType::dask(owner.kind);
        match self.writer.find(&kind, &owner.namespace, &owner.name).await? {
            Some(found) if *found.uid == *uid && !found.terminating => Ok(()),
            _ => Err(WriteError::owner_gone(what, owner, uid)),
        }
    }

    /// Deletes the parent if the plan requests it and all other writes have succeeded. Returns whether it was deleted; an
    /// error is added to the results of the writes.
    pub(crate) async fn delete_parent(&self, key: &ParentKey, reported: &mut Reported) -> bool {
        let Some(why) = &reported.delete_parent else {
            return false;
        };
        if !reported.summary.errors.is_empty() {
            return false;
        }
        info!("deleting the resource: {why}");
        // A user may just have changed the parent, so it is deleted only if it has not changed since the decision.
        let (kind, object) = (ResourceType::dask(key.kind), &reported.object);
        match self
            .writer
            .delete(&kind, object, Some(&object.resource_version))
            .await
        {
            Err(error) if error.class != ErrorClass::Gone => {
                reported.summary.add(Err(error));
                false
            }
            _ => {
                if let Some(store) = self.stores.of(&kind.resource) {
                    store.mark_deleted(object);
                }
                true
            }
        }
    }
}
