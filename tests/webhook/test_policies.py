"""Policies at admission, which refuse or change requests."""

import json

import pytest
from support.hook import component
from support.hook import hook as any_hook
from support.kubectl import Refused
from support.manifests import changed, cluster

WORKER = "spec.worker.spec.containers.0"
LIMIT = "spec.worker.spec.containers[0].resources.limits.memory"
MIRROR = "registry.example.com/hub"


@pytest.fixture(scope="module")
def hook(admin, host, tmp_path_factory):
    """Webhook with a policy that requires memory limits, and one that rewrites images."""
    rewrite = json.dumps([{"from": "docker.io", "to": MIRROR}])
    policies = ["--policy", str(component("trusted-images")), "--policy", str(component("required-limits")),
                "--setting", f"trusted-images.rewrite={rewrite}"]
    with any_hook(admin, host, tmp_path_factory.mktemp("operator"), "test-policies", *policies) as hook:
        yield hook


def limited(manifest):
    """Adds a memory limit to the workers of a cluster."""
    return changed(manifest, f"{WORKER}.resources", {"limits": {"memory": "1Gi"}})


def test_a_policy_refuses_a_request(reviewed):
    with pytest.raises(Refused) as refused:
        reviewed.apply(cluster("c", 0))
    assert "(Forbidden)" in str(refused.value)
    assert "policy required-limits " in str(refused.value) and LIMIT in str(refused.value)
    reviewed.apply(limited(cluster("c", 0)))


def test_a_policy_changes_a_request(reviewed):
    reviewed.apply(changed(limited(cluster("c", 0)), f"{WORKER}.image", "daskdev/dask:2026.1.0"))
    container = reviewed.get("daskcluster", "c")["spec"]["worker"]["spec"]["containers"][0]
    assert container["image"] == f"{MIRROR}/daskdev/dask:2026.1.0"


def test_objects_older_than_the_policy_can_be_labelled_scaled_and_deleted(kubectl, hook):
    kubectl.apply(cluster("c", 0))
    hook.ask_for(kubectl)
    kubectl("label", "daskcluster", "c", "team=a")
    kubectl("scale", "daskcluster", "c", "--replicas=1")
    kubectl.patch("daskcluster", "c", {"metadata": {"finalizers": ["example.com/wait"]}})
    kubectl("delete", "daskcluster", "c", "--wait=false")
    kubectl.patch("daskcluster", "c", {"metadata": {"finalizers": None}})
    with pytest.raises(Refused, match="required-limits"):
        kubectl.apply(cluster("d", 0))
