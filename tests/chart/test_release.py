"""Lifecycle of a release in real pods: install, upgrade, rollback and uninstall while Dask clusters run."""

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

#: Maximum number of seconds until the next worker exists after the leader was stopped.
FAILOVER = 60
#: A cluster that could not work, and the message with which it is refused.
INVALID = manifests.changed(manifests.cluster("wrong"), "spec.worker.spec.containers.0.resources", {"limits": {"memory": "4GB"}})
MESSAGE = "spec.worker.spec.containers[0].resources.limits.memory: `4GB` is no quantity of Kubernetes: write `4G`"


def await_new_pod(operators, pods_before):
    """Waits until a new operator pod is the only one. Returns its name in a list."""
    def new_pods():
        now = operators.names("pods")
        return now if len(now) == 1 and now != pods_before else None

    return until(new_pods, "the previous operator pod to be deleted")


class Writer(threading.Thread):
    """Thread that keeps writing a valid cluster until ``with`` ends. ``refused`` has the errors of refused writes."""

    def __init__(self, kubectl):
        super().__init__(daemon=True)
        self.kubectl = kubectl
        self.written, self.refused = 0, []
        self.done = threading.Event()

    def run(self):
        """Applies the cluster five times a second, as a dry run."""
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
    """Names of all webhook configurations."""
    return admin.names("mutatingwebhookconfigurations") + admin.names("validatingwebhookconfigurations")


def test_clusters_keep_running_while_a_release_is_changed_and_removed(admin):
    with namespaces(admin, "release", "work") as (operators, work):
        release = Release(admin, operators)
        release.apply()

        # The API server calls the webhook, through its Service, in a pod.
        with pytest.raises(Refused, match=re.escape(MESSAGE)):
            work.apply(INVALID)
        work("apply", "--filename", "-", stdin=manifests.ten_lines("ghcr.io/dask/dask:latest"))
        joined(work, "ten-lines", 2)
        work("delete", "daskcluster", "ten-lines", "--timeout=120s")

        # An unchanged example manifest.
        work.apply(*manifests.example("minimal"))
        joined(work, "minimal", 1)
        work("scale", "daskworkergroup", "minimal-default", "--replicas=2")
        joined(work, "minimal", 2)
        assert release.missing_rights() == []
        pods_before = pods(work, "minimal")
        assert len(pods_before) == 3

        # An upgrade and a rollback replace the operator pod, but no pod of the cluster.
        first_pod = operators.names("pods")
        release.apply(kopfArgs=["--all-namespaces", "--verbose"], settings={"worker-group": {"batchSize": 5}})
        second_pod = await_new_pod(operators, first_pod)
        stays(lambda: pods(work, "minimal") == pods_before, "the cluster's pods", 5)
        release.helm("rollback", NAME, "--wait", f"--timeout={START}s")
        await_new_pod(operators, second_pod)
        stays(lambda: pods(work, "minimal") == pods_before, "the cluster's pods", 5)
        joined(work, "minimal", 2)

        # After an uninstall, the clusters and the CRDs remain.
        release.helm("uninstall", NAME, "--wait")
        until(lambda: operators.names("pods") == [], "the operator pod to be deleted")
        stays(lambda: pods(work, "minimal") == pods_before, "the cluster's pods", 5)
        joined(work, "minimal", 2)
        # No webhook configuration remains that would block requests.
        assert configurations(admin) == []
        work.apply(INVALID, options=["--dry-run=server"])

        # A new release manages the existing clusters.
        release.apply()
        stays(lambda: pods(work, "minimal") == pods_before, "the cluster's pods", 5)
        work("scale", "daskworkergroup", "minimal-default", "--replicas=3")
        joined(work, "minimal", 3)
        assert pods_before.items() <= pods(work, "minimal").items()
        work("delete", "daskcluster", "minimal", "--timeout=120s")
        until(lambda: not pods(work, "minimal"), "the pods of the cluster to be deleted", START, 1)
        assert release.missing_rights() == []
        release.helm("uninstall", NAME, "--wait")


def test_two_replicas_provide_continuous_service(admin):
    """At any time, one replica serves the webhook and one reconciles."""
    with namespaces(admin, "release", "work") as (operators, work):
        release = Release(admin, operators)
        release.apply(replicaCount=2)
        work.apply(manifests.cluster("c"))
        workers = iter(range(2, 20))

        def seconds_until_next_worker(timeout):
            """Requests one more worker. Returns the number of seconds until its pod exists."""
            start, count = time.monotonic(), next(workers)
            work("scale", "daskworkergroup", "c-default", f"--replicas={count}")
            until(lambda: len(work.names("pods", "dask.org/component=worker")) == count, "one more worker", timeout)
            return time.monotonic() - start

        until(lambda: work.get("daskworkergroup", "c-default"), "the worker group")
        seconds_until_next_worker(30)
        measured = {}
        with Writer(work) as writer:
            until(lambda: writer.written > 5, "the writer to start")
            # The leader's pod is deleted, as in a node drain.
            old_leader = release.leader()
            operators("delete", "pod", old_leader, "--wait=false")
            measured["deleted"] = seconds_until_next_worker(FAILOVER)
            new_leader = release.leader()
            assert new_leader != old_leader
            # New values: a rolling update replaces one pod at a time.
            release.apply(replicaCount=2, kopfArgs=["--all-namespaces", "--verbose"])
            measured["upgraded"] = seconds_until_next_worker(FAILOVER)
            until(lambda: not {old_leader, new_leader} & set(operators.names("pods")), "the previous pods to be deleted")
            measured["written"] = writer.written
        assert writer.refused == []
        # The leader is killed without a graceful shutdown.
        operators("delete", "pod", release.leader(), "--grace-period=0", "--force")
        measured["killed"] = seconds_until_next_worker(FAILOVER)
        print(json.dumps(measured))
        work("delete", "daskcluster", "c", "--timeout=120s")
        release.helm("uninstall", NAME, "--wait")


def test_a_release_for_two_namespaces_has_no_rights_elsewhere(admin):
    """The operator manages these namespaces only, and has no permissions elsewhere."""
    with namespaces(admin, "release", "team-a", "team-b", "other") as (operators, team_a, team_b, other):
        release = Release(admin, operators)
        admin("apply", "--server-side", "--force-conflicts", "--filename", ROOT / "crds")
        release.apply(namespaces=[team_a.namespace, team_b.namespace], crds={"install": False})
        for kubectl in (team_a, team_b, other):
            kubectl.apply(*manifests.example("minimal"))
        for kubectl in (team_a, team_b):
            joined(kubectl, "minimal", 1)
        assert pods(other, "minimal") == {} and other.get("daskworkergroup", "minimal-default") is None
        assert release.missing_rights() == []
        # There is no webhook by default, because its configurations are cluster-scoped.
        assert configurations(admin) == []
        account = f"system:serviceaccount:{operators.namespace}:{OBJECT}"
        for namespace, answer in ((team_a.namespace, "yes"), (other.namespace, "no"), (operators.namespace, "no")):
            assert can_i(admin, namespace, account, "create", "pods") == answer
        assert can_i(admin, "default", account, "list", "nodes") == "no"
        # An administrator may enable a webhook, which then applies to these namespaces only.
        release.apply(namespaces=[team_a.namespace, team_b.namespace], crds={"install": False}, webhook={"namespaced": True})
        for kubectl in (team_a, team_b):
            with pytest.raises(Refused, match=re.escape(MESSAGE)):
                kubectl.apply(INVALID)
        other.apply(INVALID, options=["--dry-run=server"])
        assert release.missing_rights() == []
        release.helm("uninstall", NAME, "--wait")
        assert configurations(admin) == []


def can_i(admin, namespace, account, verb, resource):
    """Returns ``yes`` or ``no``: the answer of `kubectl auth can-i` for an account."""
    try:
        return Kubectl(admin.environment, namespace)("auth", "can-i", verb, resource, f"--as={account}").split()[-1]
    except Refused:  # kubectl exits with an error if the answer is `no`
        return "no"
