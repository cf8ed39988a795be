"""Tests of the well-behaved tenants."""

from types import SimpleNamespace

from tenants import Generations, Pods, review


def event(kind, uid, **metadata):
    return {"type": kind, "object": {"metadata": {"uid": uid, **metadata}}}


def test_terminating_pods_do_not_count():
    pods = Pods(SimpleNamespace(url="http://127.0.0.1:1"), "a")
    assert pods.wait_for(0, 0) and not pods.wait_for(1, 0)
    pods.handle(event("ADDED", "1"))
    pods.handle(event("ADDED", "2"))
    pods.handle(event("MODIFIED", "2"))
    assert pods.wait_for(2, 0)
    pods.handle(event("MODIFIED", "2", deletionTimestamp="2026-01-01T00:00:00Z"))
    pods.handle(event("DELETED", "2"))
    assert pods.wait_for(1, 0)


def test_a_generation_keeps_the_time_of_its_first_event():
    generations = Generations(SimpleNamespace(url="http://127.0.0.1:1"), "/a")
    assert generations.wait_for(2, 0) is None
    generations.handle(event("MODIFIED", "1", generation=2))
    first = generations.wait_for(2, 0)
    generations.handle(event("MODIFIED", "1", generation=2))
    assert generations.wait_for(2, 0) == first and generations.wait_for(3, 0) is None


def test_the_review_is_of_an_update():
    old = {"kind": "DaskCluster", "metadata": {"name": "mine", "namespace": "a"}, "spec": {"worker": {}}}
    request = review(old, 7)["request"]
    assert (request["oldObject"], request["object"]["spec"]) == (old, {"worker": {}, "idleTimeout": 3607})
    assert (request["namespace"], request["name"], request["dryRun"]) == ("a", "mine", True)
