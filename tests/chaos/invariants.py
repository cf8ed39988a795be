"""Invariants of the state after a round, and messages about those that are violated."""

import re

from play import ENDS

KINDS = "daskclusters,daskworkergroups,daskjobs,pods,services"


class State:
    """The objects in a namespace, except decoys, and the violations found so far."""

    def __init__(self, kubectl, reachable):
        #: True if the operator can reach schedulers.
        self.reachable = reachable
        items = kubectl.list(KINDS, "!decoy")
        self.objects = {(item["kind"], item["metadata"]["name"]): item for item in items}
        #: Kind and name of the objects that belong to the desired state.
        self.expected = set()
        self.problems = []

    def report(self, text):
        """Add a violation."""
        self.problems.append(text)

    def require(self, kind, name, owner=None):
        """Require an object that is not being deleted and that only ``owner`` owns. Returns it, or None after a violation."""
        self.expected.add((kind, name))
        found = self.objects.get((kind, name))
        if not found:
            return self.report(f"{kind} {name} is missing")
        if "deletionTimestamp" in found["metadata"]:
            return self.report(f"{kind} {name} is terminating since {found['metadata']['deletionTimestamp']}")
        owners = [reference["uid"] for reference in found["metadata"].get("ownerReferences", [])]
        if owner and owners != [owner["metadata"]["uid"]]:
            return self.report(f"{kind} {name} is owned by {owners}, not by {owner['kind']} {owner['metadata']['name']}")
        return found

    def must_leave(self, group):
        """Return whether surplus and outdated workers must be removed, because the group can't hold them back."""
        return self.reachable or group.unsafe

    def owned(self, kind, owner):
        """Return all objects of a kind that an object owns."""
        return [item for (of_kind, _), item in self.objects.items() if of_kind == kind and owner["metadata"]["uid"] in
                [reference["uid"] for reference in item["metadata"].get("ownerReferences", [])]]


def problems(kubectl, script, reachable):
    """Return the violations of the state that a script requires. ``reachable``: whether the operator can reach schedulers."""
    state = State(kubectl, reachable)
    for cluster in script.clusters.values():
        check_cluster(state, cluster)
    for name, job in script.jobs.items():
        check_job(state, name, job)
    for kind, name in sorted(state.objects.keys() - state.expected):
        owners = state.objects[kind, name]["metadata"].get("ownerReferences", [])
        state.report(f"{kind} {name} does not belong to the desired state; it is owned by {[owner['name'] for owner in owners]}")
    return state.problems


def condition(item, type):
    """Return the condition of a type, or one without a status."""
    found = [condition for condition in item.get("status", {}).get("conditions", []) if condition["type"] == type]
    return found[0] if found else {"status": None}


def check_cluster(state, cluster, owner=None):
    """Check a cluster with its scheduler, its Service and its groups."""
    name = cluster.name
    found = state.require("DaskCluster", name, owner)
    if not found:
        return
    if found.get("status", {}).get("phase") != "Running":
        state.report(f"DaskCluster {name} is in phase {found.get('status', {}).get('phase')}")
    for type in ("SchedulerReady", "WorkersReady"):
        if condition(found, type)["status"] != "True":
            state.report(f"DaskCluster {name}: {type} is {condition(found, type)}")
    state.require("Service", f"{name}-scheduler", found)
    scheduler = state.require("Pod", f"{name}-scheduler", found)
    if scheduler and scheduler["status"].get("phase") != "Running":
        state.report(f"Pod {name}-scheduler is in phase {scheduler['status'].get('phase')}")
    if len(state.owned("Pod", found)) > 1:
        state.report(f"DaskCluster {name} owns more pods than its scheduler")
    for group in cluster.groups.values():
        check_group(state, group, found)


def check_group(state, group, cluster):
    """Check a worker group with its workers."""
    found = state.require("DaskWorkerGroup", group.name, cluster)
    if not found:
        return
    if found["spec"]["worker"]["replicas"] != group.replicas:
        state.report(f"DaskWorkerGroup {group.name} requests {found['spec']['worker']['replicas']} workers, not {group.replicas}")
    status = found.get("status", {})
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        state.report(f"DaskWorkerGroup {group.name}: generation {found['metadata']['generation']} was not observed")
    pods = state.owned("Pod", found)
    for pod in pods:
        name = pod["metadata"]["name"]
        state.require("Pod", name, found)
        if not re.fullmatch(re.escape(group.name) + "-worker-[0-9a-f]{10}", name):
            state.report(f"Pod {name} does not have the name of a worker")
        if pod["metadata"]["labels"].get("dask.org/cluster-name") != found["spec"]["cluster"]:
            state.report(f"Pod {name} has the label of cluster {pod['metadata']['labels'].get('dask.org/cluster-name')}")
    ready = sum(pod["status"].get("phase") == "Running" for pod in pods)
    retiring = status.get("retiringReplicas", 0)
    if status.get("replicas", 0) + retiring != len(pods) or not 0 <= ready - status.get("readyReplicas", 0) <= retiring:
        state.report(f"DaskWorkerGroup {group.name} reports {status.get('readyReplicas')} of {status.get('replicas')} ready and {retiring} "
                  f"retiring; there are {ready} of {len(pods)}")
    check_count(state, group, found, len(pods))


def check_count(state, group, found, count):
    """Check that a group has the desired number of workers, all of the current template.

    Surplus or outdated workers are allowed only if they are held back, with conditions that report it, which requires that
    the scheduler is unreachable.
    """
    status = found.get("status", {})
    blocked = condition(found, "ScaleDownBlocked")
    outdated = count - status.get("updatedReplicas", count)
    text = f"DaskWorkerGroup {group.name} has {count} workers, {outdated} of them outdated; desired are {group.replicas}"
    if count < group.replicas:
        state.report(text)
    elif count > group.most:
        state.report(f"{text} and the maximum so far is {group.most}")
    elif count > group.replicas and blocked["status"] != "True":
        state.report(f"{text}, but no condition reports that some are held back")
    elif outdated and condition(found, "WorkersUpToDate")["status"] != "False":
        state.report(f"{text}, but no condition reports that some are outdated")
    elif count == group.replicas and not outdated and blocked["status"] == "True":
        state.report(f"{text}, but a condition reports that some are held back")
    elif (count > group.replicas or outdated) and state.must_leave(group):
        state.report(f"{text}, but there is no reason to hold them back: {blocked}")


def check_job(state, name, job):
    """Check a job: it runs with its cluster, or it has ended with the expected status."""
    found = state.require("DaskJob", name)
    if not found:
        return
    status = found.get("status", {}).get("jobStatus")
    allowed = {ENDS[job.end] if job.ends else "Running"} | ({"Failed"} if job.disturbed else set())
    if status not in allowed:
        state.report(f"DaskJob {name} is {status}, not {' or '.join(sorted(allowed))}")
    if status == "Running":
        check_cluster(state, job.cluster, found)
        state.require("Pod", f"{name}-runner", found)
    elif status in ENDS.values():
        if ("Pod", f"{name}-runner") in state.objects or not job.disturbed:
            state.require("Pod", f"{name}-runner", found)
        if not found["status"].get("endTime"):
            state.report(f"DaskJob {name} is {status} without endTime")
