"""What must hold when the trouble is over: sentences about what does not."""

import re

from play import ENDS

KINDS = "daskclusters,daskworkergroups,daskjobs,pods,services"


class State:
    """What there is in a namespace, decoys aside."""

    def __init__(self, kubectl, reachable):
        #: Whether schedulers can be asked.
        self.reachable = reachable
        items = kubectl.list(KINDS, "!decoy")
        self.objects = {(item["kind"], item["metadata"]["name"]): item for item in items}
        #: Objects that something wanted accounts for.
        self.expected = set()
        self.problems = []

    def say(self, text):
        """Something does not hold."""
        self.problems.append(text)

    def want(self, kind, name, owner=None):
        """There has to be such an object, not on its way out, that ``owner`` owns. Returns it, or None."""
        self.expected.add((kind, name))
        found = self.objects.get((kind, name))
        if not found:
            return self.say(f"{kind} {name} is missing")
        if "deletionTimestamp" in found["metadata"]:
            return self.say(f"{kind} {name} is terminating since {found['metadata']['deletionTimestamp']}")
        owners = [reference["uid"] for reference in found["metadata"].get("ownerReferences", [])]
        if owner and owners != [owner["metadata"]["uid"]]:
            return self.say(f"{kind} {name} is owned by {owners}, not by {owner['kind']} {owner['metadata']['name']}")
        return found

    def must_leave(self, group):
        """Whether workers that are too many or outdated can't be held back."""
        return self.reachable or group.unsafe

    def owned(self, kind, owner):
        """All of a kind that an object owns."""
        return [item for (of_kind, _), item in self.objects.items() if of_kind == kind and owner["metadata"]["uid"] in
                [reference["uid"] for reference in item["metadata"].get("ownerReferences", [])]]


def problems(kubectl, script, reachable):
    """What does not hold of what a script wants. ``reachable`` says whether schedulers can be asked."""
    state = State(kubectl, reachable)
    for cluster in script.clusters.values():
        check_cluster(state, cluster)
    for name, job in script.jobs.items():
        check_job(state, name, job)
    for kind, name in sorted(state.objects.keys() - state.expected):
        owners = state.objects[kind, name]["metadata"].get("ownerReferences", [])
        state.say(f"{kind} {name} is nobody's, owned by {[owner['name'] for owner in owners]}")
    return state.problems


def condition(item, type):
    """A condition, or an empty one."""
    found = [condition for condition in item.get("status", {}).get("conditions", []) if condition["type"] == type]
    return found[0] if found else {"status": None}


def check_cluster(state, cluster, owner=None):
    """A cluster with its scheduler, its Service and its groups."""
    name = cluster.name
    found = state.want("DaskCluster", name, owner)
    if not found:
        return
    if found.get("status", {}).get("phase") != "Running":
        state.say(f"DaskCluster {name} is in phase {found.get('status', {}).get('phase')}")
    for type in ("SchedulerReady", "WorkersReady"):
        if condition(found, type)["status"] != "True":
            state.say(f"DaskCluster {name}: {type} is {condition(found, type)}")
    state.want("Service", f"{name}-scheduler", found)
    scheduler = state.want("Pod", f"{name}-scheduler", found)
    if scheduler and scheduler["status"].get("phase") != "Running":
        state.say(f"Pod {name}-scheduler is in phase {scheduler['status'].get('phase')}")
    if len(state.owned("Pod", found)) > 1:
        state.say(f"DaskCluster {name} owns more pods than its scheduler")
    for group in cluster.groups.values():
        check_group(state, group, found)


def check_group(state, group, cluster):
    """A group with its workers."""
    found = state.want("DaskWorkerGroup", group.name, cluster)
    if not found:
        return
    if found["spec"]["worker"]["replicas"] != group.replicas:
        state.say(f"DaskWorkerGroup {group.name} wants {found['spec']['worker']['replicas']} workers, not {group.replicas}")
    status = found.get("status", {})
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        state.say(f"DaskWorkerGroup {group.name}: generation {found['metadata']['generation']} was not observed")
    pods = state.owned("Pod", found)
    for pod in pods:
        name = pod["metadata"]["name"]
        state.want("Pod", name, found)
        if not re.fullmatch(re.escape(group.name) + "-worker-[0-9a-f]{10}", name):
            state.say(f"Pod {name} has no worker's name")
        if pod["metadata"]["labels"].get("dask.org/cluster-name") != found["spec"]["cluster"]:
            state.say(f"Pod {name} is labelled as of cluster {pod['metadata']['labels'].get('dask.org/cluster-name')}")
    ready = sum(pod["status"].get("phase") == "Running" for pod in pods)
    retiring = status.get("retiringReplicas", 0)
    if status.get("replicas", 0) + retiring != len(pods) or not 0 <= ready - status.get("readyReplicas", 0) <= retiring:
        state.say(f"DaskWorkerGroup {group.name} counts {status.get('readyReplicas')} of {status.get('replicas')} and {retiring} "
                  f"that leave; there are {ready} of {len(pods)}")
    check_count(state, group, found, len(pods))


def check_count(state, group, found, count):
    """As many workers as are wanted, all of the present template. More, or older ones, only if they are held back, which
    is said, and which can be only where the scheduler can't be asked."""
    status = found.get("status", {})
    blocked = condition(found, "ScaleDownBlocked")
    outdated = count - status.get("updatedReplicas", count)
    says = f"DaskWorkerGroup {group.name} has {count} workers, {outdated} of them outdated; wanted are {group.replicas}"
    if count < group.replicas:
        state.say(says)
    elif count > group.most:
        state.say(f"{says} and were never more than {group.most}")
    elif count > group.replicas and blocked["status"] != "True":
        state.say(f"{says}, and none is said to be held back")
    elif outdated and condition(found, "WorkersUpToDate")["status"] != "False":
        state.say(f"{says}, and that is not said")
    elif count == group.replicas and not outdated and blocked["status"] == "True":
        state.say(f"{says}, and yet some are said to be held back")
    elif (count > group.replicas or outdated) and state.must_leave(group):
        state.say(f"{says}, and nothing keeps them: {blocked}")


def check_job(state, name, job):
    """A job that runs, with its cluster, or that has come to its end, and the right one."""
    found = state.want("DaskJob", name)
    if not found:
        return
    status = found.get("status", {}).get("jobStatus")
    allowed = {ENDS[job.end] if job.ends else "Running"} | ({"Failed"} if job.disturbed else set())
    if status not in allowed:
        state.say(f"DaskJob {name} is {status}, not {' or '.join(sorted(allowed))}")
    if status == "Running":
        check_cluster(state, job.cluster, found)
        state.want("Pod", f"{name}-runner", found)
    elif status in ENDS.values():
        if ("Pod", f"{name}-runner") in state.objects or not job.disturbed:
            state.want("Pod", f"{name}-runner", found)
        if not found["status"].get("endTime"):
            state.say(f"DaskJob {name} is {status} without endTime")
