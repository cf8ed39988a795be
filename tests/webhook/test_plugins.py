"""Plugins that could never be in force are refused when they are applied."""

import pytest
from support.kubectl import Refused
from support.manifests import API

ARGUMENTS = ["--allow-plugin-source", "ghcr.io/acme/*"]
CONFIG_MAP = {"configMap": {"name": "policy", "key": "policy.wasm"}}


def plugin(kind, source, **spec):
    """A plugin."""
    return {"apiVersion": API, "kind": kind, "metadata": {"name": "webhook-test"}, "spec": {"source": source, **spec}}


@pytest.mark.parametrize(("wrong", "words"), [
    (plugin("DaskPlugin", {"oci": {"image": "ghcr.io/other/policy:1"}}), "spec.source: ghcr.io/other/policy"),
    (plugin("ClusterDaskPlugin", {"oci": {"image": "ghcr.io/other/policy:1"}}), "ghcr.io/acme/*"),
    (plugin("DaskPlugin", CONFIG_MAP, limits={"memory": "much"}), 'spec.limits.memory: "much" is no amount of bytes'),
    (plugin("DaskPlugin", CONFIG_MAP, selector={"matchExpressions": [{"key": "a", "operator": "Is"}]}), "selector"),
])
def test_what_can_never_be_in_force(asked, wrong, words):
    with pytest.raises(Refused) as refused:
        asked.apply(wrong)
    assert words in str(refused.value)


def test_others_pass_and_their_labels_can_be_changed(asked):
    asked.apply(plugin("DaskPlugin", CONFIG_MAP))
    asked("label", "daskplugin", "webhook-test", "team=a")
    asked("delete", "daskplugin", "webhook-test")
