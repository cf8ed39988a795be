"""Strict webhook, which also refuses likely mistakes."""

import itertools

import pytest
from support.hook import warnings
from support.kubectl import Refused
from support.manifests import autoscaler, changed, cluster
from support.mistakes import MISTAKES
from support.waiting import until

ARGUMENTS = ["--webhook-strict"]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_likely_mistake_is_refused(reviewed, mistake):
    manifest, message = MISTAKES[mistake]
    with pytest.raises(Refused) as refused:
        reviewed.apply(manifest)
    assert str(refused.value).partition(" denied the request: ")[2].startswith(message)


def test_a_second_autoscaler_of_a_group_is_refused(reviewed):
    reviewed.apply(autoscaler("first", "shared", 4, 8))
    # A status shows that the operator has observed the autoscaler.
    until(lambda: reviewed.get("daskautoscaler", "first").get("status"), "the status of the first autoscaler")
    with pytest.raises(Refused, match="DaskAutoscaler first scales the worker group shared-default too"):
        reviewed.apply(autoscaler("second", "shared", 0, 2))
    reviewed.apply(changed(autoscaler("second", "shared", 0, 2), "spec.workerGroup", "gpu"))


def test_an_unwise_manifest_causes_only_a_warning(reviewed):
    found = warnings(reviewed, changed(cluster("c", 0), "spec.worker.spec.containers.0.args", ["dask", "worker"]))
    assert any("does not register under its pod's name" in warning for warning in found), found


def test_an_object_older_than_the_webhook_can_be_updated(kubectl, hook):
    """For such an object, likely mistakes cause warnings only."""
    manifest, message = MISTAKES["a Service for another cluster"]
    kubectl.apply(manifest)
    hook.ask_for(kubectl)
    seconds = itertools.count(3600)

    def is_warned():
        found = warnings(kubectl, changed(manifest, "spec.idleTimeout", next(seconds)))
        return any(warning.startswith(message) for warning in found)

    until(is_warned, "the warning of the webhook")
