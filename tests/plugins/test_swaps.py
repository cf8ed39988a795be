"""Replacement of components while clusters run."""

from support.dask import WORKERS
from support.manifests import cluster
from support.registry import ADDRESS
from support.waiting import stays, until

from plugins.conftest import digest, variant


def stamp(name):
    """Settings that make the policy add a label to new pods."""
    return {"stamp": {"example.com/version": name}}


def versions(kubectl):
    """Versions of the policy that labelled the workers, sorted; empty for a worker without the label."""
    pods = kubectl.list("pods", WORKERS)
    return sorted(pod["metadata"]["labels"].get("example.com/version", "") for pod in pods)


def test_versions_are_replaced_and_a_failing_one_is_rolled_back(kubectl, operator, plugins, built):
    one, two, bad = (variant(built["scripted"], number) for number in (1, 2, 3))
    kubectl.apply(*(cluster(name, 1) for name in "abc"))
    until(lambda: len(kubectl.names("pods", WORKERS)) == 3, "three workers")

    plugins.apply("p", plugins.file("one", one), settings=stamp("one"), onFailure="LastGood")
    plugins.ready("p")
    kubectl("scale", "daskworkergroup/a-default", "--replicas=2")
    until(lambda: versions(kubectl) == ["", "", "", "one"], "a worker of version one")

    plugins.apply("p", plugins.file("two", two), settings=stamp("two"), onFailure="LastGood")
    plugins.ready("p")
    kubectl("scale", "daskworkergroup/b-default", "--replicas=2")
    until(lambda: versions(kubectl) == ["", "", "", "one", "two"], "a worker of version two")

    # An invalid component does not replace the active one.
    plugins.apply("p", plugins.file("broken", b"\0asm\x0d\0\1\0 broken"), settings=stamp("three"), onFailure="LastGood")
    condition = plugins.ready("p", "False")
    assert condition["reason"] == "Unfit" and digest(two)[7:19] in condition["message"] and "still in force" in condition["message"]
    assert plugins.status("p")[1]["digest"] == digest(two)
    kubectl("scale", "daskworkergroup/c-default", "--replicas=2")
    until(lambda: versions(kubectl) == ["", "", "", "one", "two", "two"], "another worker of version two")

    # A component that handles the sample and traps on everything else is rolled back.
    pods = kubectl.names("pods")
    plugins.apply("p", plugins.file("bad", bad), settings={"trap": True}, onFailure="LastGood")
    condition = until(lambda: rolled_back(plugins), "the roll-back")
    assert (digest(bad)[7:19] in condition["message"] and digest(two)[7:19] in condition["message"]
            and "in force again" in condition["message"])
    assert plugins.status("p")[1]["digest"] == digest(two)
    assert set(pods) <= set(kubectl.names("pods"))
    kubectl.event("p", "RolledBack")
    assert operator.metric("dask_operator_plugin_rollbacks_total") >= 1
    kubectl("scale", "daskworkergroup/a-default", "--replicas=3")
    until(lambda: versions(kubectl) == ["", "", "", "one", "two", "two", "two"], "a worker after the roll-back")
    # The failing version is not tried again.
    stays(lambda: plugins.status("p")[1]["digest"] == digest(two), "the previous version")


def rolled_back(plugins, reason="RolledBack"):
    """Condition of the plugin `p` with this reason; None if there is none."""
    conditions = plugins.status("p")[1].get("conditions", [])
    return next((found for found in conditions if found["reason"] == reason), None)


def test_a_protecting_policy_is_not_rolled_back(kubectl, operator, plugins, built):
    """A tenant gains nothing by making the policy trap: resources that it cannot decide about are blocked from the start."""
    lenient, strict = (variant(built["scripted"], number) for number in (7, 8))
    plugins.apply("p", plugins.file("lax", lenient), settings=stamp("lax"))
    plugins.ready("p")
    plugins.apply("p", plugins.file("strict", strict), settings={**stamp("strict"), "trapOn": "trick"})
    plugins.ready("p")
    rollbacks = operator.metric("dask_operator_plugin_rollbacks_total")
    kubectl.apply(*(cluster(f"trick-{number}", 1) for number in range(4)))
    condition = until(lambda: rolled_back(plugins, "FailsInOperation"), "the condition to report the failures")
    assert "it is not taken back" in condition["message"] and "is refused and held" in condition["message"], condition
    assert plugins.status("p")[1]["digest"] == digest(strict)
    kubectl.apply(cluster("a", 2))
    until(lambda: versions(kubectl) == ["strict"] * 2, "workers of the strict version")

    def is_blocked(name):
        conditions = kubectl.get("daskcluster", name).get("status", {}).get("conditions", [])
        return any(found["type"] == "PluginFailed" and "of DaskPlugin" in found["message"] for found in conditions)
    until(lambda: all(is_blocked(f"trick-{number}") for number in range(4)), "the conditions of all blocked clusters")
    stays(lambda: not kubectl.names("pods", "dask.org/cluster-name=trick-0"), "the absence of pods of a blocked cluster")
    assert operator.metric("dask_operator_plugin_rollbacks_total") == rollbacks


def test_a_moved_tag_is_resolved_again(kubectl, operator, plugins, registry, built):
    one, two = (variant(built["scripted"], number) for number in (4, 5))
    registry.push("tenants/moving", "latest", one)
    kubectl.apply(registry.secret("login"))
    source = {"oci": {"image": f"{ADDRESS}/tenants/moving:latest", "pullSecrets": [{"name": "login"}]}}
    plugins.apply("p", source, refreshSeconds=10)
    plugins.ready("p")
    assert plugins.status("p")[1]["digest"] == digest(one)
    registry.push("tenants/moving", "latest", two)
    until(lambda: plugins.status("p")[1]["digest"] == digest(two), "the new version")
