"""Objects that look like the operator's and are not, so that the operator must not change them."""

import json

from support.manifests import cluster

LABELS = {"dask.org/cluster-name": "c0", "dask.org/workergroup-name": "c0-default", "dask.org/component": "worker", "decoy": "yes"}
KINDS = "configmaps,pods,services,deployments,daskworkergroups"
SELECTOR = "decoy=yes"
#: A cluster that no step changes and whose children the decoys could be. Its real children inherit its label ``decoy``, so that the
#: invariants ignore them.
OWNER = "decoy"
#: Number of Dask resources among the decoys. The operator writes a status or an event for each.
RESOURCES = 6


def create(kubectl):
    """Create the decoys, and return their state for :func:`problems`."""
    labels = {"decoy": "yes"}
    suspended = cluster(OWNER, 0, labels=labels)
    suspended["spec"]["suspend"] = True
    kubectl.apply(suspended, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "decoy-owner", "labels": labels}})
    user_owner = _reference(kubectl, "v1", "ConfigMap", "decoy-owner", True)
    dask_owners = [_reference(kubectl, suspended["apiVersion"], "DaskCluster", OWNER, controller) for controller in (False, True)]
    by_kubectl = [*_each("c0", LABELS), *_each("c0-owned", LABELS, user_owner), *_each("c1", LABELS, dask_owners[0]),
                  *_each("c2", labels, dask_owners[1])]
    for manager, made in (("kubectl", by_kubectl), ("kopf", _each("c3", {**LABELS, "dask.org/cluster-name": OWNER}, dask_owners[1]))):
        texts = map(json.dumps, made)
        kubectl("create", f"--field-manager={manager}", "--filename", "-", stdin="\n---\n".join(texts))
    return _state(kubectl)


def _reference(kubectl, version, kind, name, controller):
    uid = kubectl.get(kind, name)["metadata"]["uid"]
    return {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": controller}


def _each(cluster_name, labels, *owners):
    """Return an object of each kind, with names similar to those of the children of a cluster of this name."""
    more = {"labels": labels, **({"ownerReferences": list(owners)} if owners else {})}
    containers = [{"name": "worker", "image": "ghcr.io/dask/dask:latest", "imagePullPolicy": "IfNotPresent", "args": ["sleep", "infinity"]}]
    worker = f"{cluster_name}-default-worker-"
    return [
        _pod(f"{worker}0000000000", containers, **more),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": cluster_name, **more},
         "spec": {"ports": [{"port": 1}], "selector": LABELS}},
        _deployment(f"{worker}0000000002", containers, **more),
        # Its cluster does not exist: a group of an existing cluster would be an ordinary group.
        {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup", "metadata": {"name": f"{cluster_name}-default-0", **more},
         "spec": {"cluster": "elsewhere", "worker": {"replicas": 1, "spec": {"containers": containers}}}},
    ]


def _pod(name, containers, **metadata):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata},
            "spec": {"containers": containers, "terminationGracePeriodSeconds": 0}}


def _deployment(name, containers, **metadata):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, **metadata},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": name}},
                     "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}}}


def _state(kubectl):
    """Return the fields of the decoys that only the test may change, by kind and name."""
    state = {}
    for item in kubectl.list(KINDS, SELECTOR):
        metadata = item["metadata"]
        fields = {key: metadata.get(key) for key in ("uid", "labels", "annotations", "ownerReferences", "deletionTimestamp")}
        # The Deployment controller of Kubernetes writes this annotation.
        annotations = fields["annotations"] or {}
        fields["annotations"] = {key: value for key, value in annotations.items() if key != "deployment.kubernetes.io/revision"}
        # The Kubernetes scheduler sets nodeName.
        spec = {key: value for key, value in item.get("spec", {}).items() if key != "nodeName"}
        state[item["kind"], metadata["name"]] = {**fields, "spec": spec}
    return state


def problems(kubectl, before):
    """Return a message for each decoy that was changed or deleted since :func:`create` returned ``before``."""
    now = _state(kubectl)
    return [f"{kind} {name}, which does not belong to the operator, was {'changed' if (kind, name) in now else 'deleted'}"
            for (kind, name), state in before.items() if now.get((kind, name)) != state]
