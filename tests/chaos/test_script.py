"""Tests of scripts: they are reproducible, and their steps lead to the desired state."""

import collections
import dataclasses

import flavours
import pytest
from script import HARMFUL, Script

SEEDS = range(20)


@pytest.mark.parametrize("flavour", flavours.ALL.values(), ids=lambda flavour: flavour.name)
def test_the_seed_determines_the_script(flavour):
    one, same, other = (Script(seed, flavour.shape) for seed in (1, 1, 2))
    assert (one.steps, one.clusters, one.jobs) == (same.steps, same.clusters, same.jobs)
    assert one.steps != other.steps


@pytest.mark.parametrize("flavour", flavours.ALL.values(), ids=lambda flavour: flavour.name)
def test_every_action_occurs(flavour):
    actions = collections.Counter(step.action for seed in SEEDS for step in Script(seed, flavour.shape).steps)
    # To recreate an object is to delete and to create it.
    assert set(flavour.shape.weights) - {"recreate-cluster", "recreate-job"} | {"start-operator"} == set(actions)
    for seed in SEEDS:
        steps = Script(seed, flavour.shape).steps
        running = True
        for step in steps:
            if step.action in ("kill-operator", "start-operator"):
                assert running == (step.action == "kill-operator")
                running = not running
        assert running, "the operator must run at the end"
        assert all(hasattr(flavour.player, step.action.replace("-", "_")) for step in steps)


def test_the_desired_state_is_the_result_of_the_steps():
    shape = dataclasses.replace(flavours.CONTROL_PLANE.shape, steps=100)
    for seed in SEEDS:
        script = Script(seed, shape)
        desired = {}
        for step in script.steps:
            match step.action:
                case "create-cluster":
                    desired[step.target] = {f"{step.target}-default": step.number}
                case "scale-cluster":
                    desired[step.target][f"{step.target}-default"] = step.number
                case "create-group" | "scale-group":
                    desired[step.target][f"{step.target}-more"] = step.number
                case "delete-group":
                    del desired[step.target][f"{step.target}-more"]
                case "delete-cluster":
                    del desired[step.target]
        assert desired == {name: {group.name: group.replicas for group in cluster.groups.values()}
                          for name, cluster in script.clusters.items()}


def test_no_harmful_step_for_the_cluster_that_holds_results():
    for seed in SEEDS:
        script = Script(seed, flavours.REAL.shape)
        assert [step.action for step in script.steps[:2]] == ["create-cluster", "hold-results"]
        assert not [step for step in script.steps if step.target == script.held and step.action in HARMFUL]
        assert script.clusters[script.held].default.replicas >= 1
