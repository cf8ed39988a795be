"""Fake nodes for a cluster without a real node: kwok marks the pods on them as running, so thousands need no containers."""

import concurrent.futures
import contextlib
import json

from . import node, programs
from .components import Component, answers
from .console import Failure, step
from .kube import Api, ApiError
from .processes import tail, wait_until

NAME = "kwok"
LABEL = "kwok"
ANNOTATION = {"kwok.x-k8s.io/node": "fake"}
HEALTH_PORT = 10247
#: Annotation of a pod whose containers end with success that long after they started, for example ``1s``.
DURATION = "fake-node/succeed-after"
#: Capacity of a fake node, large enough for any test.
CAPACITY = {"cpu": "100k", "memory": "1Pi", "ephemeral-storage": "1Pi", "pods": "100k"}


def component(cluster):
    """Return the kwok component."""
    configuration = cluster.path("kwok.yaml")
    configuration.write_text("\n---\n".join(json.dumps(stage, indent=1) for stage in stages()))
    return Component(NAME, [
        programs.ensure(programs.FAKE_NODES)[NAME],
        f"--config={configuration}",
        f"--kubeconfig={cluster.path('pki', 'kwok.kubeconfig')}",
        f"--manage-nodes-with-annotation-selector={'='.join(*ANNOTATION.items())}",
        f"--cidr={cluster.pods}",
        f"--node-ip={cluster.node_address}",
        "--node-lease-duration-seconds=40",
        "--v=WARN",
        f"--server-address={cluster.node_address}:{HEALTH_PORT}",
    ], answers(f"http://{cluster.node_address}:{HEALTH_PORT}/healthz"))


def stages():
    """Yield kwok's stages: nodes become ready, pods run and are ready, pods with a deletion timestamp are removed, each immediately.
    Pods with the annotation :data:`DURATION` succeed after that duration."""
    new_node = [{"key": '.status.conditions.[] | select( .type == "Ready" ) | .status', "operator": "NotIn", "values": ["True"]}]
    yield _stage("node-ready", "Node", new_node, {"statusTemplate": NODE_STATUS})
    alive, deleted = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}, {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
    yield _stage("pod-ready", "Pod", [alive, {"key": ".status.podIP", "operator": "DoesNotExist"}], {"statusTemplate": POD_STATUS})
    duration = f'.metadata.annotations["{DURATION}"]'
    running = {"key": ".status.phase", "operator": "In", "values": ["Running"]}
    yield _stage("pod-succeeded", "Pod", [alive, running, {"key": duration, "operator": "Exists"}], {"statusTemplate": POD_SUCCEEDED},
                 delay={"durationFrom": {"expressionFrom": duration}})
    yield _stage("pod-gone", "Pod", [deleted], {"finalizers": {"empty": True}, "delete": True})


def _stage(name, kind, matches, following, **more):
    spec = {"resourceRef": {"apiGroup": "v1", "kind": kind}, "selector": {"matchExpressions": matches}, "next": following, **more}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


#: Status templates in kwok's format: Go templates with kwok's functions.
NODE_STATUS = """
conditions:
{{ range NodeConditions }}
- {type: {{ .type | Quote }}, status: {{ .status | Quote }}, reason: {{ .reason | Quote }}, message: {{ .message | Quote }},
   lastHeartbeatTime: {{ Now | Quote }}, lastTransitionTime: {{ Now | Quote }}}
{{ end }}
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
"""
POD_STATUS = """
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ PodIPWith .spec.nodeName ( or .spec.hostNetwork false ) ( or .metadata.uid "" ) ( or .metadata.name "" ) ( or .metadata.namespace "" ) | Quote }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- {name: {{ .name | Quote }}, image: {{ .image | Quote }}, imageID: "", ready: true, started: true, restartCount: 0,
   state: {running: {startedAt: {{ $now | Quote }}}}}
{{ end }}
"""
POD_SUCCEEDED = """
{{ $now := Now }}
phase: Succeeded
conditions:
- {type: Initialized, status: "True", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- {name: {{ .name | Quote }}, image: {{ .image | Quote }}, imageID: "", ready: false, started: false, restartCount: 0,
   state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}}
{{ end }}
"""


def manifest(number):
    """Return the Node object of a fake node."""
    name = f"fake-{number}"
    return {"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "annotations": ANNOTATION, "labels": {"type": LABEL, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
            "status": {"capacity": CAPACITY, "allocatable": CAPACITY}}


def scale(running, count):
    """Create or delete fake nodes until there are exactly ``count``. Stops kwok if ``count`` is 0."""
    cluster, api = running.cluster, Api(running.cluster)
    if running.size != "control-plane":
        raise Failure(f"cluster {cluster.name} has a real node: fake nodes need a cluster without one (up --no-node)")
    wanted = {f"fake-{number}" for number in range(count)}
    present = {item["metadata"]["name"] for item in api.get(f"/api/v1/nodes?labelSelector=type%3D{LABEL}")["items"]}
    if count:
        running.ensure(component(cluster))
    with step(f"{count} fake nodes"):
        _each(cluster, lambda client, name: client.request("POST", "/api/v1/nodes", manifest(int(name.removeprefix("fake-")))), wanted - present)
        _each(cluster, _delete, present - wanted)
        if not wait_until(lambda: all(node.is_ready(item) for item in _nodes(api)) and len(_nodes(api)) == count, 60, every=0.1):
            log = cluster.log(NAME)
            raise Failure(f"the fake nodes did not become ready; the end of {log}:\n{tail(log)}")
    if not count:
        running.stop(NAME)


def _nodes(api):
    return api.get(f"/api/v1/nodes?labelSelector=type%3D{LABEL}")["items"]


def _delete(client, name):
    with contextlib.suppress(ApiError):
        client.request("DELETE", f"/api/v1/nodes/{name}")


def _each(cluster, action, names):
    """Call ``action`` for every name in a pool of threads, each with its own connection."""
    names = sorted(names)

    def work(share):
        client = Api(cluster)
        for name in share:
            action(client, name)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, (names[start::8] for start in range(8))))
