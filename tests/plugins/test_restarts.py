"""Operators that are started anew, with and without what the one before kept."""

import time

import pytest
from support.dask import workers
from support.manifests import cluster
from support.registry import ADDRESS
from support.waiting import until

from plugins.conftest import digest, other
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


def test_what_ended_the_operator_is_in_quarantine(kubectl, lone, plugins, built, tmp_path):
    component = other(built["scripted"], 31)
    source = plugins.file("p", component)
    plugins.apply("p", source)
    metadata = kubectl.get("daskplugin", "p")["metadata"]
    # As two operators leave it that ended while they tried it.
    cache = tmp_path / "components"
    tried = cache / "plugins" / "tried"
    tried.mkdir(parents=True)
    cache.chmod(0o700)
    crash = f"{metadata['uid']} {metadata['generation']} {int(time.time())}"
    digits = digest(component).removeprefix("sha256:")
    (tried / f"{digits}.suspect").write_text(f"{crash}\n")
    (tried / f"{digits}.{metadata['uid']}.trying").write_text(f"{metadata['generation']} {kubectl.namespace}")
    operator = lone(kubectl, cache=cache)
    said = plugins.ready("p", "False")
    assert said["reason"] == "Quarantined" and "has not been in force yet" in said["message"], said
    # Who has mended what ended it has it tried again.
    plugins.apply("p", source, settings=stamp("again"))
    plugins.ready("p")
    of_namespace = tried / f"{kubectl.namespace}.namespace"
    assert list(tried.iterdir()) == [of_namespace]
    operator.stop()
    # Other bytes don't get round it for ever.
    of_namespace.write_text(3 * f"{int(time.time())}\n")
    operator = lone(kubectl, cache=cache)
    said = plugins.ready("p", "False")
    assert said["reason"] == "Quarantined" and "plugins of this namespace" in said["message"], said
    operator.stop()


def test_a_policy_that_was_applied_meanwhile_decides_from_the_start(kubectl, start, plugins, built):
    here = {"matchLabels": {"kubernetes.io/metadata.name": kubectl.namespace}}
    plugins.apply("p", plugins.file("p", other(built["scripted"], 32)), cluster=True, namespaceSelector=here, settings=stamp("first"))
    kubectl.apply(cluster("c", 2))
    operator = start()
    workers(kubectl, "c-default", 2)
    assert versions(kubectl) == ["first", "first"]
    operator.stop()
