//! Check that the scheduler listens on the ports of its Service.
//!
//! Only commands that are known to start Dask are checked. The behaviour of other commands is unknown.

use serde_json::Value;

use super::Checks;
use crate::dask::address::{
    self, COMM_PORT, DASHBOARD_PORT, DEFAULT_COMM_PORT, DEFAULT_DASHBOARD_PORT, SCHEMES,
};
use crate::dask::command;
use crate::dask::fields;
use crate::dask::main_container;
use crate::dask::role::Role;
use crate::dask::start;

/// An endpoint that the scheduler listens on.
struct Endpoint {
    /// Name of the endpoint, for a message.
    name: &'static str,
    /// Ports of the endpoint; empty if they are unknown.
    ports: Vec<u64>,
    /// Address of the endpoint if only containers of the same pod can reach it.
    loopback: Option<String>,
    /// The option that changes the port.
    option: &'static str,
    /// Name and default number of the Service's port for the endpoint.
    service_port: (&'static str, u64),
}

/// Compares the scheduler's command line with its Service. `path` is the field of `spec.scheduler`.
pub(super) fn scheduler(checks: &mut Checks, scheduler: &Value, path: &str) {
    let pod_spec = &scheduler[fields::template::SPEC];
    let main = main_container::position(pod_spec, Role::Scheduler);
    let container = &pod_spec["containers"][main];
    let Some(start) = start::of(container, Role::Scheduler) else {
        return;
    };
    let words = start.texts();
    let place = format!("{path}.spec.containers[{main}]");
    let field = format!("{place}.{}", list_of_words(container));
    for endpoint in [comm(&words), dashboard(&words)] {
        let Some((at, port)) = service_port(&scheduler[fields::scheduler::SERVICE], &endpoint) else {
            continue;
        };
        let target = target(&scheduler[fields::scheduler::SERVICE], port, pod_spec, main);
        // Another program on the same command line may listen there and forward connections.
        if let (Some(&listens), Some(target)) = (endpoint.ports.first(), target)
            && !endpoint.ports.contains(&target)
            && is_port(target)
            && start.is_alone
        {
            let (listens_at, remedy) = match is_port(listens) {
                true => (
                    format!("port {listens}"),
                    format!(", or `targetPort: {listens}` in `{path}.service.ports[{at}]`"),
                ),
                false => ("a port that is free".to_owned(), String::new()),
            };
            checks.mistake(
                &field,
                format!(
                    "{} listens at {listens_at}, and the Service leads to {target}, where it can't be reached: write `{}`, \
                     `\"{target}\"` here{remedy}",
                    endpoint.name, endpoint.option
                ),
            );
        }
        // Another container of the pod may forward connections.
        if let Some(address) = endpoint.loopback.filter(|_| is_alone(pod_spec) && start.is_alone) {
            checks.mistake(
                &field,
                format!(
                    "{} listens at `{address}`, which only its own pod reaches: leave `{address}` out, or write `0.0.0.0`",
                    endpoint.name
                ),
            );
        }
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        if protocol != "TCP" {
            checks.mistake(
                format!("{path}.service.ports[{at}].protocol"),
                format!(
                    "{} listens for TCP, and not for {protocol}: write `protocol: TCP`",
                    endpoint.name
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

/// Returns whether a pod has exactly one container, including init containers.
pub(super) fn is_alone(pod_spec: &Value) -> bool {
    let number = |list: &str| pod_spec[list].as_array().map_or(0, Vec::len);
    number("containers") + number("initContainers") == 1
}

/// Returns whether a number is a valid port.
fn is_port(number: u64) -> bool {
    (1..=65535).contains(&number)
}

/// Returns the host of an address if it is a loopback address, which only the same pod can reach.
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

/// Returns the endpoint of Dask's protocol.
fn comm(words: &[&str]) -> Endpoint {
    let host = command::option(words, "--host");
    let by_host = host.and_then(|host| {
        let is_address = host.contains("://") || host.matches(':').count() == 1;
        host.rsplit_once(':').filter(|_| is_address)?.1.parse().ok()
    });
    let ports = match command::option(words, "--port") {
        Some(ports) => numbers(ports),
        None => vec![by_host.unwrap_or(DEFAULT_COMM_PORT)],
    };
    Endpoint {
        name: "the scheduler",
        ports,
        loopback: host.and_then(loopback),
        option: "--port",
        service_port: (COMM_PORT, DEFAULT_COMM_PORT),
    }
}

/// Parses a list of numbers, such as `8786,8788`. Returns an empty list if one of them is unknown.
fn numbers(list: &str) -> Vec<u64> {
    let numbers: Option<Vec<u64>> = list.split(',').map(|number| number.trim().parse().ok()).collect();
    numbers.unwrap_or_default()
}

/// Returns the endpoint of the dashboard.
fn dashboard(words: &[&str]) -> Endpoint {
    let address = command::option(words, "--dashboard-address");
    let port = match address {
        Some(address) => address.rsplit(':').next().and_then(|port| port.parse().ok()),
        None => Some(DEFAULT_DASHBOARD_PORT),
    };
    Endpoint {
        name: "the scheduler's dashboard",
        ports: port.into_iter().collect(),
        // An address without a host is a port.
        loopback: address.filter(|address| address.contains(':')).and_then(loopback),
        option: "--dashboard-address",
        service_port: (DASHBOARD_PORT, DEFAULT_DASHBOARD_PORT),
    }
}

/// Returns the Service port of an endpoint and its index in the list: the port with the name, else the one with the
/// number.
fn service_port<'a>(service: &'a Value, endpoint: &Endpoint) -> Option<(usize, &'a Value)> {
    let (name, number) = endpoint.service_port;
    let ports = service["ports"].as_array()?;
    let named = ports.iter().position(|port| port["name"] == name);
    let at = named.or_else(|| ports.iter().position(|port| port["port"] == number))?;
    Some((at, ports.get(at)?))
}

/// Returns the port of the main container that a port of the Service leads to. Returns `None` if it is unknown, or if it is
/// the port of another container, which may forward connections.
fn target(service: &Value, port: &Value, pod_spec: &Value, main: usize) -> Option<u64> {
    let ports = |container: &'_ Value| container["ports"].as_array().cloned().unwrap_or_default();
    let number = match &port["targetPort"] {
        // A headless Service has no port mapping: clients connect to the pod's own port.
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

/// Returns the name of the field that contains a container's command line.
fn list_of_words(container: &Value) -> &'static str {
    match container["args"].as_array() {
        Some(args) if !args.is_empty() => "args",
        _ => "command",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{messages, summary};
    use super::*;

    /// Returns the findings about a scheduler with these arguments, container ports and Service fields.
    fn of_scheduler(args: &[&str], ports: Value, service: Value) -> Vec<String> {
        let mut all_args = vec!["dask", "scheduler"];
        all_args.extend(args);
        let container = json!({"name": "scheduler", "args": all_args, "ports": ports});
        let mut checks = Checks::default();
        let part = json!({"spec": {"containers": [container]}, "service": service});
        scheduler(&mut checks, &part, "s");
        summary(checks)
    }

    fn usual() -> Value {
        json!({"ports": [{"name": "tcp-comm", "port": 8786}, {"name": "http-dashboard", "port": 8787}]})
    }

    #[test]
    fn compares_the_arguments_with_the_service() {
        let mistake = vec!["mistake s.spec.containers[0].args".to_owned()];
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
        for (args, is_mistake) in cases {
            let expected = if is_mistake { mistake.clone() } else { Vec::new() };
            assert_eq!(of_scheduler(args, json!([]), usual()), expected, "{args:?}");
        }
    }

    #[test]
    fn ignores_options_of_other_programs() {
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
            assert_eq!(summary(checks), [""; 0], "{args:?}");
        }
    }

    #[test]
    fn compares_the_ports_of_the_service() {
        let mistake = ["mistake s.spec.containers[0].args"];
        let service =
            |target: Value| json!({"ports": [{"name": "tcp-comm", "port": 80, "targetPort": target}]});
        assert_eq!(of_scheduler(&[], json!([]), service(json!(9999))), mistake);
        assert_eq!(of_scheduler(&[], json!([]), service(json!(8786))), [""; 0]);
        let named = json!([{"name": "comm", "containerPort": 9999}]);
        assert_eq!(of_scheduler(&[], named.clone(), service(json!("comm"))), mistake);
        assert_eq!(
            of_scheduler(&["--port", "9999"], named, service(json!("comm"))),
            [""; 0]
        );
        // Another check reports this.
        assert_eq!(of_scheduler(&[], json!([]), service(json!("nobody"))), [""; 0]);
        let headless =
            json!({"clusterIP": "None", "ports": [{"name": "tcp-comm", "port": 80, "targetPort": 8786}]});
        assert_eq!(of_scheduler(&[], json!([]), headless), mistake);
        let udp = json!({"ports": [{"name": "tcp-comm", "port": 8786, "protocol": "UDP"}]});
        assert_eq!(
            of_scheduler(&[], json!([]), udp),
            ["mistake s.service.ports[0].protocol"]
        );
    }

    #[test]
    fn reports_an_unsupported_default_protocol() {
        let variable = json!({"name": "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME", "value": "https"});
        let container = json!({"name": "scheduler", "command": ["dask-scheduler"], "env": [variable]});
        let mut checks = Checks::default();
        let part = json!({"spec": {"containers": [container]}, "service": usual()});
        scheduler(&mut checks, &part, "s");
        assert_eq!(
            messages(checks),
            [
                "`https` is no protocol of Dask, and workers are told to call the scheduler by `tcp`: write `tcp`, `tls`, `ws`, \
                 `wss`, `ucx`, `ucxx`"
            ]
        );
    }

    #[test]
    fn another_container_may_forward_connections() {
        let proxy = json!({"name": "proxy", "ports": [{"containerPort": 8786}]});
        let own = json!({"name": "scheduler", "args": ["dask", "scheduler", "--port", "9999"]});
        let mut checks = Checks::default();
        let part = json!({"spec": {"containers": [own, proxy]}, "service": usual()});
        scheduler(&mut checks, &part, "s");
        assert_eq!(summary(checks), [""; 0]);
        let own = json!({"name": "scheduler", "args": ["dask", "scheduler", "--host", "::1"]});
        for (pod_spec, expected) in [
            (json!({"containers": [own, proxy]}), 0),
            (json!({"containers": [own], "initContainers": [proxy]}), 0),
            (json!({"containers": [own]}), 1),
        ] {
            let mut checks = Checks::default();
            let part = json!({"spec": pod_spec, "service": usual()});
            scheduler(&mut checks, &part, "s");
            assert_eq!(summary(checks).len(), expected, "{pod_spec}");
        }
    }

    #[test]
    fn does_not_propose_invalid_ports() {
        let ports = json!([{"name": "tcp-comm", "port": 70000}, {"name": "http-dashboard", "port": 0}]);
        assert_eq!(of_scheduler(&[], json!([]), json!({"ports": ports})), [""; 0]);
    }
}
