//! Where a scheduler is reached, from what the stores have.

use dask_operator_core::names::SCHEDULER;
use dask_operator_core::plan::ResourceKind;
use dask_operator_scheduler::{Address, Scheme};
use serde_json::Value;

use super::ClusterKey;
use crate::stores::Stores;

/// Where a scheduler is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Dask's own protocol.
    pub comm: Address,
    /// Its HTTP server, as `http://10.0.0.7:8787`, where its Service has a port for it.
    pub http: Option<String>,
}

/// The ports of a scheduler's Service.
const COMM: (&str, u16) = ("tcp-comm", 8786);
const DASHBOARD: &str = "http-dashboard";

/// Finds the scheduler of a cluster, by addresses that need no DNS: that of its Service, or of its pod where the Service
/// has none of its own. The text says why there is none.
pub(super) fn find(stores: &Stores, cluster: &ClusterKey, tls: bool) -> Result<Place, String> {
    let name = format!("{}{SCHEDULER}", cluster.name);
    let pods = stores.schedulers(&cluster.namespace, &cluster.name);
    let pod = pods.iter().filter(|pod| !pod.terminating).map(|pod| pod.value());
    let Some(pod) = pod.into_iter().find(is_ready) else {
        return Err("no scheduler pod is ready".to_owned());
    };
    let services = stores.of(&ResourceKind::new("v1", "Service"));
    let Some(service) = services.and_then(|services| services.get(&cluster.namespace, &name)) else {
        return Err(format!("there is no Service {name}"));
    };
    let service = service.value();
    let text = |value: &Value| {
        value
            .as_str()
            .filter(|text| !text.is_empty() && *text != "None")
            .map(str::to_owned)
    };
    let spec = &service["spec"];
    let (host, of_pod) = match (text(&spec["clusterIP"]), text(&spec["externalName"])) {
        (Some(address), _) | (None, Some(address)) => (address, false),
        (None, None) => (
            text(&pod["status"]["podIP"]).ok_or_else(|| "the scheduler pod has no address".to_owned())?,
            true,
        ),
    };
    let port = |name: &str| {
        let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        let port = ports.iter().find(|port| port["name"] == name)?;
        let target = port["targetPort"].as_u64().filter(|_| of_pod);
        u16::try_from(target.or(port["port"].as_u64())?).ok()
    };
    let scheme = if tls { Scheme::Tls } else { Scheme::Tcp };
    let comm = Address::new(scheme, host.clone(), port(COMM.0).unwrap_or(COMM.1));
    let bracketed = if host.contains(':') {
        format!("[{host}]")
    } else {
        host
    };
    Ok(Place {
        comm,
        http: port(DASHBOARD).map(|port| format!("http://{bracketed}:{port}")),
    })
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::kinds::Kind;
    use crate::object::tests::object;

    fn stores(pods: &[(&str, bool)], service: Option<Value>) -> Stores {
        let kinds = ["Pod", "Service"].map(|kind| Kind::of(ResourceKind::new("v1", kind)));
        let stores = Stores::new(kinds);
        let put = |kind: &str, value: Value| {
            stores
                .of(&ResourceKind::new("v1", kind))
                .map(|store| store.shown(object(&value)));
        };
        for (name, ready) in pods {
            put(
                "Pod",
                json!({
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": {
                        "name": name, "namespace": "n", "uid": name,
                        "labels": {"dask.org/cluster-name": "a", "dask.org/component": "scheduler"},
                    },
                    "status": {
                        "podIP": "10.1.0.1",
                        "conditions": [{"type": "Ready", "status": if *ready { "True" } else { "False" }}],
                    },
                }),
            );
        }
        if let Some(spec) = service {
            put(
                "Service",
                json!({
                    "apiVersion": "v1", "kind": "Service", "spec": spec,
                    "metadata": {"name": "a-scheduler", "namespace": "n", "uid": "s"},
                }),
            );
        }
        stores
    }

    fn found(
        pods: &[(&str, bool)],
        service: Option<Value>,
        tls: bool,
    ) -> Result<(String, Option<String>), String> {
        let place = find(&stores(pods, service), &ClusterKey::new("n", "a"), tls)?;
        Ok((place.comm.to_string(), place.http))
    }

    fn ports() -> Value {
        json!([
            {"name": "tcp-comm", "port": 18786, "targetPort": 8786},
            {"name": "http-dashboard", "port": 18787, "targetPort": "http-dashboard"},
        ])
    }

    #[rstest]
    #[case::service(json!({"clusterIP": "10.0.0.7", "ports": ports()}), false, "tcp://10.0.0.7:18786", Some("http://10.0.0.7:18787"))]
    #[case::tls(json!({"clusterIP": "10.0.0.7"}), true, "tls://10.0.0.7:8786", None)]
    #[case::ipv6(json!({"clusterIP": "fd00::7", "ports": ports()}), false, "tcp://[fd00::7]:18786", Some("http://[fd00::7]:18787"))]
    #[case::headless(json!({"clusterIP": "None", "ports": ports()}), false, "tcp://10.1.0.1:8786", Some("http://10.1.0.1:18787"))]
    #[case::external(json!({"externalName": "s.example.org"}), false, "tcp://s.example.org:8786", None)]
    fn addresses(#[case] service: Value, #[case] tls: bool, #[case] comm: &str, #[case] http: Option<&str>) {
        assert_eq!(
            found(&[("p", true)], Some(service), tls),
            Ok((comm.to_owned(), http.map(str::to_owned)))
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        let service = || Some(json!({"clusterIP": "10.0.0.7"}));
        assert_eq!(
            found(&[], service(), false),
            Err("no scheduler pod is ready".to_owned())
        );
        assert_eq!(
            found(&[("p", false)], service(), false),
            Err("no scheduler pod is ready".to_owned())
        );
        assert_eq!(
            found(&[("p", true)], None, false),
            Err("there is no Service a-scheduler".to_owned())
        );
    }
}
