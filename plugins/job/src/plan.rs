//! What a job consists of and where it is.
//!
//! Whatever takes something away that can't be had again (the end of a job, its suspension, a cluster that has nothing to
//! do) stands in the status first, and is done in the next plan, which sees it there. So nothing is forgotten when the
//! operator ends in between.

use dask_operator_plugin::dask::main_container::{self, Role};
use dask_operator_plugin::dask::pod::Pod;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::{kinds, names, time};
use dask_operator_plugin::prelude::*;

use crate::attempts::{Attempts, Runner};
use crate::life::{self, Limits, Stage, Verdict};
use crate::report::{self, CLUSTER_IDLE, SUSPENDED};
use crate::workers::Registered;
use crate::{DefaultJob, Settings, children, ended, idle, validate};

/// How long to wait for a runner whose name another pod may still have, such as that of a former job of this name.
const LOOK_AGAIN: u64 = 2000;

/// What is known of a job before its spec is looked at closely.
struct Known<'a> {
    /// Where it was.
    before: Stage,
    /// How often it was started.
    attempts: Option<Attempts>,
    /// Its runner.
    runner: Runner,
    /// The pod that has the runner's name.
    observed_runner: Option<&'a ObservedObject>,
    /// Its cluster.
    observed_cluster: Option<&'a ObservedObject>,
    /// What it may do.
    limits: Limits,
    /// What follows.
    verdict: Verdict,
    /// Where it is.
    stage: Stage,
}

/// Plans a `DaskJob`.
pub(crate) fn job(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
    let parent = observation.parent_json()?;
    if Stage::of(&parent["status"]).is_some_and(Stage::is_end) {
        // Whatever became of its spec since, an end is an end.
        return ended::job(observation, &Resource::of(&parent));
    }
    let known = Known::of(observation, &Resource::of(&parent))?;
    if known.verdict.is_end() {
        return Ok(known.end(observation, &Resource::of(&parent)));
    }
    let job = <DefaultJob as Logic<Job>>::default(parent, settings)?;
    let findings = validate::job(&job, None);
    let questionable = Condition::questionable(&findings);
    Error::if_invalid(findings)?;
    let job = Resource::of(&job);
    let mut plan = if known.verdict == Verdict::Suspended {
        known.suspended(&job)
    } else {
        known.goes_on(observation, &job, settings)?
    };
    plan.conditions.extend(questionable);
    Ok(plan)
}

impl<'a> Known<'a> {
    fn of(observation: &'a Observation, job: &Resource<'_>) -> Result<Self, Error> {
        let observed_runner = observation.child(&kinds::pod(), &names::runner(job.name));
        let observed_cluster = observation.child(&kinds::cluster(), job.name);
        let before = Stage::of(job.status).unwrap_or(Stage::JobCreated);
        let pod_spec = &job.spec["job"]["spec"];
        let main = main_container::name(pod_spec, Role::Runner);
        let policy = pod_spec["restartPolicy"].as_str().unwrap_or_default();
        let pod = observed_runner
            .map(Pod::of)
            .transpose()?
            .map(|pod| pod.without_sidecars(main, policy));
        let (mut attempts, runner) = Attempts::count(job.status, before, pod);
        let limits = Limits::of(job.spec, report::active_since(job, observation.now));
        let verdict = Verdict::of(before, &limits, attempts.as_ref(), &runner, observation.now);
        if let (Verdict::Retry(_), Some(attempts), Some(pod)) = (&verdict, &mut attempts, runner.pod()) {
            attempts.failed(job.status, pod, observation.now);
        }
        let stage = verdict.stage(before, &runner, observed_cluster.is_some());
        Ok(Self {
            before,
            attempts,
            runner,
            observed_runner,
            observed_cluster,
            limits,
            verdict,
            stage,
        })
    }

    /// All that exists stays.
    fn kept(&self) -> Vec<DesiredChild> {
        [self.observed_cluster, self.observed_runner]
            .into_iter()
            .flatten()
            .map(DesiredChild::keep)
            .collect()
    }

    /// When the code began to run.
    fn start(&self, job: &Resource<'_>, now: Timestamp) -> Option<Timestamp> {
        let written = job.status["startTime"].as_str().and_then(time::parse);
        written.or_else(|| match self.runner.pod()? {
            pod if pod.is_over() => pod.started().or(pod.created),
            pod if pod.phase() == "Running" => pod.started().or(Some(now)),
            _ => None,
        })
    }

    /// The plan that says that the job is over. What is left of it goes with the next.
    fn end(&self, observation: &Observation, job: &Resource<'_>) -> Plan {
        let now = observation.now;
        let over = self.runner.pod().filter(|pod| pod.is_over());
        let end = over.and_then(Pod::finished).unwrap_or(now);
        let start = self.start(job, now);
        let name = names::runner(job.name);
        Plan {
            children: self.kept(),
            status: life::status(self.stage, job.name, &name, start, Some(end)).to_string(),
            events: vec![report::ended(
                &self.verdict,
                ended::keeps_cluster(job, self.stage),
            )],
            ..Plan::default()
        }
    }

    /// The plan of a job that shall not run: what runs is taken away once the status says so, and nothing of this
    /// attempt counts when it goes on.
    fn suspended(&self, job: &Resource<'_>) -> Plan {
        let is_said = job.condition_holds(SUSPENDED);
        let runner_name = names::runner(job.name);
        let mut status = life::status(self.stage, job.name, &runner_name, None, None);
        status["attempts"] = Attempts::default().to_json();
        let event = Event::normal(
            "JobSuspended",
            "the job is suspended, its runner and its cluster are deleted",
        );
        Plan {
            children: if is_said { Vec::new() } else { self.kept() },
            status: status.to_string(),
            conditions: vec![report::suspended(true), report::runner_is_suspended()],
            events: if is_said { Vec::new() } else { vec![event] },
            ..Plan::default()
        }
    }

    /// The plan of a job that has not ended.
    fn goes_on(
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
            attempts.take_cluster();
            if !job.condition_holds(CLUSTER_IDLE) {
                events.push(report::cluster_idle_event());
            }
        }
        let registered = Registered::of(observation, job);
        let starts = self.verdict == Verdict::Start;
        let rest = self
            .attempts
            .as_ref()
            .and_then(|attempts| attempts.rests_until(now))
            .filter(|_| starts);
        let to_next = rest.and_then(|(until, _)| u64::try_from(until - now).ok());
        let may_start = starts && rest.is_none() && registered.are_enough();
        let runner = match (&self.verdict, self.observed_runner) {
            (Verdict::Retry(_), _) => None,
            (_, Some(observed)) => Some(DesiredChild::keep(observed)),
            (_, None) if may_start => Some(children::runner(job, settings)),
            (_, None) => None,
        };
        // The runner comes first, so that workers don't take what a quota leaves it, unless it waits for them.
        let has_place = self.observed_runner.is_some() || registered.wanted > 0;
        let existing: Option<Value> = self.observed_cluster.map(ObservedObject::read).transpose()?;
        let cluster = match self.observed_cluster {
            _ if matches!(idle, idle::Idle::Taken) => None,
            Some(observed) if observed.terminating => Some(DesiredChild::keep(observed)),
            Some(_) => Some(children::cluster(job, existing.as_ref(), settings)),
            None if has_place => Some(children::cluster(job, None, settings)),
            None => None,
        };
        let waits = (starts && !may_start).then(|| match rest {
            Some((until, cause)) => report::next_attempt(until, cause),
            None => registered.condition(),
        });
        let runner_ready =
            waits.unwrap_or_else(|| report::runner_ready(&self.verdict, &self.runner, &runner_name, now));
        events.extend(report::stuck_event(job, &runner_ready));

        let mut status = life::status(self.stage, job.name, &runner_name, self.start(job, now), None);
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
        let look_again = self.runner.pod().is_none().then_some(LOOK_AGAIN);
        Ok(Plan {
            children: runner.into_iter().chain(cluster).collect(),
            status: status.to_string(),
            conditions,
            events,
            requeue_after: [to_deadline, to_next, to_change, look_again, idle.due(now)]
                .into_iter()
                .flatten()
                .min(),
            scheduler: starts.then(|| registered.request(job)).flatten(),
            ..Plan::default()
        })
    }

    /// What has changed since the status was written.
    fn events(&mut self, job: &Resource<'_>) -> Vec<Event> {
        let mut events = Vec::new();
        if job.condition_holds(SUSPENDED) {
            events.push(Event::normal("JobResumed", "the job is no longer suspended"));
        }
        if self.stage == Stage::Running && self.before < Stage::Running {
            events.push(Event::normal("JobRunning", "the runner pod runs"));
        }
        if let Some(attempts) = &mut self.attempts {
            let (failed, cause) = match &self.verdict {
                Verdict::Retry(cause) => (attempts.started(), cause.clone()),
                _ => (attempts.former(), life::lost()),
            };
            if attempts.tell(failed) {
                events.push(report::failed_attempt(failed, self.limits.retries, &cause));
            }
        }
        events
    }
}

#[cfg(test)]
mod tests;
