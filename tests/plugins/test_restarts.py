"""Operators that are started anew, with and without what the one before kept."""

import pytest
from support.dask import workers
from support.manifests import cluster
from support.registry import ADDRESS
from support.waiting import until

from plugins.conftest import other
from plugins.test_swaps import stamp, versions


@pytest.fixture(scope="module")
def lone(start, tmp_path_factory):
    """Start an operator of one namespace, with a cache that the next one has too."""
    cache = tmp_path_factory.mktemp("kept") / "components"
    return lambda kubectl, **options: start("--allow-tenant-plugin-source", "*", namespace=kubectl.namespace,
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
        said = until(held, "the group to be held")
        assert said["reason"] == "PluginNotLoaded" and f"DaskPlugin {kubectl.namespace}/p" in said["message"], said
        assert "is held" in plugins.ready("p", "False")["message"]
        assert kubectl.names("pods") == pods
    finally:
        registry.start()
    # It goes on when the registry is back.
    workers(kubectl, "c-default", 4)
    plugins.ready("p")
    operator.stop()
