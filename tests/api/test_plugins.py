"""Replacement of a default component with `tests/api/plugin`, which misbehaves as an annotation requests."""

import subprocess

import pytest
from support.cluster import ROOT
from support.dask import WORKERS, workers
from support.manifests import cluster, group
from support.operator import BINARY, Operator
from support.waiting import stays, until

MADE_BY = "example.com/made-by=swapped"
#: Values of the release whose account the operator uses: custom components may create more kinds.
VALUES = {"plugins": {"worker-group": "/plugins/swapped.wasm"}}


@pytest.fixture(scope="module")
def plugin():
    """File of the component. It is built beside the default ones, whose target folder already has the compiled libraries."""
    out = ROOT / "target" / "plugins"
    build = ["target/debug/dask-operator-plugin-build", "--out", out, "tests/api/plugin"]
    done = subprocess.run(build, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / "dask-operator-test-plugin.wasm"


@pytest.fixture(scope="module")
def arguments(plugin):
    """Arguments of an operator whose worker-group logic is replaced."""
    return ["--plugin", f"worker-group={plugin}"]


def test_a_replaced_component_decides(kubectl, operator):
    kubectl.apply(cluster("c", 2))
    pods = workers(kubectl, "c-default", 2)
    assert kubectl.names("pods", MADE_BY) == pods


@pytest.mark.parametrize("behaviour, condition, reason, phrase", [
    ("trap", "PluginFailed", "PluginTrapped", "told to"),
    ("loop", "PluginFailed", "PluginDeadlineExceeded", "not done after"),
    ("memory", "PluginFailed", "PluginMemoryExceeded", "memory"),
    ("large", "PluginFailed", "PluginOutputExceeded", ""),
    ("invalid-json", "PluginFailed", "PluginInvalidJson", "status"),
    ("give-up", "PluginFailed", "PluginGaveUp", "told to"),
    ("foreign-kind", "PlanRefused", "RuleBroken", "ClusterRole"),
    ("foreign-owner", "PlanRefused", "RuleBroken", "owner.uid"),
])
def test_a_hostile_component_changes_nothing(kubectl, operator, behaviour, condition, reason, phrase):
    kubectl.apply(cluster("c", 0), group("bad", "c", 2), group("good", "c", 1))
    pods = workers(kubectl, "bad", 2)
    workers(kubectl, "good", 1)
    annotation = {"metadata": {"annotations": {"example.com/behave": behaviour}}}
    kubectl.patch("daskworkergroup", "bad", {**annotation, "spec": {"worker": {"replicas": 5}}})

    def reported():
        conditions = kubectl.get("daskworkergroup", "bad")["status"].get("conditions", [])
        return next((found for found in conditions if found["type"] == condition and found["status"] == "True"), None)
    reported_condition = until(reported, f"condition {condition}")
    assert reported_condition["reason"] == reason
    assert "swapped" in reported_condition["message"] and phrase in reported_condition["message"], reported_condition
    kubectl.event("bad", condition)
    stays(lambda: kubectl.names("pods", f"{WORKERS},dask.org/workergroup-name=bad") == pods, "two workers")

    # Other resources are reconciled meanwhile, and so is this one once the component behaves.
    kubectl("scale", "daskworkergroup/good", "--replicas=2")
    workers(kubectl, "good", 2)
    kubectl.patch("daskworkergroup", "bad", {"metadata": {"annotations": {"example.com/behave": None}}})
    workers(kubectl, "bad", 5)
    until(lambda: not reported(), "the condition to be removed")


def test_an_invalid_component_is_named_in_the_log(account, kubectl, tmp_path):
    broken = tmp_path / "broken.wasm"
    broken.write_bytes(b"\0asm\x0d\0\1\0 and nothing that follows the rules")
    with_broken = Operator(account.environment, tmp_path, "--plugin", f"worker-group={broken}",
                           "--namespace", kubectl.namespace)
    with_broken.start(wait=False)
    try:
        until(lambda: "broken.wasm" in with_broken.tail(), "a line that names the file")
    finally:
        with_broken.stop()


def test_render_accepts_the_same_component(plugin):
    done = subprocess.run([BINARY, "render", "--plugin", f"worker-group={plugin}", "-f", ROOT / "examples" / "cluster.yaml"],
                          text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "example.com/made-by: swapped" in done.stdout.replace('"', "")
