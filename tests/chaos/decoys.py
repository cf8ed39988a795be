"""Objects that look as if they were the operator's and are not: nobody may touch them."""

import json

from support.manifests import cluster

LABELS = {"dask.org/cluster-name": "c0", "dask.org/workergroup-name": "c0-default", "dask.org/component": "worker", "decoy": "yes"}
KINDS = "configmaps,pods,services,deployments,daskworkergroups"
SELECTOR = "decoy=yes"
#: A cluster that no step touches, whose children they could be. Its own inherit its label, by which they are told apart.
OWNER = "decoy"
#: How many Dask resources there are among them: the operator has something to say of each.
RESOURCES = 6


def create(kubectl):
    """Create them; returns what :func:`problems` compares with."""
    labels = {"decoy": "yes"}
    suspended = cluster(OWNER, 0, labels=labels)
    suspended["spec"]["suspend"] = True
    kubectl.apply(suspended, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "decoy-owner", "labels": labels}})
    of_a_user = _reference(kubectl, "v1", "ConfigMap", "decoy-owner", True)
    of_dask = [_reference(kubectl, suspended["apiVersion"], "DaskCluster", OWNER, controller) for controller in (False, True)]
    by_kubectl = [*_each("c0", LABELS), *_each("c0-owned", LABELS, of_a_user), *_each("c1", LABELS, of_dask[0]),
                  *_each("c2", labels, of_dask[1])]
    for manager, made in (("kubectl", by_kubectl), ("kopf", _each("c3", {**LABELS, "dask.org/cluster-name": OWNER}, of_dask[1]))):
        texts = map(json.dumps, made)
        kubectl("create", f"--field-manager={manager}", "--filename", "-", stdin="\n---\n".join(texts))
    return _seen(kubectl)


def _reference(kubectl, version, kind, name, controller):
    uid = kubectl.get(kind, name)["metadata"]["uid"]
    return {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": controller}


def _each(cluster_name, labels, *owners):
    """One of each kind, called nearly as children of a cluster of this name are."""
    more = {"labels": labels, **({"ownerReferences": list(owners)} if owners else {})}
    containers = [{"name": "worker", "image": "ghcr.io/dask/dask:latest", "imagePullPolicy": "IfNotPresent", "args": ["sleep", "infinity"]}]
    worker = f"{cluster_name}-default-worker-"
    return [
        _pod(f"{worker}0000000000", containers, **more),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": cluster_name, **more},
         "spec": {"ports": [{"port": 1}], "selector": LABELS}},
        _deployment(f"{worker}0000000002", containers, **more),
        # Of a cluster that there is not: one of a cluster is a group like another.
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
