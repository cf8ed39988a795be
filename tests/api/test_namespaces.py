"""An operator that looks after the namespaces whose labels say so."""

import json

import pytest
from support.dask import workers
from support.manifests import API, cluster
from support.operator import Operator
from support.waiting import stays, until

SELECTOR = {"matchLabels": {"example.com/dask": "here"}}
#: The release's.
VALUES = {"namespaceSelector": SELECTOR}
FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"


@pytest.fixture(scope="module")
def arguments():
    """As the chart writes it."""
    return ["--namespace-selector", json.dumps(SELECTOR)]


def label(admin, kubectl, label):
    """Give the test's namespace a label, or take it: ``example.com/dask-``."""
    admin("label", "namespace", kubectl.namespace, label)


def plugin(name):
    """A plugin of a namespace that can't be loaded, which its status says."""
    return {"apiVersion": API, "kind": "DaskPlugin", "metadata": {"name": name},
            "spec": {"source": {"configMap": {"name": "nowhere", "key": "plugin.wasm"}}}}


def test_a_namespace_is_looked_after_while_it_has_the_label(admin, kubectl, operator):
    kubectl.apply(cluster("c", 1, finalizers=[FINALIZER]), plugin("p"))

    def is_untouched():
        found = kubectl.get("dsk", "c")
        return (not found.get("status") and found["metadata"]["finalizers"] == [FINALIZER]
                and not kubectl.get("daskplugin", "p").get("status") and not kubectl.names("pods"))

    stays(is_untouched, "what is in another namespace")
    label(admin, kubectl, "example.com/dask=here")
    workers(kubectl, "c-default", 1)
    until(lambda: "finalizers" not in kubectl.get("dsk", "c")["metadata"], "kopf's finalizer to be gone")
    until(lambda: kubectl.get("daskplugin", "p").get("status"), "the plugin's status")

    label(admin, kubectl, "example.com/dask-")
    until(lambda: f"looks after it no more namespace=\"{kubectl.namespace}\"" in operator.logs(), "the operator to notice")
    operator.wait_until_quiet()
    kubectl("scale", "dsk/c", "--replicas=3")
    kubectl.apply(plugin("q"))
    stays(lambda: len(kubectl.names("pods", "dask.org/component=worker")) == 1 and not kubectl.get("daskplugin", "q").get("status"),
          "what is in a namespace that is looked after no more")
    label(admin, kubectl, "example.com/dask=here")
    workers(kubectl, "c-default", 3)
    until(lambda: kubectl.get("daskplugin", "q").get("status"), "the plugin's status")


def test_without_the_right_to_see_namespaces_it_is_not_ready_and_says_so(own, tmp_path):
    """It would look after none, which nobody asked for."""
    environment = own().environment
    operator = Operator(environment, tmp_path, "--namespace-selector", json.dumps(SELECTOR))
    operator.start(wait=False)
    try:
        until(lambda: "the operator may not list namespaces" in operator.logs(), "a sentence")
        assert not operator.is_ready()
    finally:
        operator.stop()
