"""Policies hold for who scales, too; the operator itself is not asked."""

import pytest
from support.dask import workers
from support.hook import component
from support.hook import hook as any_hook
from support.kubectl import Refused
from support.manifests import autoscaler, changed, cluster, group
from support.waiting import until

SENTENCE = "spec.worker.replicas: write 3 or less"


@pytest.fixture(scope="module")
def hook(admin, host, tmp_path_factory):
    """A webhook with a policy that wants three workers at most."""
    policy = component("dask-operator-scripted-policy", "tests/plugins/scripted")
    arguments = ["--policy", str(policy), "--setting", "scripted.mostWorkers=3"]
    with any_hook(admin, host, tmp_path_factory.mktemp("operator"), "test-scale", *arguments) as hook:
        yield hook


def refusal(kubectl, resource, replicas):
    """The words with which another number of workers is refused; nothing where it is not."""
    try:
        kubectl("scale", resource, f"--replicas={replicas}")
    except Refused as refused:
        # What was made a moment ago is not seen yet.
        assert "try again" not in str(refused), refused
        return str(refused)
    return ""


def scale(kubectl, resource, replicas):
    """Scale, as the policies allow."""
    def is_scaled():
        assert refusal(kubectl, resource, replicas) == ""
        return True

    until(is_scaled, f"{resource} to have {replicas} workers")


@pytest.mark.parametrize("resource", ["daskcluster/c", "daskworkergroup/g"])
def test_who_scales_is_subject_to_policies(asked, resource):
    asked.apply(cluster("c", 1), group("g", "c", 1))
    said = until(lambda: refusal(asked, resource, 4), "the policy's sentence")
    assert "denied the request" in said and "policy scripted " in said and SENTENCE in said, said
    scale(asked, resource, 3)
    scale(asked, resource, 0)


def test_what_is_allowed_is_done(asked):
    asked.apply(cluster("c", 1))
    for replicas in (3, 0, 2):
        scale(asked, "daskcluster/c", replicas)
        workers(asked, "c-default", replicas)


def test_who_has_too_many_can_go_back(kubectl, hook):
    """Those from before the policy."""
    kubectl.apply(group("g", "c", 10))
    hook.ask_for(kubectl)
    # The API server may not ask yet.
    more = iter(range(11, 1000))
    until(lambda: SENTENCE in refusal(kubectl, "daskworkergroup/g", next(more)), "the policy's sentence")
    for replicas in (5, 2):
        scale(kubectl, "daskworkergroup/g", replicas)
    assert SENTENCE in until(lambda: refusal(kubectl, "daskworkergroup/g", 4), "the policy's sentence")


def test_the_operator_scales_unasked(asked):
    """What an autoscaler may do is for those to say who look at autoscalers."""
    asked.apply(cluster("c", 0), group("g", "c", 0))
    asked.apply(changed(autoscaler("a", "c", 5, 6), "spec.workerGroup", "g"))
    until(lambda: asked.get("daskworkergroup", "g")["spec"]["worker"]["replicas"] == 5, "the autoscaler's minimum")
