"""A strict webhook: what is very likely a mistake is refused too."""

import itertools

import pytest
from support.hook import warnings
from support.kubectl import Refused
from support.manifests import autoscaler, changed, cluster
from support.mistakes import MISTAKES
from support.waiting import until

ARGUMENTS = ["--webhook-strict"]


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_refused(asked, what):
    manifest, sentence = MISTAKES[what]
    with pytest.raises(Refused) as refused:
        asked.apply(manifest)
    assert str(refused.value).partition(" denied the request: ")[2].startswith(sentence)


def test_a_second_autoscaler_of_a_group_is_refused(asked):
    asked.apply(autoscaler("first", "shared", 4, 8))
    # Once it has a status, the operator knows it.
    until(lambda: asked.get("daskautoscaler", "first").get("status"), "the first one to be known")
    with pytest.raises(Refused, match="DaskAutoscaler first scales the worker group shared-default too"):
        asked.apply(autoscaler("second", "shared", 0, 2))
    asked.apply(changed(autoscaler("second", "shared", 0, 2), "spec.workerGroup", "gpu"))


def test_what_is_unwise_is_still_a_warning(asked):
    found = warnings(asked, changed(cluster("c", 0), "spec.worker.spec.containers.0.args", ["dask", "worker"]))
    assert any("does not register under its pod's name" in warning for warning in found), found


def test_what_was_there_before_can_be_changed(kubectl, hook):
    """Its mistakes are warnings."""
    manifest, sentence = MISTAKES["a Service for another cluster"]
    kubectl.apply(manifest)
    hook.ask_for(kubectl)
    seconds = itertools.count(3600)

    def is_said():
        found = warnings(kubectl, changed(manifest, "spec.idleTimeout", next(seconds)))
        return any(warning.startswith(sentence) for warning in found)

    until(is_said, "the webhook to be asked")
