//! The plan of a worker group: its workers, status, conditions and events.

use std::collections::HashSet;

use dask_operator_plugin::dask::conditions::{SpecQuestionable, WorkersReady};
use dask_operator_plugin::dask::metadata::{self, Metadata};
use dask_operator_plugin::dask::names::WorkerNames;
use dask_operator_plugin::dask::resource::{MOST_WORKERS, Resource};
use dask_operator_plugin::dask::{defaults, fields, kinds, scheduler, time};
use dask_operator_plugin::prelude::*;
use dask_operator_plugin::{WorkerGroup, log};

use crate::conditions;
use crate::desired::{self, Desired};
use crate::disruptions::Disruptions;
use crate::drain::Drain;
use crate::observed::{ObservedWorkers, Worker};
use crate::registration::Scheduler;
use crate::removals::{RemovalMode, RemovalReason, Removals};
use crate::silence::Outage;
use crate::template::{self, Template};
use crate::{DefaultWorkerGroup, Settings, events, rollout, validate};

/// Milliseconds until the next reconcile of a group without a cluster.
pub(crate) const CLUSTER_RETRY: u64 = 30_000;
/// Minimum milliseconds between two batches.
const MIN_BATCH_DELAY: u64 = 1000;

/// Plans a `DaskWorkerGroup`.
///
/// # Errors
///
/// Returns an error if the spec is invalid or an observed object can't be read.
pub(crate) fn worker_group(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
    let group = <DefaultWorkerGroup as Logic<WorkerGroup>>::default(observation.parent_json()?, settings)?;
    let findings = validate::worker_group(&group, None);
    let questionable = SpecQuestionable::of(&findings);
    Error::if_invalid(findings)?;
    let group = Resource::of(&group);
    let scheduler = Scheduler::of(observation);
    let disruptions = Disruptions::of(
        observation,
        &group.spec[fields::worker_group::WORKER][fields::template::SPEC],
        &settings.drain_taints,
    )?;
    let hash = desired::template_hash(&group);
    let observed_workers = ObservedWorkers::of(observation, scheduler, &disruptions, &hash, group.status)?;
    let cluster_name = group.spec[fields::worker_group::CLUSTER]
        .as_str()
        .unwrap_or_default();
    let mut plan = match observation.related_object(&kinds::cluster(), cluster_name) {
        None => {
            let message = format!(
                "there is no DaskCluster {cluster_name} in namespace {}",
                group.namespace
            );
            let reason = WorkersReady::ClusterNotFound;
            unchanged(&group, &observed_workers, reason, message, observation)
        }
        Some(cluster) if cluster.terminating => {
            let message = format!("DaskCluster {cluster_name} is being deleted");
            let reason = WorkersReady::ClusterTerminating;
            unchanged(&group, &observed_workers, reason, message, observation)
        }
        Some(observed) => {
            let mut cluster: Value = observed.read()?;
            let image = settings.default_image.as_deref();
            defaults::cluster_spec(&mut cluster["spec"], cluster_name, image);
            let cluster = Resource::of(&cluster);
            let plan = match cluster.spec[fields::cluster::SUSPEND].as_bool() {
                Some(true) => suspended(&group, &cluster, &observed_workers),
                _ => workers(
                    &group,
                    &cluster,
                    observed_workers,
                    scheduler,
                    observation,
                    settings,
                ),
            };
            let ChildKey {
                api_version,
                kind,
                name,
            } = observed.key.clone();
            Plan {
                owner: Some(Owner {
                    api_version,
                    kind,
                    name,
                    uid: observed.uid.clone(),
                }),
                ..plan
            }
        }
    };
    plan.conditions.extend(questionable);
    Ok(plan)
}

/// Returns a plan that changes nothing, for a group without a cluster.
fn unchanged(
    group: &Resource<'_>,
    observed_workers: &ObservedWorkers<'_>,
    reason: WorkersReady,
    message: String,
    observation: &Observation,
) -> Plan {
    let everything = observation.children.iter().flat_map(|kind| &kind.objects);
    Plan {
        children: everything.map(DesiredChild::keep).collect(),
        status: status(group, observed_workers, None, None),
        conditions: vec![reason.condition(ConditionStatus::False, message)],
        requeue_after: Some(CLUSTER_RETRY),
        ..Plan::default()
    }
}

/// Plans the workers of a group in its cluster, both after defaulting.
fn workers<'a>(
    group: &Resource<'_>,
    cluster: &Resource<'_>,
    mut observed_workers: ObservedWorkers<'a>,
    scheduler: Scheduler<'a>,
    observation: &'a Observation,
    settings: &Settings,
) -> Plan {
    let now = observation.now;
    let desired = Desired::of(group, cluster, scheduler, now);
    if let Some(recipients) = desired.recipients(&observed_workers, scheduler) {
        observed_workers.reinstate(|worker| recipients.are_missing_for(worker, false));
    }
    let observed_workers = &observed_workers;
    let drain = Drain::of(observed_workers, &desired, scheduler, now);
    let removals = Removals::of(observed_workers, &desired, scheduler, drain.replaced);
    let missing = missing(observed_workers, &removals, &drain, &desired);
    let departing: HashSet<&str> = removals.all.iter().map(|(worker, _, _)| worker.name()).collect();
    let metadata = template::changeable_metadata(group, cluster, settings);
    let staying = observed_workers
        .workers
        .iter()
        .filter(|worker| !departing.contains(worker.name()))
        .map(|worker| worker.kept_with(&metadata));
    let leaving = drain.staying.iter().map(|worker| worker.observed);
    let backing_off = observed_workers.backing_off().map(|lost| lost.observed);
    let others = leaving
        .chain(observed_workers.terminating_objects())
        .chain(backing_off);
    let mut children: Vec<DesiredChild> = staying.chain(others.map(DesiredChild::keep)).collect();
    let mark = json!({"metadata": marked(metadata, now).to_json()});
    children.extend(
        removals
            .by(RemovalMode::Marked)
            .map(|worker| DesiredChild::apply(worker.observed.key.clone(), &mark)),
    );
    let allowed = MOST_WORKERS.saturating_sub(children.len());
    let batch = Batch::of(missing.min(allowed), observed_workers, now, settings);
    if batch.size > 0 {
        let template = Template::of(group, cluster, settings, &desired);
        let names = WorkerNames::new(group.name, observation.seed, used_names(observation));
        template.add_workers(&mut children, batch.size, names);
        log::debug(format!("{} workers are created", batch.size));
    }

    let mut conditions = vec![conditions::workers_ready(
        group,
        observed_workers,
        desired.replicas,
        missing,
    )];
    conditions.extend(conditions::scale_down_blocked(
        group, &removals, &drain, scheduler, &desired,
    ));
    conditions.extend(conditions::workers_up_to_date(
        group,
        observed_workers,
        &removals,
        &drain,
        &desired,
        scheduler,
    ));
    let events = events::of(group, observed_workers, &removals, &drain, &conditions, &desired);
    let backing_off = observed_workers.backing_off().next().is_some();
    let rest = observed_workers.backoff_until.filter(|_| backing_off);
    let rest = rest.and_then(|until| u64::try_from(until - now).ok());
    let late = observed_workers
        .requeue_at
        .and_then(|time| u64::try_from(time - now).ok());
    let needs_query = needs_query(observed_workers, &removals, &desired);
    let outage = desired.outage.filter(|_| needs_query);
    let outage_ends_in = outage
        .map(Outage::ends)
        .and_then(|end| u64::try_from(end - now).ok().filter(|rest| *rest > 0));
    Plan {
        children,
        status: status(group, observed_workers, Some(&desired), outage),
        conditions,
        events,
        requeue_after: [
            batch.next,
            drain.requeue_after,
            needs_query
                .then_some(requeue_after(&removals, scheduler))
                .flatten(),
            desired.restart_at.and_then(|time| u64::try_from(time - now).ok()),
            outage_ends_in,
            rest,
            late,
        ]
        .into_iter()
        .flatten()
        .min(),
        scheduler: needs_query.then(|| SchedulerRequest {
            retire: drain.retire,
            ..scheduler::request(cluster.spec, &[SchedulerQuestion::Workers], scheduler::SOON)
        }),
        ..Plan::default()
    }
}

/// Returns the labels and annotations of a worker that is marked as retiring. They include all those of an earlier apply,
/// because server-side apply removes omitted fields.
fn marked(mut metadata: Metadata, now: Timestamp) -> Metadata {
    metadata.annotations.insert(
        metadata::ANNOTATION_RETIRING_SINCE.to_owned(),
        time::format_exactly(now),
    );
    metadata
}

/// Returns the number of workers to create. Retiring workers, and workers that are about to lose their node, do not count as
/// replicas. Lost workers, and outdated workers that are deleted, count until they are gone. Outdated workers that are
/// retiring count as well, unless they need a successor before they can leave.
fn missing(
    observed_workers: &ObservedWorkers<'_>,
    removals: &Removals<'_, '_>,
    drain: &Drain<'_, '_>,
    desired: &Desired,
) -> usize {
    let counts_until_gone = |(_, mode, reason): &&(&Worker<'_>, RemovalMode, RemovalReason)| {
        *reason == RemovalReason::Outdated && *mode != RemovalMode::Marked
    };
    let going = removals.all.len() - removals.all.iter().filter(counts_until_gone).count();
    let counted = observed_workers.workers.len() + observed_workers.lost.len() - going;
    let marked = removals
        .all
        .iter()
        .filter(|(_, mode, reason)| *reason == RemovalReason::Outdated && *mode == RemovalMode::Marked);
    let marked = marked.count();
    let outgoing = drain
        .staying
        .iter()
        .filter(|worker| desired.is_outgoing(worker))
        .count()
        - drain.replaced;
    let allowed = rollout::allowed(desired, counted, outgoing + marked);
    let max_workers = desired.max_workers(removals.outdated - removals.count(RemovalReason::Outdated))
        + removals.successors;
    max_workers.saturating_sub(counted).min(allowed)
}

/// Returns whether the scheduler must be queried, because workers are leaving or should leave.
fn needs_query(
    observed_workers: &ObservedWorkers<'_>,
    removals: &Removals<'_, '_>,
    desired: &Desired,
) -> bool {
    let is_rolling = desired.is_rolling() && removals.outdated > 0;
    let waits = !removals.waiting.is_empty();
    let marked = removals.by(RemovalMode::Marked).next().is_some();
    let terminating = observed_workers
        .terminating
        .iter()
        .any(|terminating| terminating.may_hold_data);
    removals.blocked > 0
        || waits
        || marked
        || is_rolling
        || terminating
        || !observed_workers.leaving.is_empty()
}

/// Returns the milliseconds until the next reconcile if no change triggers one earlier. `None` if time changes nothing.
fn requeue_after(removals: &Removals<'_, '_>, scheduler: Scheduler<'_>) -> Option<u64> {
    match scheduler {
        Scheduler::Known(_) => removals.by(RemovalMode::Marked).next().map(|_| scheduler::SOON),
        Scheduler::NotQueried | Scheduler::Unreachable(_) => Some(scheduler::NOW_AND_THEN),
    }
}

/// Plans a group whose cluster is suspended: all workers are deleted immediately, because their results are not needed.
fn suspended(group: &Resource<'_>, cluster: &Resource<'_>, observed_workers: &ObservedWorkers<'_>) -> Plan {
    let message = format!("DaskCluster {} is suspended: no worker runs", cluster.name);
    let mut events = Vec::new();
    let reason = WorkersReady::Suspended;
    if conditions::reason(group, WorkersReady::TYPE) != Some(reason.as_str()) {
        events.push(Event::normal(reason.as_str(), message.clone()));
    }
    Plan {
        children: observed_workers
            .terminating_objects()
            .map(DesiredChild::keep)
            .collect(),
        status: status(group, observed_workers, None, None),
        conditions: vec![reason.condition(ConditionStatus::False, message)],
        events,
        ..Plan::default()
    }
}

/// Number of workers to create now, and the milliseconds until the next batch.
struct Batch {
    size: usize,
    next: Option<u64>,
}

impl Batch {
    /// Limits the number of missing workers by the settings.
    fn of(
        missing: usize,
        observed_workers: &ObservedWorkers<'_>,
        now: Timestamp,
        settings: &Settings,
    ) -> Self {
        let limit = settings
            .batch_size
            .filter(|limit| *limit > 0)
            .map_or(usize::MAX, |limit| limit as usize);
        let delay = i64::from(settings.delay.unwrap_or(0)) * 1000;
        let due = observed_workers.newest().map_or(now, |newest| newest + delay);
        let next = u64::try_from(delay).unwrap_or(0).max(MIN_BATCH_DELAY);
        match missing {
            0 => Self { size: 0, next: None },
            // The delay applies only if a batch size is set.
            _ if limit != usize::MAX && due > now => Self {
                size: 0,
                next: u64::try_from(due - now).ok(),
            },
            _ if missing > limit => Self {
                size: limit,
                next: Some(next),
            },
            _ => Self {
                size: missing,
                next: None,
            },
        }
    }
}

/// Returns the names that new workers can't have: those of all existing workers, and those that the scheduler knows.
fn used_names(observation: &Observation) -> impl Iterator<Item = &str> {
    let objects = observation
        .children
        .iter()
        .flat_map(|kind| &kind.objects)
        .map(|object| object.key.name.as_str());
    let known = match &observation.scheduler {
        SchedulerState::Facts(facts) => facts.workers.as_slice(),
        SchedulerState::NotAsked | SchedulerState::Unreachable(_) => &[],
    };
    objects.chain(known.iter().map(|worker| worker.name.as_str()))
}

fn status(
    group: &Resource<'_>,
    observed_workers: &ObservedWorkers<'_>,
    desired: Option<&Desired>,
    outage: Option<Outage>,
) -> String {
    let cluster = group.spec[fields::worker_group::CLUSTER]
        .as_str()
        .unwrap_or_default();
    let mut status = json!({
        "replicas": observed_workers.workers.len(),
        "readyReplicas": observed_workers.ready(),
        "selector": metadata::selector(&metadata::worker_labels(cluster, group.name)),
    });
    if let Some(desired) = desired {
        let updated = observed_workers
            .workers
            .iter()
            .filter(|worker| !desired.is_outdated(worker));
        status["updatedReplicas"] = json!(updated.count());
    }
    if let Some(outage) = outage {
        outage.write(&mut status);
    }
    if let Some(backoff) = &observed_workers.backoff {
        backoff.write(&mut status);
    }
    if !observed_workers.leaving.is_empty() {
        status["retiringReplicas"] = json!(observed_workers.leaving.len());
    }
    if let Some(generation) = group.generation() {
        status["observedGeneration"] = json!(generation);
    }
    json_text(&status)
}
