"""Tests of the invariants: violations are found and reported."""

import copy

import invariants
import pytest
from script import Cluster, Job


class Objects:
    """A kubectl that lists the given objects."""

    def __init__(self, items):
        self.items = items

    def list(self, kinds, selector):
        return self.items


class Desired:
    """Desired state of a script: a cluster with two workers, a job that runs and one that was successful."""

    def __init__(self):
        self.clusters = {"c": Cluster.of("c", 2)}
        self.jobs = {"j": Job(Cluster.of("j", 1), "Failed"), "k": Job(Cluster.of("k", 1), "Succeeded", ends=True)}


def item(kind, name, owner=None, labels=None, **more):
    """Return an object."""
    metadata = {"name": name, "uid": f"{kind}/{name}", "generation": 1, "labels": labels or {}}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner, "name": owner}]
    return {"kind": kind, "metadata": metadata, "spec": {}, "status": {}, **more}


def cluster(name, workers, owner=None):
    """Return a running cluster and its children."""
    true = [{"type": type, "status": "True"} for type in ("SchedulerReady", "WorkersReady")]
    group = f"DaskWorkerGroup/{name}-default"
    return [
        item("DaskCluster", name, owner, status={"phase": "Running", "conditions": true}),
        item("Service", f"{name}-scheduler", f"DaskCluster/{name}"),
        item("Pod", f"{name}-scheduler", f"DaskCluster/{name}", status={"phase": "Running"}),
        item("DaskWorkerGroup", f"{name}-default", f"DaskCluster/{name}",
             spec={"cluster": name, "worker": {"replicas": workers}},
             status={"replicas": workers, "readyReplicas": workers, "observedGeneration": 1}),
        *(item("Pod", f"{name}-default-worker-{number:010x}", group, {"dask.org/cluster-name": name}, status={"phase": "Running"})
          for number in range(workers)),
    ]


def everything():
    """Return all objects of :class:`Desired`, by kind and name."""
    items = [
        *cluster("c", 2),
        item("DaskJob", "j", status={"jobStatus": "Running"}),
        item("Pod", "j-runner", "DaskJob/j"),
        *cluster("j", 1, "DaskJob/j"),
        item("DaskJob", "k", status={"jobStatus": "Successful", "endTime": "2026-01-01T00:00:00Z"}),
        item("Pod", "k-runner", "DaskJob/k"),
    ]
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in items}


def problems(objects, desired=None, reachable=False):
    """Return the reported violations."""
    return invariants.problems(Objects(list(objects.values())), desired or Desired(), reachable)


def test_no_violations_in_the_desired_state():
    assert problems(everything()) == []


WORKER = "Pod/c-default-worker-0000000001"


def gone(name):
    return lambda objects: objects.pop(name)


def put(name, *path, value):
    def change(objects):
        at = objects[name]
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
    return change


def added(model, **more):
    def change(objects):
        objects["new"] = copy.deepcopy(objects[model])
        objects["new"]["metadata"].update(more)
    return change


@pytest.mark.parametrize("change, message", [
    (gone("DaskCluster/c"), "DaskCluster c is missing"),
    (gone("Service/c-scheduler"), "Service c-scheduler is missing"),
    (gone("Pod/c-scheduler"), "Pod c-scheduler is missing"),
    (gone("DaskWorkerGroup/c-default"), "DaskWorkerGroup c-default is missing"),
    (gone(WORKER), "has 1 workers, "),
    (gone("Pod/k-runner"), "Pod k-runner is missing"),
    (added(WORKER, name="c-default-worker-00000000ff"), "desired are 2 and the maximum so far is 2"),
    (added(WORKER, name="c-default-worker-00000000ff", ownerReferences=[]), "c-default-worker-00000000ff does not belong to the desired state"),
    (added("Pod/c-scheduler", name="c-scheduler-2"), "owns more pods than its scheduler"),
    (added("Pod/k-runner", name="k-scheduler"), "Pod k-scheduler does not belong to the desired state"),
    (put(WORKER, "metadata", "ownerReferences", value=[{"uid": "old", "name": "c-default"}]), "does not belong to the desired state"),
    (put("Pod/c-scheduler", "metadata", "ownerReferences", value=[{"uid": "old", "name": "c"}]), "is owned by ['old']"),
    (put(WORKER, "metadata", "deletionTimestamp", value="2026-01-01T00:00:00Z"), "is terminating since"),
    (put(WORKER, "metadata", "labels", value={}), "has the label of cluster None"),
    (put(WORKER, "status", "phase", value="Failed"), "there are 1 of 2"),
    (put("DaskCluster/c", "status", "phase", value="Pending"), "is in phase Pending"),
    (put("DaskCluster/c", "status", "conditions", value=[]), "SchedulerReady is"),
    (put("DaskWorkerGroup/c-default", "spec", "worker", value={"replicas": 5}), "requests 5 workers, not 2"),
    (put("DaskWorkerGroup/c-default", "status", "observedGeneration", value=0), "was not observed"),
    (put("DaskWorkerGroup/c-default", "status", "conditions", value=[{"type": "ScaleDownBlocked", "status": "True"}]),
     "but a condition reports that some are held back"),
    (put("DaskJob/j", "status", "jobStatus", value="Failed"), "DaskJob j is Failed, not Running"),
    (put("DaskJob/k", "status", "jobStatus", value="Running"), "DaskJob k is Running, not Successful"),
    (put("DaskJob/k", "status", "jobStatus", value="Failed"), "DaskJob k is Failed, not Successful"),
    (put("DaskJob/k", "status", "endTime", value=None), "without endTime"),
])
def test_violations_are_reported(change, message):
    objects = everything()
    change(objects)
    assert any(message in problem for problem in problems(objects)), problems(objects)


@pytest.mark.parametrize("replicas, updated, blocked, up_to_date, reachable, message", [
    (1, 2, "True", None, False, None),
    (1, 2, "False", None, False, "no condition reports that some are held back"),
    (1, 2, "True", None, True, "there is no reason to hold them back"),
    (2, 0, "True", "False", False, None),
    (2, 0, "True", None, False, "no condition reports that some are outdated"),
    (2, 0, "True", "False", True, "there is no reason to hold them back"),
    (2, 2, "True", None, False, "but a condition reports that some are held back"),
    (3, 2, None, None, False, "desired are 3"),
])
def test_workers_may_be_held_back(replicas, updated, blocked, up_to_date, reachable, message):
    desired, objects = Desired(), everything()
    desired.clusters["c"].default.scale(replicas)
    group = objects["DaskWorkerGroup/c-default"]
    group["spec"]["worker"]["replicas"] = replicas
    group["status"]["updatedReplicas"] = updated
    group["status"]["conditions"] = [{"type": type, "status": status} for type, status in
                                     (("ScaleDownBlocked", blocked), ("WorkersUpToDate", up_to_date)) if status]
    found = problems(objects, desired, reachable)
    assert len(found) == (1 if message else 0) and (message or "") in "".join(found)
    desired.clusters["c"].default.unsafe = True
    assert problems(objects, desired) == problems(objects, desired, reachable=True)


def test_a_job_may_fail_after_the_deletion_of_its_runner():
    desired, objects = Desired(), everything()
    desired.jobs["j"].disturbed = True
    assert problems(objects, desired) == []
    for name in list(objects):
        if name.split("/")[1].startswith("j-") or name == "DaskCluster/j":
            del objects[name]
    objects["DaskJob/j"]["status"] = {"jobStatus": "Failed", "endTime": "2026-01-01T00:00:00Z"}
    assert problems(objects, desired) == []
