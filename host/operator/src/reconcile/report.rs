//! What is said of a resource: its status, and events.

use std::sync::Arc;

use dask_operator_core::category::Retry;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::{Condition, Event};
use dask_operator_core::status;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::warn;

use super::{Outcome, Reconciler};
use crate::errors::WriteError;
use crate::kinds::Kind;
use crate::object::Object;
use crate::routes::ParentKey;
use crate::threads::Load;
use crate::trouble::{HOST_CONDITIONS, Trouble};
use crate::written::{Written, Wrote};

/// What a plan says of a resource, and what came of it.
pub(super) struct Said {
    /// The status without conditions.
    pub(super) status: Map<String, Value>,
    /// The plan's conditions.
    pub(super) conditions: Vec<Condition>,
    /// The plan's events.
    pub(super) events: Vec<Event>,
    /// What is wrong.
    pub(super) troubles: Vec<Trouble>,
}

/// What shall be said of a resource, and what is said already.
pub(super) struct Report {
    /// The whole status as it shall be.
    wanted: Value,
    /// The one that is there, or is only remembered.
    before: Value,
    /// Whether both say the same.
    is_same: bool,
    /// What people are told.
    events: Vec<Event>,
}

impl Report {
    /// Of a plan that was carried out. What is wrong and is news comes before the plan's events.
    pub(super) fn of_plan(kind: DaskKind, object: &Object, said: Said) -> Self {
        let value = object.without_spec();
        let mut conditions = said.conditions;
        conditions.extend(said.troubles.iter().map(Trouble::as_condition));
        let wanted = status::desired(&said.status, &conditions, &value, &now());
        let mut report = Self::new(kind, value, wanted, &said.troubles);
        report.events.extend(said.events);
        report
    }

    /// Of a resource for which there is no plan: all else stays as it is.
    pub(super) fn of_trouble(kind: DaskKind, object: &Object, trouble: Trouble) -> Self {
        let value = object.without_spec();
        let wanted = status::with_condition(&value, &HOST_CONDITIONS, &trouble.as_condition(), &now());
        Self::new(kind, value, wanted, &[trouble])
    }

    fn new(kind: DaskKind, mut value: Value, mut wanted: Value, troubles: &[Trouble]) -> Self {
        if troubles.iter().any(|trouble| trouble.is_fatal) && has_phase(kind) {
            wanted["phase"] = "Error".into();
        }
        let news = troubles.iter().filter(|trouble| !trouble.stands_in(&value));
        let events = news.map(Trouble::as_event).collect();
        let before = value["status"].take();
        Self {
            is_same: status::same(&wanted, &before),
            wanted,
            before,
            events,
        }
    }
}

/// The time, as it stands in conditions.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Kinds whose status has a `phase`.
fn has_phase(kind: DaskKind) -> bool {
    matches!(kind, DaskKind::Cluster | DaskKind::WorkerGroup)
}

impl Reconciler {
    /// There is no plan: nothing is deleted or scaled, and the resource says why.
    pub(super) async fn fail_static(
        &self,
        key: &ParentKey,
        object: &Arc<Object>,
        trouble: Trouble,
    ) -> Outcome {
        warn!(
            reason = trouble.reason,
            "{}: {}", trouble.condition, trouble.message
        );
        let retry = trouble.retry;
        let report = {
            let (kind, object, text) = (key.kind, object.clone(), object.json.len());
            self.aside
                .run(&key.namespace, Load::of(text), move || {
                    Report::of_trouble(kind, &object, trouble)
                })
                .await
        };
        // What has to be said is said soon, even if nothing can be done about it.
        let unsaid = match self.write_status(key, object, &report).await {
            Ok((Wrote::Done, _)) => {
                self.tell(key, object, &report.events).await;
                None
            }
            Ok((Wrote::Withheld(wait), _)) => Some(Retry::After(wait)),
            Ok(_) => None,
            Err(error) => {
                warn!("{error}");
                Some(error.retry())
            }
        };
        let unsaid = unsaid.filter(|_| retry == Retry::OnChange);
        Outcome::Failed(unsaid.unwrap_or(retry), None)
    }

    /// Says what came of a plan. Gives the object as it is then.
    pub(super) async fn say(
        &self,
        key: &ParentKey,
        object: Arc<Object>,
        said: Said,
        written: &mut Written,
    ) -> Arc<Object> {
        let report = {
            let (kind, object, text) = (key.kind, object.clone(), object.json.len());
            self.aside
                .run(&key.namespace, Load::of(text), move || {
                    Report::of_plan(kind, &object, said)
                })
                .await
        };
        match self.write_status(key, &object, &report).await {
            Ok((Wrote::Done | Wrote::Nothing, newer)) => {
                self.tell(key, &object, &report.events).await;
                return newer.map_or(object, Arc::new);
            }
            Ok((withheld @ Wrote::Withheld(_), _)) => {
                self.keep(key, &object, report, written).await;
                written.add(withheld);
            }
            Err(error) => {
                self.keep(key, &object, report, written).await;
                written.errors.push(error);
            }
        }
        object
    }

    /// Keeps a status that could not be written, where something was done that it tells of, and tells people of it: it is sure
    /// then that the same will not be planned again from the same status.
    async fn keep(&self, key: &ParentKey, object: &Object, report: Report, written: &Written) {
        if written.done == 0 {
            return;
        }
        let Report {
            wanted,
            before,
            events,
            ..
        } = report;
        self.memory.lock().unwritten.keep(&object.uid, wanted, before);
        self.tell(key, object, &events).await;
    }

    /// Tells people, though not more than they read.
    async fn tell(&self, key: &ParentKey, object: &Object, events: &[Event]) {
        for event in events {
            if !self.may_tell(object) || !self.events.publish(key, object, event).await {
                break;
            }
        }
    }

    /// Writes the status if it says something else than the one that is there, or only that is remembered. Gives the object as
    /// it is then, if it was written.
    async fn write_status(
        &self,
        key: &ParentKey,
        object: &Object,
        report: &Report,
    ) -> Result<(Wrote, Option<Object>), WriteError> {
        let is_unwritten = self.memory.lock().unwritten.has(&object.uid);
        if !is_unwritten && report.is_same {
            return Ok((Wrote::Nothing, None));
        }
        if let Err(wait) = self.admit_status(object, key.kind) {
            return Ok((Wrote::Withheld(wait), None));
        }
        let kind = Kind::dask(key.kind);
        let written = self.writes.apply_status(&kind, object, &report.wanted).await?;
        self.memory.lock().unwritten.forget(&object.uid);
        if let Some(store) = self.stores.of(&kind.resource) {
            store.wrote(written.clone());
        }
        Ok((Wrote::Done, Some(written)))
    }
}
