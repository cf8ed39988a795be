//! Whether the scheduler listens where its Service leads.
//!
//! Only commands are looked at that say that they start Dask: what others do, nobody knows.

use serde_json::Value;

use super::Checks;
use crate::dask::address::{
    self, COMM_PORT, DASHBOARD_PORT, DEFAULT_COMM_PORT, DEFAULT_DASHBOARD_PORT, SCHEMES,
};
use crate::dask::command;
use crate::dask::main_container::{self, Role};
use crate::dask::start;

/// Something that the scheduler listens for.
struct Ear {
    /// What it is, for a sentence.
    what: &'static str,
    /// Its ports; none where they aren't known.
    ports: Vec<u64>,
    /// The address that only its own pod reaches, if it listens at one.
    loopback: Option<String>,
    /// The option that says another one.
    option: &'static str,
    /// Its port of the Service.
    service_port: (&'static str, u64),
}

/// Compares the scheduler's command with the Service that leads to it. Both stand below `path`.
pub(super) fn scheduler(checks: &mut Checks, scheduler: &Value, path: &str) {
    let pod_spec = &scheduler["spec"];
    let main = main_container::position(pod_spec, Role::Scheduler);
    let container = &pod_spec["containers"][main];
    let Some(start) = start::of(container, Role::Scheduler) else {
        return;
    };
    let words = start.texts();
    let place = format!("{path}.spec.containers[{main}]");
    let field = format!("{place}.{}", list_of_words(container));
    for ear in [comm(&words), dashboard(&words)] {
        let Some((at, port)) = service_port(&scheduler["service"], &ear) else {
            continue;
        };
        let target = target(&scheduler["service"], port, pod_spec, main);
        // What runs beside it may listen there, and hand on what comes.
        if let (Some(&listens), Some(target)) = (ear.ports.first(), target)
            && !ear.ports.contains(&target)
            && is_port(target)
            && start.is_alone
        {
            let (place, remedy) = match is_port(listens) {
                true => (
                    format!("port {listens}"),
                    format!(", or `targetPort: {listens}` in `{path}.service.ports[{at}]`"),
                ),
                false => ("a port that is free".to_owned(), String::new()),
            };
            checks.mistake(
                &field,
                format!(
                    "{} listens at {place}, and the Service leads to {target}, where nobody would be reached: write `{}`, \
                     `\"{target}\"` here{remedy}",
                    ear.what, ear.option
                ),
            );
        }
        // Another container of the pod may hand on what comes.
        if let Some(address) = ear.loopback.filter(|_| is_alone(pod_spec) && start.is_alone) {
            checks.mistake(
                &field,
                format!(
                    "{} listens at `{address}`, which only its own pod reaches: leave `{address}` out, or write `0.0.0.0`",
                    ear.what
                ),
            );
        }
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        if protocol != "TCP" {
            checks.mistake(
                format!("{path}.service.ports[{at}].protocol"),
                format!(
                    "{} listens for TCP, and not for {protocol}: write `protocol: TCP`",
                    ear.what
                ),
            );
        }
    }
    let mut named = address::named_schemes(container).into_iter().flatten();
    if let Some(unknown) = named.find(|scheme| !SCHEMES.contains(&scheme.as_str())) {
        checks.mistake(
            field,
            format!(
                "`{unknown}` is no protocol of Dask, and workers are told to call the scheduler by `{}`: write {}",
                address::scheme(pod_spec),
                SCHEMES.map(|scheme| format!("`{scheme}`")).join(", ")
            ),
        );
    }
}

/// Whether a pod has one container.
pub(super) fn is_alone(pod_spec: &Value) -> bool {
    let number = |list: &str| pod_spec[list].as_array().map_or(0, Vec::len);
    number("containers") + number("initContainers") == 1
}

/// Whether a number can be a port's.
fn is_port(number: u64) -> bool {
    (1..=65535).contains(&number)
}

/// The host of an address that only its own pod reaches.
fn loopback(address: &str) -> Option<String> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = match rest.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            if port.bytes().all(|digit| digit.is_ascii_digit()) {
                host
            } else {
                rest
            }
        }
        _ => rest,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback =
        host == "localhost" || host == "::1" || (host.starts_with("127.") && !host.contains('$'));
    is_loopback.then(|| host.to_owned())
}

/// Where Dask's protocol is spoken.
fn comm(words: &[&str]) -> Ear {
    let host = command::option(words, "--host");
    let by_host = host.and_then(|host| {
        let is_address = host.contains("://") || host.matches(':').count() == 1;
        host.rsplit_once(':').filter(|_| is_address)?.1.parse().ok()
    });
    let ports = match command::option(words, "--port") {
        Some(ports) => numbers(ports),
        None => vec![by_host.unwrap_or(DEFAULT_COMM_PORT)],
    };
    Ear {
        what: "the scheduler",
        ports,
        loopback: host.and_then(loopback),
        option: "--port",
        service_port: (COMM_PORT, DEFAULT_COMM_PORT),
    }
}

/// The numbers of a list, as `8786,8788`; none where one of them isn't known.
fn numbers(list: &str) -> Vec<u64> {
    let numbers: Option<Vec<u64>> = list.split(',').map(|number| number.trim().parse().ok()).collect();
    numbers.unwrap_or_default()
}

/// Where the dashboard is.
fn dashboard(words: &[&str]) -> Ear {
    let address = command::option(words, "--dashboard-address");
    let port = match address {
        Some(address) => address.rsplit(':').next().and_then(|port| port.parse().ok()),
        None => Some(DEFAULT_DASHBOARD_PORT),
    };
    Ear {
        what: "the scheduler's dashboard",
        ports: port.into_iter().collect(),
        // What has no host is a port.
        loopback: address.filter(|address| address.contains(':')).and_then(loopback),
        option: "--dashboard-address",
        service_port: (DASHBOARD_PORT, DEFAULT_DASHBOARD_PORT),
    }
}

/// The port of a Service for it, and where it stands in the list: the one of its name, else of its number.
fn service_port<'a>(service: &'a Value, ear: &Ear) -> Option<(usize, &'a Value)> {
    let (name, number) = ear.service_port;
    let ports = service["ports"].as_array()?;
    let named = ports.iter().position(|port| port["name"] == name);
    let at = named.or_else(|| ports.iter().position(|port| port["port"] == number))?;
    Some((at, ports.get(at)?))
}

/// The port of the main container that a port of the Service leads to; none where that isn't known, or is another
/// container's, which may hand it on.
fn target(service: &Value, port: &Value, pod_spec: &Value, main: usize) -> Option<u64> {
    let ports = |container: &'_ Value| container["ports"].as_array().cloned().unwrap_or_default();
    let number = match &port["targetPort"] {
        // Whoever calls a pod by its own address finds what it listens at.
        _ if service["clusterIP"] == "None" => port["port"].as_u64()?,
        Value::Null => port["port"].as_u64()?,
        Value::String(name) => {
            let own = ports(&pod_spec["containers"][main]);
            own.iter().find(|port| port["name"] == name.as_str())?["containerPort"].as_u64()?
        }
        number => number.as_u64()?,
    };
    let others = ["containers", "initContainers"].into_iter().flat_map(|list| {
        let containers = pod_spec[list].as_array().into_iter().flatten().enumerate();
        containers.filter(move |(at, _)| list != "containers" || *at != main)
    });
    let is_of_another = others
        .flat_map(|(_, container)| ports(container))
        .any(|port| port["containerPort"] == number);
    (!is_of_another).then_some(number)
}

/// The field that a container's words stand in.
fn list_of_words(container: &Value) -> &'static str {
    match container["args"].as_array() {
        Some(args) if !args.is_empty() => "args",
        _ => "command",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::text;
    use super::*;

    fn found(checks: Checks) -> Vec<String> {
        checks.into_findings().iter().map(text).collect()
    }

    /// Findings of a scheduler with these arguments, ports of its container and parts of its Service.
    fn of_scheduler(args: &[&str], ports: Value, service: Value) -> Vec<String> {
        let mut args_of_it = vec!["dask", "scheduler"];
        args_of_it.extend(args);
        let container = json!({"name": "scheduler", "args": args_of_it, "ports": ports});
        let mut checks = Checks::default();
        let part = json!({"spec": {"containers": [container]}, "service": service});
        scheduler(&mut checks, &part, "s");
        found(checks)
    }

    fn usual() -> Value {
        json!({"ports": [{"name": "tcp-comm", "port": 8786}, {"name": "http-dashboard", "port": 8787}]})
    }

    #[test]
    fn the_scheduler_listens_elsewhere() {
        let wrong = vec!["mistake s.spec.containers[0].args".to_owned()];
        let cases: [(&[&str], bool); 31] = [
            (&[], false),
            (&["--port", "8786", "--dashboard-address", ":8787"], false),
            (&["--port", "9999"], true),
            (&["--port=9999"], true),
            (&["--port", "$(PORT)"], false),
            (&["--host", "0.0.0.0"], false),
            (&["--host", "fd00::1"], false),
            (&["--host", "tls://0.0.0.0:9000"], true),
            (&["--host", "[::]:8786"], false),
            (&["--dashboard-address", "9000"], true),
            (&["--dashboard-address", "0.0.0.0:9000"], true),
            (&["--dashboard-address=[::]:8787"], false),
            (&["--protocol", "tpc"], true),
            (&["--protocol", "tls://"], false),
            (&["--protocol", "$(PROTOCOL)"], false),
            (&["--protocol="], false),
            (&["--port", "9999", "--port", "8786"], false),
            (&["--port", "8786", "--port", "9999"], true),
            (&["--port", "0"], true),
            (&["--host", "127.0.0.1"], true),
            (&["--host", "tcp://localhost:8786"], true),
            (&["--host", "localhost.corp.example"], false),
            (&["--host", "$(POD_IP)"], false),
            (&["--dashboard-address", "127.0.0.1:8787"], true),
            (&["--protocol", "tcp,ws", "--port", "8786,8788"], false),
            (&["--protocol", "tcp,wsx", "--port", "8786,8788"], true),
            (&["--port", "8788,8789"], true),
            (&["--port", "8788,$(PORT)"], false),
            (&["--interface", "eth0,eth1"], false),
            (
                &["--preload", "x.py", "--port", "8786", "--", "--port", "1"],
                false,
            ),
            (&["--preload", "x.py", "--", "--protocol", "grpc"], false),
        ];
        for (args, is_wrong) in cases {
            let expected = if is_wrong { wrong.clone() } else { Vec::new() };
            assert_eq!(of_scheduler(args, json!([]), usual()), expected, "{args:?}");
        }
    }

    #[test]
    fn options_of_other_programs_are_none_of_dask() {
        for args in [
            &["bash", "-c", "jupyter lab --port 8888 & exec dask scheduler"][..],
            &["bash", "-c", "redis-server --port 6379 & dask scheduler"],
            &[
                "sh",
                "-c",
                "pg_isready --host=127.0.0.1 --port=5432 && exec dask-scheduler",
            ],
            &["mpirun", "--host", "localhost", "-np", "1", "dask-scheduler"],
            &["gateway-agent", "--port", "4200", "--", "dask-scheduler"],
            &["kube-wrapper", "--protocol", "grpc", "--", "dask", "scheduler"],
            &["sh", "-c", "dask scheduler --protocol \"tcp\""],
            &["sh", "-c", "dask scheduler --protocol tcp; echo"],
            &[
                "bash",
                "-c",
                "dask scheduler --host 127.0.0.1 --port 9786 & exec stunnel x",
            ],
            &["start-dask-scheduler", "--port", "1"],
        ] {
            let container = json!({"name": "scheduler", "args": args});
            let mut checks = Checks::default();
            let part = json!({"spec": {"containers": [container]}, "service": usual()});
            scheduler(&mut checks, &part, "s");
            assert_eq!(found(checks), [""; 0], "{args:?}");
        }
    }

    #[test]
    fn the_service_leads_elsewhere() {
        let wrong = ["mistake s.spec.containers[0].args"];
        let service =
            |target: Value| json!({"ports": [{"name": "tcp-comm", "port": 80, "targetPort": target}]});
        assert_eq!(of_scheduler(&[], json!([]), service(json!(9999))), wrong);
        assert_eq!(of_scheduler(&[], json!([]), service(json!(8786))), [""; 0]);
        let named = json!([{"name": "comm", "containerPort": 9999}]);
        assert_eq!(of_scheduler(&[], named.clone(), service(json!("comm"))), wrong);
        assert_eq!(
            of_scheduler(&["--port", "9999"], named, service(json!("comm"))),
            [""; 0]
        );
        // That is said elsewhere.
        assert_eq!(of_scheduler(&[], json!([]), service(json!("nobody"))), [""; 0]);
        let headless =
            json!({"clusterIP": "None", "ports": [{"name": "tcp-comm", "port": 80, "targetPort": 8786}]});
        assert_eq!(of_scheduler(&[], json!([]), headless), wrong);
        let udp = json!({"ports": [{"name": "tcp-comm", "port": 8786, "protocol": "UDP"}]});
        assert_eq!(
            of_scheduler(&[], json!([]), udp),
            ["mistake s.service.ports[0].protocol"]
        );
    }

    #[test]
    fn the_default_protocol_is_none_of_dask() {
        let variable = json!({"name": "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME", "value": "https"});
        let container = json!({"name": "scheduler", "command": ["dask-scheduler"], "env": [variable]});
        let mut checks = Checks::default();
        let part = json!({"spec": {"containers": [container]}, "service": usual()});
        scheduler(&mut checks, &part, "s");
        let messages: Vec<String> = checks
            .into_findings()
            .into_iter()
            .map(|finding| finding.message)
            .collect();
        assert_eq!(
            messages,
            [
                "`https` is no protocol of Dask, and workers are told to call the scheduler by `tcp`: write `tcp`, `tls`, `ws`, \
                 `wss`, `ucx`, `ucxx`"
            ]
        );
    }

    #[test]
    fn a_container_beside_it_may_hand_on_what_comes() {
        let proxy = json!({"name": "proxy", "ports": [{"containerPort": 8786}]});
        let own = json!({"name": "scheduler", "args": ["dask", "scheduler", "--port", "9999"]});
        let mut checks = Checks::default();
        let part = json!({"spec": {"containers": [own, proxy]}, "service": usual()});
        scheduler(&mut checks, &part, "s");
        assert_eq!(found(checks), [""; 0]);
        let own = json!({"name": "scheduler", "args": ["dask", "scheduler", "--host", "::1"]});
        for (pod_spec, expected) in [
            (json!({"containers": [own, proxy]}), 0),
            (json!({"containers": [own], "initContainers": [proxy]}), 0),
            (json!({"containers": [own]}), 1),
        ] {
            let mut checks = Checks::default();
            let part = json!({"spec": pod_spec, "service": usual()});
            scheduler(&mut checks, &part, "s");
            assert_eq!(found(checks).len(), expected, "{pod_spec}");
        }
    }

    #[test]
    fn ports_that_nobody_can_have_are_not_proposed() {
        let ports = json!([{"name": "tcp-comm", "port": 70000}, {"name": "http-dashboard", "port": 0}]);
        assert_eq!(of_scheduler(&[], json!([]), json!({"ports": ports})), [""; 0]);
    }
}
