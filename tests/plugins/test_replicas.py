"""Two replicas of a release. Only one leads, but both serve the webhook, so both must have the same active components."""

import pytest
from support.dask import WORKERS
from support.manifests import cluster
from support.waiting import until

from plugins.conftest import digest, variant
from plugins.test_swaps import stamp, versions


@pytest.fixture
def replicas(kubectl, start):
    """Leader and follower of one release, which manage the test's namespace."""
    sources = ("--allow-tenant-plugin-source", "*")
    first = start(*sources, "--lease-identity", "first", namespace=kubectl.namespace)
    until(lambda: first.metric("dask_operator_leader") == 1, "the first replica to lead")
    second = start(*sources, "--lease-identity", "second", namespace=kubectl.namespace, replica_of=first)
    yield first, second
    for operator in (second, first):
        operator.stop()


def active_digests(operator):
    """Digests that an operator has logged as active, the newest last."""
    lines = [line for line in operator.logs().splitlines() if "in force" in line and "component=" in line]
    return [line.partition("(")[2].partition(")")[0] for line in lines]


def test_a_follower_rolls_back_with_the_leader(kubectl, replicas, plugins, built):
    first, second = replicas
    good, bad = (variant(built["scripted"], number) for number in (21, 22))
    kubectl.apply(*(cluster(name, 1) for name in "abc"))
    until(lambda: len(kubectl.names("pods", WORKERS)) == 3, "three workers")
    plugins.apply("p", plugins.file("good", good), settings=stamp("good"), onFailure="LastGood")
    plugins.ready("p")
    until(lambda: digest(good)[7:19] in active_digests(second), "the second replica to activate the component")
    plugins.apply("p", plugins.file("bad", bad), settings={"trap": True}, onFailure="LastGood")
    until(lambda: first.metric("dask_operator_plugin_rollbacks_total") == 1, "the first replica to roll back")
    until(lambda: second.metric("dask_operator_plugin_rollbacks_total") == 1, "the second replica to roll back")
    assert plugins.status("p")[1]["digest"] == digest(good)

    # The next leader continues with the previous version.
    first.stop()
    until(lambda: second.metric("dask_operator_leader") == 1, "the second replica to lead")
    kubectl("scale", "daskworkergroup/a-default", "--replicas=2")
    until(lambda: "good" in versions(kubectl), "a worker of the previous version")
    assert plugins.ready("p", "False")["reason"] == "RolledBack"


def test_a_follower_loads_a_new_version_from_the_source(kubectl, replicas, plugins, built):
    _, second = replicas
    one, two = (variant(built["scripted"], number) for number in (23, 24))
    plugins.apply("p", plugins.file("p", one))
    plugins.ready("p")
    plugins.file("p", two)
    until(lambda: plugins.status("p")[1]["digest"] == digest(two), "the new version")
    until(lambda: digest(two)[7:19] in active_digests(second), "the second replica to activate the component")
