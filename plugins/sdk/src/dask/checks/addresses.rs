//! Check that an address leads to the scheduler of a cluster.

use dask_operator_kubernetes::names::SCHEDULER;
use serde_json::Value;

use super::service::{has_manual_endpoints, is_headless};
use crate::dask::address::{self, DASHBOARD_PORT, SCHEMES};
use crate::dask::fields;
use crate::dask::main_container;
use crate::dask::names;
use crate::dask::resource::items;
use crate::dask::role::Role;
use crate::dask::start;

/// The scheduler that a group of workers belongs to, as far as it is known.
#[derive(Clone, Copy)]
pub(super) struct CalledScheduler<'a> {
    /// Name of its cluster.
    pub(super) cluster: &'a str,
    /// Namespace of the cluster, if it is known.
    pub(super) namespace: Option<&'a str>,
    /// `spec.scheduler` of the cluster; null if it is unknown.
    pub(super) scheduler: &'a Value,
}

/// A problem with an address.
pub(super) struct AddressProblem {
    /// The end of a message that begins with the address.
    pub(super) reason: String,
    /// True if, as far as is known, the address can't lead to a scheduler of the user's own.
    pub(super) is_sure: bool,
}

impl AddressProblem {
    fn sure(reason: String) -> Self {
        Self {
            reason,
            is_sure: true,
        }
    }
}

/// Returns the problem with a word as the address of this scheduler. Returns `None` if it may lead to the scheduler, or is
/// no address. `is_alone` is true if no other container runs in the caller's pod. With `without_scheme`, a host and a port
/// are an address as well.
pub(super) fn address_problem(
    word: &str,
    called: CalledScheduler<'_>,
    is_alone: bool,
    without_scheme: bool,
) -> Option<AddressProblem> {
    let (scheme, rest) = match word.split_once("://") {
        Some((scheme, rest)) if SCHEMES.contains(&scheme) => (Some(scheme), rest),
        None if without_scheme && is_host_and_port(word) => (None, word),
        _ => return None,
    };
    // The value of a variable is unknown.
    if rest.contains(['$', '`']) {
        return None;
    }
    let rest = rest.split('/').next().unwrap_or_default();
    let (host, port) = match rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, port)) => (host, port.trim_start_matches(':')),
        None => rest.split_once(':').unwrap_or((rest, "")),
    };
    let service = names::scheduler(called.cluster);
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    let is_of_this_name = labels.first() == Some(&service.as_str());
    if !is_of_this_name || !may_be_a_service(&labels) {
        return other_host_problem(host, &labels, called, is_alone);
    }
    if let (Some(named), Some(own)) = (labels.get(1), called.namespace)
        && *named != own
    {
        return Some(AddressProblem::sure(format!(
            "leads to the namespace `{named}`, and the cluster is in `{own}`"
        )));
    }
    let service = &called.scheduler[fields::scheduler::SERVICE];
    if port.parse::<u64>().is_ok_and(|port| !has_port(service, port)) {
        return Some(AddressProblem::sure(format!(
            "calls port {port}, where the scheduler's Service does not lead to it"
        )));
    }
    let expected = command_scheme(called.scheduler)?;
    let scheme = scheme.filter(|scheme| {
        *scheme != expected && !(scheme.starts_with("ucx") && expected.starts_with("ucx"))
    })?;
    Some(AddressProblem::sure(format!(
        "calls by `{scheme}`, and the scheduler is started with `--protocol` and `{expected}`"
    )))
}

/// Returns whether a name with these labels can be the name of a Service: `a`, `a.team` and `a.team.svc`, with or without
/// a domain.
fn may_be_a_service(labels: &[&str]) -> bool {
    labels.get(2).is_none_or(|third| *third == "svc")
}

/// Returns the problem with a host that is not the scheduler's Service. Returns `None` if it is another name or address of
/// the scheduler.
fn other_host_problem(
    host: &str,
    labels: &[&str],
    called: CalledScheduler<'_>,
    is_alone: bool,
) -> Option<AddressProblem> {
    let (service, pod_spec) = (
        &called.scheduler[fields::scheduler::SERVICE],
        &called.scheduler[fields::template::SPEC],
    );
    let first = labels.first().copied().unwrap_or_default();
    let is_of_pod = ["hostname", "subdomain"]
        .iter()
        .any(|name| pod_spec[name] == first);
    let is_of_service = ["clusterIP", "loadBalancerIP", "externalName"]
        .iter()
        .any(|name| service[name] == host);
    let mut addresses = ["clusterIPs", "externalIPs"]
        .iter()
        .filter_map(|name| service[name].as_array())
        .flatten();
    if is_of_pod || is_of_service || addresses.any(|address| address == host) {
        return None;
    }
    let scheduler = names::scheduler(called.cluster);
    let is_a_schedulers =
        first.ends_with(SCHEDULER) || first.ends_with("-service") || first.starts_with(&scheduler);
    let is_in_cluster = match labels {
        [_] => true,
        [_, namespace] => called.namespace == Some(*namespace),
        _ => may_be_a_service(labels),
    };
    let is_loopback = host == "localhost" || host == "::1" || host.starts_with("127.");
    let is_sure = (is_loopback && is_alone) || (is_a_schedulers && is_in_cluster);
    let unless = match is_sure {
        true => "",
        false => ", unless something of your own leads there",
    };
    Some(AddressProblem {
        reason: format!("leads to no Service of this cluster, so that the worker would not join it{unless}"),
        is_sure,
    })
}

/// Returns whether a port of a Service can lead to Dask's protocol. True if that is unknown.
fn has_port(service: &Value, number: u64) -> bool {
    let ports = items(&service["ports"]);
    let is_known = !ports.is_empty() && !is_headless(service) && !has_manual_endpoints(service);
    !is_known
        || ports
            .iter()
            .any(|port| port["port"] == number && port["name"] != DASHBOARD_PORT)
}

/// Returns the scheme in the command of a scheduler if it is one that Dask supports. Returns `None` if there are several.
fn command_scheme(scheduler: &Value) -> Option<String> {
    let pod_spec = &scheduler[fields::template::SPEC];
    let container = &pod_spec["containers"][main_container::position(pod_spec, Role::Scheduler)];
    start::of(container, Role::Scheduler)?;
    let [protocols, _] = address::named_schemes(container);
    // If there are several, each has its own port.
    let [scheme] = <[String; 1]>::try_from(protocols).ok()?;
    Some(scheme).filter(|scheme| SCHEMES.contains(&scheme.as_str()))
}

/// Returns whether a word is a host and a port, such as `simple-scheduler:8786`.
fn is_host_and_port(word: &str) -> bool {
    word.split_once(':').is_some_and(|(host, port)| {
        let is_part = |c: u8| c.is_ascii_alphanumeric() || b"-.".contains(&c);
        !host.is_empty()
            && host.bytes().all(is_part)
            && !port.is_empty()
            && port.bytes().all(|digit| digit.is_ascii_digit())
    })
}
