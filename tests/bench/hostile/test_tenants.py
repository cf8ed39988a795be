"""What a well-behaved tenant sees."""

from types import SimpleNamespace

from tenants import Generations, Pods, review


def event(kind, uid, **metadata):
    return {"type": kind, "object": {"metadata": {"uid": uid, **metadata}}}


def test_pods_that_go_do_not_count():
    pods = Pods(SimpleNamespace(url="http://127.0.0.1:1"), "a")
    assert pods.wait_for(0, 0) and not pods.wait_for(1, 0)
    pods.saw(event("ADDED", "1"))
    pods.saw(event("ADDED", "2"))
    pods.saw(event("MODIFIED", "2"))
    assert pods.wait_for(2, 0)
    pods.saw(event("MODIFIED", "2", deletionTimestamp="2026-01-01T00:00:00Z"))
    pods.saw(event("DELETED", "2"))
    assert pods.wait_for(1, 0)


def test_a_generation_was_seen_when_it_came_first():
    generations = Generations(SimpleNamespace(url="http://127.0.0.1:1"), "/a")
    assert generations.at(2, 0) is None
    generations.saw(event("MODIFIED", "1", generation=2))
    first = generations.at(2, 0)
    generations.saw(event("MODIFIED", "1", generation=2))
    assert generations.at(2, 0) == first and generations.at(3, 0) is None


def test_a_review_is_of_an_update():
    old = {"kind": "DaskCluster", "metadata": {"name": "mine", "namespace": "a"}, "spec": {"worker": {}}}
    request = review(old, 7)["request"]
    assert (request["oldObject"], request["object"]["spec"]) == (old, {"worker": {}, "idleTimeout": 3607})
    assert (request["namespace"], request["name"], request["dryRun"]) == ("a", "mine", True)
