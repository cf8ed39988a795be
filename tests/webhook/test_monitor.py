"""A policy as a resource: while it monitors, kubectl only warns; when it protects, it refuses."""

import pytest
from support.hook import component, warnings
from support.hook import hook as any_hook
from support.kubectl import Refused
from support.manifests import API, cluster
from support.waiting import until

LIMIT = "spec.worker.spec.containers[0].resources.limits.memory: it is missing"


@pytest.fixture(scope="module")
def policy():
    """The policy that wants memory limits."""
    return component("required-limits")


@pytest.fixture(scope="module")
def hook(admin, host, policy, tmp_path_factory):
    """A webhook of an operator whose tenants may bring policies."""
    allowed = ["--plugin-folder", str(policy.parent), "--allow-tenant-plugin-source", "file"]
    with any_hook(admin, host, tmp_path_factory.mktemp("operator"), "test-monitor", *allowed) as hook:
        yield hook


def plugin(path, mode):
    """The policy as a resource."""
    return {"apiVersion": API, "kind": "DaskPlugin", "metadata": {"name": "limits"},
            "spec": {"source": {"file": {"path": str(path)}}, "mode": mode}}


def test_one_that_monitors_only_reports(asked, hook, policy):
    asked.apply(plugin(policy, "monitor"))
    asked("wait", "--for=condition=Ready", "daskplugin/limits", "--timeout=120s")
    found = warnings(asked, cluster("c", 0))
    assert any(text.startswith("only monitored: policy ") and LIMIT in text for text in found), found
    assert hook.operator.metric("dask_operator_webhook_monitored_total") >= 1

    asked.apply(plugin(policy, "protect"))

    def refuses():
        try:
            asked.apply(cluster("d", 0), options=["--dry-run=server"])
        except Refused as refused:
            return LIMIT in str(refused)
        return False

    until(refuses, "the policy to protect")
