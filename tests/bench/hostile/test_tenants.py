"""What a well-behaved tenant sees of its pods."""

from types import SimpleNamespace

from tenants import Pods


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
