//! Manifests of the resources that benchmarks create.

use serde_json::{Value, json};

/// API version of the Dask resources.
pub(crate) const API_VERSION: &str = "kubernetes.dask.org/v1";

/// Returns the cluster of Dask's documentation with a name and a number of workers.
pub(crate) fn cluster(name: &str, workers: usize) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": cluster_spec(name, workers),
    })
}

/// Returns a job with a cluster of that number of workers. Its runner ends `seconds` after its start on a fake node.
pub(crate) fn job(name: &str, workers: usize, seconds: u64) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "DaskJob",
        "metadata": {"name": name},
        "spec": {
            "job": {
                // Fake nodes end pods with this annotation: see tests/cluster/localkube/fakenodes.py.
                "metadata": {"annotations": {"fake-node/succeed-after": format!("{seconds}s")}},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{
                        "name": "job",
                        "image": "ghcr.io/dask/dask:latest",
                        "imagePullPolicy": "IfNotPresent",
                        "args": ["python", "-c", "from dask.distributed import Client; client = Client()"],
                    }],
                },
            },
            "cluster": {"spec": cluster_spec(name, workers)},
        },
    })
}

/// Returns the spec of a cluster, or of the cluster of a job, with this name.
fn cluster_spec(name: &str, workers: usize) -> Value {
    let port = |name: &str, port: u16| json!({"name": name, "containerPort": port, "protocol": "TCP"});
    json!({
        "worker": {
            "replicas": workers,
            "spec": {"containers": [{
                "name": "worker",
                "image": "ghcr.io/dask/dask:latest",
                "imagePullPolicy": "IfNotPresent",
                "args": ["dask-worker", "--name", "$(DASK_WORKER_NAME)", "--dashboard", "--dashboard-address", "8788"],
                "ports": [port("http-dashboard", 8788)],
            }]},
        },
        "scheduler": {
            "spec": {"containers": [{
                "name": "scheduler",
                "image": "ghcr.io/dask/dask:latest",
                "imagePullPolicy": "IfNotPresent",
                "args": ["dask-scheduler"],
                "ports": [port("tcp-comm", 8786), port("http-dashboard", 8787)],
                "readinessProbe": {"httpGet": {"port": "http-dashboard", "path": "/health"}},
            }]},
            "service": {
                "type": "ClusterIP",
                "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
                "ports": [
                    {"name": "tcp-comm", "protocol": "TCP", "port": 8786, "targetPort": "tcp-comm"},
                    {"name": "http-dashboard", "protocol": "TCP", "port": 8787, "targetPort": "http-dashboard"},
                ],
            },
        },
    })
}
