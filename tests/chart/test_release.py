"""The operator as a release, in real pods: installed, upgraded, rolled back, uninstalled, while Dask clusters run."""

import json
import re
import threading
import time

import pytest
from support import manifests
from support.cluster import ROOT
from support.dask import joined, pods
from support.kubectl import Kubectl, Refused
from support.release import NAME, OBJECT, START, Release, namespaces
from support.waiting import stays, until

pytestmark = pytest.mark.e2e

#: Seconds within which work goes on after the leader was killed.
KILLED = 60
#: All that a cluster needs.
MINIMAL = """
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata:
  name: ten-lines
spec:
  worker:
    replicas: 2
    spec:
      containers:
      - image: ghcr.io/dask/dask:latest
"""
#: A cluster that could not work, and what its author is told.
WRONG = manifests.changed(manifests.cluster("wrong"), "spec.worker.spec.containers.0.resources", {"limits": {"memory": "4GB"}})
SENTENCE = "spec.worker.spec.containers[0].resources.limits.memory: `4GB` is no quantity of Kubernetes: write `4G`"


def another(operators, before):
    """Wait until another operator than before is the only one; its pod."""
    def seen():
        now = operators.names("pods")
        return now if len(now) == 1 and now != before else None

    return until(seen, "the former operator to end")


class Author(threading.Thread):
    """Somebody who keeps writing a cluster that is all right; ``with`` ends them. What was refused is in ``refused``."""

    def __init__(self, kubectl):
        super().__init__(daemon=True)
        self.kubectl = kubectl
        self.written, self.refused = 0, []
        self.done = threading.Event()

    def run(self):
        """Write, five times a second, without a trace."""
        while not self.done.wait(0.2):
            try:
                self.kubectl.apply(manifests.cluster("again"), options=["--dry-run=server"])
                self.written += 1
            except Refused as error:
                self.refused.append(f"{time.strftime('%X')}: {error}")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()


def configurations(admin):
    """The names of all webhook configurations."""
    return admin.names("mutatingwebhookconfigurations") + admin.names("validatingwebhookconfigurations")


def test_the_life_of_a_release(admin):
    with namespaces(admin, "release", "work") as (operators, work):
        release = Release(admin, operators)
        release.apply()

        # The webhook is asked: by its Service, in a pod.
        with pytest.raises(Refused, match=re.escape(SENTENCE)):
            work.apply(WRONG)
        work("apply", "--filename", "-", stdin=MINIMAL)
        joined(work, "ten-lines", 2)
        work("delete", "daskcluster", "ten-lines", "--timeout=120s")

        # A manifest of the examples, as it is.
        work.apply(*manifests.example("minimal"))
        joined(work, "minimal", 1)
        work("scale", "daskworkergroup", "minimal-default", "--replicas=2")
        joined(work, "minimal", 2)
        assert release.missing_rights() == []
        before = pods(work, "minimal")
        assert len(before) == 3

        # Other values, then back: another operator each time, the same pods.
        first = operators.names("pods")
        release.apply(kopfArgs=["--all-namespaces", "--verbose"], settings={"worker-group": {"batchSize": 5}})
        second = another(operators, first)
        stays(lambda: pods(work, "minimal") == before, "the cluster's pods", 5)
        release.helm("rollback", NAME, "--wait", f"--timeout={START}s")
        another(operators, second)
        stays(lambda: pods(work, "minimal") == before, "the cluster's pods", 5)
        joined(work, "minimal", 2)

        # Without the operator everything stays, CRDs included.
        release.helm("uninstall", NAME, "--wait")
        until(lambda: operators.names("pods") == [], "the operator to end")
        stays(lambda: pods(work, "minimal") == before, "the cluster's pods", 5)
        joined(work, "minimal", 2)
        # Nor is anything in the way.
        assert configurations(admin) == []
        work.apply(WRONG, options=["--dry-run=server"])

        # A new release goes on.
        release.apply()
        stays(lambda: pods(work, "minimal") == before, "the cluster's pods", 5)
        work("scale", "daskworkergroup", "minimal-default", "--replicas=3")
        joined(work, "minimal", 3)
        assert before.items() <= pods(work, "minimal").items()
        work("delete", "daskcluster", "minimal", "--timeout=120s")
        until(lambda: not pods(work, "minimal"), "the pods to go", START, 1)
        assert release.missing_rights() == []
        release.helm("uninstall", NAME, "--wait")


def test_two_operators(admin):
    """One is always there to answer, and one to work."""
    with namespaces(admin, "release", "work") as (operators, work):
        release = Release(admin, operators)
        release.apply(replicaCount=2)
        work.apply(manifests.cluster("c"))
        workers = iter(range(2, 20))

        def work_goes_on(limit):
            """Have one worker more made; after how many seconds it is there."""
            start, count = time.monotonic(), next(workers)
            work("scale", "daskworkergroup", "c-default", f"--replicas={count}")
            until(lambda: len(work.names("pods", "dask.org/component=worker")) == count, "one more worker", limit)
            return time.monotonic() - start

        until(lambda: work.get("daskworkergroup", "c-default"), "the worker group")
        work_goes_on(30)
        seen = {}
        with Author(work) as author:
            until(lambda: author.written > 5, "somebody to write")
            # The leader's pod is deleted, as when its node is drained.
            before = release.leader()
            operators("delete", "pod", before, "--wait=false")
            seen["deleted"] = work_goes_on(KILLED)
            after = release.leader()
            assert after != before
            # Another image or other values: one pod after the other.
            release.apply(replicaCount=2, kopfArgs=["--all-namespaces", "--verbose"])
            seen["upgraded"] = work_goes_on(KILLED)
            until(lambda: not {before, after} & set(operators.names("pods")), "the former pods to go")
            seen["written"] = author.written
        assert author.refused == []
        # And without a goodbye.
        operators("delete", "pod", release.leader(), "--grace-period=0", "--force")
        seen["killed"] = work_goes_on(KILLED)
        print(json.dumps(seen))
        work("delete", "daskcluster", "c", "--timeout=120s")
        release.helm("uninstall", NAME, "--wait")


def test_a_release_for_two_namespaces(admin):
    """It works there and nowhere else, and has no rights elsewhere."""
    with namespaces(admin, "release", "team-a", "team-b", "other") as (operators, first, second, other):
        release = Release(admin, operators)
        admin("apply", "--server-side", "--force-conflicts", "--filename", ROOT / "crds")
        release.apply(namespaces=[first.namespace, second.namespace], crds={"install": False})
        for kubectl in (first, second, other):
            kubectl.apply(*manifests.example("minimal"))
        for kubectl in (first, second):
            joined(kubectl, "minimal", 1)
        assert pods(other, "minimal") == {} and other.get("daskworkergroup", "minimal-default") is None
        assert release.missing_rights() == []
        # Without a webhook, as its configurations would belong to no namespace.
        assert configurations(admin) == []
        account = f"system:serviceaccount:{operators.namespace}:{OBJECT}"
        for namespace, answer in ((first.namespace, "yes"), (other.namespace, "no"), (operators.namespace, "no")):
            assert can(admin, namespace, account, "create", "pods") == answer
        assert can(admin, "default", account, "list", "nodes") == "no"
        # Who installs may say that there shall be one; for these namespaces only.
        release.apply(namespaces=[first.namespace, second.namespace], crds={"install": False}, webhook={"namespaced": True})
        for kubectl in (first, second):
            with pytest.raises(Refused, match=re.escape(SENTENCE)):
                kubectl.apply(WRONG)
        other.apply(WRONG, options=["--dry-run=server"])
        assert release.missing_rights() == []
        release.helm("uninstall", NAME, "--wait")
        assert configurations(admin) == []


def can(admin, namespace, account, verb, resource):
    """``yes`` or ``no``: whether an account may do something."""
    try:
        return Kubectl(admin.environment, namespace)("auth", "can-i", verb, resource, f"--as={account}").split()[-1]
    except Refused:  # `no` ends with an error
        return "no"
