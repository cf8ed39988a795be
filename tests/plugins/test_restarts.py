"""Restarts of operators, with and without the cache of the previous process."""

import time

import pytest
from support.dask import workers
from support.manifests import cluster
from support.registry import ADDRESS
from support.waiting import until

from plugins.conftest import digest, variant
from plugins.test_swaps import stamp, versions


@pytest.fixture(scope="module")
def start_with_cache(start, tmp_path_factory):
    """Function that starts an operator of one namespace, by default with a cache that all operators of the module share."""
    cache = tmp_path_factory.mktemp("kept") / "components"
    return lambda kubectl, **options: start("--allow-tenant-plugin-source", "*", namespace=kubectl.namespace,
                                            **{"cache": cache, **options})


def test_a_restart_loads_plugins_from_the_cache(kubectl, start_with_cache, plugins, registry, built):
    component = variant(built["scripted"], 6)
    registry.push("team/restart", "1", component)
    kubectl.apply(registry.secret("login"), cluster("c", 1))
    plugins.apply("p", {"oci": {"image": f"{ADDRESS}/team/restart:1", "pullSecrets": [{"name": "login"}]}},
                  settings=stamp("kept"))
    operator = start_with_cache(kubectl)
    plugins.ready("p")
    operator.stop()
    registry.stop()
    try:
        operator = start_with_cache(kubectl)
        kubectl("scale", "daskworkergroup/c-default", "--replicas=2")
        until(lambda: "kept" in versions(kubectl), "a worker that the policy labelled")
        plugins.ready("p")
        # Without a cache, an active policy is not dropped silently: the operator blocks the resources that it applies to.
        operator.stop()
        operator = start_with_cache(kubectl, cache=operator.log.parent / "other")
        pods = kubectl.names("pods")
        kubectl("scale", "daskworkergroup/c-default", "--replicas=4")

        def blocked_condition():
            conditions = kubectl.get("daskworkergroup", "c-default")["status"]["conditions"]
            return next((found for found in conditions if found["type"] == "PluginFailed"), None)
        condition = until(blocked_condition, "the group to be blocked")
        assert condition["reason"] == "PluginNotLoaded" and f"DaskPlugin {kubectl.namespace}/p" in condition["message"], condition
        assert "is held" in plugins.ready("p", "False")["message"]
        assert kubectl.names("pods") == pods
    finally:
        registry.start()
    # The operator continues once the registry is available again.
    workers(kubectl, "c-default", 4)
    plugins.ready("p")
    operator.stop()


def test_a_component_that_crashed_the_operator_is_quarantined(kubectl, start_with_cache, plugins, built, tmp_path):
    component = variant(built["scripted"], 31)
    source = plugins.file("p", component)
    plugins.apply("p", source)
    metadata = kubectl.get("daskplugin", "p")["metadata"]
    # The files that two operators leave that crashed during the trial of the component.
    cache = tmp_path / "components"
    trials = cache / "plugins" / "tried"
    trials.mkdir(parents=True)
    cache.chmod(0o700)
    crash_record = f"{metadata['uid']} {metadata['generation']} {int(time.time())}"
    hex_digest = digest(component).removeprefix("sha256:")
    (trials / f"{hex_digest}.suspect").write_text(f"{crash_record}\n")
    (trials / f"{hex_digest}.{metadata['uid']}.trying").write_text(f"{metadata['generation']} {kubectl.namespace}")
    operator = start_with_cache(kubectl, cache=cache)
    condition = plugins.ready("p", "False")
    assert condition["reason"] == "Quarantined" and "has not been in force yet" in condition["message"], condition
    # A change of the spec makes the operator try the component again.
    plugins.apply("p", source, settings=stamp("again"))
    plugins.ready("p")
    namespace_record = trials / f"{kubectl.namespace}.namespace"
    assert list(trials.iterdir()) == [namespace_record]
    operator.stop()
    # With three recorded crashes in the namespace, other bytes are quarantined too.
    namespace_record.write_text(3 * f"{int(time.time())}\n")
    operator = start_with_cache(kubectl, cache=cache)
    condition = plugins.ready("p", "False")
    assert condition["reason"] == "Quarantined" and "plugins of this namespace" in condition["message"], condition
    operator.stop()


def test_a_policy_that_was_applied_during_downtime_is_active_from_the_start(kubectl, start, plugins, built):
    selector = {"matchLabels": {"kubernetes.io/metadata.name": kubectl.namespace}}
    plugins.apply("p", plugins.file("p", variant(built["scripted"], 32)), cluster=True, namespaceSelector=selector,
                  settings=stamp("first"))
    kubectl.apply(cluster("c", 2))
    operator = start()
    workers(kubectl, "c-default", 2)
    assert versions(kubectl) == ["first", "first"]
    operator.stop()
