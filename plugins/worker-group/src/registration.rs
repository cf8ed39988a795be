//! Assignment of the scheduler's workers to pods.

use std::collections::HashMap;
use std::net::IpAddr;

use dask_operator_plugin::prelude::*;

/// The state of the cluster's scheduler.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scheduler<'a> {
    /// The scheduler was not queried, or its facts are outdated.
    NotQueried,
    /// The scheduler does not reply. The text is the error.
    Unreachable(&'a str),
    /// The scheduler replied with these facts.
    Known(&'a SchedulerFacts),
}

impl<'a> Scheduler<'a> {
    /// Reads the state from an observation.
    pub(crate) fn of(observation: &'a Observation) -> Self {
        match &observation.scheduler {
            SchedulerState::Unreachable(why) => Self::Unreachable(why),
            SchedulerState::Facts(_) | SchedulerState::NotAsked => observation
                .recent_scheduler_facts()
                .map_or(Self::NotQueried, Self::Known),
        }
    }
}

/// Registration of the workers in one pod with the scheduler.
#[derive(Debug, Clone, Default)]
pub(crate) enum Registration<'a> {
    /// The scheduler was not queried, or did not reply.
    #[default]
    Unknown,
    /// The scheduler knows no worker in the pod.
    Unregistered,
    /// The scheduler knows workers that may be in the pod: they have no name, and their address is ambiguous.
    Unclear,
    /// The scheduler knows these workers in the pod.
    Registered(Vec<&'a SchedulerWorker>),
}

impl<'a> Registration<'a> {
    /// Returns the workers that are certainly in the pod.
    pub(crate) fn registered(&self) -> &[&'a SchedulerWorker] {
        match self {
            Self::Registered(workers) => workers,
            Self::Unknown | Self::Unregistered | Self::Unclear => &[],
        }
    }

    /// Returns whether the scheduler lists a worker that is in the pod or may be in it.
    pub(crate) fn may_be_a_worker(&self) -> bool {
        matches!(self, Self::Registered(_) | Self::Unclear)
    }

    /// Returns the number of tasks that the workers run or have queued.
    pub(crate) fn processing(&self) -> u64 {
        self.registered()
            .iter()
            .map(|worker| u64::from(worker.processing))
            .sum()
    }

    /// Returns the bytes of results that the workers have.
    pub(crate) fn bytes(&self) -> u64 {
        self.registered().iter().map(|worker| worker.managed_bytes).sum()
    }
}

/// The addresses of a pod's workers.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    /// Addresses that no other pod has.
    Own(Vec<IpAddr>),
    /// Addresses of the node, which other pods may have too.
    Node(Vec<IpAddr>),
    /// Unknown addresses, because the pod belongs to a Deployment.
    Unknown,
}

/// Returns the registration of each pod, which is given by name and location. A worker belongs to the pod whose name it
/// registered with (with a suffix `-0`, `-1`, … if the pod has several workers), or else to the pod with its address.
pub(crate) fn registrations<'a>(
    scheduler: Scheduler<'a>,
    pods: &[(&str, Location)],
) -> Vec<Registration<'a>> {
    let Scheduler::Known(facts) = scheduler else {
        return vec![Registration::Unknown; pods.len()];
    };
    let by_name: HashMap<&str, usize> = pods
        .iter()
        .enumerate()
        .map(|(at, (name, _))| (*name, at))
        .collect();
    let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
    for (at, (_, location)) in pods.iter().enumerate() {
        if let Location::Own(addresses) = location {
            by_address.extend(addresses.iter().map(|address| (*address, at)));
        }
    }
    let mut found: Vec<Vec<&SchedulerWorker>> = vec![Vec::new(); pods.len()];
    // Hosts of unnamed workers that are not certainly in one of the pods.
    let mut unnamed_hosts: Vec<Option<IpAddr>> = Vec::new();
    for worker in &facts.workers {
        let host = host(&worker.address);
        let named = by_name
            .get(worker.name.as_str())
            .or_else(|| by_name.get(base(&worker.name)?));
        match named.or_else(|| by_address.get(&host?)) {
            Some(at) => found[*at].push(worker),
            // A worker that is started without a name has its address as name.
            None if worker.name == worker.address => unnamed_hosts.push(host),
            None => {}
        }
    }
    let may_be_in = |location: &Location| match location {
        Location::Own(_) => false,
        Location::Node(addresses) => unnamed_hosts
            .iter()
            .flatten()
            .any(|host| addresses.contains(host)),
        Location::Unknown => !unnamed_hosts.is_empty(),
    };
    let registration =
        |(workers, (_, location)): (Vec<&'a SchedulerWorker>, &(&str, Location))| match workers.is_empty() {
            false => Registration::Registered(workers),
            true if may_be_in(location) => Registration::Unclear,
            true => Registration::Unregistered,
        };
    found.into_iter().zip(pods).map(registration).collect()
}

/// Returns `name` for `name-0`.
fn base(name: &str) -> Option<&str> {
    let (base, number) = name.rsplit_once('-')?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(base)
}

/// Returns the host of an address such as `tcp://10.0.0.7:40331` or `tls://[fd00::7]:40331`.
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

    fn own(address: &str) -> Location {
        Location::Own(address.parse().into_iter().collect())
    }

    #[test]
    fn assigns_workers_by_name_or_address() {
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
            ("b", Location::Unknown),
            ("c", own("fd00::3")),
            ("d", own("10.0.0.4")),
            ("e", own("10.0.0.5")),
        ];
        let registrations = registrations(Scheduler::Known(&facts), &pods);
        let names: Vec<Vec<&str>> = registrations
            .iter()
            .map(|registration| {
                registration
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
        assert_eq!((registrations[1].processing(), registrations[1].bytes()), (2, 20));
        assert!(matches!(registrations[4], Registration::Unregistered));
    }

    #[test]
    fn unnamed_workers_may_be_in_any_deployment() {
        let address = "tcp://10.0.0.1:1";
        let facts = facts(&[(address, address)]);
        let node = |address: &str| Location::Node(address.parse().into_iter().collect());
        let pods = [
            ("a", node("10.0.0.1")),
            ("b", node("10.0.0.2")),
            ("c", Location::Unknown),
            ("d", own("10.0.0.3")),
        ];
        let unclear: Vec<bool> = registrations(Scheduler::Known(&facts), &pods)
            .iter()
            .map(|registration| matches!(registration, Registration::Unclear))
            .collect();
        assert_eq!(unclear, [true, false, true, false]);
    }

    #[test]
    fn registrations_are_unknown_without_facts() {
        let pods = [("a", Location::Unknown)];
        assert!(matches!(
            registrations(Scheduler::NotQueried, &pods)[0],
            Registration::Unknown
        ));
        assert!(matches!(
            registrations(Scheduler::Unreachable("no"), &pods)[0],
            Registration::Unknown
        ));
    }
}
