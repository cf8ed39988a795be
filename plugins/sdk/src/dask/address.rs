//! Where a cluster's scheduler is reached.

use serde_json::Value;

use super::{command, names};

/// The name of the Service port that Dask's protocol uses.
pub const COMM_PORT: &str = "tcp-comm";
/// The port where a Service names none so.
pub const DEFAULT_COMM_PORT: u64 = 8786;
/// The name of the Service port that the dashboard is at.
pub const DASHBOARD_PORT: &str = "http-dashboard";
/// The dashboard's port where nobody says another one.
pub const DEFAULT_DASHBOARD_PORT: u64 = 8787;
/// Schemes of addresses that Dask knows.
pub(super) const SCHEMES: [&str; 6] = ["tcp", "tls", "ws", "wss", "ucx", "ucxx"];

/// The value of `DASK_SCHEDULER_ADDRESS`: `tcp://simple-scheduler.default.svc:8786`.
///
/// `cluster_spec` is `spec` of a `DaskCluster`, after defaulting. Without a `domain` the name ends with `.svc`, which
/// every pod's DNS search path completes, whatever the domain of the Kubernetes cluster is.
pub fn scheduler_address(
    cluster: &str,
    namespace: &str,
    cluster_spec: &Value,
    domain: Option<&str>,
) -> String {
    let scheduler = &cluster_spec["scheduler"];
    let domain = match domain.map(|domain| domain.trim_matches('.')) {
        None | Some("") => String::new(),
        Some(domain) => format!(".{domain}"),
    };
    let (scheme, port) = (scheme(&scheduler["spec"]), comm_port(&scheduler["service"]));
    format!(
        "{scheme}://{}.{namespace}.svc{domain}:{port}",
        names::scheduler(cluster)
    )
}

/// The number of the Service port for Dask's protocol.
pub fn comm_port(service: &Value) -> u64 {
    let ports = service["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let port = ports
        .iter()
        .find(|port| port["name"] == COMM_PORT)
        .and_then(|port| port["port"].as_u64());
    port.unwrap_or(DEFAULT_COMM_PORT)
}

/// The scheme that a scheduler listens with, from its pod's spec: what `--protocol` says; `tls` where it is given
/// certificates or told to require encryption; else `tcp`.
pub fn scheme(pod_spec: &Value) -> String {
    written_scheme(pod_spec).unwrap_or_else(|| "tcp".to_owned())
}

/// The scheme that a scheduler's pod spec says; none where it says none.
pub fn written_scheme(pod_spec: &Value) -> Option<String> {
    let containers = pod_spec["containers"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let words: Vec<&str> = containers.iter().flat_map(command::words).collect();
    let named = |scheme: &str| Some(scheme.trim_end_matches("://").to_owned());
    if let Some(protocol) = command::option(&words, "--protocol") {
        return named(protocol);
    }
    let by_words = words.iter().any(|word| {
        word.starts_with("tls://")
            || ["--tls-ca-file", "--tls-cert", "--tls-key"]
                .iter()
                .any(|o| word.starts_with(o))
    });
    let requires = |container: &Value| {
        variable(container, "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    };
    if by_words || containers.iter().any(requires) {
        return named("tls");
    }
    let default = "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME";
    containers
        .iter()
        .find_map(|container| variable(container, default))
        .and_then(named)
}

fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    container["env"]
        .as_array()?
        .iter()
        .find(|variable| variable["name"] == name)?["value"]
        .as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn address(scheduler: Value, domain: Option<&str>) -> String {
        scheduler_address("c", "ns", &json!({"scheduler": scheduler}), domain)
    }

    #[test]
    fn any_cluster_domain() {
        assert_eq!(address(json!({}), None), "tcp://c-scheduler.ns.svc:8786");
        assert_eq!(address(json!({}), Some("")), "tcp://c-scheduler.ns.svc:8786");
        assert_eq!(
            address(json!({}), Some("k8s.corp")),
            "tcp://c-scheduler.ns.svc.k8s.corp:8786"
        );
        assert_eq!(
            address(json!({}), Some(".k8s.corp.")),
            "tcp://c-scheduler.ns.svc.k8s.corp:8786"
        );
    }

    #[test]
    fn the_port_is_the_services() {
        let ports = json!([{"name": "http-dashboard", "port": 8787}, {"name": "tcp-comm", "port": 9000, "targetPort": 8786}]);
        assert_eq!(
            address(json!({"service": {"ports": ports}}), None),
            "tcp://c-scheduler.ns.svc:9000"
        );
    }

    #[test]
    fn schemes() {
        let args = |args: Value| json!({"containers": [{"args": args}]});
        let env =
            |name: &str, value: &str| json!({"containers": [{"env": [{"name": name, "value": value}]}]});
        let cases = [
            (json!({}), "tcp"),
            (args(json!(["dask", "scheduler"])), "tcp"),
            (args(json!(["dask", "scheduler", "--protocol", "tls"])), "tls"),
            (args(json!(["dask", "scheduler", "--protocol=ws"])), "ws"),
            (args(json!(["dask", "scheduler", "--protocol", "tls://"])), "tls"),
            (
                args(json!(["dask", "scheduler", "--tls-cert", "/certs/tls.crt"])),
                "tls",
            ),
            (
                args(json!(["dask", "scheduler", "--host", "tls://0.0.0.0:8786"])),
                "tls",
            ),
            (
                json!({"containers": [{"command": ["sh", "-c", "dask scheduler --protocol tls"]}]}),
                "tls",
            ),
            (env("DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME", "tls"), "tls"),
            (env("DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME", "tcp"), "tcp"),
            (env("DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME", "tls://"), "tls"),
            (env("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "True"), "tls"),
            (env("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "False"), "tcp"),
        ];
        for (spec, scheme) in cases {
            assert_eq!(super::scheme(&spec), scheme, "{spec}");
        }
        assert_eq!(written_scheme(&args(json!(["dask", "scheduler"]))), None);
        assert_eq!(
            written_scheme(&env("DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME", "tcp")).as_deref(),
            Some("tcp")
        );
    }
}
