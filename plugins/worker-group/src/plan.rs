//! Which workers a group shall have.

use std::collections::HashSet;

use dask_operator_plugin::dask::metadata::{self, Metadata};
use dask_operator_plugin::dask::names::WorkerNames;
use dask_operator_plugin::dask::resource::{MOST_WORKERS, Resource};
use dask_operator_plugin::dask::{defaults, kinds, scheduler, time};
use dask_operator_plugin::prelude::*;
use dask_operator_plugin::{WorkerGroup, log};

use crate::census::{Census, Worker};
use crate::conditions::{self, WORKERS_READY};
use crate::departures::{Departures, How, Why};
use crate::drain::Drain;
use crate::notices::Notices;
use crate::roster::Scheduler;
use crate::silence::Silence;
use crate::template::{self, Template};
use crate::wanted::Wanted;
use crate::{DefaultWorkerGroup, Settings, events, rollout, validate};

/// No worker runs, because somebody wants it so.
const SUSPENDED: &str = "Suspended";

/// How long to wait for a cluster that does not exist.
pub(crate) const LOOK_AGAIN: u64 = 30_000;
/// The shortest time between two batches, where no delay is set.
const NEXT_BATCH: u64 = 1000;
/// Bytes of new workers in a plan. A group of 10,000 large pods is more than a component may answer at once.
const PORTION: usize = 32 << 20;

/// Plans a `DaskWorkerGroup`.
pub(crate) fn worker_group(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
    let group = <DefaultWorkerGroup as Logic<WorkerGroup>>::default(observation.parent_json()?, settings)?;
    let findings = validate::worker_group(&group, None);
    let questionable = Condition::questionable(&findings);
    Error::if_invalid(findings)?;
    let group = Resource::of(&group);
    let scheduler = Scheduler::of(observation);
    let notices = Notices::of(observation, &group.spec["worker"]["spec"], &settings.drain_taints)?;
    let hash = template::hash(&group);
    let census = Census::of(observation, scheduler, &notices, &hash, group.status)?;
    let cluster_name = group.spec["cluster"].as_str().unwrap_or_default();
    let mut plan = match observation.related_object(&kinds::cluster(), cluster_name) {
        None => {
            let message = format!(
                "there is no DaskCluster {cluster_name} in namespace {}",
                group.namespace
            );
            as_it_is(&group, &census, "ClusterNotFound", message, observation)
        }
        Some(cluster) if cluster.terminating => {
            let message = format!("DaskCluster {cluster_name} is being deleted");
            as_it_is(&group, &census, "ClusterTerminating", message, observation)
        }
        Some(observed) => {
            let mut cluster: Value = observed.read()?;
            let image = settings.default_image.as_deref();
            defaults::cluster_spec(&mut cluster["spec"], cluster_name, image);
            let cluster = Resource::of(&cluster);
            let plan = match cluster.spec["suspend"].as_bool() {
                Some(true) => suspended(&group, &cluster, &census),
                _ => workers(&group, &cluster, census, scheduler, observation, settings),
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

/// Without a cluster nothing is created and nothing is taken.
fn as_it_is(
    group: &Resource<'_>,
    census: &Census<'_>,
    reason: &str,
    message: String,
    observation: &Observation,
) -> Plan {
    let everything = observation.children.iter().flat_map(|kind| &kind.objects);
    Plan {
        children: everything.map(DesiredChild::keep).collect(),
        status: status(group, census, None, None),
        conditions: vec![Condition::new(
            WORKERS_READY,
            ConditionStatus::False,
            reason,
            message,
        )],
        requeue_after: Some(LOOK_AGAIN),
        ..Plan::default()
    }
}

/// The workers of a group in its cluster, both after defaulting.
fn workers<'a>(
    group: &Resource<'_>,
    cluster: &Resource<'_>,
    mut census: Census<'a>,
    scheduler: Scheduler<'a>,
    observation: &'a Observation,
    settings: &Settings,
) -> Plan {
    let now = observation.now;
    let wanted = Wanted::of(group, cluster, scheduler, now);
    if let Some(takers) = wanted.takers(&census, scheduler) {
        census.call_back(&takers);
    }
    let census = &census;
    let drain = Drain::of(census, &wanted, scheduler, now);
    let departures = Departures::of(census, &wanted, scheduler, drain.replaced);
    let missing = missing(census, &departures, &drain, &wanted);
    let template = (missing > 0).then(|| Template::of(group, cluster, settings, &wanted));
    let portion = template.as_ref().map_or(0, |template| PORTION / template.size());
    let gone: HashSet<&str> = departures
        .all
        .iter()
        .map(|(worker, _, _)| worker.name())
        .collect();
    let metadata = template::changeable_metadata(group, cluster, settings);
    let staying = census
        .workers
        .iter()
        .filter(|worker| !gone.contains(worker.name()))
        .map(|worker| worker.kept_with(&metadata));
    let leaving = drain.staying.iter().map(|worker| worker.observed);
    let terminating = census.terminating.iter().map(|terminating| terminating.observed);
    let resting = census.resting().map(|lost| lost.observed);
    let others = leaving.chain(terminating).chain(resting);
    let mut children: Vec<DesiredChild> = staying.chain(others.map(DesiredChild::keep)).collect();
    let mark = json!({"metadata": marked(metadata, now).to_json()});
    children.extend(
        departures
            .by(How::Marked)
            .map(|worker| DesiredChild::apply(worker.observed.key.clone(), &mark)),
    );
    let room = MOST_WORKERS.saturating_sub(children.len());
    let batch = Batch::of(missing.min(room), portion, census, now, settings);
    if let Some(template) = template.filter(|_| batch.size > 0) {
        let names = WorkerNames::new(group.name, observation.seed, names_taken(observation));
        children.extend(names.take(batch.size).map(|name| template.worker(name)));
        log::debug(format!("{} workers are created", batch.size));
    }

    let mut conditions = vec![conditions::workers_ready(group, census, wanted.replicas, missing)];
    conditions.extend(conditions::scale_down_blocked(
        group,
        &departures,
        &drain,
        scheduler,
        &wanted,
    ));
    conditions.extend(conditions::workers_up_to_date(
        group,
        census,
        &departures,
        &drain,
        &wanted,
        scheduler,
    ));
    let events = events::of(group, census, &departures, &drain, &conditions, &wanted);
    let resting = census.resting().next().is_some();
    let rest = census.rests_until.filter(|_| resting);
    let rest = rest.and_then(|until| u64::try_from(until - now).ok());
    let late = census
        .look_again_at
        .and_then(|time| u64::try_from(time - now).ok());
    let asks = asks(census, &departures, &wanted);
    let silence = wanted.silence.filter(|_| asks);
    let gives_up_in = silence
        .map(Silence::ends)
        .and_then(|end| u64::try_from(end - now).ok().filter(|rest| *rest > 0));
    Plan {
        children,
        status: status(group, census, Some(&wanted), silence),
        conditions,
        events,
        requeue_after: [
            batch.again,
            drain.look_again,
            asks.then_some(look_again(&departures, scheduler)).flatten(),
            wanted.restart_at.and_then(|time| u64::try_from(time - now).ok()),
            gives_up_in,
            rest,
            late,
        ]
        .into_iter()
        .flatten()
        .min(),
        scheduler: asks.then(|| SchedulerRequest {
            retire: drain.retire,
            ..scheduler::request(cluster.spec, &[SchedulerQuestion::Workers], scheduler::SOON)
        }),
        ..Plan::default()
    }
}

/// Labels and annotations of a worker that is told to leave. With what an earlier apply put on it: what an apply leaves out is
/// taken off.
fn marked(mut metadata: Metadata, now: Timestamp) -> Metadata {
    metadata
        .annotations
        .insert(metadata::RETIRING_SINCE.to_owned(), time::format_exactly(now));
    metadata
}

/// How many workers are to be created. Who was told to leave, and who is about to lose its node, does not count; who
/// is lost, or deleted for being outdated, holds its place until it is gone. Who leaves for being outdated holds it, too,
/// unless it takes another worker to let it go.
fn missing(
    census: &Census<'_>,
    departures: &Departures<'_, '_>,
    drain: &Drain<'_, '_>,
    wanted: &Wanted,
) -> usize {
    let holds_place = |(_, how, why): &&(&Worker<'_>, How, Why)| *why == Why::Outdated && *how != How::Marked;
    let going = departures.all.len() - departures.all.iter().filter(holds_place).count();
    let counted = census.workers.len() + census.lost.len() - going;
    let marked = departures
        .all
        .iter()
        .filter(|(_, how, why)| *why == Why::Outdated && *how == How::Marked);
    let marked = marked.count();
    let outgoing = drain
        .staying
        .iter()
        .filter(|worker| wanted.is_outgoing(worker))
        .count()
        - drain.replaced;
    let room = rollout::room(wanted, counted, outgoing + marked);
    let most = wanted.most(departures.outdated - departures.count(Why::Outdated)) + departures.successors;
    most.saturating_sub(counted).min(room)
}

/// Whether the scheduler has something to say: somebody leaves, or shall.
fn asks(census: &Census<'_>, departures: &Departures<'_, '_>, wanted: &Wanted) -> bool {
    let rolls = wanted.rolls() && departures.outdated > 0;
    let waits = !departures.waiting.is_empty();
    let marked = departures.by(How::Marked).next().is_some();
    let terminating = census
        .terminating
        .iter()
        .any(|terminating| terminating.may_hold_data);
    departures.held > 0 || waits || marked || rolls || terminating || !census.leaving.is_empty()
}

/// When to look again, beside when something changes.
fn look_again(departures: &Departures<'_, '_>, scheduler: Scheduler<'_>) -> Option<u64> {
    match scheduler {
        Scheduler::Known(_) => departures.by(How::Marked).next().map(|_| scheduler::SOON),
        Scheduler::NotAsked | Scheduler::Unreachable(_) => Some(scheduler::NOW_AND_THEN),
    }
}

/// Of a cluster that is suspended all workers go at once: nobody needs what they hold.
fn suspended(group: &Resource<'_>, cluster: &Resource<'_>, census: &Census<'_>) -> Plan {
    let message = format!("DaskCluster {} is suspended: no worker runs", cluster.name);
    let mut events = Vec::new();
    if conditions::reason(group, WORKERS_READY) != Some(SUSPENDED) {
        events.push(Event::normal(SUSPENDED, message.clone()));
    }
    let terminating = census.terminating.iter().map(|terminating| terminating.observed);
    Plan {
        children: terminating.map(DesiredChild::keep).collect(),
        status: status(group, census, None, None),
        conditions: vec![Condition::new(
            WORKERS_READY,
            ConditionStatus::False,
            SUSPENDED,
            message,
        )],
        events,
        ..Plan::default()
    }
}

/// How many workers are created now, and when to ask again for the rest.
struct Batch {
    size: usize,
    again: Option<u64>,
}

impl Batch {
    /// Of the missing workers as many as the settings allow, and no more than a plan takes: a portion.
    fn of(missing: usize, portion: usize, census: &Census<'_>, now: Timestamp, settings: &Settings) -> Self {
        let limit = settings
            .batch_size
            .filter(|limit| *limit > 0)
            .map_or(usize::MAX, |limit| limit as usize);
        let delay = i64::from(settings.delay.unwrap_or(0)) * 1000;
        let due = census.newest().map_or(now, |newest| newest + delay);
        let again = u64::try_from(delay).unwrap_or(0).max(NEXT_BATCH);
        match missing {
            0 => Self { size: 0, again: None },
            // Nobody who set no batch size asked for a pause.
            _ if limit != usize::MAX && due > now => Self {
                size: 0,
                again: u64::try_from(due - now).ok(),
            },
            _ if missing > limit.min(portion.max(1)) => Self {
                size: limit.min(portion.max(1)),
                again: Some(again),
            },
            _ => Self {
                size: missing,
                again: None,
            },
        }
    }
}

/// Names that no new worker can have: those of all that exist, in whatever state, and those that the scheduler knows.
fn names_taken(observation: &Observation) -> impl Iterator<Item = &str> {
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
    census: &Census<'_>,
    wanted: Option<&Wanted>,
    silence: Option<Silence>,
) -> String {
    let cluster = group.spec["cluster"].as_str().unwrap_or_default();
    let mut status = json!({
        "replicas": census.workers.len(),
        "readyReplicas": census.ready(),
        "selector": metadata::selector(&metadata::worker_labels(cluster, group.name)),
    });
    if let Some(wanted) = wanted {
        let updated = census.workers.iter().filter(|worker| !wanted.is_outdated(worker));
        status["updatedReplicas"] = json!(updated.count());
    }
    if let Some(silence) = silence {
        silence.write(&mut status);
    }
    if let Some(backoff) = &census.backoff {
        backoff.write(&mut status);
    }
    if !census.leaving.is_empty() {
        status["retiringReplicas"] = json!(census.leaving.len());
    }
    if let Some(generation) = group.generation() {
        status["observedGeneration"] = json!(generation);
    }
    json_text(&status)
}
