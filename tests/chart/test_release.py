"""The operator as a release, in real pods: installed, upgraded, rolled back, uninstalled, while Dask clusters run."""

import re
from contextlib import contextmanager

import pytest
from support import chart, manifests
from support.chart import CHART
from support.cluster import ROOT
from support.kubectl import Kubectl, Refused, await_end, drop_namespace, new_namespace
from support.waiting import stays, until

pytestmark = pytest.mark.e2e

#: Seconds until pods have started, on a busy machine.
START = 180
RELEASE = "dask"
#: Prints how many workers have joined the scheduler of the pod that it runs in.
JOINED = """
from distributed import Client
if __name__ == "__main__":
    with Client("tcp://localhost:8786", timeout=30) as client:
        print(len(client.scheduler_info(n_workers=-1)["workers"]), client.submit(sum, [1, 2, 3]).result())
"""


class Release:
    """A release of the chart in a namespace that is held to the ``restricted`` level."""

    def __init__(self, admin, kubectl):
        self.admin, self.kubectl = admin, kubectl
        admin("label", "namespace", kubectl.namespace, "pod-security.kubernetes.io/enforce=restricted")

    def helm(self, *arguments):
        """helm, in the release's namespace."""
        return chart.helm(*arguments, "--namespace", self.kubectl.namespace, environment=self.admin.environment)

    def apply(self, **values):
        """Install it, or upgrade it to these values, and wait until the operator is ready."""
        return chart.helm("upgrade", "--install", RELEASE, CHART, "--namespace", self.kubectl.namespace, "--wait", f"--timeout={START}s",
                          values=values, environment=self.admin.environment)

    def forbidden(self):
        """What the API server forbade the operator."""
        path = f"/api/v1/namespaces/{self.kubectl.namespace}/services/dask-dask-kubernetes-operator-metrics:http/proxy/metrics"
        text = self.admin("get", "--raw", path)
        assert "dask_operator_api_requests_total" in text
        return re.findall(r'(?m)^dask_operator_api_requests_total\{.*code="403".*$', text)


@contextmanager
def namespaces(admin, *names):
    """kubectl in each of some new namespaces, which are gone in the end."""
    made = [new_namespace(admin.environment, name) for name in names]
    try:
        yield made
    finally:
        for kubectl in made:
            try:
                drop_namespace(kubectl)
            except Refused:  # no Dask resources are defined
                admin("delete", "namespace", kubectl.namespace, "--wait=false")
        await_end(admin.environment, [kubectl.namespace for kubectl in made])


def pods(kubectl, name):
    """The ids of a cluster's pods, by their names."""
    return {pod["metadata"]["name"]: (pod["metadata"]["uid"], [status["restartCount"] for status in pod["status"].get("containerStatuses", [])])
            for pod in kubectl.list("pods", f"dask.org/cluster-name={name}") if not pod["metadata"].get("deletionTimestamp")}


def joined(kubectl, name, count):
    """Wait until so many workers have joined a cluster's scheduler, and it computes."""
    def seen():
        found = kubectl.list("pods", f"dask.org/cluster-name={name},dask.org/component=scheduler")
        assert found and all(status["ready"] for pod in found for status in pod["status"].get("containerStatuses", [{"ready": False}]))
        try:
            said = kubectl("exec", found[0]["metadata"]["name"], "--", "python", "-c", JOINED, timeout=120)
        except Refused as error:
            raise AssertionError(str(error)) from None
        assert said.split() == [str(count), "6"], said
        return True

    until(seen, f"{count} workers to join {name}", START, 2)


def test_the_life_of_a_release(admin):
    with namespaces(admin, "release", "work") as (operators, work):
        release = Release(admin, operators)
        release.apply()

        # A manifest of the examples, as it is.
        work.apply(*manifests.example("minimal"))
        joined(work, "minimal", 1)
        work("scale", "daskworkergroup", "minimal-default", "--replicas=2")
        joined(work, "minimal", 2)
        assert release.forbidden() == []
        before = pods(work, "minimal")
        assert len(before) == 3

        # Other values, then back: another operator each time, the same pods.
        first = operators.names("pods")
        release.apply(kopfArgs=["--all-namespaces", "--verbose"], settings={"worker-group": {"batchSize": 5}})
        second = operators.names("pods")
        assert first != second and len(second) == 1
        stays(lambda: pods(work, "minimal") == before, "the cluster's pods", 5)
        release.helm("rollback", RELEASE, "--wait", f"--timeout={START}s")
        assert operators.names("pods") != second
        stays(lambda: pods(work, "minimal") == before, "the cluster's pods", 5)
        joined(work, "minimal", 2)

        # Without the operator everything stays, CRDs included.
        release.helm("uninstall", RELEASE, "--wait")
        until(lambda: operators.names("pods") == [], "the operator to end", 60)
        stays(lambda: pods(work, "minimal") == before, "the cluster's pods", 5)
        joined(work, "minimal", 2)

        # A new release goes on.
        release.apply()
        stays(lambda: pods(work, "minimal") == before, "the cluster's pods", 5)
        work("scale", "daskworkergroup", "minimal-default", "--replicas=3")
        joined(work, "minimal", 3)
        assert before.items() <= pods(work, "minimal").items()
        work("delete", "daskcluster", "minimal", "--timeout=60s")
        until(lambda: not pods(work, "minimal"), "the pods to go", START, 1)
        assert release.forbidden() == []
        release.helm("uninstall", RELEASE, "--wait")


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
        assert release.forbidden() == []
        account = f"system:serviceaccount:{operators.namespace}:dask-dask-kubernetes-operator"
        for namespace, answer in ((first.namespace, "yes"), (other.namespace, "no"), (operators.namespace, "no")):
            assert can(admin, namespace, account, "create", "pods") == answer
        assert can(admin, "default", account, "list", "nodes") == "no"
        release.helm("uninstall", RELEASE, "--wait")


def can(admin, namespace, account, verb, resource):
    """``yes`` or ``no``: whether an account may do something."""
    try:
        return Kubectl(admin.environment, namespace)("auth", "can-i", verb, resource, f"--as={account}").split()[-1]
    except Refused:  # `no` ends with an error
        return "no"
