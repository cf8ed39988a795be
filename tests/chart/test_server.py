"""Validation of the chart's objects by an API server, and the permissions that the chart grants the operator."""

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
def with_foreign_crds(api_server):
    """kubectl, with the CRDs of the Prometheus operator and of cert-manager that the chart uses."""
    files = [argument for path in definitions.paths() for argument in ("--filename", path)]
    api_server("apply", "--server-side", *files)
    api_server("wait", "--for=condition=Established", "--timeout=120s", *files)
    yield api_server
    api_server("delete", "--wait=false", *files)


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_every_object_passes_strict_validation(with_foreign_crds, file):
    objects = chart.objects(chart.template(yaml.safe_load(file.read_text())))
    with_foreign_crds.apply(*objects, options=["--dry-run=server", "--validate=strict"])


def test_strict_validation_reports_an_unknown_field(with_foreign_crds):
    """Strict validation also covers the CRDs of other projects."""
    values = {"metrics": {"operator": {"serviceMonitor": {"enabled": True}}}}
    (monitor,) = (made for made in chart.objects(chart.template(values)) if made["kind"] == "ServiceMonitor")
    with pytest.raises(Refused, match='unknown field "spec.intervals"'):
        with_foreign_crds.apply(manifests.changed(monitor, "spec.intervals", "1s"), options=["--dry-run=server", "--validate=strict"])


def test_the_pod_meets_the_restricted_level(api_server):
    """With default values."""
    api_server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "restricted", "labels": RESTRICTED}})
    (deployment,) = (made for made in chart.objects(chart.template()) if made["kind"] == "Deployment")
    spec = {**deployment["spec"]["template"]["spec"], "serviceAccountName": "default"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator", "namespace": "restricted"}, "spec": spec}
    until(lambda: api_server("--namespace", "restricted", "get", "serviceaccounts", "--output", "name"), "a service account")
    api_server.apply(pod, options=["--dry-run=server"])
    with pytest.raises(Refused, match="violates PodSecurity"):
        api_server.apply(manifests.changed(pod, "spec.securityContext.seccompProfile", None), options=["--dry-run=server"])


@pytest.fixture(scope="module")
def predecessor_crds(api_server):
    """kubectl, with CRDs as the chart of the predecessor leaves them: they belong to no release and differ from crds/."""
    api_server("delete", "--ignore-not-found", "--timeout=120s", "--filename", ROOT / "crds")
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        definition = manifests.changed(yaml.safe_load(file.read_text()), "spec.names.shortNames", [f"former{file.stem}"])
        api_server("create", "--filename", "-", stdin=yaml.safe_dump(definition))
    api_server("wait", "--for=condition=Established", "--timeout=120s", "--filename", ROOT / "crds")
    return api_server


def test_existing_crds_can_be_adopted_and_outlive_the_release(predecessor_crds):
    """helm adopts them only with `--take-ownership`. An uninstall does not delete them."""
    install = ("upgrade", "--install", "dask", CHART, "--namespace", "operators", "--wait=false")
    with pytest.raises(chart.Refused, match="cannot be imported into the current release"):
        chart.helm(*install, environment=predecessor_crds.environment)
    chart.helm(*install, "--take-ownership", "--force-conflicts", environment=predecessor_crds.environment)
    try:
        assert "dsk" in predecessor_crds.get("crd", "daskclusters.kubernetes.dask.org")["spec"]["names"]["shortNames"]
        chart.helm(*install, environment=predecessor_crds.environment)
    finally:
        chart.helm("uninstall", "dask", "--namespace", "operators", environment=predecessor_crds.environment)
    assert len(predecessor_crds.names("crd")) >= len(KINDS)
    # A new release of the same name needs no option to adopt them.
    chart.helm(*install, environment=predecessor_crds.environment)
    chart.helm("uninstall", "dask", "--namespace", "operators", environment=predecessor_crds.environment)


def test_the_roles_edit_and_view_cover_dask_resources(predecessor_crds):
    roles = [made for made in chart.objects(chart.template()) if made["kind"] == "ClusterRole"]
    predecessor_crds.apply(*roles)
    for role in ("view", "edit"):
        predecessor_crds("--namespace", "team-a", "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}")

    def may(user, verb, resource):
        try:
            return predecessor_crds("--namespace", "team-a", "auth", "can-i", verb, resource, f"--as={user}").strip() == "yes"
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
            predecessor_crds("--namespace", "team-a", "delete", "rolebinding", role)
        predecessor_crds("delete", "clusterroles", *(role["metadata"]["name"] for role in roles))


#: Permissions that the chart grants but that the operator does not use on a cluster without a node, with the reason for each.
UNUSED = {
    "update daskclusters/finalizers": "required by an admission plugin that few clusters enable",
    "update daskworkergroups/finalizers": "required by an admission plugin that few clusters enable",
    "update daskjobs/finalizers": "required by an admission plugin that few clusters enable",
    "patch events": "when an event is repeated",
    "patch daskworkergroups/scale": "for an autoscaler, which needs a reachable scheduler",
    "update secrets": "when the webhook's certificates are renewed",
    "delete daskclusters": "when the idle timeout of a cluster has passed",
    "delete daskjobs": "when the time to live of a finished job has passed",
    "delete daskworkergroups": "when a plan no longer contains a group",
    "delete deployments": "when a group whose workers have started is scaled down",
    "delete services": "when a plan no longer contains the Service of a scheduler",
}


def granted_rights():
    """Permissions that the chart grants the operator, as `verb resource`."""
    roles = [made for made in chart.objects(chart.template(show=["templates/rbac.yaml"])) if made["kind"] in ("ClusterRole", "Role")]
    return {f"{verb} {resource}" for role in roles for rule in role["rules"]
            for verb, resource in itertools.product(rule["verbs"], rule["resources"])}


def used_rights(operator):
    """Requests of the operator as `verb resource`, and those of them that were forbidden."""
    used, forbidden = set(), set()
    # Every account may create a SelfSubjectReview.
    always_allowed = {"create selfsubjectreviews"}
    for label, _ in operator.samples(REQUESTS):
        verbs = {label["verb"]}
        if label["verb"] == "apply":  # an apply creates a missing object; a status always exists
            verbs = {"patch"} if "/" in label["resource"] else {"create", "patch"}
        used |= {f"{verb} {label['resource']}" for verb in verbs}
        if label["code"] == "403":
            forbidden.add(f"{label['verb']} {label['resource']}")
    return used - always_allowed, forbidden


@contextmanager
def running_operator(predecessor_crds, folder, *arguments):
    """Runs an operator with the chart's rights. Yields it, and kubectl in a new namespace."""
    with (chart.account(predecessor_crds, folder) as account,
          Operator(account.environment, folder, *account.arguments(lease_seconds=20), *arguments) as operator):
        kubectl = new_namespace(predecessor_crds.environment, "rights")
        try:
            yield operator, kubectl
        finally:
            drop_namespace(kubectl)
            # The API server forbids creations in a terminating namespace, so it must be gone before the next operator starts.
            await_end(predecessor_crds.environment, [kubectl.namespace])


def await_workers(kubectl, count, kind="pods"):
    """Waits until the cluster `a` has this number of workers."""
    def has_all_workers():
        found = kubectl.names(kind, "dask.org/component=worker,dask.org/cluster-name=a")
        assert len(found) == count, found
        return True

    until(has_all_workers, f"{count} workers")


def await_mark_removal(kubectl, kind):
    """Adds a mark of the predecessor to a worker, and waits until the operator has removed it."""
    name = kubectl.names(kind, "dask.org/component=worker")[0]
    kubectl("annotate", kind, name, "kopf.zalando.org/mark=1")
    until(lambda: "kopf.zalando.org/mark" not in kubectl.get(kind, name)["metadata"].get("annotations", {}), "the mark to be removed")


def use_plugins(kubectl):
    """Creates a DaskPlugin and a ClusterDaskPlugin whose sources do not exist, and waits for their statuses."""
    source = {"name": "nowhere", "key": "plugin.wasm"}
    plugin = {"apiVersion": manifests.API, "kind": "DaskPlugin", "metadata": {"name": kubectl.namespace},
              "spec": {"source": {"configMap": source}}}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": kubectl.namespace}}
    cluster_plugin = {**plugin, "kind": "ClusterDaskPlugin",
                  "spec": {"source": {"configMap": {**source, "namespace": kubectl.namespace}}, "namespaceSelector": selector}}
    kubectl.apply(plugin, cluster_plugin)
    try:
        for kind in ("daskplugin", "clusterdaskplugin"):
            until(lambda: (kubectl.get(kind, kubectl.namespace).get("status") or {}).get("conditions"), f"the status of the {kind}")
    finally:
        kubectl("delete", "clusterdaskplugin", kubectl.namespace)


def use_pods(kubectl):
    """Makes the operator create, change, scale and delete children, and remove marks of the predecessor."""
    marked = [manifests.changed(manifest, "metadata.finalizers", ["kopf.zalando.org/KopfFinalizerMarker"])
              for manifest in (manifests.autoscaler("b", "a"), manifests.job("k"))]
    kubectl.apply(manifests.cluster("a", 2), manifests.group("g", "a"), manifests.job("j"), *marked)
    await_workers(kubectl, 3)
    kubectl("scale", "daskworkergroup", "a-default", "--replicas=4")
    await_workers(kubectl, 5)
    kubectl("scale", "daskworkergroup", "a-default", "--replicas=1")
    await_workers(kubectl, 2)
    await_mark_removal(kubectl, "pods")
    ports = [*kubectl.get("daskcluster", "a")["spec"]["scheduler"]["service"]["ports"], {"name": "more", "port": 9000}]
    kubectl.patch("daskcluster", "a", {"spec": {"scheduler": {"service": {"ports": ports}}}})
    until(lambda: len(kubectl.get("service", "a-scheduler")["spec"]["ports"]) == 3, "the Service to change")
    until(lambda: kubectl.get("daskcluster", "j"), "the job's cluster")
    kubectl.apply(manifests.changed(manifests.cluster("invalid"), "spec.scheduler.spec.restartPolicy", "Sometimes"))
    kubectl.event("invalid")
    use_plugins(kubectl)
    for kind, name in (("daskautoscaler", "b"), ("daskjob", "k")):
        until(lambda: not kubectl.get(kind, name)["metadata"].get("finalizers"), "the finalizer to be removed")


def use_deployments(kubectl):
    """Makes the operator create a cluster whose scheduler and workers are Deployments."""
    kubectl.apply(manifests.cluster("a", 2))
    await_workers(kubectl, 2, "deployments")
    await_mark_removal(kubectl, "deployments")


def test_the_chart_grants_exactly_the_rights_that_the_operator_uses(predecessor_crds, tmp_path):
    """No request is forbidden, and the operator uses every permission except those in :data:`UNUSED`."""
    used, forbidden = set(), set()
    deployments = ("--setting=worker-group.workload=deployment", "--setting=cluster.workload=deployment")
    for number, (use, arguments) in enumerate([(use_pods, ()), (use_deployments, deployments)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with running_operator(predecessor_crds, folder, *arguments) as (operator, kubectl):
            use(kubectl)
            operator.wait_until_quiet()
            until(lambda: "update leases" in used_rights(operator)[0], "the lease to be renewed")
            now = used_rights(operator)
            used, forbidden = used | now[0], forbidden | now[1]
    assert sorted(forbidden) == []
    assert sorted(used - granted_rights()) == []
    assert sorted(granted_rights() - used) == sorted(UNUSED)
