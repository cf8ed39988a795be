"""Who decides where: logic that is replaced, policies that are stacked."""

import pytest
from support.dask import WORKERS, workers
from support.kubectl import drop_namespace, new_namespace
from support.manifests import cluster
from support.waiting import stays, until

MADE_BY = "example.com/made-by=swapped"
TRACE = "example.com/trace"


@pytest.fixture
def neighbour(admin, namespaces):
    """kubectl in the namespace of another tenant."""
    kubectl = new_namespace(admin.environment, "neighbour")
    namespaces.append(kubectl.namespace)
    yield kubectl
    drop_namespace(kubectl)


def traces(kubectl, group):
    """The trace labels of a group's workers."""
    pods = kubectl.list("pods", f"{WORKERS},dask.org/workergroup-name={group}")
    return {pod["metadata"]["labels"].get(TRACE, "") for pod in pods}


def in_namespaces(*names):
    """A selector of namespaces."""
    key = "kubernetes.io/metadata.name"
    return {"matchExpressions": [{"key": key, "operator": "In", "values": list(names)}]}


def condition(kubectl, kind, name, type_):
    """A condition of a resource, or None."""
    conditions = (kubectl.get(kind, name) or {}).get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == type_), None)


def test_logic_is_replaced_in_one_namespace(kubectl, neighbour, operator, plugins, built):
    plugins.apply("swapped", plugins.file("swapped", built["swapped"]))
    plugins.ready("swapped")
    for place in (kubectl, neighbour):
        place.apply(cluster("c", 2))
        workers(place, "c-default", 2)
    assert kubectl.names("pods", MADE_BY) == kubectl.names("pods", WORKERS)
    assert neighbour.names("pods", MADE_BY) == []
    # Without it, the default logic goes on from what is there.
    pods = kubectl.names("pods", WORKERS)
    plugins.delete("swapped")
    gone = f"plugin=DaskPlugin {kubectl.namespace}/swapped"
    until(lambda: any("gone" in line and gone in line for line in operator.logs().splitlines()), "the operator to notice")
    kubectl("scale", "daskworkergroup/c-default", "--replicas=3")
    assert set(pods) < set(workers(kubectl, "c-default", 3))
    assert len(kubectl.names("pods", MADE_BY)) == 2


def test_a_plugin_of_the_namespace_wins_over_one_of_the_cluster(kubectl, neighbour, operator, plugins, built):
    here = in_namespaces(kubectl.namespace, neighbour.namespace)
    source = plugins.file("swapped", built["swapped"])
    of_cluster = plugins.apply("swapped", source, cluster=True, namespaceSelector=here)
    plugins.ready(of_cluster)
    plugins.apply("mine", source)
    plugins.ready("mine")
    for place, title in ((kubectl, "DaskPlugin"), (neighbour, "ClusterDaskPlugin")):
        bad = cluster("c", 1)
        bad["metadata"]["annotations"] = {"example.com/behave": "trap"}
        place.apply(bad)
        told = until(lambda place=place: condition(place, "daskworkergroup", "c-default", "PluginFailed"), "PluginFailed")
        assert f"of {title} " in told["message"], told


def test_policies_in_their_order(kubectl, neighbour, operator, plugins, built):
    source = plugins.file("p", built["scripted"])
    names = [
        plugins.apply("late", source, order=5, settings={"word": "tenant-late"}),
        plugins.apply("early", source, order=-5, settings={"word": "tenant-early"}),
        plugins.apply("one", source, cluster=True, order=-10, settings={"word": "cluster-early"},
                      namespaceSelector=in_namespaces(kubectl.namespace)),
        plugins.apply("two", source, cluster=True, settings={"word": "cluster-late"},
                      namespaceSelector=in_namespaces(kubectl.namespace)),
    ]
    for name in names:
        plugins.ready(name)
    for place in (kubectl, neighbour):
        place.apply(cluster("c", 1))
        workers(place, "c-default", 1)
    assert traces(kubectl, "c-default") == {"tenant-early.tenant-late.cluster-early.cluster-late"}
    assert traces(neighbour, "c-default") == {""}


def test_a_tenant_cannot_loosen(kubectl, operator, plugins, built):
    source = plugins.file("p", built["scripted"])
    names = [
        plugins.apply("strict", source, cluster=True, settings={"stamp": {"example.com/strict": "yes"}},
                      namespaceSelector=in_namespaces(kubectl.namespace)),
        plugins.apply("loose", source, order=2_000_000_000, settings={"remove": ["example.com/strict"]}),
    ]
    for name in names:
        plugins.ready(name)
    kubectl.apply(cluster("c", 1))
    pods = workers(kubectl, "c-default", 1)
    assert kubectl.names("pods", f"example.com/strict=yes,{WORKERS}") == pods


def test_a_policy_refuses(kubectl, operator, plugins, built):
    source = plugins.file("p", built["scripted"])
    plugins.apply("p", source, settings={"refuse": "not on Fridays"}, selector={"matchLabels": {"day": "friday"}})
    plugins.ready("p")
    kubectl.apply(cluster("refused", 1, labels={"day": "friday"}), cluster("other", 1))
    workers(kubectl, "other-default", 1)
    told = until(lambda: condition(kubectl, "dsk", "refused", "PlanRefused"), "PlanRefused")
    assert told["reason"] == "PolicyRefused" and "not on Fridays" in told["message"]
    assert f"of DaskPlugin {kubectl.namespace}/p" in told["message"]
    stays(lambda: not kubectl.names("pods", "dask.org/cluster-name=refused"), "nothing of it")
    # As soon as it allows it, it is done.
    plugins.apply("p", source, settings={}, selector={"matchLabels": {"day": "friday"}})
    workers(kubectl, "refused-default", 1)
    until(lambda: not condition(kubectl, "dsk", "refused", "PlanRefused"), "the condition to be gone")


def test_one_that_monitors_only_reports(kubectl, operator, plugins, built):
    source = plugins.file("p", built["scripted"])
    plugins.apply("p", source, mode="monitor", settings={"refuse": "not on Fridays"})
    plugins.ready("p")
    kubectl.apply(cluster("c", 1))
    workers(kubectl, "c-default", 1)
    told = until(lambda: condition(kubectl, "daskworkergroup", "c-default", "PolicyViolated"), "PolicyViolated")
    assert "not on Fridays" in told["message"] and "only monitors" in told["message"]
    kubectl.event("c-default", "PolicyViolated")
    plugins.delete("p")
    until(lambda: not condition(kubectl, "daskworkergroup", "c-default", "PolicyViolated"), "it to be gone")


def test_settings_of_no_policy_are_refused(kubectl, start, built, tmp_path):
    file = tmp_path / "policy.wasm"
    file.write_bytes(built["scripted"])
    with pytest.raises(RuntimeError, match="unknown is no kind of component and no policy; there are .* scripted"):
        start("--policy", file, "--setting", "unknown.word=x", namespace=kubectl.namespace)
