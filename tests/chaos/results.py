"""Real Dask clusters: results that a client holds, and jobs that compute."""

import uuid

from distributed import Client
from invariants import condition
from play import ENDS, Player
from play import cluster as plain_cluster
from support import manifests
from support.dask import answer, scheduler_address
from support.kubectl import Refused
from support.waiting import until

#: Seconds until a scheduler or worker has started, on a busy machine.
START = 300
#: How many results a client holds.
RESULTS = 200
#: What a job computes, and what it prints in the end.
RIGHT = sum(number * number for number in range(100))
COMPUTES = f"""
from distributed import Client
with Client(timeout={START}) as client:
    print(client.submit(sum, client.map(lambda number: number * number, range(100))).result(timeout={START}))
"""
FAILS = COMPUTES + "raise SystemExit(3)\n"

def squares(client, count):
    """Futures of results, each with a mark that another computation of it would not have."""
    # A lambda travels with its code: workers don't have this module.
    return client.map(lambda number: (number * number, uuid.uuid4().hex), range(count), pure=False)


class Held:
    """A client that holds results of a cluster."""

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
        """Whether all are there with the right values, computed once if no worker was killed. Nothing is to be said
        where the scheduler was."""
        if self._scheduler() != self.scheduler:
            return []
        found = []
        try:
            now = [future.result(timeout=60) for future in self.futures]
        except Exception as error:  # whatever it is, it is no result
            return [f"a result of {self.cluster} is lost: {error!r}"]
        wrong = sum(value != number * number for number, (value, _) in enumerate(now))
        again = sum(value != before for value, before in zip(now, self.values, strict=True))
        if wrong:
            found.append(f"{wrong} results of {self.cluster} are wrong")
        if untouched and again:
            found.append(f"{again} of {RESULTS} results of {self.cluster} were lost and had to be computed again")
        return found

    def close(self):
        """Let them go."""
        self.client.close()
        self._address.__exit__(None, None, None)


class RealPlayer(Player):
    """For pods with real Dask processes in them."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._held = []

    def create_cluster(self, step):
        self.kubectl.apply(cluster(step.target, step.number))

    def create_job(self, step):
        code = COMPUTES if step.how == "Succeeded" else FAILS
        self.kubectl.apply(manifests.job(step.target, code, replicas=step.number))

    def hold_results(self, step):
        """The first time waits until there is a worker; later only where there is one already, and a Service to reach its
        scheduler by: that may have been deleted, while nobody can make it anew."""
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
            found += self._answer(name, job)
        for cluster in script.clusters.values():
            if any(group.replicas for group in cluster.groups.values()):
                found += self._computes(cluster.name)
        return found

    def _answer(self, name, job):
        """Whether a job that ended has printed the right answer."""
        status = (self.kubectl.get("djb", name) or {}).get("status", {}).get("jobStatus")
        if status != ENDS[job.end] or job.disturbed:
            return []
        try:
            printed = answer(self.kubectl("logs", f"{name}-runner"))
        except Refused as error:
            return [f"job {name}: {error}"]
        return [] if printed == str(RIGHT) else [f"job {name} printed {printed}, not {RIGHT}"]

    def _computes(self, name):
        """Whether a cluster works."""
        try:
            with scheduler_address(self.kubectl, name) as address, Client(address, timeout=30, set_as_default=False) as client:
                client.wait_for_workers(1, timeout=60)
                total = client.submit(lambda pairs: sum(pair[0] for pair in pairs), squares(client, 100)).result(timeout=60)
                return [] if total == RIGHT else [f"cluster {name} computed {total}, not {RIGHT}"]
        except Exception as error:  # whatever it is, it does not work
            return [f"cluster {name} does not compute: {error!r}"]

    def close(self):
        for held in self._held:
            held.close()
        self._held = []


def cluster(name, replicas):
    """A cluster whose scheduler does not blame a task for the workers that are killed under it."""
    made = plain_cluster(name, replicas)
    made["spec"]["scheduler"]["spec"]["containers"][0]["env"] = [
        {"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "1000"}]
    return made
