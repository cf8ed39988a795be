"""Components that are swapped while clusters live, and operators that are started anew."""

import pytest
from support.dask import WORKERS, workers
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


@pytest.fixture(scope="module")
def lone(start, tmp_path_factory):
    """Start an operator of one namespace, with a cache that the next one has too."""
    cache = tmp_path_factory.mktemp("kept") / "components"
    return lambda kubectl, **options: start("--namespace", kubectl.namespace, "--allow-tenant-plugin-source", "*",
                                            **{"cache": cache, **options})


def test_a_restart_needs_no_registry(kubectl, lone, plugins, registry, built):
    component = other(built["scripted"], 6)
    registry.push("team/restart", "1", component)
    kubectl.apply(registry.secret("login"), cluster("c", 1))
    plugins.apply("p", {"oci": {"image": f"{ADDRESS}/team/restart:1", "pullSecrets": [{"name": "login"}]}},
                  settings=stamp("kept"))
    operator = lone(kubectl)
    plugins.ready("p")
    operator.stop()
    registry.stop()
    try:
        operator = lone(kubectl)
        kubectl("scale", "daskworkergroup/c-default", "--replicas=2")
        until(lambda: "kept" in versions(kubectl), "a worker under the policy")
        plugins.ready("p")
        # Where nothing is kept, what was in force is not dropped in silence.
        operator.stop()
        operator = lone(kubectl, cache=operator.log.parent / "other")
        pods = kubectl.names("pods")
        kubectl("scale", "daskworkergroup/c-default", "--replicas=4")

        def held():
            conditions = kubectl.get("daskworkergroup", "c-default")["status"]["conditions"]
            return next((found for found in conditions if found["type"] == "PluginFailed"), None)
        said = until(held, "the group to be held", 40)
        assert said["reason"] == "PluginNotLoaded" and f"DaskPlugin {kubectl.namespace}/p" in said["message"], said
        assert "is held" in plugins.ready("p", "False")["message"]
        assert kubectl.names("pods") == pods
    finally:
        registry.start()
    # It goes on when the registry is back.
    workers(kubectl, "c-default", 4, timeout=60)
    plugins.ready("p")
    operator.stop()
