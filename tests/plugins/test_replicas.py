"""Two replicas of a release: one leads, both answer the webhook, and so both have the same components in force."""

import pytest
from support.dask import WORKERS
from support.manifests import cluster
from support.waiting import until

from plugins.conftest import digest, other
from plugins.test_swaps import stamp, versions


@pytest.fixture
def replicas(kubectl, start):
    """One that leads and one that does not, which look after the test's namespace."""
    sources = ("--allow-tenant-plugin-source", "*")
    first = start(*sources, "--lease-identity", "first", namespace=kubectl.namespace)
    until(lambda: first.metric("dask_operator_leader") == 1, "the first one to lead")
    second = start(*sources, "--lease-identity", "second", namespace=kubectl.namespace, replica_of=first)
    yield first, second
    for operator in (second, first):
        operator.stop()


def in_force(operator):
    """Digests that an operator has said to be in force, the newest last."""
    marks = [line for line in operator.logs().splitlines() if "in force" in line and "component=" in line]
    return [line.partition("(")[2].partition(")")[0] for line in marks]


def test_who_does_not_lead_takes_back_what_the_leader_does(kubectl, replicas, plugins, built):
    first, second = replicas
    good, bad = (other(built["scripted"], number) for number in (21, 22))
    kubectl.apply(*(cluster(name, 1) for name in "abc"))
    until(lambda: len(kubectl.names("pods", WORKERS)) == 3, "three workers")
    plugins.apply("p", plugins.file("good", good), settings=stamp("good"), onFailure="LastGood")
    plugins.ready("p")
    until(lambda: digest(good)[7:19] in in_force(second), "the second one to have it in force")
    plugins.apply("p", plugins.file("bad", bad), settings={"trap": True}, onFailure="LastGood")
    until(lambda: first.metric("dask_operator_plugin_rollbacks_total") == 1, "the first one to take it back")
    until(lambda: second.metric("dask_operator_plugin_rollbacks_total") == 1, "the second one to take it back")
    assert plugins.status("p")[1]["digest"] == digest(good)

    # Whoever leads next goes on with the version before.
    first.stop()
    until(lambda: second.metric("dask_operator_leader") == 1, "the second one to lead")
    kubectl("scale", "daskworkergroup/a-default", "--replicas=2")
    until(lambda: "good" in versions(kubectl), "a worker under the version before")
    assert plugins.ready("p", "False")["reason"] == "RolledBack"


def test_who_does_not_lead_follows_the_source(kubectl, replicas, plugins, built):
    _, second = replicas
    one, two = (other(built["scripted"], number) for number in (23, 24))
    plugins.apply("p", plugins.file("p", one))
    plugins.ready("p")
    plugins.file("p", two)
    until(lambda: plugins.status("p")[1]["digest"] == digest(two), "the new version")
    until(lambda: digest(two)[7:19] in in_force(second), "the second one to have it in force")
