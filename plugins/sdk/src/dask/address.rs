//! Address of a cluster's scheduler, derived from the cluster's spec.

use serde_json::Value;

use super::fields;
use super::main_container;
use super::resource::items;
use super::role::Role;
use super::{command, names, start};

/// Name of the Service port for Dask's protocol.
pub const COMM_PORT: &str = "tcp-comm";
/// Number of the port for Dask's protocol if no port of the Service has the name [`COMM_PORT`].
pub const DEFAULT_COMM_PORT: u64 = 8786;
/// Name of the Service port for the dashboard.
pub const DASHBOARD_PORT: &str = "http-dashboard";
/// Default number of the dashboard's port.
pub const DEFAULT_DASHBOARD_PORT: u64 = 8787;
/// URL schemes that Dask supports.
pub(super) const SCHEMES: [&str; 6] = ["tcp", "tls", "ws", "wss", "ucx", "ucxx"];

/// Returns the value of `DASK_SCHEDULER_ADDRESS`: `tcp://simple-scheduler.default.svc:8786`.
///
/// `cluster_spec` is the `spec` of a `DaskCluster` after defaulting. Without a `domain` the host name ends with `.svc`; the
/// DNS search path of every pod completes it for any domain of the Kubernetes cluster.
pub fn scheduler_address(
    cluster: &str,
    namespace: &str,
    cluster_spec: &Value,
    domain: Option<&str>,
) -> String {
    let scheduler = &cluster_spec[fields::cluster::SCHEDULER];
    let domain = match domain.map(|domain| domain.trim_matches('.')) {
        None | Some("") => String::new(),
        Some(domain) => format!(".{domain}"),
    };
    let (scheme, port) = (
        scheme(&scheduler[fields::template::SPEC]),
        comm_port(&scheduler[fields::scheduler::SERVICE]),
    );
    format!(
        "{scheme}://{}.{namespace}.svc{domain}:{port}",
        names::scheduler(cluster)
    )
}

/// Returns the number of the Service port for Dask's protocol.
pub fn comm_port(service: &Value) -> u64 {
    let ports = items(&service["ports"]);
    let port = ports
        .iter()
        .find(|port| port["name"] == COMM_PORT)
        .and_then(|port| port["port"].as_u64());
    port.unwrap_or(DEFAULT_COMM_PORT)
}

/// Returns the scheme that a scheduler listens with, from its pod spec. In order of precedence: the value of `--protocol`
/// if Dask supports it; `tls` if the scheduler has certificates or requires encryption; the default scheme in its
/// environment; `tcp`.
pub fn scheme(pod_spec: &Value) -> String {
    written_scheme(pod_spec).unwrap_or_else(|| "tcp".to_owned())
}

/// Returns the scheme that a scheduler's pod spec defines, or `None` if it defines none that Dask supports. Only the
/// scheduler's own container is read.
pub fn written_scheme(pod_spec: &Value) -> Option<String> {
    let container = &pod_spec["containers"][main_container::position(pod_spec, Role::Scheduler)];
    // If there are several, the first belongs to the first port.
    let [protocol, default] = named_schemes(container).map(|schemes| {
        let first = schemes.into_iter().next();
        first.filter(|scheme| SCHEMES.contains(&scheme.as_str()))
    });
    let by_words = || {
        words(container).iter().any(|word| {
            word.starts_with("tls://")
                || ["--tls-ca-file", "--tls-cert", "--tls-key"]
                    .iter()
                    .any(|o| word.starts_with(o))
        })
    };
    let requires_encryption = || {
        variable(container, "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    };
    let by_encryption = || (by_words() || requires_encryption()).then(|| "tls".to_owned());
    protocol.or_else(by_encryption).or(default)
}

/// Returns the schemes in a scheduler's container, including unsupported ones: those of `--protocol`, which can have
/// several, and the default scheme in the environment. Empty if there is none or if it comes from a variable.
pub(super) fn named_schemes(container: &Value) -> [Vec<String>; 2] {
    let words = words(container);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let protocol = command::option(&words, "--protocol");
    let default = variable(container, "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME");
    let protocols: Vec<&str> = protocol
        .into_iter()
        .flat_map(|schemes| schemes.split(','))
        .collect();
    let defaults: Vec<&str> = default.into_iter().collect();
    [protocols, defaults].map(|schemes| {
        schemes
            .into_iter()
            .map(|scheme| scheme.trim().trim_end_matches("://"))
            // An empty argument is followed by the next option. The result of a shell expansion is unknown.
            .take_while(|scheme| {
                !scheme.is_empty() && !scheme.starts_with('-') && !scheme.contains(['$', '`', '(', ')'])
            })
            .map(str::to_owned)
            .collect()
    })
}

/// Returns the words of the scheduler's command line, or those of all programs if none of Dask's is in it.
fn words(container: &Value) -> Vec<String> {
    match start::of(container, Role::Scheduler) {
        Some(start) => start.words.into_iter().map(|word| word.text).collect(),
        None => command::words(container).map(str::to_owned).collect(),
    }
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
    fn works_with_any_cluster_domain() {
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
    fn uses_the_port_of_the_service() {
        let ports = json!([{"name": "http-dashboard", "port": 8787}, {"name": "tcp-comm", "port": 9000, "targetPort": 8786}]);
        assert_eq!(
            address(json!({"service": {"ports": ports}}), None),
            "tcp://c-scheduler.ns.svc:9000"
        );
    }

    #[test]
    fn derives_the_scheme() {
        let args = |args: Value| json!({"containers": [{"args": args}]});
        let env =
            |name: &str, value: &str| json!({"containers": [{"env": [{"name": name, "value": value}]}]});
        let requires = json!([{"name": "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "value": "true"}]);
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
            (env("DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME", "$(SCHEME)"), "tcp"),
            (env("DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME", ""), "tcp"),
            (env("DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME", "https"), "tcp"),
            (
                args(json!(["dask", "scheduler", "--protocol", "$(PROTOCOL)"])),
                "tcp",
            ),
            (args(json!(["dask", "scheduler", "--protocol="])), "tcp"),
            (
                args(json!(["dask", "scheduler", "--protocol", "", "--port", "8786"])),
                "tcp",
            ),
            (args(json!(["dask", "scheduler", "--protocol", "quic"])), "tcp"),
            (args(json!(["dask", "scheduler", "--protocol", "ws,tcp"])), "ws"),
            (
                args(json!([
                    "wait",
                    "--protocol",
                    "ws",
                    "--",
                    "dask",
                    "scheduler",
                    "--protocol",
                    "tls"
                ])),
                "tls",
            ),
            (
                args(json!(["wait", "--protocol", "ws", "--", "dask", "scheduler"])),
                "tcp",
            ),
            (
                args(json!(["sh", "-c", "dask scheduler --protocol 'ws'; echo"])),
                "ws",
            ),
            (args(json!(["start", "--protocol", "ws"])), "ws"),
            (
                args(json!([
                    "dask",
                    "scheduler",
                    "--protocol",
                    "$(PROTOCOL)",
                    "--tls-cert",
                    "/certs/tls.crt"
                ])),
                "tls",
            ),
            (
                json!({"containers": [
                    {"args": ["proxy", "--protocol", "tls", "--tls-cert", "/c"], "env": requires},
                    {"args": ["dask", "scheduler"]},
                ]}),
                "tcp",
            ),
        ];
        for (spec, scheme) in cases {
            assert_eq!(super::scheme(&spec), scheme, "{spec}");
        }
        assert_eq!(written_scheme(&args(json!(["dask", "scheduler"]))), None);
        assert_eq!(
            written_scheme(&args(json!(["dask", "scheduler", "--protocol", "$(PROTOCOL)"]))),
            None
        );
        assert_eq!(
            written_scheme(&env("DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME", "tcp")).as_deref(),
            Some("tcp")
        );
    }
}
