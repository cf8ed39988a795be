"""Admission of plugin resources: those that could never be active are refused."""

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
    """Plugin resource with this kind and source."""
    return {"apiVersion": API, "kind": kind, "metadata": {"name": "webhook-test"}, "spec": {"source": source, **spec}}


@pytest.mark.parametrize(("invalid", "phrase"), [
    (plugin("DaskPlugin", {"oci": {"image": "ghcr.io/other/policy:1"}}), "spec.source: ghcr.io/other/policy"),
    (plugin("ClusterDaskPlugin", {"oci": {"image": "ghcr.io/other/policy:1"}}), "ghcr.io/acme/*"),
    (plugin("DaskPlugin", CONFIG_MAP, limits={"memory": "much"}), 'spec.limits.memory: "much" is no amount of bytes'),
    (plugin("DaskPlugin", CONFIG_MAP, selector={"matchExpressions": [{"key": "a", "operator": "Is"}]}), "selector"),
])
def test_a_plugin_that_can_never_be_active_is_refused(reviewed, invalid, phrase):
    with pytest.raises(Refused) as refused:
        reviewed.apply(invalid)
    assert phrase in str(refused.value)


def test_a_valid_plugin_is_admitted_and_can_be_labelled(reviewed):
    reviewed.apply(plugin("DaskPlugin", CONFIG_MAP))
    reviewed("label", "daskplugin", "webhook-test", "team=a")
    reviewed("delete", "daskplugin", "webhook-test")


def test_settings_are_checked_by_the_loaded_component(reviewed):
    code = component("required-limits").read_bytes()
    reviewed("create", "--filename", "-", stdin=json.dumps({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "policy"},
        "binaryData": {"policy.wasm": base64.b64encode(code).decode()}}))
    settings = {"limits": ["memory"]}
    # The operator has not loaded the component yet.
    found = warnings(reviewed, plugin("DaskPlugin", CONFIG_MAP, settings=settings))
    assert any(warning.startswith("spec.settings: they are checked when the component is loaded") for warning in found), found
    reviewed("wait", "--for=condition=Ready", "daskplugin/webhook-test", "--timeout=120s")
    for invalid, message in [
        ({"limits": ["memory", ""]}, "spec.settings.limits[1]: it is empty: write a name, as `memory`"),
        ({"limit": ["memory"]}, "spec.settings.limit: there is no setting `limit`; did you mean `limits`?"),
    ]:
        with pytest.raises(Refused) as refused:
            reviewed.apply(plugin("DaskPlugin", CONFIG_MAP, settings=invalid))
        assert message in str(refused.value) and "(says required-limits " in str(refused.value)
    with pytest.raises(Refused, match="spec.interfaces: required-limits .* has no cluster; it has policy"):
        reviewed.apply(plugin("DaskPlugin", CONFIG_MAP, interfaces=["cluster"]))
    assert warnings(reviewed, plugin("DaskPlugin", CONFIG_MAP, settings={"limits": ["cpu"]})) == []
    # The operator recognises the component of another plugin by its digest.
    other = plugin("DaskPlugin", CONFIG_MAP, digest="sha256:" + hashlib.sha256(code).hexdigest(), settings={"labels": [" "]})
    other["metadata"]["name"] = "other"
    with pytest.raises(Refused, match=r"spec.settings.labels\[0\]: it is empty"):
        reviewed.apply(other)
    reviewed("delete", "daskplugin", "webhook-test")
