"""Components that are swapped while clusters live."""

from support.dask import WORKERS
from support.manifests import cluster
from support.waiting import stays, until

from plugins.conftest import digest, other
from plugins.registry import ADDRESS


def stamp(name):
    """Settings that give new pods a label."""
    return {"stamp": {"example.com/version": name}}


def versions(kubectl):
    """The versions of the policy that workers were made under."""
    pods = kubectl.list("pods", WORKERS)
    return sorted(pod["metadata"]["labels"].get("example.com/version", "") for pod in pods)


def test_swap_failure_and_rollback(kubectl, operator, plugins, built):
    one, two, bad = (other(built["scripted"], number) for number in (1, 2, 3))
    kubectl.apply(*(cluster(name, 1) for name in "abc"))
    until(lambda: len(kubectl.names("pods", WORKERS)) == 3, "three workers")

    plugins.apply("p", plugins.file("one", one), settings=stamp("one"))
    plugins.ready("p")
    kubectl("scale", "daskworkergroup/a-default", "--replicas=2")
    until(lambda: versions(kubectl) == ["", "", "", "one"], "a worker under version one")

    plugins.apply("p", plugins.file("two", two), settings=stamp("two"))
    plugins.ready("p")
    kubectl("scale", "daskworkergroup/b-default", "--replicas=2")
    until(lambda: versions(kubectl) == ["", "", "", "one", "two"], "a worker under version two")

    # What can't be used changes nothing.
    plugins.apply("p", plugins.file("broken", b"\0asm\x0d\0\1\0 broken"), settings=stamp("three"))
    said = plugins.ready("p", "False")
    assert said["reason"] == "Unfit" and digest(two)[7:19] in said["message"] and "still in force" in said["message"]
    assert plugins.status("p")[1]["digest"] == digest(two)
    kubectl("scale", "daskworkergroup/c-default", "--replicas=2")
    until(lambda: versions(kubectl) == ["", "", "", "one", "two", "two"], "another worker under version two")

    # What works on the sample and fails on everything else is taken back.
    pods = kubectl.names("pods")
    plugins.apply("p", plugins.file("bad", bad), settings={"trap": True})
    said = until(lambda: rolled_back(plugins), "the roll-back", 60)
    assert digest(bad)[7:19] in said["message"] and digest(two)[7:19] in said["message"]
    assert plugins.status("p")[1]["digest"] == digest(two)
    assert set(pods) <= set(kubectl.names("pods"))
    assert "RolledBack" in dict(kubectl.events("p"))
    assert operator.metric("dask_operator_plugin_rollbacks_total") >= 1
    kubectl("scale", "daskworkergroup/a-default", "--replicas=3")
    until(lambda: versions(kubectl) == ["", "", "", "one", "two", "two", "two"], "a worker after the roll-back")
    # It is not tried again.
    stays(lambda: plugins.status("p")[1]["digest"] == digest(two), "the version before")


def rolled_back(plugins):
    """The condition that tells of a roll-back."""
    conditions = plugins.status("p")[1].get("conditions", [])
    return next((found for found in conditions if found["reason"] == "RolledBack"), None)


def test_a_tag_that_moves_is_looked_up_again(kubectl, operator, plugins, registry, built):
    one, two = (other(built["scripted"], number) for number in (4, 5))
    registry.push("tenants/moving", "latest", one)
    kubectl.apply(registry.secret("login"))
    source = {"oci": {"image": f"{ADDRESS}/tenants/moving:latest", "pullSecrets": [{"name": "login"}]}}
    plugins.apply("p", source, refreshSeconds=10)
    plugins.ready("p")
    assert plugins.status("p")[1]["digest"] == digest(one)
    registry.push("tenants/moving", "latest", two)
    until(lambda: plugins.status("p")[1]["digest"] == digest(two), "the new version", 40)
