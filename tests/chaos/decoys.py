"""Objects that look as if they were the operator's and are not: nobody may touch them."""

LABELS = {"dask.org/cluster-name": "c0", "dask.org/workergroup-name": "c0-default", "dask.org/component": "worker", "decoy": "yes"}
KINDS = "configmaps,pods,services"
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
    )
    return _seen(kubectl)


def _pod(name, containers, **metadata):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": LABELS, **metadata},
            "spec": {"containers": containers, "terminationGracePeriodSeconds": 0}}


def _seen(kubectl):
    """What of them nobody but the test may change, by kind and name."""
    seen = {}
    for item in kubectl.list(KINDS, SELECTOR):
        metadata = item["metadata"]
        kept = {key: metadata.get(key) for key in ("uid", "labels", "annotations", "ownerReferences", "deletionTimestamp")}
        # Where a pod runs is the scheduler's to say.
        spec = {key: value for key, value in item.get("spec", {}).items() if key != "nodeName"}
        seen[item["kind"], metadata["name"]] = {**kept, "spec": spec}
    return seen


def problems(kubectl, before):
    """What has become of them."""
    now = _seen(kubectl)
    return [f"{kind} {name}, which is somebody else's, was {'changed' if (kind, name) in now else 'deleted'}"
            for (kind, name), seen in before.items() if now.get((kind, name)) != seen]
