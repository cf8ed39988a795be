//! Whether workers call the scheduler of their cluster.
//!
//! Only commands are looked at that say that they start Dask: what others do, nobody knows.

use serde_json::Value;

use super::addresses::{Wrong, wrong};
use super::listening::is_alone;
use super::{Checks, arguments, join, variables};
use crate::dask::command;
use crate::dask::environment::{SCHEDULER_ADDRESS, WORKER_NAME};
use crate::dask::main_container::{self, Role};
use crate::dask::start::{self, Start, Word};

/// What is known of the scheduler that workers belong to.
#[derive(Clone, Copy)]
pub(super) struct Called<'a> {
    /// The name of its cluster.
    pub(super) cluster: &'a str,
    /// The cluster's namespace, if it is known.
    pub(super) namespace: Option<&'a str>,
    /// The scheduler's part of the cluster's spec; null where it isn't known.
    pub(super) scheduler: &'a Value,
}

/// Whether workers of this pod spec call the scheduler where the operator says, and nowhere else: a command of Dask's own
/// starts them, and nothing that they are told can be another address.
pub(super) fn call_the_service(pod_spec: &Value) -> bool {
    let container = &pod_spec["containers"][main_container::position(pod_spec, Role::Worker)];
    let mut variables = container["env"].as_array().into_iter().flatten();
    main_container::runs_dask(container, Role::Worker)
        && !is_told_an_address(container)
        && !variables.any(|variable| variable["name"] == SCHEDULER_ADDRESS)
}

/// Whether an argument of a worker can be another address than the operator's.
fn is_told_an_address(container: &Value) -> bool {
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

/// Says which of the addresses that a worker is started with are not its cluster's. Its pod's spec stands at `path`.
pub(super) fn worker(checks: &mut Checks, pod_spec: &Value, path: &str, called: Called<'_>) {
    let main = main_container::position(pod_spec, Role::Worker);
    let container = &pod_spec["containers"][main];
    if called.cluster.is_empty() || !main_container::is_started_by(container, Role::Worker) {
        return;
    }
    let place = format!("{path}.containers[{main}]");
    let is_alone = is_alone(pod_spec) && pod_spec["hostNetwork"] != true;
    if let Some(start) = start::of(container, Role::Worker)
        && let Some(Word { text: word, argument }) = first_of_its_own(&start)
    {
        let field = argument.field(&place);
        let is_unread = start.is_direct
            && word.contains(SCHEDULER_ADDRESS)
            && is_left(container, word)
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
            checks.doubt(is_sure, field, message);
        } else if let Some(wrong) = wrong(word, called, is_alone, start.is_direct) {
            checks.doubt(
                wrong.is_sure,
                field,
                format!(
                    "`{word}` {}: leave it out, because `DASK_SCHEDULER_ADDRESS` says where the scheduler is",
                    wrong.why
                ),
            );
        }
    }
    if !is_told_an_address(container) {
        variable(checks, container, &place, called, is_alone);
    }
    names_of_services(checks, pod_spec, path);
}

/// Whether Kubernetes fills in nothing of a word that looks like a variable.
fn is_left(container: &Value, word: &str) -> bool {
    variables::Variables::of(container)
        .filled(word)
        .is_some_and(|filled| variables::has_variable(&filled))
}

/// Checks the address that somebody gives a worker's container at `place` as a variable.
fn variable(checks: &mut Checks, container: &Value, place: &str, called: Called<'_>, is_alone: bool) {
    let written = container["env"].as_array().map(Vec::as_slice).unwrap_or_default();
    // Of several, the last counts.
    let Some(at) = written
        .iter()
        .rposition(|variable| variable["name"] == SCHEDULER_ADDRESS)
    else {
        return;
    };
    let Some(address) = written[at]["value"].as_str() else {
        return;
    };
    let wrong = match address {
        "" if main_container::runs_dask(container, Role::Worker) => Some(Wrong {
            why: "an empty address leads to no scheduler".to_owned(),
            is_sure: true,
        }),
        address => wrong(address, called, is_alone, true).map(|wrong| Wrong {
            why: format!("`{address}` {}", wrong.why),
            ..wrong
        }),
    };
    if let Some(Wrong { why, is_sure }) = wrong {
        checks.doubt(
            is_sure,
            format!("{place}.env[{at}].value"),
            format!("{why}: leave the variable out, because the operator sets it"),
        );
    }
}

/// Returns the first word of a worker's start that belongs to no option: the address of its scheduler.
fn first_of_its_own<'s, 'a>(start: &'s Start<'a>) -> Option<&'s Word<'a>> {
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

/// Whether an option of a worker has no value.
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
    let beginnings = ["--no-", "--enable-", "--disable-"];
    FLAGS.contains(&option) || beginnings.iter().any(|beginning| option.starts_with(beginning))
}

/// Says where pods of workers that call a Service ask servers that know no Services. The pod's spec stands at `path`.
fn names_of_services(checks: &mut Checks, pod_spec: &Value, path: &str) {
    let is_host = pod_spec["hostNetwork"] == true;
    let policy = pod_spec["dnsPolicy"].as_str().unwrap_or_default();
    // Kubernetes takes `ClusterFirst` for `Default` there.
    let (why, remedy) = match policy {
        "" | "ClusterFirst" if is_host => ("with `hostNetwork`", "ClusterFirstWithHostNet"),
        "Default" if is_host => ("with `dnsPolicy: Default`", "ClusterFirstWithHostNet"),
        "Default" => ("with `dnsPolicy: Default`", "ClusterFirst"),
        _ => return,
    };
    // They may know it by other means.
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

/// Says that a pod has no DNS servers. Its spec stands at `path`.
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
