"""Scope and order of plugins: replacement of logic, and combination of several policies."""

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
    """Trace labels of a group's workers."""
    pods = kubectl.list("pods", f"{WORKERS},dask.org/workergroup-name={group}")
    return {pod["metadata"]["labels"].get(TRACE, "") for pod in pods}


def in_namespaces(*names):
    """Namespace selector that matches these namespaces."""
    key = "kubernetes.io/metadata.name"
    return {"matchExpressions": [{"key": key, "operator": "In", "values": list(names)}]}


def condition(kubectl, kind, name, type_):
    """Condition of a resource by its type; None if the resource has none of that type."""
    conditions = (kubectl.get(kind, name) or {}).get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == type_), None)


def test_a_tenant_plugin_replaces_logic_in_its_namespace_only(kubectl, neighbour, operator, plugins, built):
    plugins.apply("swapped", plugins.file("swapped", built["swapped"]))
    plugins.ready("swapped")
    for tenant in (kubectl, neighbour):
        tenant.apply(cluster("c", 2))
        workers(tenant, "c-default", 2)
    assert kubectl.names("pods", MADE_BY) == kubectl.names("pods", WORKERS)
    assert neighbour.names("pods", MADE_BY) == []
    # After the deletion, the default logic continues with the existing children.
    pods = kubectl.names("pods", WORKERS)
    plugins.delete("swapped")
    plugin_field = f"plugin=DaskPlugin {kubectl.namespace}/swapped"
    until(lambda: any("deleted" in line and plugin_field in line for line in operator.logs().splitlines()),
          "the operator to log the deletion")
    kubectl("scale", "daskworkergroup/c-default", "--replicas=3")
    assert set(pods) < set(workers(kubectl, "c-default", 3))
    assert len(kubectl.names("pods", MADE_BY)) == 2


def test_a_namespaced_plugin_has_precedence_over_a_cluster_plugin(kubectl, neighbour, operator, plugins, built):
    selector = in_namespaces(kubectl.namespace, neighbour.namespace)
    source = plugins.file("swapped", built["swapped"])
    of_cluster = plugins.apply("swapped", source, cluster=True, namespaceSelector=selector)
    plugins.ready(of_cluster)
    plugins.apply("mine", source)
    plugins.ready("mine")
    for tenant, owner_kind in ((kubectl, "DaskPlugin"), (neighbour, "ClusterDaskPlugin")):
        trapping = cluster("c", 1)
        trapping["metadata"]["annotations"] = {"example.com/behave": "trap"}
        tenant.apply(trapping)
        reported = until(lambda tenant=tenant: condition(tenant, "daskworkergroup", "c-default", "PluginFailed"), "PluginFailed")
        assert f"of {owner_kind} " in reported["message"], reported


def test_policies_run_in_their_order(kubectl, neighbour, operator, plugins, built):
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
    for tenant in (kubectl, neighbour):
        tenant.apply(cluster("c", 1))
        workers(tenant, "c-default", 1)
    assert traces(kubectl, "c-default") == {"tenant-early.tenant-late.cluster-early.cluster-late"}
    assert traces(neighbour, "c-default") == {""}


def test_a_tenant_policy_cannot_override_a_cluster_policy(kubectl, operator, plugins, built):
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


def test_a_refusal_by_a_policy_is_reported_until_the_policy_allows_the_plan(kubectl, operator, plugins, built):
    source = plugins.file("p", built["scripted"])
    plugins.apply("p", source, settings={"refuse": "not on Fridays"}, selector={"matchLabels": {"day": "friday"}})
    plugins.ready("p")
    kubectl.apply(cluster("refused", 1, labels={"day": "friday"}), cluster("other", 1))
    workers(kubectl, "other-default", 1)
    reported = until(lambda: condition(kubectl, "dsk", "refused", "PlanRefused"), "PlanRefused")
    assert reported["reason"] == "PolicyRefused" and "not on Fridays" in reported["message"]
    assert f"of DaskPlugin {kubectl.namespace}/p" in reported["message"]
    stays(lambda: not kubectl.names("pods", "dask.org/cluster-name=refused"), "the absence of its pods")
    # Once the policy allows the plan, the plan is applied.
    plugins.apply("p", source, settings={}, selector={"matchLabels": {"day": "friday"}})
    workers(kubectl, "refused-default", 1)
    until(lambda: not condition(kubectl, "dsk", "refused", "PlanRefused"), "the condition to be removed")


def test_a_monitoring_policy_reports_and_does_not_refuse(kubectl, operator, plugins, built):
    source = plugins.file("p", built["scripted"])
    plugins.apply("p", source, mode="monitor", settings={"refuse": "not on Fridays"})
    plugins.ready("p")
    kubectl.apply(cluster("c", 1))
    workers(kubectl, "c-default", 1)
    reported = until(lambda: condition(kubectl, "daskworkergroup", "c-default", "PolicyViolated"), "PolicyViolated")
    assert "not on Fridays" in reported["message"] and "only monitors" in reported["message"]
    kubectl.event("c-default", "PolicyViolated")
    plugins.delete("p")
    until(lambda: not condition(kubectl, "daskworkergroup", "c-default", "PolicyViolated"), "the condition to be removed")


def test_a_setting_for_an_unknown_policy_is_refused(kubectl, start, built, tmp_path):
    file = tmp_path / "policy.wasm"
    file.write_bytes(built["scripted"])
    with pytest.raises(RuntimeError, match="unknown is no kind of component and no policy; there are .* scripted"):
        start("--policy", file, "--setting", "unknown.word=x", namespace=kubectl.namespace)
