"""Every component of plugins/hostile, installed while twenty clusters live."""

from support.manifests import cluster
from support.waiting import until

CLUSTERS = 20


def test_hostile_components_harm_nobody(kubectl, operator, plugins, hostile):
    kubectl.apply(*(cluster(f"c{number}", 1) for number in range(CLUSTERS)))

    def children():
        return {(kind, name) for kind in ("pods", "services", "daskworkergroups") for name in kubectl.names(kind)}

    # Of each cluster a scheduler and a worker, a Service and a group: they are written at once, in any order.
    until(lambda: len(children()) == 4 * CLUSTERS, "all children")
    before = children()
    assert len(hostile) > 20
    here = {"matchLabels": {"kubernetes.io/metadata.name": kubectl.namespace}}
    installed = {}
    for number, (name, component) in enumerate(hostile.items()):
        in_cluster = number % 2 == 0
        scope = {"namespaceSelector": here} if in_cluster else {}
        installed[name] = plugins.apply(name, plugins.file(name, component), cluster=in_cluster, **scope)
    reasons = {name: plugins.ready(plugin, "False", 180) for name, plugin in installed.items()}
    for name, condition in reasons.items():
        assert "has not been in force yet" in condition["message"], (name, condition)
        assert name not in ("trap", "endless-loop") or "sample" in condition["message"], condition
    assert children() == before
    # Everybody is still looked after.
    for number in range(CLUSTERS):
        kubectl("scale", f"daskcluster/c{number}", "--replicas=2")
    until(lambda: len(kubectl.names("pods")) == 3 * CLUSTERS, "a worker more in each cluster")
