//! The plan of a job: its children, status, conditions and events.
//!
//! Irreversible deletions (at the end of a job, at its suspension, of an idle cluster) are written to the status first. The
//! next plan sees the status and deletes the objects. Therefore nothing is lost if the operator restarts in between.

use dask_operator_plugin::dask::conditions::{ClusterIdle, SpecQuestionable, Suspended};
use dask_operator_plugin::dask::main_container;
use dask_operator_plugin::dask::pod::Pod;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::role::Role;
use dask_operator_plugin::dask::{fields, kinds, names, time};
use dask_operator_plugin::prelude::*;

use crate::attempts::{Attempts, Runner};
use crate::decision::{self, Decision, Limits};
use crate::phase::JobPhase;
use crate::report;
use crate::workers::Registered;
use crate::{DefaultJob, Settings, children, ended, idle, validate};

/// Milliseconds until the next reconcile while another pod, such as that of an earlier job, may have the runner's name.
const RUNNER_RETRY: u64 = 2000;

/// The observed state of a job, which does not require a valid spec.
struct JobState<'a> {
    /// The phase in the status.
    before: JobPhase,
    /// The counted starts. `None` before the first runner was seen.
    attempts: Option<Attempts>,
    /// The state of the runner.
    runner: Runner,
    /// The pod with the runner's name.
    observed_runner: Option<&'a ObservedObject>,
    /// The cluster.
    observed_cluster: Option<&'a ObservedObject>,
    /// The limits in the spec.
    limits: Limits,
    /// The consequence of the observed state.
    decision: Decision,
    /// The present phase.
    phase: JobPhase,
}

/// Plans a `DaskJob`.
///
/// # Errors
///
/// Returns an error if the spec is invalid or an observed object can't be read.
pub(crate) fn job(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
    let parent = observation.parent_json()?;
    if JobPhase::of(&parent["status"]).is_some_and(JobPhase::is_end) {
        // The end is final, even if the spec has become invalid since.
        return ended::job(observation, &Resource::of(&parent));
    }
    let state = JobState::of(observation, &Resource::of(&parent))?;
    if state.decision.is_end() {
        return Ok(state.plan_end(observation, &Resource::of(&parent)));
    }
    let job = <DefaultJob as Logic<Job>>::default(parent, settings)?;
    let findings = validate::job(&job, None);
    let questionable = SpecQuestionable::of(&findings);
    Error::if_invalid(findings)?;
    let job = Resource::of(&job);
    let mut plan = if state.decision == Decision::Suspended {
        state.suspended(&job)
    } else {
        state.plan_active(observation, &job, settings)?
    };
    plan.conditions.extend(questionable);
    Ok(plan)
}

impl<'a> JobState<'a> {
    fn of(observation: &'a Observation, job: &Resource<'_>) -> Result<Self, Error> {
        let observed_runner = observation.child(&kinds::pod(), &names::runner(job.name));
        let observed_cluster = observation.child(&kinds::cluster(), job.name);
        let before = JobPhase::of(job.status).unwrap_or(JobPhase::JobCreated);
        let pod_spec = &job.spec[fields::job::JOB][fields::template::SPEC];
        let main = main_container::name(pod_spec, Role::Runner);
        let policy = pod_spec["restartPolicy"].as_str().unwrap_or_default();
        let pod = observed_runner
            .map(Pod::of)
            .transpose()?
            .map(|pod| pod.without_sidecars(main, policy));
        let (mut attempts, runner) = Attempts::count(job.status, before, pod);
        let limits = Limits::of(job.spec, report::active_since(job, observation.now));
        let decision = Decision::of(before, &limits, attempts.as_ref(), &runner, observation.now);
        if let (Decision::Retry(_), Some(attempts), Some(pod)) = (&decision, &mut attempts, runner.pod()) {
            attempts.record_failure(job.status, pod, observation.now);
        }
        let phase = decision.phase(before, &runner, observed_cluster.is_some());
        Ok(Self {
            before,
            attempts,
            runner,
            observed_runner,
            observed_cluster,
            limits,
            decision,
            phase,
        })
    }

    /// Returns all existing children unchanged.
    fn existing_children(&self) -> Vec<DesiredChild> {
        [self.observed_cluster, self.observed_runner]
            .into_iter()
            .flatten()
            .map(DesiredChild::keep)
            .collect()
    }

    /// Returns the time at which the code started.
    fn start(&self, job: &Resource<'_>, now: Timestamp) -> Option<Timestamp> {
        let written = job.status["startTime"].as_str().and_then(time::parse);
        written.or_else(|| match self.runner.pod()? {
            pod if pod.is_over() => pod.started().or(pod.created),
            pod if pod.phase() == "Running" => pod.started().or(Some(now)),
            _ => None,
        })
    }

    /// Plans the end of the job. The next plan deletes its children.
    fn plan_end(&self, observation: &Observation, job: &Resource<'_>) -> Plan {
        let now = observation.now;
        let over = self.runner.pod().filter(|pod| pod.is_over());
        let end = over.and_then(Pod::finished).unwrap_or(now);
        let start = self.start(job, now);
        let name = names::runner(job.name);
        Plan {
            children: self.existing_children(),
            status: decision::status(self.phase, job.name, &name, start, Some(end)).to_string(),
            events: vec![report::ended(
                &self.decision,
                ended::keeps_cluster(job, self.phase),
            )],
            ..Plan::default()
        }
    }

    /// Plans a suspended job: its children are deleted once the status reports the suspension, and the attempts start again
    /// after the resumption.
    fn suspended(&self, job: &Resource<'_>) -> Plan {
        let is_reported = job.condition_holds(Suspended::TYPE);
        let runner_name = names::runner(job.name);
        let mut status = decision::status(self.phase, job.name, &runner_name, None, None);
        status["attempts"] = Attempts::default().to_json();
        let event = Event::normal(
            "JobSuspended",
            "the job is suspended, its runner and its cluster are deleted",
        );
        Plan {
            children: if is_reported {
                Vec::new()
            } else {
                self.existing_children()
            },
            status: status.to_string(),
            conditions: vec![report::suspended(true), report::runner_is_suspended()],
            events: if is_reported { Vec::new() } else { vec![event] },
            ..Plan::default()
        }
    }

    /// Plans a job that has not ended.
    fn plan_active(
        mut self,
        observation: &Observation,
        job: &Resource<'_>,
        settings: &Settings,
    ) -> Result<Plan, Error> {
        let now = observation.now;
        let runner_name = names::runner(job.name);
        let idle = idle::Idle::of(self.observed_cluster, self.attempts.as_ref(), &self.runner, now)?;
        let mut events = self.events(job);
        if let (idle::Idle::Now(_), Some(attempts)) = (&idle, &mut self.attempts) {
            attempts.mark_cluster_deleted();
            if !job.condition_holds(ClusterIdle::TYPE) {
                events.push(report::cluster_idle_event());
            }
        }
        let registered = Registered::of(observation, job);
        let starts = self.decision == Decision::Start;
        let rest = self
            .attempts
            .as_ref()
            .and_then(|attempts| attempts.backoff_until(now))
            .filter(|_| starts);
        let to_next = rest.and_then(|(until, _)| u64::try_from(until - now).ok());
        let may_start = starts && rest.is_none() && registered.are_enough();
        let runner = match (&self.decision, self.observed_runner) {
            (Decision::Retry(_), _) => None,
            (_, Some(observed)) => Some(DesiredChild::keep(observed)),
            (_, None) if may_start => Some(children::runner(job, settings)),
            (_, None) => None,
        };
        // The runner is created first, so that workers do not use up a quota, unless it waits for workers.
        let may_create_cluster = self.observed_runner.is_some() || registered.wanted > 0;
        let existing: Option<Value> = self.observed_cluster.map(ObservedObject::read).transpose()?;
        let cluster = match self.observed_cluster {
            _ if matches!(idle, idle::Idle::Deleted) => None,
            Some(observed) if observed.terminating => Some(DesiredChild::keep(observed)),
            Some(_) => Some(children::cluster(job, existing.as_ref(), settings)),
            None if may_create_cluster => Some(children::cluster(job, None, settings)),
            None => None,
        };
        let waits = (starts && !may_start).then(|| match rest {
            Some((until, cause)) => report::next_attempt(until, cause),
            None => registered.condition(),
        });
        let runner_ready =
            waits.unwrap_or_else(|| report::runner_ready(&self.decision, &self.runner, &runner_name, now));
        events.extend(report::stuck_event(job, &runner_ready));

        let mut status = decision::status(self.phase, job.name, &runner_name, self.start(job, now), None);
        if let Some(attempts) = &self.attempts {
            status["attempts"] = attempts.to_json();
        }
        let mut conditions = vec![runner_ready];
        if report::was_suspended(job) {
            conditions.push(report::suspended(false));
        }
        conditions.extend(idle.condition());
        let to_deadline = self
            .limits
            .deadline
            .and_then(|deadline| u64::try_from(deadline - now).ok());
        let pod_changes = self.runner.any_pod().and_then(|pod| pod.look_again_at(now));
        let to_change = pod_changes.and_then(|time| u64::try_from(time - now).ok());
        let runner_retry = self.runner.pod().is_none().then_some(RUNNER_RETRY);
        Ok(Plan {
            children: runner.into_iter().chain(cluster).collect(),
            status: status.to_string(),
            conditions,
            events,
            requeue_after: [to_deadline, to_next, to_change, runner_retry, idle.due(now)]
                .into_iter()
                .flatten()
                .min(),
            scheduler: starts.then(|| registered.request(job)).flatten(),
            ..Plan::default()
        })
    }

    /// Returns the events for changes since the status was written.
    fn events(&mut self, job: &Resource<'_>) -> Vec<Event> {
        let mut events = Vec::new();
        if job.condition_holds(Suspended::TYPE) {
            events.push(Event::normal("JobResumed", "the job is no longer suspended"));
        }
        if self.phase == JobPhase::Running && self.before < JobPhase::Running {
            events.push(Event::normal("JobRunning", "the runner pod runs"));
        }
        if let Some(attempts) = &mut self.attempts {
            let (failed, cause) = match &self.decision {
                Decision::Retry(cause) => (attempts.started(), cause.clone()),
                _ => (attempts.former(), decision::lost()),
            };
            if attempts.mark_reported(failed) {
                events.push(report::failed_attempt(failed, self.limits.retries, &cause));
            }
        }
        events
    }
}

#[cfg(test)]
mod tests;
