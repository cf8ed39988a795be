"""Components that are swapped while clusters live."""

from support.dask import WORKERS
from support.manifests import cluster
from support.registry import ADDRESS
from support.waiting import stays, until

from plugins.conftest import digest, other


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

    plugins.apply("p", plugins.file("one", one), settings=stamp("one"), onFailure="LastGood")
    plugins.ready("p")
    kubectl("scale", "daskworkergroup/a-default", "--replicas=2")
    until(lambda: versions(kubectl) == ["", "", "", "one"], "a worker under version one")

    plugins.apply("p", plugins.file("two", two), settings=stamp("two"), onFailure="LastGood")
    plugins.ready("p")
    kubectl("scale", "daskworkergroup/b-default", "--replicas=2")
    until(lambda: versions(kubectl) == ["", "", "", "one", "two"], "a worker under version two")

    # What can't be used changes nothing.
    plugins.apply("p", plugins.file("broken", b"\0asm\x0d\0\1\0 broken"), settings=stamp("three"), onFailure="LastGood")
    said = plugins.ready("p", "False")
    assert said["reason"] == "Unfit" and digest(two)[7:19] in said["message"] and "still in force" in said["message"]
    assert plugins.status("p")[1]["digest"] == digest(two)
    kubectl("scale", "daskworkergroup/c-default", "--replicas=2")
    until(lambda: versions(kubectl) == ["", "", "", "one", "two", "two"], "another worker under version two")

    # What works on the sample and fails on everything else is taken back.
    pods = kubectl.names("pods")
    plugins.apply("p", plugins.file("bad", bad), settings={"trap": True}, onFailure="LastGood")
    said = until(lambda: rolled_back(plugins), "the roll-back")
    assert digest(bad)[7:19] in said["message"] and digest(two)[7:19] in said["message"] and "in force again" in said["message"]
    assert plugins.status("p")[1]["digest"] == digest(two)
    assert set(pods) <= set(kubectl.names("pods"))
    kubectl.event("p", "RolledBack")
    assert operator.metric("dask_operator_plugin_rollbacks_total") >= 1
    kubectl("scale", "daskworkergroup/a-default", "--replicas=3")
    until(lambda: versions(kubectl) == ["", "", "", "one", "two", "two", "two"], "a worker after the roll-back")
    # It is not tried again.
    stays(lambda: plugins.status("p")[1]["digest"] == digest(two), "the version before")


def rolled_back(plugins, reason="RolledBack"):
    """The condition that tells of a roll-back."""
    conditions = plugins.status("p")[1].get("conditions", [])
    return next((found for found in conditions if found["reason"] == reason), None)


def test_a_policy_that_protects_is_not_taken_back(kubectl, operator, plugins, built):
    """Who makes it trap gains nothing by that: what it can't decide about is held, from the first moment."""
    lax, strict = (other(built["scripted"], number) for number in (7, 8))
    plugins.apply("p", plugins.file("lax", lax), settings=stamp("lax"))
    plugins.ready("p")
    plugins.apply("p", plugins.file("strict", strict), settings={**stamp("strict"), "trapOn": "trick"})
    plugins.ready("p")
    rolls = operator.metric("dask_operator_plugin_rollbacks_total")
    kubectl.apply(*(cluster(f"trick-{number}", 1) for number in range(4)))
    said = until(lambda: rolled_back(plugins, "FailsInOperation"), "the plugin to say that it fails")
    assert "it is not taken back" in said["message"] and "is refused and held" in said["message"], said
    assert plugins.status("p")[1]["digest"] == digest(strict)
    kubectl.apply(cluster("a", 2))
    until(lambda: versions(kubectl) == ["strict"] * 2, "workers under the strict version")

    def held(name):
        conditions = kubectl.get("daskcluster", name).get("status", {}).get("conditions", [])
        return any(found["type"] == "PluginFailed" and "of DaskPlugin" in found["message"] for found in conditions)
    until(lambda: all(held(f"trick-{number}") for number in range(4)), "the conditions")
    stays(lambda: not kubectl.names("pods", "dask.org/cluster-name=trick-0"), "nothing of what it could not decide about")
    assert operator.metric("dask_operator_plugin_rollbacks_total") == rolls


def test_a_tag_that_moves_is_looked_up_again(kubectl, operator, plugins, registry, built):
    one, two = (other(built["scripted"], number) for number in (4, 5))
    registry.push("tenants/moving", "latest", one)
    kubectl.apply(registry.secret("login"))
    source = {"oci": {"image": f"{ADDRESS}/tenants/moving:latest", "pullSecrets": [{"name": "login"}]}}
    plugins.apply("p", source, refreshSeconds=10)
    plugins.ready("p")
    assert plugins.status("p")[1]["digest"] == digest(one)
    registry.push("tenants/moving", "latest", two)
    until(lambda: plugins.status("p")[1]["digest"] == digest(two), "the new version")
