//! Scales worker groups. Sends requests to the API server.

use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::Scale;
use tracing::info;

use super::Applier;
use crate::client::error::WriteError;
use crate::client::resource::ResourceType;
use crate::key::ParentKey;
use crate::reconcile::observed::Observed;
use crate::reconcile::outcome::WriteOutcome;
use crate::reconcile::write_budget::{MAX_WRITES, TotalLimit, WriteLimit};
use crate::threads::Weight;

impl Applier {
    /// Scales a worker group, unless its number of replicas has changed since the observation on which the plan is
    /// based: a user has set the number meanwhile.
    pub(super) async fn scale(
        &self,
        observed: &Observed,
        total: &TotalLimit,
        scale: &Scale,
    ) -> Result<WriteOutcome, WriteError> {
        let (group, replicas) = (scale.worker_group.as_str(), scale.replicas);
        let key = ParentKey::new(DaskKind::WorkerGroup, &observed.parent.namespace, group);
        let Some(object) = self.stores.parent(&key) else {
            return Ok(WriteOutcome::Unneeded);
        };
        let (now, then) = (object.clone(), observed.worker_group(group).cloned());
        let numbers = move || (now.replicas(), then.map(|then| then.replicas()));
        let (before, seen) = self.blocking.run(&key.namespace, Weight::Light, numbers).await;
        if before == replicas {
            return Ok(WriteOutcome::Unneeded);
        }
        if seen.is_some_and(|seen| seen != before) {
            return Err(WriteError::overtaken(format!("scale {group} to {replicas}")));
        }
        let write = WriteLimit {
            id: format!("{} scales", object.uid),
            most: MAX_WRITES,
            kind: key.kind.kind(),
        };
        if let Err(wait) = self.budget.admit(total, &write) {
            return Ok(WriteOutcome::Withheld(wait));
        }
        info!(group, replicas, %before, "scaling");
        self.writer
            .scale(&ResourceType::dask(DaskKind::WorkerGroup), &object, replicas)
            .await?;
        Ok(WriteOutcome::Done)
    }
}
