//! Lookup of a scheduler's address in the informer cache. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_core::names::SCHEDULER;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_scheduler::{Address, Scheme};
use serde::Deserialize;
use serde_json::Value;

use super::ClusterKey;
use crate::cache::Stores;
use crate::client::object::Object;
use crate::key::ParentKey;

/// The address of a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Namespace of the scheduler's cluster.
    pub(crate) namespace: Box<str>,
    /// Address for Dask's own protocol.
    pub(crate) comm: Address,
    /// Base URL of the HTTP server, such as `http://10.0.0.7:8787`. `None` if the Service has no port for it.
    pub(crate) http: Option<String>,
}

/// Name and default number of the Service port for Dask's own protocol.
const COMM: (&str, u16) = ("tcp-comm", 8786);

/// Name of the Service port of the HTTP server.
const DASHBOARD: &str = "http-dashboard";

/// The fields of a Service that are read here. Each query to a scheduler parses them, and users may write into the Service,
/// so nothing else is parsed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(rename = "type")]
    type_: Box<str>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Box<str>,
    selector: BTreeMap<String, String>,
    ports: Vec<Port>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Box<str>,
    port: u16,
    target_port: Value,
}

/// Returns the address of a cluster's scheduler: the cluster IP of its Service, or else the IP of its pod.
///
/// Other addresses, such as external names, are not used, because the author of the cluster would choose what the operator
/// connects to. For the same reason the Service must be owned by the cluster and must select pods.
///
/// # Errors
///
/// Returns a message if the scheduler has no such address.
pub(crate) fn find(stores: &Stores, cluster: &ClusterKey, tls: bool) -> Result<Endpoint, String> {
    let name = format!("{}{SCHEDULER}", cluster.name);
    let pods = stores.schedulers(&cluster.namespace, &cluster.name);
    let is_up = |pod: &&Arc<Object>| pod.is_ready && !pod.terminating;
    let Some(pod) = pods.iter().find(is_up) else {
        return Err("no scheduler pod is ready".to_owned());
    };
    let Some(owner) = stores.parent(&ParentKey::new(
        DaskKind::Cluster,
        &cluster.namespace,
        &cluster.name,
    )) else {
        return Err(format!("there is no DaskCluster {}", cluster.name));
    };
    let owner = owner
        .parent(DaskKind::Cluster)
        .map_err(|error| error.to_string())?;
    let kind = ResourceKind::new("v1", "Service");
    let Some(service) = stores
        .of(&kind)
        .and_then(|services| services.get(&cluster.namespace, &name))
    else {
        return Err(format!("there is no Service {name}"));
    };
    if !service.is_child_of(&kind, &owner) {
        return Err(format!(
            "the Service {name} is not one that was made for this cluster: delete or rename it, so that it can be made"
        ));
    }
    // For a Service that can't be parsed, the address of the pod is used.
    let Service { spec } = serde_json::from_str(&service.json).unwrap_or_default();
    let selects_pods = !spec.selector.is_empty() && &*spec.type_ != "ExternalName";
    let has_address = !spec.cluster_ip.is_empty() && &*spec.cluster_ip != "None";
    let use_pod = !(selects_pods && has_address);
    let host = if use_pod {
        let address = pod.pod_ip.as_deref();
        address.ok_or_else(|| "the scheduler pod has no address".to_owned())?
    } else {
        &*spec.cluster_ip
    };
    let port = |name: &str| {
        let port = spec.ports.iter().find(|port| &*port.name == name)?;
        let target = port.target_port.as_u64().filter(|_| use_pod);
        target.map_or(Some(port.port), |target| u16::try_from(target).ok())
    };
    let scheme = if tls { Scheme::Tls } else { Scheme::Tcp };
    let comm = Address::new(scheme, host, port(COMM.0).unwrap_or(COMM.1));
    let bracketed = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    Ok(Endpoint {
        namespace: cluster.namespace.clone(),
        comm,
        http: port(DASHBOARD).map(|port| format!("http://{bracketed}:{port}")),
    })
}

#[cfg(test)]
mod tests {
    use dask_operator_core::names::DASK_API_VERSION;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::client::object::tests::object;
    use crate::client::resource::ResourceType;

    fn pod(name: &str, ready: bool) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": "n", "uid": name,
                "labels": {"dask.org/cluster-name": "a", "dask.org/component": "scheduler"},
            },
            "status": {
                "podIP": "10.1.0.1",
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            },
        })
    }

    fn stores(pods: &[(&str, bool)], service: Option<Value>) -> Stores {
        let kinds = ["Pod", "Service"].map(|kind| ResourceType::of(ResourceKind::new("v1", kind)));
        let stores = Stores::new(kinds);
        let put = |kind: &str, value: Value| {
            stores
                .of(&ResourceKind::new("v1", kind))
                .map(|store| store.apply_event(object(&value)));
        };
        for (name, ready) in pods {
            put("Pod", pod(name, *ready));
        }
        stores
            .of(&ResourceKind::new(DASK_API_VERSION, "DaskCluster"))
            .map(|store| {
                store.apply_event(object(&json!({
                    "apiVersion": DASK_API_VERSION, "kind": "DaskCluster",
                    "metadata": {"name": "a", "namespace": "n", "uid": "cluster"},
                })))
            });
        if let Some(service) = service {
            put("Service", service);
        }
        stores
    }

    /// Returns the Service of the cluster's scheduler as the operator creates it.
    fn service(mut spec: Value) -> Value {
        if spec["selector"].is_null() {
            spec["selector"] = json!({"dask.org/cluster-name": "a", "dask.org/component": "scheduler"});
        }
        json!({
            "apiVersion": "v1", "kind": "Service", "spec": spec,
            "metadata": {
                "name": "a-scheduler", "namespace": "n", "uid": "s",
                "labels": {"dask.org/cluster-name": "a", "dask.org/component": "scheduler"},
                "ownerReferences": [{
                    "apiVersion": DASK_API_VERSION, "kind": "DaskCluster", "name": "a", "uid": "cluster", "controller": true,
                }],
            },
        })
    }

    fn found(
        pods: &[(&str, bool)],
        service: Option<Value>,
        tls: bool,
    ) -> Result<(String, Option<String>), String> {
        let endpoint = find(&stores(pods, service), &ClusterKey::new("n", "a"), tls)?;
        Ok((endpoint.comm.to_string(), endpoint.http))
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
    #[case::name(json!({"type": "ExternalName", "externalName": "s.example.org"}), false, "tcp://10.1.0.1:8786", None)]
    #[case::name_with_address(json!({"type": "ExternalName", "externalName": "s.example.org", "clusterIP": "10.0.0.7"}), false, "tcp://10.1.0.1:8786", None)]
    #[case::endpoints_without_selector(json!({"clusterIP": "10.0.0.7", "selector": {}}), false, "tcp://10.1.0.1:8786", None)]
    fn finds_the_address(
        #[case] spec: Value,
        #[case] tls: bool,
        #[case] comm: &str,
        #[case] http: Option<&str>,
    ) {
        assert_eq!(
            found(&[("p", true)], Some(service(spec)), tls),
            Ok((comm.to_owned(), http.map(str::to_owned)))
        );
    }

    #[test]
    fn names_the_missing_object() {
        let service = || Some(service(json!({"clusterIP": "10.0.0.7"})));
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

    /// There may be many large pods, and each query looks at them.
    #[test]
    fn does_not_parse_the_json_of_pods() {
        let stores = stores(&[("q", false)], Some(service(json!({"clusterIP": "None"}))));
        let unreadable = Object {
            json: Arc::default(),
            ..object(&pod("p", true))
        };
        let pods = ResourceKind::new("v1", "Pod");
        stores.of(&pods).map(|store| store.apply_event(unreadable));
        let endpoint = find(&stores, &ClusterKey::new("n", "a"), false);
        assert_eq!(
            endpoint.map(|endpoint| endpoint.comm.to_string()),
            Ok("tcp://10.1.0.1:8786".to_owned())
        );
    }

    /// The author of a Service with that name would choose what the operator connects to.
    #[rstest]
    #[case::without_owner("/metadata/ownerReferences", json!([]))]
    #[case::of_another_cluster("/metadata/ownerReferences/0/uid", json!("former"))]
    #[case::not_the_controller("/metadata/ownerReferences/0/controller", json!(false))]
    #[case::unlabelled("/metadata/labels", json!({}))]
    #[case::made_by_a_user("/metadata/managedFields", json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]))]
    fn rejects_services_that_the_cluster_does_not_own(#[case] field: &str, #[case] value: Value) {
        let mut service = service(json!({"clusterIP": "10.0.0.7"}));
        if field == "/metadata/managedFields" {
            service["metadata"]["managedFields"] = value;
            // Services of this operator's predecessor are recognized by this label.
            service["metadata"]["labels"]["dask.org/component"] = json!("other");
        } else if let Some(field) = service.pointer_mut(field) {
            *field = value;
        }
        let found = found(&[("p", true)], Some(service), false);
        assert!(
            matches!(&found, Err(why) if why.contains("is not one that was made for this cluster")),
            "{found:?}"
        );
    }
}
