"""What an API server says to the chart's objects, and what the operator may do with the chart's rights."""

import itertools
from contextlib import contextmanager

import pytest
import yaml
from support import chart, definitions, manifests
from support.chart import CHART, VALUES
from support.cluster import ROOT
from support.kubectl import Refused, await_end, drop_namespace, new_namespace
from support.operator import REQUESTS, Operator
from support.waiting import until

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
KINDS = ("daskclusters", "daskworkergroups", "daskjobs", "daskautoscalers")


@pytest.fixture(scope="module")
def with_others(api_server):
    """The kinds of the Prometheus operator and of cert-manager that the chart makes are there, too."""
    files = [argument for path in definitions.paths() for argument in ("--filename", path)]
    api_server("apply", "--server-side", *files)
    api_server("wait", "--for=condition=Established", "--timeout=120s", *files)
    yield api_server
    api_server("delete", "--wait=false", *files)


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_every_object_is_accepted(with_others, file):
    """Without unknown fields."""
    objects = chart.objects(chart.template(yaml.safe_load(file.read_text())))
    with_others.apply(*objects, options=["--dry-run=server", "--validate=strict"])


def test_an_unknown_field_is_seen(with_others):
    """Of the kinds of others as well."""
    values = {"metrics": {"operator": {"serviceMonitor": {"enabled": True}}}}
    (monitor,) = (made for made in chart.objects(chart.template(values)) if made["kind"] == "ServiceMonitor")
    with pytest.raises(Refused, match='unknown field "spec.intervals"'):
        with_others.apply(manifests.changed(monitor, "spec.intervals", "1s"), options=["--dry-run=server", "--validate=strict"])


def test_the_pod_passes_the_restricted_level(api_server):
    """With values that change nothing."""
    api_server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "restricted", "labels": RESTRICTED}})
    (deployment,) = (made for made in chart.objects(chart.template()) if made["kind"] == "Deployment")
    spec = {**deployment["spec"]["template"]["spec"], "serviceAccountName": "default"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator", "namespace": "restricted"}, "spec": spec}
    until(lambda: api_server("--namespace", "restricted", "get", "serviceaccounts", "--output", "name"), "a service account")
    api_server.apply(pod, options=["--dry-run=server"])
    with pytest.raises(Refused, match="violates PodSecurity"):
        api_server.apply(manifests.changed(pod, "spec.securityContext.seccompProfile", None), options=["--dry-run=server"])


@pytest.fixture(scope="module")
def defined(api_server):
    """The Dask resources, as the chart of the predecessor leaves them: by other means than a release, and different."""
    api_server("delete", "--ignore-not-found", "--timeout=120s", "--filename", ROOT / "crds")
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        definition = manifests.changed(yaml.safe_load(file.read_text()), "spec.names.shortNames", [f"former{file.stem}"])
        api_server("create", "--filename", "-", stdin=yaml.safe_dump(definition))
    api_server("wait", "--for=condition=Established", "--timeout=120s", "--filename", ROOT / "crds")
    return api_server


def test_definitions_that_are_there_are_taken_over(defined):
    """When the person who installs says so; and they stay when the release goes."""
    install = ("upgrade", "--install", "dask", CHART, "--namespace", "operators", "--wait=false")
    with pytest.raises(chart.Refused, match="cannot be imported into the current release"):
        chart.helm(*install, environment=defined.environment)
    chart.helm(*install, "--take-ownership", "--force-conflicts", environment=defined.environment)
    try:
        assert "dsk" in defined.get("crd", "daskclusters.kubernetes.dask.org")["spec"]["names"]["shortNames"]
        chart.helm(*install, environment=defined.environment)
    finally:
        chart.helm("uninstall", "dask", "--namespace", "operators", environment=defined.environment)
    assert len(defined.names("crd")) >= len(KINDS)
    # A release made anew takes them without being told.
    chart.helm(*install, environment=defined.environment)
    chart.helm("uninstall", "dask", "--namespace", "operators", environment=defined.environment)


def test_people_who_may_edit_or_view_may_do_so_with_dask_resources(defined):
    roles = [made for made in chart.objects(chart.template()) if made["kind"] == "ClusterRole"]
    defined.apply(*roles)
    for role in ("view", "edit"):
        defined("--namespace", "team-a", "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}")

    def may(user, verb, resource):
        try:
            return defined("--namespace", "team-a", "auth", "can-i", verb, resource, f"--as={user}").strip() == "yes"
        except Refused:
            return False

    try:
        for kind in KINDS:
            until(lambda: may("edit", "create", f"{kind}.kubernetes.dask.org"), f"edit to allow {kind}")
            assert may("view", "list", f"{kind}.kubernetes.dask.org") and may("edit", "list", f"{kind}.kubernetes.dask.org")
            assert not may("view", "patch", f"{kind}.kubernetes.dask.org")
        for kind in KINDS[:2]:
            scale = f"{kind}.kubernetes.dask.org/scale"
            assert may("edit", "patch", scale) and may("view", "get", scale) and not may("view", "patch", scale)
    finally:
        for role in ("view", "edit"):
            defined("--namespace", "team-a", "delete", "rolebinding", role)
        defined("delete", "clusterroles", *(role["metadata"]["name"] for role in roles))


#: What the chart allows, and a cluster without a node gives no occasion for.
UNUSED = {
    "update daskclusters/finalizers": "asked for by an admission plugin that few clusters have",
    "update daskworkergroups/finalizers": "the same",
    "update daskjobs/finalizers": "the same",
    "patch events": "when an event repeats",
    "patch daskworkergroups/scale": "for an autoscaler, which has to know a scheduler",
    "update secrets": "when the webhook's certificates are renewed",
    "delete daskclusters": "when a cluster has been idle for long",
    "delete daskjobs": "when a job's time after its end is over",
    "delete daskworkergroups": "when a component no longer wants a group",
    "delete deployments": "when a group shrinks whose workers have started",
    "delete services": "when a cluster's scheduler has no Service any more",
}


def rules():
    """What the chart allows the operator, as `verb resource`."""
    roles = [made for made in chart.objects(chart.template(show=["templates/rbac.yaml"])) if made["kind"] in ("ClusterRole", "Role")]
    return {f"{verb} {resource}" for role in roles for rule in role["rules"]
            for verb, resource in itertools.product(rule["verbs"], rule["resources"])}


def requests(operator):
    """What the operator asked for, as `verb resource`, and what of it was forbidden."""
    asked, forbidden = set(), set()
    # Everybody may ask who they are.
    everybody = {"create selfsubjectreviews"}
    for label, _ in operator.samples(REQUESTS):
        verbs = {label["verb"]}
        if label["verb"] == "apply":  # what is not there is created by it; a status is always there
            verbs = {"patch"} if "/" in label["resource"] else {"create", "patch"}
        asked |= {f"{verb} {label['resource']}" for verb in verbs}
        if label["code"] == "403":
            forbidden.add(f"{label['verb']} {label['resource']}")
    return asked - everybody, forbidden


@contextmanager
def working(defined, folder, *arguments):
    """An operator with the chart's rights, and kubectl in a namespace for it to work in."""
    with (chart.account(defined, folder) as account,
          Operator(account.environment, folder, *account.arguments(lease_seconds=20), *arguments) as operator):
        kubectl = new_namespace(defined.environment, "rights")
        try:
            yield operator, kubectl
        finally:
            drop_namespace(kubectl)
            # In a namespace that is on its way out, everybody is forbidden to create.
            await_end(defined.environment, [kubectl.namespace])


def workers(kubectl, count, kind="pods"):
    """Wait until a cluster has so many workers."""
    def counted():
        found = kubectl.names(kind, "dask.org/component=worker,dask.org/cluster-name=a")
        assert len(found) == count, found
        return True

    until(counted, f"{count} workers")


def unmarked(kubectl, kind):
    """Give one of the workers a mark of the predecessor, and wait until the operator has taken it off."""
    name = kubectl.names(kind, "dask.org/component=worker")[0]
    kubectl("annotate", kind, name, "kopf.zalando.org/mark=1")
    until(lambda: "kopf.zalando.org/mark" not in kubectl.get(kind, name)["metadata"].get("annotations", {}), "the mark to go")


def plugins_are_looked_at(kubectl):
    """Have a plugin of the namespace and one of the cluster looked for where they are not."""
    source = {"name": "nowhere", "key": "plugin.wasm"}
    plugin = {"apiVersion": manifests.API, "kind": "DaskPlugin", "metadata": {"name": kubectl.namespace},
              "spec": {"source": {"configMap": source}}}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": kubectl.namespace}}
    of_cluster = {**plugin, "kind": "ClusterDaskPlugin",
                  "spec": {"source": {"configMap": {**source, "namespace": kubectl.namespace}}, "namespaceSelector": selector}}
    kubectl.apply(plugin, of_cluster)
    try:
        for kind in ("daskplugin", "clusterdaskplugin"):
            until(lambda: (kubectl.get(kind, kubectl.namespace).get("status") or {}).get("conditions"), f"a word about the {kind}")
    finally:
        kubectl("delete", "clusterdaskplugin", kubectl.namespace)


def work_with_pods(kubectl):
    """Have children made, changed, scaled and deleted, and the marks of the predecessor removed."""
    marked = [manifests.changed(manifest, "metadata.finalizers", ["kopf.zalando.org/KopfFinalizerMarker"])
              for manifest in (manifests.autoscaler("b", "a"), manifests.job("k"))]
    kubectl.apply(manifests.cluster("a", 2), manifests.group("g", "a"), manifests.job("j"), *marked)
    workers(kubectl, 3)
    kubectl("scale", "daskworkergroup", "a-default", "--replicas=4")
    workers(kubectl, 5)
    kubectl("scale", "daskworkergroup", "a-default", "--replicas=1")
    workers(kubectl, 2)
    unmarked(kubectl, "pods")
    ports = [*kubectl.get("daskcluster", "a")["spec"]["scheduler"]["service"]["ports"], {"name": "more", "port": 9000}]
    kubectl.patch("daskcluster", "a", {"spec": {"scheduler": {"service": {"ports": ports}}}})
    until(lambda: len(kubectl.get("service", "a-scheduler")["spec"]["ports"]) == 3, "the Service to change")
    until(lambda: kubectl.get("daskcluster", "j"), "the job's cluster")
    kubectl.apply(manifests.changed(manifests.cluster("wrong"), "spec.scheduler.spec.restartPolicy", "Sometimes"))
    kubectl.event("wrong")
    plugins_are_looked_at(kubectl)
    for kind, name in (("daskautoscaler", "b"), ("daskjob", "k")):
        until(lambda: not kubectl.get(kind, name)["metadata"].get("finalizers"), "the finalizer to go")


def work_with_deployments(kubectl):
    """Have a cluster made whose scheduler and workers are Deployments."""
    kubectl.apply(manifests.cluster("a", 2))
    workers(kubectl, 2, "deployments")
    unmarked(kubectl, "deployments")


def test_the_rights_are_what_the_operator_needs(defined, tmp_path):
    """No less: nothing is forbidden. No more: it asks for all that it may."""
    asked, forbidden = set(), set()
    deployments = ("--setting=worker-group.workload=deployment", "--setting=cluster.workload=deployment")
    for number, (work, arguments) in enumerate([(work_with_pods, ()), (work_with_deployments, deployments)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with working(defined, folder, *arguments) as (operator, kubectl):
            work(kubectl)
            operator.wait_until_quiet()
            until(lambda: "update leases" in requests(operator)[0], "the lease to be renewed")
            now = requests(operator)
            asked, forbidden = asked | now[0], forbidden | now[1]
    assert sorted(forbidden) == []
    assert sorted(asked - rules()) == []
    assert sorted(rules() - asked) == sorted(UNUSED)
