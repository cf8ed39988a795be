"""Steps and checks with real Dask clusters: results that a client holds, and jobs that compute."""

import uuid

from distributed import Client
from invariants import condition
from play import ENDS, Player
from play import cluster as plain_cluster
from support import manifests
from support.dask import answer, scheduler_address
from support.kubectl import Refused
from support.waiting import until

#: Timeout in seconds for the start of a scheduler or worker on a busy machine.
START = 300
#: Number of results that a client holds.
RESULTS = 200
#: The expected output of a job.
EXPECTED = sum(number * number for number in range(100))
#: Program of a job that succeeds.
COMPUTES = f"""
from distributed import Client
with Client(timeout={START}) as client:
    print(client.submit(sum, client.map(lambda number: number * number, range(100))).result(timeout={START}))
"""
#: Program of a job that fails.
FAILS = COMPUTES + "raise SystemExit(3)\n"


def squares(client, count):
    """Return futures of results, each with a random mark that a second computation would change."""
    # A lambda is serialized with its code: workers don't have this module.
    return client.map(lambda number: (number * number, uuid.uuid4().hex), range(count), pure=False)


class Held:
    """A client that holds results in a cluster."""

    def __init__(self, kubectl, cluster):
        self.kubectl = kubectl
        self.cluster = cluster
        self.scheduler = self._scheduler()
        self._address = scheduler_address(kubectl, cluster)
        self.client = Client(self._address.__enter__(), timeout=30, set_as_default=False)
        self.client.wait_for_workers(1, timeout=START)
        self.futures = squares(self.client, RESULTS)
        self.values = self.client.gather(self.futures)

    def _scheduler(self):
        return (self.kubectl.get("pod", f"{self.cluster}-scheduler") or {"metadata": {"uid": None}})["metadata"]["uid"]

    def problems(self, untouched):
        """Return messages about results that are lost, wrong, or, if ``untouched``, were computed more than once.

        The list is empty if the scheduler was replaced, because results do not survive that.
        """
        if self._scheduler() != self.scheduler:
            return []
        found = []
        try:
            now = [future.result(timeout=60) for future in self.futures]
        except Exception as error:  # any exception means that there is no result
            return [f"a result of {self.cluster} is lost: {error!r}"]
        wrong = sum(value != number * number for number, (value, _) in enumerate(now))
        repeated = sum(value != before for value, before in zip(now, self.values, strict=True))
        if wrong:
            found.append(f"{wrong} results of {self.cluster} are wrong")
        if untouched and repeated:
            found.append(f"{repeated} of {RESULTS} results of {self.cluster} were lost and computed again")
        return found

    def close(self):
        """Release the results and close the connection."""
        self.client.close()
        self._address.__exit__(None, None, None)


class RealPlayer(Player):
    """A player for pods with real Dask processes."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._held = []

    def create_cluster(self, step):
        self.kubectl.apply(cluster(step.target, step.number))

    def create_job(self, step):
        code = COMPUTES if step.how == "Succeeded" else FAILS
        self.kubectl.apply(manifests.job(step.target, code, replicas=step.number))

    def hold_results(self, step):
        """Connect a client that holds results.

        The first call waits for a worker. Later calls do nothing without a worker or without a connection to the scheduler: its
        Service may have been deleted while the operator, which would recreate it, is not running.
        """
        def has_workers():
            found = self.kubectl.get("dsk", step.target) or {}
            return condition(found, "SchedulerReady")["status"] == "True" and found["status"].get("readyReplicas")

        if not self._held:
            until(has_workers, f"workers of {step.target}", START, 0.5)
        elif not has_workers():
            return
        try:
            self._held.append(Held(self.kubectl, step.target))
        except (OSError, TimeoutError) as error:
            if not self._held:
                raise
            print(f"         {error!r}", file=self.log)

    def problems(self, script):
        found = []
        for held in self._held:
            found += held.problems(held.cluster == script.held)
        for name, job in script.jobs.items():
            found += self._check_output(name, job)
        for cluster in script.clusters.values():
            if any(group.replicas for group in cluster.groups.values()):
                found += self._check_cluster(cluster.name)
        return found

    def _check_output(self, name, job):
        """Return a message if a job that ended undisturbed has not printed the expected output."""
        status = (self.kubectl.get("djb", name) or {}).get("status", {}).get("jobStatus")
        if status != ENDS[job.end] or job.disturbed:
            return []
        try:
            printed = answer(self.kubectl("logs", f"{name}-runner"))
        except Refused as error:
            return [f"job {name}: {error}"]
        return [] if printed == str(EXPECTED) else [f"job {name} printed {printed}, not {EXPECTED}"]

    def _check_cluster(self, name):
        """Return a message if a cluster does not compute the expected result."""
        try:
            with scheduler_address(self.kubectl, name) as address, Client(address, timeout=30, set_as_default=False) as client:
                client.wait_for_workers(1, timeout=60)
                total = client.submit(lambda pairs: sum(pair[0] for pair in pairs), squares(client, 100)).result(timeout=60)
                return [] if total == EXPECTED else [f"cluster {name} computed {total}, not {EXPECTED}"]
        except Exception as error:  # any exception means that the cluster does not work
            return [f"cluster {name} does not compute: {error!r}"]

    def close(self):
        for held in self._held:
            held.close()
        self._held = []


def cluster(name, replicas):
    """Return a DaskCluster whose scheduler does not fail a task because its workers were killed."""
    made = plain_cluster(name, replicas)
    made["spec"]["scheduler"]["spec"]["containers"][0]["env"] = [
        {"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "1000"}]
    return made
