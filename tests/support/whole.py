"""Manifests with every field of the four kinds, and the fields that their CRDs define."""

import json

import yaml

from support.cluster import ROOT
from support.manifests import autoscaler, cluster, group, job

METADATA = {"labels": {"team": "a"}, "annotations": {"note": "b"}}
#: Fields of a worker's pod, one of each type.
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
    """Return a deep copy of a manifest in which no two parts share an object."""
    return json.loads(json.dumps(manifest))


def whole_spec(name, replicas=1):
    """Return the ``spec`` of a DaskCluster with all fields that the CRD itself defines."""
    spec = cluster(name, replicas)["spec"]
    spec.update(idleTimeout=3600, schedulerUpdate="OnDelete", suspend=False)
    spec["worker"].update(UPDATE, metadata=METADATA)
    spec["scheduler"]["metadata"] = METADATA
    return spec


def whole_cluster(name):
    """Return a DaskCluster with all of its own fields, and a field of each type in its worker's pod."""
    spec = whole_spec(name)
    spec["worker"]["spec"].update(POD)
    spec["worker"]["spec"]["containers"][0].update(CONTAINER)
    return _apart({**cluster(name, **METADATA), "spec": spec})


def whole_group(name, cluster_name):
    """Return a DaskWorkerGroup with all of its own fields."""
    made = group(name, cluster_name, 1)
    made["spec"]["worker"].update(UPDATE, metadata=METADATA)
    return _apart(made)


def whole_job(name):
    """Return a DaskJob with all of its own fields, whose cluster has no workers."""
    made = job(name)
    made["spec"].update(activeDeadlineSeconds=3600, backoffLimit=2, deletionPolicy="Always", suspend=False,
                        ttlSecondsAfterFinished=600, waitForWorkers=0)
    made["spec"]["job"]["metadata"] = METADATA
    made["spec"]["cluster"] = {"metadata": METADATA, "spec": whole_spec(name, 0)}
    return _apart(made)


def whole_autoscaler(name, cluster_name):
    """Return a DaskAutoscaler with all of its own fields."""
    made = autoscaler(name, cluster_name, 1, 5)
    made["spec"].update(workerGroup=f"{cluster_name}-default", targetDurationSeconds=10, scaleUp=STEPS, scaleDown=STEPS)
    return _apart(made)


def fields(kind):
    """Return the paths of a kind's fields from its CRD. A field of a type of Kubernetes, such as a pod's spec, counts as one."""
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
    """Return whether a manifest has a value at a path."""
    for name in path:
        if not isinstance(manifest, dict) or name not in manifest:
            return False
        manifest = manifest[name]
    return True
