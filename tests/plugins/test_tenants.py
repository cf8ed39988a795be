"""Default limits for tenants, who have permissions in one namespace only."""

from datetime import UTC, datetime, timedelta

import pytest
from support.dask import workers
from support.manifests import cluster
from support.waiting import until

from plugins.conftest import variant
from plugins.test_decisions import MADE_BY
from plugins.test_swaps import stamp, versions

LIMIT = 20


@pytest.fixture
def default_operator(kubectl, start):
    """Operator of the test's namespace with the default limits for tenants."""
    operator = start("--allow-tenant-plugin-source", "file", namespace=kubectl.namespace)
    yield operator
    operator.stop()


def test_a_tenant_may_add_policies_but_not_replace_logic(kubectl, default_operator, plugins, built):
    plugins.apply("logic", plugins.file("logic", built["swapped"]))
    condition = plugins.ready("logic", "False")
    assert condition["reason"] == "InterfaceNotAllowed" and "has not been in force yet" in condition["message"], condition
    plugins.apply("policy", plugins.file("policy", variant(built["scripted"], 41)), settings=stamp("tenant"))
    plugins.ready("policy")
    kubectl.apply(cluster("c", 1))
    workers(kubectl, "c-default", 1)
    assert versions(kubectl) == ["tenant"] and kubectl.names("pods", MADE_BY) == []


def test_the_number_of_plugins_per_namespace_is_limited(kubectl, default_operator, plugins, built):
    source = plugins.file("p", variant(built["scripted"], 42))
    names = [plugins.apply(f"p{number:02}", source) for number in range(LIMIT)]
    for name in names:
        plugins.ready(name)
    # The newest plugin is refused. Plugins are ordered by creation time in seconds, so the newest one is made in a later second. By
    # name, it would be the first.
    creation_times = [datetime.fromisoformat(kubectl.get("daskplugin", name)["metadata"]["creationTimestamp"]) for name in names]
    until(lambda: datetime.now(UTC) >= max(creation_times) + timedelta(seconds=1), "the next second")
    plugins.apply("a", source)
    condition = plugins.ready("a", "False")
    assert condition["reason"] == "TooManyPlugins" and f"has {LIMIT} older ones" in condition["message"], condition
    plugins.delete(names[0])
    until(lambda: plugins.ready("a"), "the newest plugin to be loaded")
