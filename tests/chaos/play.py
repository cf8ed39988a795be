"""Execution of the steps of a script."""

import time

from faults import Schedule
from support import manifests
from support.dask import WORKERS
from support.kubectl import Refused
from support.waiting import until

#: Status of a job by the phase of its runner.
ENDS = {"Succeeded": "Successful", "Failed": "Failed"}


class Player:
    """Executes a script with kubectl, which connects to the API server directly, while the operator connects through a proxy."""

    def __init__(self, kubectl, operator, proxy, log):
        self.kubectl = kubectl
        self.operator = operator
        self.proxy = proxy
        self.log = log
        #: Number of starts of the operator.
        self.starts = 0

    def play(self, script):
        """Execute all steps."""
        begin = time.monotonic()
        for step in script.steps:
            time.sleep(step.pause)
            print(f"{time.monotonic() - begin:7.2f}  {step}", file=self.log, flush=True)
            getattr(self, step.action.replace("-", "_"))(step)

    def settle(self, script):
        """Simulate events of a real cluster while the state converges. Called repeatedly."""

    def problems(self, script):
        """Return violations that are not visible in the objects."""
        return []

    def close(self):
        """Release all resources."""

    # Clusters -------------------------------------------------------------------

    def create_cluster(self, step):
        self.kubectl.apply(cluster(step.target, step.number, step.how))

    def scale_cluster(self, step):
        self.kubectl("scale", f"dsk/{step.target}", f"--replicas={step.number}")

    def roll_cluster(self, step):
        """Change the value of an environment variable in the worker template."""
        path = "/spec/worker/spec/containers/0/env/0/value"
        self.kubectl.patch("dsk", step.target, [{"op": "replace", "path": path, "value": str(step.number)}], type="json")

    def delete_cluster(self, step):
        more = self.kubectl.get("daskworkergroup", f"{step.target}-more")
        self.kubectl("delete", "dsk", step.target, "--wait=false")
        if more and not more["metadata"].get("ownerReferences"):
            # The operator has not set the group's owner reference yet, so garbage collection would not delete the group.
            self._delete("daskworkergroup", f"{step.target}-more")

    def create_group(self, step):
        # Wait for the end of a group of a deleted cluster: an applied change would be lost with it.
        until(lambda: not self.kubectl.get("daskworkergroup", f"{step.target}-more"), "the former group to be deleted")
        self.kubectl.apply(manifests.group(f"{step.target}-more", step.target, step.number))

    def scale_group(self, step):
        self.kubectl("scale", f"daskworkergroup/{step.target}-more", f"--replicas={step.number}")

    def delete_group(self, step):
        self._delete("daskworkergroup", f"{step.target}-more")

    def delete_job(self, step):
        self.kubectl("delete", "djb", step.target, "--wait=false")

    # Faults -----------------------------------------------------------------------

    def kill_runner(self, step):
        self._delete("pod", f"{step.target}-runner")

    def kill_workers(self, step):
        selector = f"{WORKERS},dask.org/cluster-name={step.target},!decoy"
        names = self.kubectl.names("pods", selector)
        self._kill(names[:round(step.number * len(names))], step.how)

    def kill_scheduler(self, step):
        self._kill(self.kubectl.names("pods", f"dask.org/component=scheduler,dask.org/cluster-name={step.target}"), step.how)

    def delete_service(self, step):
        self._delete("service", f"{step.target}-scheduler")

    def delete_default_group(self, step):
        self._delete("daskworkergroup", f"{step.target}-default")

    def kill_operator(self, _):
        self.operator.kill()

    def start_operator(self, _=None, wait=False):
        self.starts += 1
        self.operator.start(wait=wait)

    def faults_on(self, step):
        self.proxy.on(Schedule(step.number))

    def faults_off(self, _=None):
        self.proxy.off()

    def silence(self, step):
        self.proxy.silence(step.number)

    def end_watches(self, step):
        self.proxy.end_watches(step.how)

    # Pods -------------------------------------------------------------------------

    def _kill(self, names, how):
        if how == "evict":
            for name in names[:10]:
                try:
                    self.mark(name, "Failed", reason="Evicted", message="the node was low on memory")
                except Refused as error:  # the pod was deleted meanwhile
                    print(f"         {error}", file=self.log)
        elif names:
            self._delete("pod", *names, *(["--force", "--grace-period=0"] if how == "force" else ["--grace-period=1"]))

    def _delete(self, kind, *names):
        self.kubectl("delete", kind, *names, "--wait=false", "--ignore-not-found")


class ControlPlanePlayer(Player):
    """A player for pods without containers, whose jobs end by a step."""

    def create_job(self, step):
        self.kubectl.apply(manifests.job(step.target, replicas=step.number))

    def end_job(self, step):
        """End the job's code if it runs already; otherwise :meth:`settle` does so later."""
        self.end_runner(step.target, step.how)

    def end_runner(self, job, phase):
        """Set the phase of a job's runner, as a kubelet does after the code has ended. Return whether this job had a running one."""
        runner = self.kubectl.get("pod", f"{job}-runner")
        owner = (self.kubectl.get("djb", job) or {}).get("metadata", {}).get("uid")
        if not runner or runner["status"].get("phase") != "Running" or "deletionTimestamp" in runner["metadata"]:
            return False
        if [reference["uid"] for reference in runner["metadata"]["ownerReferences"]] != [owner]:
            return False
        self.mark(runner["metadata"]["name"], phase)
        return True

    def settle(self, script):
        for name, job in script.jobs.items():
            if job.ends and (self.kubectl.get("djb", name) or {}).get("status", {}).get("jobStatus") not in ENDS.values():
                self.end_runner(name, job.end)

    def mark(self, name, phase, **more):
        """Write the status of a pod that its kubelet would write at its end."""
        conditions = [{"type": kind, "status": "False"} for kind in ("Ready", "ContainersReady")]
        self.kubectl.patch("pod", name, {"status": {"phase": phase, "conditions": conditions, **more}}, subresource="status")


def cluster(name, replicas, scale_down=""):
    """Return a DaskCluster whose worker template can be changed. ``scale_down`` is its policy for scaling down."""
    made = manifests.cluster(name, replicas)
    made["spec"]["worker"]["updateStrategy"] = {"type": "RollingUpdate", "maxUnavailable": "25%"}
    if scale_down:
        made["spec"]["worker"]["scaleDown"] = scale_down
    made["spec"]["worker"]["spec"]["containers"][0]["env"] = [{"name": "VERSION", "value": "0"}]
    return made
