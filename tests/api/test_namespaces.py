"""Operator that manages the namespaces that a label selector matches."""

import json

import pytest
from support.dask import workers
from support.manifests import API, cluster
from support.operator import Operator
from support.waiting import stays, until

SELECTOR = {"matchLabels": {"example.com/dask": "here"}}
#: Values of the release whose account the operator uses.
VALUES = {"namespaceSelector": SELECTOR}
FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"


@pytest.fixture(scope="module")
def arguments():
    """The namespace selector as the chart writes it."""
    return ["--namespace-selector", json.dumps(SELECTOR)]


def set_label(admin, kubectl, change):
    """Adds a label to the test's namespace, or removes it: ``example.com/dask-``."""
    admin("label", "namespace", kubectl.namespace, change)


def plugin(name):
    """Plugin whose source does not exist. An operator that manages its namespace reports that in its status."""
    return {"apiVersion": API, "kind": "DaskPlugin", "metadata": {"name": name},
            "spec": {"source": {"configMap": {"name": "nowhere", "key": "plugin.wasm"}}}}


def test_a_namespace_is_managed_while_it_has_the_label(admin, kubectl, operator):
    kubectl.apply(cluster("c", 1, finalizers=[FINALIZER]), plugin("p"))

    def is_unchanged():
        found = kubectl.get("dsk", "c")
        return (not found.get("status") and found["metadata"]["finalizers"] == [FINALIZER]
                and not kubectl.get("daskplugin", "p").get("status") and not kubectl.names("pods"))

    stays(is_unchanged, "the objects in a namespace that is not selected")
    set_label(admin, kubectl, "example.com/dask=here")
    workers(kubectl, "c-default", 1)
    until(lambda: "finalizers" not in kubectl.get("dsk", "c")["metadata"], "kopf's finalizer to be removed")
    until(lambda: kubectl.get("daskplugin", "p").get("status"), "the plugin's status")

    set_label(admin, kubectl, "example.com/dask-")
    until(lambda: f"stopped managing the plugins of the namespace namespace=\"{kubectl.namespace}\"" in operator.logs(), "the operator to log the change")
    operator.wait_until_quiet()
    kubectl("scale", "dsk/c", "--replicas=3")
    kubectl.apply(plugin("q"))
    stays(lambda: len(kubectl.names("pods", "dask.org/component=worker")) == 1 and not kubectl.get("daskplugin", "q").get("status"),
          "the objects in a namespace that is no longer selected")
    set_label(admin, kubectl, "example.com/dask=here")
    workers(kubectl, "c-default", 3)
    until(lambda: kubectl.get("daskplugin", "q").get("status"), "the plugin's status")


def test_an_operator_that_may_not_list_namespaces_is_not_ready_and_logs_the_reason(make_operator, tmp_path):
    """Without that permission the operator would manage no namespace at all."""
    environment = make_operator().environment
    operator = Operator(environment, tmp_path, "--namespace-selector", json.dumps(SELECTOR))
    operator.start(wait=False)
    try:
        until(lambda: "the operator may not list namespaces" in operator.logs(), "a log line that names the missing right")
        assert not operator.is_ready()
    finally:
        operator.stop()
