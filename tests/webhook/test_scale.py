"""Policies for scale requests of users. Scale requests of the operator itself are exempt."""

import pytest
from support.dask import workers
from support.hook import component
from support.hook import hook as any_hook
from support.kubectl import Refused
from support.manifests import autoscaler, changed, cluster, group
from support.waiting import until

MESSAGE = "spec.worker.replicas: write 3 or less"


@pytest.fixture(scope="module")
def hook(admin, host, tmp_path_factory):
    """Webhook with a policy that allows at most three workers."""
    policy = component("dask-operator-scripted-policy", "tests/plugins/scripted")
    arguments = ["--policy", str(policy), "--setting", "scripted.mostWorkers=3"]
    with any_hook(admin, host, tmp_path_factory.mktemp("operator"), "test-scale", *arguments) as hook:
        yield hook


def refusal(kubectl, resource, replicas):
    """Scales a resource. Returns the error message, or an empty string if the request was allowed."""
    try:
        kubectl("scale", resource, f"--replicas={replicas}")
    except Refused as refused:
        # The operator may not have observed a new object yet. Then the caller must try again.
        assert "try again" not in str(refused), refused
        return str(refused)
    return ""


def scale(kubectl, resource, replicas):
    """Scales a resource, and waits until the policies allow that."""
    def is_scaled():
        assert refusal(kubectl, resource, replicas) == ""
        return True

    until(is_scaled, f"{resource} to have {replicas} workers")


@pytest.mark.parametrize("resource", ["daskcluster/c", "daskworkergroup/g"])
def test_policies_apply_to_scale_requests(reviewed, resource):
    reviewed.apply(cluster("c", 1), group("g", "c", 1))
    refused_with = until(lambda: refusal(reviewed, resource, 4), "the refusal by the policy")
    assert "denied the request" in refused_with and "policy scripted " in refused_with and MESSAGE in refused_with, refused_with
    scale(reviewed, resource, 3)
    scale(reviewed, resource, 0)


def test_an_allowed_scale_request_takes_effect(reviewed):
    reviewed.apply(cluster("c", 1))
    for replicas in (3, 0, 2):
        scale(reviewed, "daskcluster/c", replicas)
        workers(reviewed, "c-default", replicas)


def test_a_group_above_the_limit_can_be_scaled_down(kubectl, hook):
    """The group is older than the policy."""
    kubectl.apply(group("g", "c", 10))
    hook.ask_for(kubectl)
    # The API server may not call the webhook yet, so each attempt uses another number.
    replica_counts = iter(range(11, 1000))
    until(lambda: MESSAGE in refusal(kubectl, "daskworkergroup/g", next(replica_counts)), "the refusal by the policy")
    for replicas in (5, 2):
        scale(kubectl, "daskworkergroup/g", replicas)
    assert MESSAGE in until(lambda: refusal(kubectl, "daskworkergroup/g", 4), "the refusal by the policy")


def test_policies_do_not_apply_to_scaling_by_the_operator(reviewed):
    """A limit for an autoscaler belongs to the policies that review DaskAutoscalers."""
    reviewed.apply(cluster("c", 0), group("g", "c", 0))
    reviewed.apply(changed(autoscaler("a", "c", 5, 6), "spec.workerGroup", "g"))
    until(lambda: reviewed.get("daskworkergroup", "g")["spec"]["worker"]["replicas"] == 5, "the autoscaler's minimum")
