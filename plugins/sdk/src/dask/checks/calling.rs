//! Whether workers call the scheduler of their cluster.
//!
//! Only commands are looked at that say that they start Dask: what others do, nobody knows.

use serde_json::Value;

use super::service::{is_headless, is_led_by_hand};
use super::{Checks, join, variables};
use crate::dask::address::{self, DASHBOARD_PORT, SCHEMES};
use crate::dask::command;
use crate::dask::environment::{SCHEDULER_ADDRESS, WORKER_NAME};
use crate::dask::main_container::{self, Role};
use crate::dask::names;
use crate::dask::start;

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
    let arguments = command::arguments(container);
    let is_direct = command::of_dask(&arguments).is_some();
    let mut before = "";
    for argument in &arguments {
        let words: Vec<&str> = match is_direct {
            true => vec![argument.text],
            false => argument.text.split_whitespace().collect(),
        };
        for word in words {
            let is_value = before.starts_with("--") && !before.contains('=');
            before = word;
            if is_value {
                continue;
            }
            if is_direct
                && word.contains(SCHEDULER_ADDRESS)
                && is_left(container, word)
                && !variables::is_windows(pod_spec)
            {
                checks.mistake(
                    argument.field(&place),
                    format!(
                        "no shell reads `{word}`, so that it is taken for the address itself: leave it out, or write \
                         `$(DASK_SCHEDULER_ADDRESS)`, which is filled in"
                    ),
                );
            } else if let Some(why) = wrong(word, called, is_direct) {
                checks.mistake(
                    argument.field(&place),
                    format!("`{word}` {why}: leave it out, because `DASK_SCHEDULER_ADDRESS` says where the scheduler is"),
                );
            }
        }
    }
    if !is_told_an_address(container) {
        variable(checks, container, &place, called);
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
fn variable(checks: &mut Checks, container: &Value, place: &str, called: Called<'_>) {
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
    let why = match address {
        "" if main_container::runs_dask(container, Role::Worker) => {
            Some("an empty address leads to no scheduler".to_owned())
        }
        address => wrong(address, called, true).map(|why| format!("`{address}` {why}")),
    };
    if let Some(why) = why {
        checks.mistake(
            format!("{place}.env[{at}].value"),
            format!("{why}: leave the variable out, because the operator sets it"),
        );
    }
}

/// Why a word is no address of this scheduler; none where it may be one, or is no address. `without_scheme` where a host and
/// a port are an address.
fn wrong(word: &str, called: Called<'_>, without_scheme: bool) -> Option<String> {
    let (scheme, rest) = match word.split_once("://") {
        Some((scheme, rest)) if SCHEMES.contains(&scheme) => (Some(scheme), rest),
        None if without_scheme && is_host_and_port(word) => (None, word),
        _ => return None,
    };
    // What a variable holds isn't known.
    if rest.contains(['$', '`']) {
        return None;
    }
    let rest = rest.split('/').next().unwrap_or_default();
    let (host, port) = rest.split_once(':').unwrap_or((rest, ""));
    let service = names::scheduler(called.cluster);
    let domain = match host.strip_prefix(service.as_str()) {
        Some("") => "",
        Some(domain) if domain.starts_with('.') => domain.trim_start_matches('.'),
        _ => {
            return Some(
                "leads to no Service of this cluster, so that the worker would not join it".to_owned(),
            );
        }
    };
    let namespace = domain.split('.').next().filter(|namespace| !namespace.is_empty());
    if let (Some(named), Some(own)) = (namespace, called.namespace)
        && named != own
    {
        return Some(format!(
            "leads to the namespace `{named}`, and the cluster is in `{own}`"
        ));
    }
    let service = &called.scheduler["service"];
    if port.parse::<u64>().is_ok_and(|port| !has_port(service, port)) {
        return Some(format!(
            "calls port {port}, where the scheduler's Service does not lead to it"
        ));
    }
    let spoken = spoken_scheme(called.scheduler)?;
    let scheme = scheme
        .filter(|scheme| *scheme != spoken && !(scheme.starts_with("ucx") && spoken.starts_with("ucx")))?;
    Some(format!(
        "calls by `{scheme}`, and the scheduler is started with `--protocol` and `{spoken}`"
    ))
}

/// Whether a Service can lead to Dask's protocol at a port, as far as is known.
fn has_port(service: &Value, number: u64) -> bool {
    let ports = service["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_known = !ports.is_empty() && !is_headless(service) && !is_led_by_hand(service);
    !is_known
        || ports
            .iter()
            .any(|port| port["port"] == number && port["name"] != DASHBOARD_PORT)
}

/// The scheme that the command of a scheduler names, if it is one of Dask's own.
fn spoken_scheme(scheduler: &Value) -> Option<String> {
    let pod_spec = &scheduler["spec"];
    let container = &pod_spec["containers"][main_container::position(pod_spec, Role::Scheduler)];
    start::of(container, Role::Scheduler)?;
    let [protocols, _] = address::named_schemes(container);
    // Of several, each has a port of its own.
    let [scheme] = <[String; 1]>::try_from(protocols).ok()?;
    Some(scheme).filter(|scheme| SCHEMES.contains(&scheme.as_str()))
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

/// Whether a word is a host and a port, as `simple-scheduler:8786`.
fn is_host_and_port(word: &str) -> bool {
    word.split_once(':').is_some_and(|(host, port)| {
        let is_part = |c: u8| c.is_ascii_alphanumeric() || b"-.".contains(&c);
        !host.is_empty()
            && host.bytes().all(is_part)
            && !port.is_empty()
            && port.bytes().all(|digit| digit.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::text;
    use super::*;

    fn found(checks: Checks) -> Vec<String> {
        checks.into_findings().iter().map(text).collect()
    }

    /// A scheduler of which nothing but its cluster's name is known.
    fn of_cluster(cluster: &str) -> Called<'_> {
        Called {
            cluster,
            namespace: None,
            scheduler: &Value::Null,
        }
    }

    #[test]
    fn workers_call_where_they_are_told() {
        let with = |args: &[&str]| call_the_service(&json!({"containers": [{"args": args}]}));
        for args in [
            &["dask", "worker", "--name", "$(DASK_WORKER_NAME)"][..],
            &["dask-worker", "$(DASK_SCHEDULER_ADDRESS)", "--nthreads", "2"],
            &["sh", "-c", "exec dask-worker --name $DASK_WORKER_NAME"],
        ] {
            assert!(with(args), "{args:?}");
        }
        for args in [
            &["dask", "worker", "tcp://c-scheduler:9000"][..],
            &["dask", "worker", "c-scheduler:9000"],
            &["dask", "worker", "$(ADDRESS)"],
            &["dask", "worker", "$DASK_SCHEDULER_ADDRESS"],
            &["dask", "worker", "--scheduler-file=/shared/scheduler.json"],
            &["dask", "worker", "--preload", "mine.py"],
            &["sh", "-c", "dask-worker `cat address`"],
            &["start", "--name", "$(DASK_WORKER_NAME)"],
            &[],
        ] {
            assert!(!with(args), "{args:?}");
        }
        let variable = json!({"name": SCHEDULER_ADDRESS, "value": "tcp://elsewhere:8786"});
        let told = json!({"containers": [{"args": ["dask", "worker"], "env": [variable]}]});
        assert!(!call_the_service(&told));
    }

    #[test]
    fn workers_call_elsewhere() {
        let with = |args: &[&str]| {
            let mut checks = Checks::default();
            let spec = json!({"containers": [{"name": "worker", "args": args}]});
            worker(&mut checks, &spec, "w", of_cluster("c"));
            found(checks)
        };
        for right in [
            "tcp://c-scheduler:8786",
            "tls://c-scheduler.ns.svc.cluster.local:8786",
            "tcp://$(C_SCHEDULER_SERVICE_HOST):8786",
            "$(DASK_SCHEDULER_ADDRESS)",
            "https://example.com/preload.py",
            "c-scheduler:8786",
            "$(OTHER):8786",
            "file:1a",
        ] {
            assert_eq!(with(&["dask-worker", right]), [""; 0], "{right}");
        }
        assert_eq!(
            with(&["dask-worker", "--contact-address", "tcp://1.2.3.4:1"]),
            [""; 0]
        );
        for wrong in [
            "tcp://c-service.default.svc:8786",
            "tcp://c-scheduler-2:8786",
            "ws://localhost:8786",
            "other-scheduler:8786",
            "$DASK_SCHEDULER_ADDRESS",
            "${DASK_SCHEDULER_ADDRESS}",
        ] {
            assert_eq!(
                with(&["dask-worker", wrong]),
                ["mistake w.containers[0].args[1]"],
                "{wrong}"
            );
        }
        assert_eq!(
            with(&["sh", "-c", "exec dask-worker tcp://x:1"]),
            ["mistake w.containers[0].args[2]"]
        );
    }

    #[test]
    fn what_is_known_of_the_scheduler_counts() {
        let ports = json!([{"name": "tcp-comm", "port": 8786}, {"name": "http-dashboard", "port": 8787}]);
        let container = json!({"args": ["dask", "scheduler", "--protocol", "ws"]});
        let scheduler = json!({"spec": {"containers": [container]}, "service": {"ports": ports}});
        let called = Called {
            cluster: "c",
            namespace: Some("team"),
            scheduler: &scheduler,
        };
        let with = |word: &str, variable: Option<&str>| {
            let mut args = vec!["dask", "worker"];
            args.extend(Some(word).filter(|word| !word.is_empty()));
            let variable = variable.map(|value| json!({"name": "DASK_SCHEDULER_ADDRESS", "value": value}));
            let env: Vec<Value> = variable.into_iter().collect();
            let mut checks = Checks::default();
            worker(
                &mut checks,
                &json!({"containers": [{"args": args, "env": env}]}),
                "w",
                called,
            );
            found(checks)
        };
        for right in [
            "c-scheduler:8786",
            "ws://c-scheduler:8786",
            "ws://c-scheduler.team:8786",
            "ws://c-scheduler.team.svc.cluster.local:8786",
        ] {
            assert_eq!(with(right, None), [""; 0], "{right}");
            assert_eq!(with("", Some(right)), [""; 0], "{right}");
        }
        for wrong in [
            "tcp://c-scheduler:8786",
            "ws://c-scheduler.other.svc:8786",
            "ws://c-scheduler:8787",
            "c-scheduler:9000",
            "tcp://c-service.team:8786",
        ] {
            assert_eq!(with(wrong, None), ["mistake w.containers[0].args[2]"], "{wrong}");
            assert_eq!(
                with("", Some(wrong)),
                ["mistake w.containers[0].env[0].value"],
                "{wrong}"
            );
        }
        assert_eq!(with("", Some("")), ["mistake w.containers[0].env[0].value"]);
        // The argument is what counts.
        assert_eq!(with("c-scheduler:8786", Some("tcp://x:1")), [""; 0]);
    }

    #[test]
    fn who_knows_names_of_services() {
        let with = |changes: Value| {
            let mut pod_spec = json!({"containers": [{"args": ["dask", "worker"]}]});
            for (name, value) in changes.as_object().into_iter().flatten() {
                pod_spec[name] = value.clone();
            }
            let mut checks = Checks::default();
            worker(&mut checks, &pod_spec, "w", of_cluster("c"));
            dns(&mut checks, &pod_spec, "w");
            found(checks)
        };
        for right in [
            json!({}),
            json!({"dnsPolicy": "ClusterFirst"}),
            json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
            json!({"dnsPolicy": "Default", "dnsConfig": {"nameservers": ["10.96.0.10"]}}),
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.96.0.10"]}}),
            json!({"hostNetwork": true, "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["c-scheduler.team.svc"]}]}),
            json!({"hostNetwork": true, "containers": [{"args": ["dask", "worker", "tcp://$(HOST):8786"]}]}),
            json!({"hostNetwork": true, "containers": [{"args": ["start.sh"]}]}),
        ] {
            assert_eq!(with(right.clone()), [""; 0], "{right}");
        }
        for wrong in [
            json!({"hostNetwork": true}),
            json!({"hostNetwork": true, "dnsPolicy": "ClusterFirst"}),
            json!({"hostNetwork": true, "dnsPolicy": "Default"}),
            json!({"dnsPolicy": "Default"}),
        ] {
            assert_eq!(with(wrong.clone()), ["mistake w.dnsPolicy"], "{wrong}");
        }
        assert_eq!(
            with(json!({"dnsPolicy": "None"})),
            ["error w.dnsConfig.nameservers"]
        );
    }
}
