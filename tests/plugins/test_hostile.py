"""Installation of every component of plugins/hostile while twenty clusters run."""

from support.manifests import cluster
from support.waiting import until

CLUSTERS = 20


def test_hostile_components_are_rejected_and_affect_no_cluster(kubectl, operator, plugins, hostile):
    kubectl.apply(*(cluster(f"c{number}", 1) for number in range(CLUSTERS)))

    def children():
        return {(kind, name) for kind in ("pods", "services", "daskworkergroups") for name in kubectl.names(kind)}

    # Each cluster has a scheduler, a worker, a Service and a group. They are created concurrently, in any order.
    until(lambda: len(children()) == 4 * CLUSTERS, "all children")
    before = children()
    assert len(hostile) > 20
    selector = {"matchLabels": {"kubernetes.io/metadata.name": kubectl.namespace}}
    installed = {}
    for number, (name, component) in enumerate(hostile.items()):
        is_cluster_scoped = number % 2 == 0
        scope = {"namespaceSelector": selector} if is_cluster_scoped else {}
        installed[name] = plugins.apply(name, plugins.file(name, component), cluster=is_cluster_scoped, **scope)
    reasons = {name: plugins.ready(plugin, "False", 180) for name, plugin in installed.items()}
    for name, condition in reasons.items():
        assert "has not been in force yet" in condition["message"], (name, condition)
        assert name not in ("trap", "endless-loop") or "sample" in condition["message"], condition
    assert children() == before
    # All clusters are still reconciled.
    for number in range(CLUSTERS):
        kubectl("scale", f"daskcluster/c{number}", "--replicas=2")
    until(lambda: len(kubectl.names("pods")) == 3 * CLUSTERS, "one more worker in each cluster")
