"""Modes of a policy: it warns in the mode `monitor`, and refuses in the mode `protect`."""

import pytest
from support.hook import component, warnings
from support.hook import hook as any_hook
from support.kubectl import Refused
from support.manifests import API, cluster
from support.waiting import until

LIMIT = "spec.worker.spec.containers[0].resources.limits.memory: it is missing"


@pytest.fixture(scope="module")
def policy():
    """Path of the policy that requires memory limits."""
    return component("required-limits")


@pytest.fixture(scope="module")
def hook(admin, host, policy, tmp_path_factory):
    """Webhook of an operator whose tenants may add policies from files."""
    allowed = ["--plugin-folder", str(policy.parent), "--allow-tenant-plugin-source", "file"]
    with any_hook(admin, host, tmp_path_factory.mktemp("operator"), "test-monitor", *allowed) as hook:
        yield hook


def plugin(path, mode):
    """DaskPlugin for the policy in the given mode."""
    return {"apiVersion": API, "kind": "DaskPlugin", "metadata": {"name": "limits"},
            "spec": {"source": {"file": {"path": str(path)}}, "mode": mode}}


def test_a_monitoring_policy_warns_and_a_protecting_policy_refuses(reviewed, hook, policy):
    reviewed.apply(plugin(policy, "monitor"))
    reviewed("wait", "--for=condition=Ready", "daskplugin/limits", "--timeout=120s")
    found = warnings(reviewed, cluster("c", 0))
    assert any(text.startswith("only monitored: policy ") and LIMIT in text for text in found), found
    assert hook.operator.metric("dask_operator_webhook_monitored_total") >= 1

    reviewed.apply(plugin(policy, "protect"))

    def refuses():
        try:
            reviewed.apply(cluster("d", 0), options=["--dry-run=server"])
        except Refused as refused:
            return LIMIT in str(refused)
        return False

    until(refuses, "the policy to protect")
