//! Which of the scheduler's workers run in which pod.

use std::collections::HashMap;
use std::net::IpAddr;

use dask_operator_plugin::prelude::*;

/// What is known of the cluster's scheduler.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scheduler<'a> {
    /// It was not asked.
    NotAsked,
    /// It does not answer, and why.
    Unreachable(&'a str),
    /// What it said.
    Known(&'a SchedulerFacts),
}

impl<'a> Scheduler<'a> {
    /// As it is observed.
    pub(crate) fn of(observation: &'a Observation) -> Self {
        match &observation.scheduler {
            SchedulerState::Unreachable(why) => Self::Unreachable(why),
            SchedulerState::Facts(_) | SchedulerState::NotAsked => observation
                .recent_scheduler_facts()
                .map_or(Self::NotAsked, Self::Known),
        }
    }
}

/// What the scheduler says of the workers in one pod.
#[derive(Debug, Clone, Default)]
pub(crate) enum Standing<'a> {
    /// The scheduler was not asked, or did not answer.
    #[default]
    Unknown,
    /// It knows none in it.
    Unregistered,
    /// It knows some that may be in it: they registered without a name, and their address does not tell.
    Unclear,
    /// It knows these.
    Registered(Vec<&'a SchedulerWorker>),
}

impl<'a> Standing<'a> {
    /// The workers that it knows for sure.
    pub(crate) fn registered(&self) -> &[&'a SchedulerWorker] {
        match self {
            Self::Registered(workers) => workers,
            Self::Unknown | Self::Unregistered | Self::Unclear => &[],
        }
    }

    /// Whether the scheduler lists a worker that is in it, or may be.
    pub(crate) fn may_be_a_worker(&self) -> bool {
        matches!(self, Self::Registered(_) | Self::Unclear)
    }

    /// Tasks that they run or have queued.
    pub(crate) fn processing(&self) -> u64 {
        self.registered()
            .iter()
            .map(|worker| u64::from(worker.processing))
            .sum()
    }

    /// Bytes of results that they hold.
    pub(crate) fn bytes(&self) -> u64 {
        self.registered().iter().map(|worker| worker.managed_bytes).sum()
    }
}

/// Where a pod's workers are reached.
#[derive(Debug, Clone)]
pub(crate) enum Reach {
    /// At addresses that no other pod has.
    Own(Vec<IpAddr>),
    /// At its node's addresses, which other pods may have too.
    Node(Vec<IpAddr>),
    /// Nobody knows: it is a Deployment's.
    Anywhere,
}

/// Finds the workers of each pod, given by name and reach: by the name that they registered with, which is the pod's
/// or, with several workers in it, the pod's with `-0`, `-1`, … after it; or else by the pod's address.
pub(crate) fn standings<'a>(scheduler: Scheduler<'a>, pods: &[(&str, Reach)]) -> Vec<Standing<'a>> {
    let Scheduler::Known(facts) = scheduler else {
        return vec![Standing::Unknown; pods.len()];
    };
    let by_name: HashMap<&str, usize> = pods
        .iter()
        .enumerate()
        .map(|(at, (name, _))| (*name, at))
        .collect();
    let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
    for (at, (_, reach)) in pods.iter().enumerate() {
        if let Reach::Own(addresses) = reach {
            by_address.extend(addresses.iter().map(|address| (*address, at)));
        }
    }
    let mut found: Vec<Vec<&SchedulerWorker>> = vec![Vec::new(); pods.len()];
    // Hosts of workers without a name that are in none of these pods for sure.
    let mut strangers: Vec<Option<IpAddr>> = Vec::new();
    for worker in &facts.workers {
        let host = host(&worker.address);
        let named = by_name
            .get(worker.name.as_str())
            .or_else(|| by_name.get(base(&worker.name)?));
        match named.or_else(|| by_address.get(&host?)) {
            Some(at) => found[*at].push(worker),
            // Who is started without a name is called by its address.
            None if worker.name == worker.address => strangers.push(host),
            None => {}
        }
    }
    let may_be_in = |reach: &Reach| match reach {
        Reach::Own(_) => false,
        Reach::Node(addresses) => strangers.iter().flatten().any(|host| addresses.contains(host)),
        Reach::Anywhere => !strangers.is_empty(),
    };
    let standing =
        |(workers, (_, reach)): (Vec<&'a SchedulerWorker>, &(&str, Reach))| match workers.is_empty() {
            false => Standing::Registered(workers),
            true if may_be_in(reach) => Standing::Unclear,
            true => Standing::Unregistered,
        };
    found.into_iter().zip(pods).map(standing).collect()
}

/// `name` of `name-0`.
fn base(name: &str) -> Option<&str> {
    let (base, number) = name.rsplit_once('-')?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(base)
}

/// The host of `tcp://10.0.0.7:40331` or `tls://[fd00::7]:40331`.
fn host(address: &str) -> Option<IpAddr> {
    let (_, rest) = address.split_once("://")?;
    let (host, _) = rest.rsplit_once(':')?;
    host.trim_matches(['[', ']']).parse().ok()
}

#[cfg(test)]
mod tests {
    use dask_operator_plugin::testing::{START, answer, worker};

    use super::*;

    fn facts(workers: &[(&str, &str)]) -> SchedulerFacts {
        let busy = |(name, address): &(&str, &str)| SchedulerWorker {
            processing: 1,
            managed_bytes: 10,
            ..worker(*name, *address)
        };
        answer(START, workers.iter().map(busy).collect())
    }

    fn own(address: &str) -> Reach {
        Reach::Own(address.parse().into_iter().collect())
    }

    #[test]
    fn workers_are_found_by_name_or_address() {
        let facts = facts(&[
            ("a", "tcp://10.0.0.1:1"),
            ("b-0", "tcp://10.0.0.2:1"),
            ("b-1", "tcp://10.0.0.2:2"),
            ("tls://[fd00::3]:1", "tls://[fd00::3]:1"),
            ("mine", "tcp://10.0.0.4:1"),
            ("other-worker-x", "tcp://10.0.0.9:1"),
            ("a-x", "tcp://10.0.0.9:2"),
        ]);
        let pods = [
            ("a", own("10.0.0.7")),
            ("b", Reach::Anywhere),
            ("c", own("fd00::3")),
            ("d", own("10.0.0.4")),
            ("e", own("10.0.0.5")),
        ];
        let standings = standings(Scheduler::Known(&facts), &pods);
        let names: Vec<Vec<&str>> = standings
            .iter()
            .map(|standing| {
                standing
                    .registered()
                    .iter()
                    .map(|worker| worker.name.as_str())
                    .collect()
            })
            .collect();
        assert_eq!(
            names,
            [
                vec!["a"],
                vec!["b-0", "b-1"],
                vec!["tls://[fd00::3]:1"],
                vec!["mine"],
                vec![]
            ]
        );
        assert_eq!((standings[1].processing(), standings[1].bytes()), (2, 20));
        assert!(matches!(standings[4], Standing::Unregistered));
    }

    #[test]
    fn who_has_no_name_may_be_anywhere() {
        let address = "tcp://10.0.0.1:1";
        let facts = facts(&[(address, address)]);
        let node = |address: &str| Reach::Node(address.parse().into_iter().collect());
        let pods = [
            ("a", node("10.0.0.1")),
            ("b", node("10.0.0.2")),
            ("c", Reach::Anywhere),
            ("d", own("10.0.0.3")),
        ];
        let unclear: Vec<bool> = standings(Scheduler::Known(&facts), &pods)
            .iter()
            .map(|standing| matches!(standing, Standing::Unclear))
            .collect();
        assert_eq!(unclear, [true, false, true, false]);
    }

    #[test]
    fn nothing_is_known_without_facts() {
        let pods = [("a", Reach::Anywhere)];
        assert!(matches!(
            standings(Scheduler::NotAsked, &pods)[0],
            Standing::Unknown
        ));
        assert!(matches!(
            standings(Scheduler::Unreachable("no"), &pods)[0],
            Standing::Unknown
        ));
    }
}
