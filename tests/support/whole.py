"""Manifests with every field of the four kinds, and the fields that their definitions have."""

import json

import yaml

from support.cluster import ROOT
from support.manifests import autoscaler, cluster, group, job

METADATA = {"labels": {"team": "a"}, "annotations": {"note": "b"}}
#: What a worker's pod has, a field of each kind.
POD = {
    "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "key", "secret": {"secretName": "key", "defaultMode": 0o440}}],
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "nodeSelector": {"disk": "ssd"},
    "terminationGracePeriodSeconds": 30,
    "hostNetwork": False,
}
CONTAINER = {
    "env": [{"name": "A", "value": "b"}, {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    "securityContext": {"runAsUser": 1000},
}
UPDATE = {
    "scaleDown": "drain",
    "drainTimeoutSeconds": 300,
    "updateStrategy": {"type": "RollingUpdate", "maxSurge": 1, "maxUnavailable": "25%"},
}
STEPS = {"windowSeconds": 60, "step": "25%", "periodSeconds": 15}


def _apart(manifest):
    """A manifest no part of which is another part, too."""
    return json.loads(json.dumps(manifest))


def whole_spec(name, replicas=1):
    """``spec`` of a DaskCluster with all of its own fields."""
    spec = cluster(name, replicas)["spec"]
    spec.update(idleTimeout=3600, schedulerUpdate="OnDelete", suspend=False)
    spec["worker"].update(UPDATE, metadata=METADATA)
    spec["scheduler"]["metadata"] = METADATA
    return spec


def whole_cluster(name):
    """A DaskCluster with a field of each kind in its worker's pod, too."""
    spec = whole_spec(name)
    spec["worker"]["spec"].update(POD)
    spec["worker"]["spec"]["containers"][0].update(CONTAINER)
    return _apart({**cluster(name, **METADATA), "spec": spec})


def whole_group(name, cluster_name):
    """A DaskWorkerGroup."""
    made = group(name, cluster_name, 1)
    made["spec"]["worker"].update(UPDATE, metadata=METADATA)
    return _apart(made)


def whole_job(name):
    """A DaskJob, whose cluster needs no workers."""
    made = job(name)
    made["spec"].update(activeDeadlineSeconds=3600, backoffLimit=2, deletionPolicy="Always", suspend=False,
                        ttlSecondsAfterFinished=600, waitForWorkers=0)
    made["spec"]["job"]["metadata"] = METADATA
    made["spec"]["cluster"] = {"metadata": METADATA, "spec": whole_spec(name, 0)}
    return _apart(made)


def whole_autoscaler(name, cluster_name):
    """A DaskAutoscaler."""
    made = autoscaler(name, cluster_name, 1, 5)
    made["spec"].update(workerGroup=f"{cluster_name}-default", targetDurationSeconds=10, scaleUp=STEPS, scaleDown=STEPS)
    return _apart(made)


def fields(kind):
    """The paths of a kind's own fields, from its definition. What is Kubernetes' own, as a pod's spec, is one field."""
    definition = yaml.safe_load((ROOT / "crds" / f"{kind.lower()}.yaml").read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return list(_below(schema, ("spec",)))


def _below(schema, path):
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    for name, field in schema.get("properties", {}).items():
        yield (*path, name)
        yield from _below(field, (*path, name))


def has(manifest, path):
    """Whether something stands at a path."""
    for name in path:
        if not isinstance(manifest, dict) or name not in manifest:
            return False
        manifest = manifest[name]
    return True
