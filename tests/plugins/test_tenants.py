"""What people may who have rights in one namespace only, where no flag says otherwise."""

from datetime import UTC, datetime, timedelta

import pytest
from support.dask import workers
from support.manifests import cluster
from support.waiting import until

from plugins.conftest import other
from plugins.test_decisions import MADE_BY
from plugins.test_swaps import stamp, versions

MOST = 20


@pytest.fixture
def strict(kubectl, start):
    """An operator of the test's namespace."""
    operator = start("--allow-tenant-plugin-source", "file", namespace=kubectl.namespace)
    yield operator
    operator.stop()


def test_a_tenant_brings_policies_and_no_logic(kubectl, strict, plugins, built):
    plugins.apply("logic", plugins.file("logic", built["swapped"]))
    said = plugins.ready("logic", "False")
    assert said["reason"] == "InterfaceNotAllowed" and "has not been in force yet" in said["message"], said
    plugins.apply("policy", plugins.file("policy", other(built["scripted"], 41)), settings=stamp("tenant"))
    plugins.ready("policy")
    kubectl.apply(cluster("c", 1))
    workers(kubectl, "c-default", 1)
    assert versions(kubectl) == ["tenant"] and kubectl.names("pods", MADE_BY) == []


def test_a_namespace_has_so_many_plugins(kubectl, strict, plugins, built):
    source = plugins.file("p", other(built["scripted"], 42))
    names = [plugins.apply(f"p{number:02}", source) for number in range(MOST)]
    for name in names:
        plugins.ready(name)
    # The newest is refused, by its age, in seconds, and not by its name.
    ages = [datetime.fromisoformat(kubectl.get("daskplugin", name)["metadata"]["creationTimestamp"]) for name in names]
    until(lambda: datetime.now(UTC) >= max(ages) + timedelta(seconds=1), "another second")
    plugins.apply("a", source)
    said = plugins.ready("a", "False")
    assert said["reason"] == "TooManyPlugins" and f"has {MOST} older ones" in said["message"], said
    plugins.delete(names[0])
    until(lambda: plugins.ready("a"), "the newest one to have room")
