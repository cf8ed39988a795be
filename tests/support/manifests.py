"""Manifests for tests: those of examples/, and minimal ones."""

import copy
import json

import yaml

from support.cluster import ROOT

API = "kubernetes.dask.org/v1"


def example(name):
    """Return the objects of a file of examples/."""
    return [document for document in yaml.safe_load_all((ROOT / "examples" / f"{name}.yaml").read_text()) if document]


def ten_lines(image):
    """Return the smallest complete manifest of a cluster, as text: a DaskCluster `ten-lines` with two workers."""
    return f"""
apiVersion: {API}
kind: DaskCluster
metadata:
  name: ten-lines
spec:
  worker:
    replicas: 2
    spec:
      containers:
      - image: {image}
"""


def pod(name, *args):
    """Return a pod spec with one container of Dask's image."""
    container = {"name": name, "image": "ghcr.io/dask/dask:latest", "imagePullPolicy": "IfNotPresent"}
    return {"containers": [{**container, "args": list(args)} if args else container]}


def worker(replicas=1):
    """Return the ``worker`` field of a cluster or a worker group."""
    return {"replicas": replicas, "spec": pod("worker", "dask-worker", "--name", "$(DASK_WORKER_NAME)")}


def cluster(name, replicas=1, **metadata):
    """Return a DaskCluster."""
    scheduler = pod("scheduler", "dask-scheduler")
    scheduler["containers"][0]["readinessProbe"] = {"httpGet": {"path": "/health", "port": 8787}, "periodSeconds": 1}
    service = {
        "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
        "ports": [{"name": "tcp-comm", "port": 8786}, {"name": "http-dashboard", "port": 8787}],
    }
    return {
        "apiVersion": API, "kind": "DaskCluster", "metadata": {"name": name, **metadata},
        "spec": {"worker": worker(replicas), "scheduler": {"spec": scheduler, "service": service}},
    }


def group(name, cluster_name, replicas=1):
    """Return a DaskWorkerGroup."""
    return {"apiVersion": API, "kind": "DaskWorkerGroup", "metadata": {"name": name},
            "spec": {"cluster": cluster_name, "worker": worker(replicas)}}


def job(name, code="pass", replicas=1, restart="Never"):
    """Return a DaskJob that runs Python code."""
    runner = {**pod("job", "python", "-c", code), "restartPolicy": restart}
    return {"apiVersion": API, "kind": "DaskJob", "metadata": {"name": name},
            "spec": {"job": {"spec": runner}, "cluster": {"spec": cluster(name, replicas)["spec"]}}}


def autoscaler(name, cluster_name, minimum=0, maximum=10):
    """Return a DaskAutoscaler."""
    return {"apiVersion": API, "kind": "DaskAutoscaler", "metadata": {"name": name},
            "spec": {"cluster": cluster_name, "minimum": minimum, "maximum": maximum}}


def changed(manifest, path, value):
    """Return a copy of a manifest with another value at a path such as ``spec.worker.replicas``.

    None removes the field; ``"null"`` sets it to JSON null.
    """
    manifest = copy.deepcopy(manifest)
    *parents, last = path.split(".")
    at = manifest
    for name in parents:
        at = at[int(name)] if isinstance(at, list) else at.setdefault(name, {})
    if value is None:
        del at[last]
    else:
        at[last] = None if value == "null" else value
    return json.loads(json.dumps(manifest))


def lost(sent, stored, path=""):
    """Yield the fields of ``sent`` that are missing or different in ``stored``. Nulls in ``sent`` are ignored."""
    if sent is None:
        return
    if isinstance(sent, dict) and isinstance(stored, dict):
        for key, value in sent.items():
            yield from lost(value, stored.get(key), f"{path}.{key}")
    elif isinstance(sent, list) and isinstance(stored, list) and len(sent) <= len(stored):
        for number, value in enumerate(sent):
            yield from lost(value, stored[number], f"{path}[{number}]")
    elif sent != stored:
        yield f"{path}: {str(sent)[:60]!r} became {str(stored)[:60]!r}"
