//! Check that workers call the scheduler of their cluster.
//!
//! Only commands that are known to start Dask are checked. The behaviour of other commands is unknown.

use serde_json::Value;

use super::addresses::{AddressProblem, CalledScheduler, address_problem};
use super::listening::is_alone;
use super::{Checks, arguments, join, variables};
use crate::dask::command;
use crate::dask::environment::{SCHEDULER_ADDRESS, WORKER_NAME};
use crate::dask::main_container;
use crate::dask::resource::items;
use crate::dask::role::Role;
use crate::dask::start::{self, Start, Word};

/// Returns whether workers of this pod spec call the address that the operator sets, and no other: they are started by a
/// command of Dask, and none of its arguments or variables can be another address.
pub(super) fn call_the_service(pod_spec: &Value) -> bool {
    let container = &pod_spec["containers"][main_container::position(pod_spec, Role::Worker)];
    let mut variables = container["env"].as_array().into_iter().flatten();
    main_container::runs_dask(container, Role::Worker)
        && !may_have_other_address(container)
        && !variables.any(|variable| variable["name"] == SCHEDULER_ADDRESS)
}

/// Returns whether an argument of a worker can be another address than the operator's.
fn may_have_other_address(container: &Value) -> bool {
    let is_direct = command::of_dask(&command::arguments(container)).is_some();
    let is_known = |word: &str| {
        let by_kubernetes = word.contains(SCHEDULER_ADDRESS) && word.contains("$(");
        word.contains(WORKER_NAME) || by_kubernetes || (!is_direct && word.contains(SCHEDULER_ADDRESS))
    };
    command::words(container).any(|word| {
        let by_file = ["--scheduler-file", "--preload"]
            .iter()
            .any(|option| word.starts_with(option));
        by_file || (word.contains([':', '$', '`']) && !is_known(word))
    })
}

/// Reports addresses on a worker's command line or in its environment that are not its cluster's. `path` is the field of
/// the pod spec.
pub(super) fn worker(checks: &mut Checks, pod_spec: &Value, path: &str, called: CalledScheduler<'_>) {
    let main = main_container::position(pod_spec, Role::Worker);
    let container = &pod_spec["containers"][main];
    if called.cluster.is_empty() || !main_container::is_started_by(container, Role::Worker) {
        return;
    }
    let place = format!("{path}.containers[{main}]");
    let is_alone = is_alone(pod_spec) && pod_spec["hostNetwork"] != true;
    if let Some(start) = start::of(container, Role::Worker)
        && let Some(Word { text: word, argument }) = first_positional(&start)
    {
        let field = argument.field(&place);
        let is_unread = start.is_direct
            && word.contains(SCHEDULER_ADDRESS)
            && stays_unexpanded(container, word)
            && !variables::is_windows(pod_spec);
        if is_unread {
            let remedy = "leave it out, or write `$(DASK_SCHEDULER_ADDRESS)`, which is filled in";
            let is_sure = arguments::are_passed_on(container);
            let message = match is_sure {
                true => {
                    format!("no shell reads `{word}`, so that it is taken for the address itself: {remedy}")
                }
                false => format!(
                    "`{word}` is taken for the address itself, unless the image's entrypoint starts a shell: {remedy}"
                ),
            };
            checks.mistake_if(is_sure, field, message);
        } else if let Some(problem) = address_problem(word, called, is_alone, start.is_direct) {
            checks.mistake_if(
                problem.is_sure,
                field,
                format!(
                    "`{word}` {}: leave it out, because `DASK_SCHEDULER_ADDRESS` says where the scheduler is",
                    problem.reason
                ),
            );
        }
    }
    if !may_have_other_address(container) {
        variable(checks, container, &place, called, is_alone);
    }
    service_dns(checks, pod_spec, path);
}

/// Returns whether Kubernetes leaves a reference to a variable in a word unexpanded.
fn stays_unexpanded(container: &Value, word: &str) -> bool {
    variables::Variables::of(container)
        .expanded(word)
        .is_some_and(|expanded| variables::has_variable(&expanded))
}

/// Checks the scheduler address in the variables of the worker's container at `place`.
fn variable(
    checks: &mut Checks,
    container: &Value,
    place: &str,
    called: CalledScheduler<'_>,
    is_alone: bool,
) {
    let written = items(&container["env"]);
    // If there are several, the last one counts.
    let Some(at) = written
        .iter()
        .rposition(|variable| variable["name"] == SCHEDULER_ADDRESS)
    else {
        return;
    };
    let Some(address) = written[at]["value"].as_str() else {
        return;
    };
    let problem = match address {
        "" if main_container::runs_dask(container, Role::Worker) => Some(AddressProblem {
            reason: "an empty address leads to no scheduler".to_owned(),
            is_sure: true,
        }),
        address => address_problem(address, called, is_alone, true).map(|problem| AddressProblem {
            reason: format!("`{address}` {}", problem.reason),
            ..problem
        }),
    };
    if let Some(AddressProblem { reason, is_sure }) = problem {
        checks.mistake_if(
            is_sure,
            format!("{place}.env[{at}].value"),
            format!("{reason}: leave the variable out, because the operator sets it"),
        );
    }
}

/// Returns the first positional argument of a worker's command line: the address of its scheduler.
fn first_positional<'s, 'a>(start: &'s Start<'a>) -> Option<&'s Word<'a>> {
    let mut words = start.words.iter();
    while let Some(word) = words.next() {
        if !word.text.starts_with('-') {
            return Some(word);
        }
        if !word.text.contains('=') && !is_flag(&word.text) {
            words.next();
        }
    }
    None
}

/// Returns whether an option of a worker takes no value.
fn is_flag(option: &str) -> bool {
    const FLAGS: [&str; 7] = [
        "--nanny",
        "--dashboard",
        "--reconnect",
        "--rmm-async",
        "--rmm-managed-memory",
        "--rmm-track-allocations",
        "--version",
    ];
    let prefixes = ["--no-", "--enable-", "--disable-"];
    FLAGS.contains(&option) || prefixes.iter().any(|prefix| option.starts_with(prefix))
}

/// Reports pods of workers that call a Service but use DNS servers that do not resolve Services. `path` is the field of
/// the pod spec.
fn service_dns(checks: &mut Checks, pod_spec: &Value, path: &str) {
    let is_host = pod_spec["hostNetwork"] == true;
    let policy = pod_spec["dnsPolicy"].as_str().unwrap_or_default();
    // Kubernetes treats `ClusterFirst` as `Default` with `hostNetwork`.
    let (why, remedy) = match policy {
        "" | "ClusterFirst" if is_host => ("with `hostNetwork`", "ClusterFirstWithHostNet"),
        "Default" if is_host => ("with `dnsPolicy: Default`", "ClusterFirstWithHostNet"),
        "Default" => ("with `dnsPolicy: Default`", "ClusterFirst"),
        _ => return,
    };
    // The pod may resolve the name by other means.
    let knows_more = has_items(&pod_spec["dnsConfig"]["nameservers"]) || has_items(&pod_spec["hostAliases"]);
    if !knows_more && call_the_service(pod_spec) {
        checks.mistake(
            join(path, "dnsPolicy"),
            format!(
                "{why} workers ask the DNS servers of their node, which do not know the scheduler's Service: write \
                 `dnsPolicy: {remedy}`"
            ),
        );
    }
}

/// Reports a pod without DNS servers. `path` is the field of the pod spec.
pub(super) fn dns(checks: &mut Checks, pod_spec: &Value, path: &str) {
    if pod_spec["dnsPolicy"] == "None" && !has_items(&pod_spec["dnsConfig"]["nameservers"]) {
        checks.error(
            join(path, "dnsConfig.nameservers"),
            "with `dnsPolicy: None` a pod needs a DNS server: write its address, as `nameservers: [10.96.0.10]`, or leave \
             `dnsPolicy` out",
        );
    }
}

fn has_items(list: &Value) -> bool {
    list.as_array().is_some_and(|items| !items.is_empty())
}

#[cfg(test)]
mod tests;
