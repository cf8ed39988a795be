"""Objects that look as if they were the operator's and are not: nobody may touch them."""

LABELS = {"dask.org/cluster-name": "c0", "dask.org/workergroup-name": "c0-default", "dask.org/component": "worker", "decoy": "yes"}
KINDS = "configmaps,pods,services,deployments,daskworkergroups"
SELECTOR = "decoy=yes"


def create(kubectl):
    """Create them; returns what :func:`problems` compares with."""
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "decoy-owner", "labels": LABELS}}
    kubectl.apply(owner)
    uid = kubectl.get("configmap", "decoy-owner")["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "decoy-owner", "uid": uid, "controller": True}
    containers = [{"name": "worker", "image": "ghcr.io/dask/dask:latest", "imagePullPolicy": "IfNotPresent",
                   "args": ["sleep", "infinity"]}]
    kubectl.apply(
        _pod("c0-default-worker-0000000000", containers),
        _pod("c0-default-worker-0000000001", containers, ownerReferences=[reference]),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c0", "labels": LABELS},
         "spec": {"ports": [{"port": 1}], "selector": LABELS}},
        *(_deployment(name, containers, **metadata)
          for name, metadata in {"c0-default-worker-0000000002": {}, "c0-scheduler-0": {"ownerReferences": [reference]}}.items()),
        # Of a cluster that there is not: one of a cluster is a group like another.
        {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup", "metadata": {"name": "c0-default-0", "labels": LABELS},
         "spec": {"cluster": "elsewhere", "worker": {"replicas": 1, "spec": {"containers": containers}}}},
    )
    return _seen(kubectl)


def _pod(name, containers, **metadata):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": LABELS, **metadata},
            "spec": {"containers": containers, "terminationGracePeriodSeconds": 0}}


def _deployment(name, containers, **metadata):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": LABELS, **metadata},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": name}},
                     "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}}}


def _seen(kubectl):
    """What of them nobody but the test may change, by kind and name."""
    seen = {}
    for item in kubectl.list(KINDS, SELECTOR):
        metadata = item["metadata"]
        kept = {key: metadata.get(key) for key in ("uid", "labels", "annotations", "ownerReferences", "deletionTimestamp")}
        # Kubernetes' own controller writes this.
        annotations = kept["annotations"] or {}
        kept["annotations"] = {key: value for key, value in annotations.items() if key != "deployment.kubernetes.io/revision"}
        # Where a pod runs is the scheduler's to say.
        spec = {key: value for key, value in item.get("spec", {}).items() if key != "nodeName"}
        seen[item["kind"], metadata["name"]] = {**kept, "spec": spec}
    return seen


def problems(kubectl, before):
    """What has become of them."""
    now = _seen(kubectl)
    return [f"{kind} {name}, which is somebody else's, was {'changed' if (kind, name) in now else 'deleted'}"
            for (kind, name), seen in before.items() if now.get((kind, name)) != seen]
