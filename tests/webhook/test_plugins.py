"""Plugins that could never be in force are refused when they are applied."""

import base64
import hashlib
import json

import pytest
from support.hook import component, warnings
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


def test_settings_are_checked_by_the_component_that_is_loaded(asked):
    code = component("required-limits").read_bytes()
    asked("create", "--filename", "-", stdin=json.dumps({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "policy"},
        "binaryData": {"policy.wasm": base64.b64encode(code).decode()}}))
    settings = {"limits": ["memory"]}
    # Nobody knows the component yet.
    said = warnings(asked, plugin("DaskPlugin", CONFIG_MAP, settings=settings))
    assert any(warning.startswith("spec.settings: they are checked when the component is loaded") for warning in said), said
    asked("wait", "--for=condition=Ready", "daskplugin/webhook-test", "--timeout=120s")
    for wrong, sentence in [
        ({"limits": ["memory", ""]}, "spec.settings.limits[1]: it is empty: write a name, as `memory`"),
        ({"limit": ["memory"]}, "spec.settings.limit: there is no setting `limit`; did you mean `limits`?"),
    ]:
        with pytest.raises(Refused) as refused:
            asked.apply(plugin("DaskPlugin", CONFIG_MAP, settings=wrong))
        assert sentence in str(refused.value) and "(says required-limits " in str(refused.value)
    with pytest.raises(Refused, match="spec.interfaces: required-limits .* has no cluster; it has policy"):
        asked.apply(plugin("DaskPlugin", CONFIG_MAP, interfaces=["cluster"]))
    assert warnings(asked, plugin("DaskPlugin", CONFIG_MAP, settings={"limits": ["cpu"]})) == []
    # Another plugin of the same bytes is known by their digest.
    other = plugin("DaskPlugin", CONFIG_MAP, digest="sha256:" + hashlib.sha256(code).hexdigest(), settings={"labels": [" "]})
    other["metadata"]["name"] = "other"
    with pytest.raises(Refused, match=r"spec.settings.labels\[0\]: it is empty"):
        asked.apply(other)
    asked("delete", "daskplugin", "webhook-test")
