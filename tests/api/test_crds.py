"""CRDs of the Dask resources, tested on an API server without an operator."""

import json
import re

import pytest
from support import kubectl as kubectl_module
from support.cluster import ROOT
from support.kubectl import Refused
from support.manifests import API, autoscaler, changed, cluster, group, job
from support.waiting import until

KINDS = ["daskautoscaler", "daskcluster", "daskjob", "daskworkergroup"]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def kubectl(admin, namespaces):
    """kubectl in one namespace that all tests of this module share. No controller changes objects in it."""
    kubectl = kubectl_module.new_namespace(admin.environment, "crds")
    namespaces.append(kubectl.namespace)
    yield kubectl
    kubectl_module.drop_namespace(kubectl)


def post(kubectl, manifest):
    """Creates an object without kubectl's client-side validation, and returns the stored object."""
    plural = manifest["kind"].lower() + "s"
    path = f"/apis/kubernetes.dask.org/v1/namespaces/{kubectl.namespace}/{plural}"
    return kubectl.create_raw(path, manifest)


# The definitions -----------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_definition_is_established(admin, kind):
    definition = admin.get("crd", f"{kind}s.kubernetes.dask.org")
    conditions = {condition["type"]: condition for condition in definition["status"]["conditions"]}
    assert conditions["Established"]["status"] == "True"
    assert conditions["NamesAccepted"]["status"] == "True"
    assert "NonStructuralSchema" not in conditions, conditions["NonStructuralSchema"]["message"]


@pytest.mark.parametrize("kind", KINDS)
def test_client_side_apply_accepts_a_definition(admin, kind):
    file = ROOT / "crds" / f"{kind}.yaml"
    admin("apply", "--filename", file)
    applied = admin.get("crd", f"{kind}s.kubernetes.dask.org")["metadata"]["annotations"]
    assert len(applied["kubectl.kubernetes.io/last-applied-configuration"]) < 200_000
    assert "unchanged" in admin("apply", "--filename", file)


@pytest.mark.parametrize("field, phrase", [
    ("daskcluster", "A Dask cluster"),
    ("daskcluster.spec", "idleTimeout"),
    ("daskcluster.spec.idleTimeout", "seconds"),
    ("daskcluster.spec.scheduler.service", "tcp-comm"),
    ("daskcluster.spec.worker.spec", "DASK_WORKER_NAME"),
    ("daskcluster.spec.worker.spec.containers.resources.limits", "map[string]"),
    ("daskcluster.status.phase", "Running"),
    ("daskworkergroup.spec.cluster", "can't be changed"),
    ("daskjob.spec.job.spec", "OnFailure"),
    ("daskjob.spec.cluster.metadata", "labels"),
    ("daskautoscaler.spec.maximum", "Most workers"),
])
def test_kubectl_explain_describes_a_field(admin, field, phrase):
    assert phrase in " ".join(admin("explain", field).split())


# Accepted manifests --------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("side", ["client", "server"])
def test_an_example_can_be_applied(kubectl, name, side):
    options = ["--server-side"] if side == "server" else []
    kubectl("apply", "--dry-run=server", *options, "--filename", ROOT / "examples" / f"{name}.yaml")


def test_a_null_counts_as_an_absent_field(kubectl):
    """KubeCluster sends null for each field that its user did not set."""
    manifest = cluster("nulls")
    manifest["spec"]["idleTimeout"] = None
    manifest["spec"]["worker"].update(replicas=None, metadata=None)
    manifest["spec"]["scheduler"]["metadata"] = {"labels": None}
    for part in ("worker", "scheduler"):
        manifest["spec"][part]["spec"]["containers"][0].update(resources=None, env=None)
    spec = post(kubectl, manifest)["spec"]
    assert spec["idleTimeout"] == 0
    assert spec["worker"]["replicas"] == 1
    assert "metadata" not in spec["worker"]
    assert spec["scheduler"]["metadata"] == {}
    assert not {"resources", "env"} & spec["worker"]["spec"]["containers"][0].keys()


def test_numbers_are_accepted_where_kubernetes_accepts_them(kubectl):
    manifest = cluster("numbers")
    container = manifest["spec"]["worker"]["spec"]["containers"][0]
    container["resources"] = {"limits": {"cpu": 2, "memory": "4Gi", "nvidia.com/gpu": 1}}
    container["livenessProbe"] = {"httpGet": {"path": "/health", "port": 8788}}
    manifest["spec"]["scheduler"]["service"]["ports"][0]["targetPort"] = 8786
    spec = post(kubectl, manifest)["spec"]
    assert spec["worker"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == 2
    assert spec["scheduler"]["service"]["ports"][0]["targetPort"] == 8786


def test_fields_of_a_newer_kubernetes_are_preserved(kubectl):
    manifest = cluster("newer")
    pod = manifest["spec"]["worker"]["spec"]
    pod["aFieldOf"] = {"kubernetes": [1, 99]}
    pod["containers"][0]["aFieldOf"] = True
    manifest["spec"]["scheduler"]["service"]["aFieldOf"] = "Services"
    spec = post(kubectl, manifest)["spec"]
    assert spec["worker"]["spec"]["aFieldOf"] == {"kubernetes": [1, 99]}
    assert spec["worker"]["spec"]["containers"][0]["aFieldOf"] is True
    assert spec["scheduler"]["service"]["aFieldOf"] == "Services"


@pytest.mark.parametrize("path, value", [
    ("spec.worker.spec.initContainers", [{"name": "proxy", "image": "i", "restartPolicy": "Always"}]),
    ("spec.worker.spec.topologySpreadConstraints", [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2}]),
    ("spec.worker.spec.schedulingGates", [{"name": "example.com/gate"}]),
    ("spec.worker.spec.resourceClaims", [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]),
    ("spec.worker.spec.containers.0.env", [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
    ("spec.worker.spec.containers.0.livenessProbe", {"grpc": {"port": 8788}}),
    ("spec.scheduler.service.trafficDistribution", "PreferClose"),
    ("spec.scheduler.service.topologyKeys", ["*"]),
    ("spec.scheduler.metadata", {"labels": {"a": "b"}, "annotations": {"c": "d"}}),
    ("spec.worker.metadata", {}),
])
def test_old_and_new_kubernetes_fields_are_accepted(kubectl, path, value):
    manifest = changed(cluster("fields"), path, value)
    kubectl.apply(manifest, options=["--dry-run=server"])


def test_the_protocol_of_a_port_defaults_to_tcp(kubectl):
    manifest = cluster("tcp")
    manifest["spec"]["worker"]["spec"]["containers"][0]["ports"] = [{"containerPort": 1}]
    spec = post(kubectl, manifest)["spec"]
    assert spec["worker"]["spec"]["containers"][0]["ports"] == [{"containerPort": 1, "protocol": "TCP"}]
    assert {port["protocol"] for port in spec["scheduler"]["service"]["ports"]} == {"TCP"}


def test_a_job_gets_defaults(kubectl):
    manifest = changed(job("defaults"), "spec.job.spec.restartPolicy", None)
    manifest["spec"]["cluster"]["metadata"] = {"labels": {"a": "b"}}
    spec = post(kubectl, manifest)["spec"]
    assert spec["job"]["spec"]["restartPolicy"] == "OnFailure"
    assert spec["cluster"]["metadata"] == {"labels": {"a": "b"}}
    assert spec["cluster"]["spec"]["idleTimeout"] == 0


def test_the_minimum_of_an_autoscaler_defaults_to_zero(kubectl):
    assert post(kubectl, changed(autoscaler("unbounded", "c"), "spec.minimum", "null"))["spec"]["minimum"] == 0


def test_the_longest_names_are_accepted(kubectl):
    kubectl.apply(cluster("c" * 53), job("j" * 53), group("g" * 63, "c"), options=["--dry-run=server"])


# Refused manifests ---------------------------------------------------------


@pytest.mark.parametrize("manifest, phrases", [
    (cluster("c" * 54), ["metadata.name of a DaskCluster must be at most 53 characters"]),
    (cluster("with.dots"), ["metadata.name of a DaskCluster", "lower-case letters, digits and '-'"]),
    (job("j" * 54), ["metadata.name of a DaskJob must be at most 53 characters"]),
    (group("g" * 64, "c"), ["metadata.name of a DaskWorkerGroup must be at most 63 characters"]),
    (group("g", ""), ["spec.cluster", "should be at least 1 chars long"]),
    (autoscaler("a", "c", 5, 4), ["minimum must not be greater than", "raise maximum or lower minimum"]),
    (autoscaler("a", "c", -1, 4), ["spec.minimum", "greater than or equal to 0"]),
    (changed(autoscaler("a", "c"), "spec.maximum", None), ["spec.maximum", "Required value"]),
    (cluster("c", -1), ["spec.worker.replicas", "greater than or equal to 0"]),
    (changed(cluster("c"), "spec.idleTimeout", -1), ["spec.idleTimeout", "greater than or equal to 0"]),
    (changed(cluster("c"), "spec.scheduler", None), ["spec.scheduler", "Required value"]),
    (changed(cluster("c"), "spec.worker.spec.containers", None), ["spec.worker.spec.containers", "Required value"]),
    (changed(cluster("c"), "spec.worker.spec.containers.0.name", None), ["containers[0].name", "Required value"]),
    (changed(cluster("c"), "spec.worker.replicas", "two"), ["spec.worker.replicas", "integer"]),
    (changed(cluster("c"), "spec.worker.replica", 3), ["unknown field", "spec.worker.replica"]),
    (changed(job("j"), "spec.job.spec", None), ["spec.job.spec", "Required value"]),
])
def test_an_invalid_manifest_is_refused_with_a_reason(kubectl, manifest, phrases):
    with pytest.raises(Refused) as refused:
        kubectl.apply(manifest, options=["--dry-run=server"])
    for phrase in phrases:
        assert phrase in str(refused.value)


@pytest.mark.parametrize("manifest", [group("moves", "one"), autoscaler("moves", "one")])
def test_spec_cluster_is_immutable(kubectl, manifest):
    kubectl.apply(manifest)
    with pytest.raises(Refused, match=f"can't be changed; make another {manifest['kind']} for the other cluster"):
        kubectl.patch(manifest["kind"], "moves", {"spec": {"cluster": "two"}})


def test_an_object_older_than_the_name_rule_can_be_updated(admin, kubectl):
    """The rule applies to new objects only."""
    name = "daskclusters.kubernetes.dask.org"
    rules = "/spec/versions/0/schema/openAPIV3Schema/x-kubernetes-validations"
    long_name = "c" * 60
    admin.patch("crd", name, [{"op": "remove", "path": rules}], type="json")
    try:
        def applied():
            try:
                return kubectl.apply(cluster(long_name))
            except Refused as error:
                raise AssertionError(error) from error
        until(applied, "the rule to be removed")
    finally:
        admin("apply", "--server-side", "--force-conflicts", "--filename", ROOT / "crds" / "daskcluster.yaml")

    def is_enforced():
        with pytest.raises(Refused):
            kubectl.apply(cluster("d" * 60), options=["--dry-run=server"])
        return True
    until(is_enforced, "the rule to be active again")
    kubectl.patch("dsk", long_name, {"metadata": {"labels": {"a": "b"}}, "spec": {"worker": {"replicas": 2}}})
    kubectl.patch("dsk", long_name, {"status": {"phase": "Error"}}, subresource="status")


# Subresources and columns --------------------------------------------------


@pytest.mark.parametrize("manifest", [cluster("scaled"), group("scaled", "c")], ids=["cluster", "group"])
def test_scale_subresource(kubectl, manifest):
    kind, plural = manifest["kind"], manifest["kind"].lower() + "s"
    kubectl.apply(manifest)
    kubectl("scale", f"{kind}/scaled", "--replicas=7")
    assert kubectl.get(kind, "scaled")["spec"]["worker"]["replicas"] == 7
    status = {"replicas": 3, "readyReplicas": 2, "selector": "dask.org/workergroup-name=scaled"}
    kubectl.patch(kind, "scaled", {"status": status}, subresource="status")
    path = f"/apis/kubernetes.dask.org/v1/namespaces/{kubectl.namespace}/{plural}/scaled/scale"
    scale = json.loads(kubectl("get", "--raw", path))
    assert scale["spec"]["replicas"] == 7
    assert scale["status"] == {"replicas": 3, "selector": "dask.org/workergroup-name=scaled"}


@pytest.mark.parametrize("manifest", [cluster("st"), group("st", "c"), job("st"), autoscaler("st", "c")],
                         ids=lambda manifest: manifest["kind"])
def test_status_is_a_subresource_and_preserves_fields_of_a_plugin(kubectl, manifest):
    kind = manifest["kind"]
    kubectl.apply(manifest)
    before = kubectl.get(kind, "st")["metadata"]["generation"]
    kubectl.patch(kind, "st", {"status": {"phase": "ignored"}})
    assert "status" not in kubectl.get(kind, "st")
    condition = {"type": "Ready", "status": "True", "reason": "R", "message": "m",
                 "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"conditions": [condition], "ofAPlugin": {"a": [1]}}
    kubectl.patch(kind, "st", {"status": status}, subresource="status")
    stored = kubectl.get(kind, "st")
    assert stored["status"] == status
    assert stored["metadata"]["generation"] == before
    kubectl("wait", f"{kind}/st", "--for=condition=Ready", "--timeout=120s")


def row(kubectl, *arguments):
    """Returns the values that kubectl prints for an object, by the column titles, which are in capitals."""
    titles, values = kubectl("get", *arguments).splitlines()
    starts = [found.start() for found in re.finditer(r"(?<!\S)\S+(?: \S+)*", titles)]
    ends = [*starts[1:], None]
    return {titles[start:end].strip(): values[start:end].strip() for start, end in zip(starts, ends, strict=True)}


def columns(kubectl, *arguments):
    """Returns the printed values of an object like :func:`row`, without the column AGE."""
    return {title: value for title, value in row(kubectl, *arguments).items() if title != "AGE"}


def test_printer_columns(kubectl):
    kubectl.apply(cluster("seen", 3), group("seen-more", "seen", 2), job("seen-job"), autoscaler("seen", "seen", 1, 9))
    conditions = [{"type": "SchedulerReady", "status": "True"}, {"type": "Available", "status": "False"}]
    kubectl.patch("dsk", "seen", subresource="status", patch={"status": {
        "phase": "Running", "replicas": 3, "readyReplicas": 2, "conditions": conditions}})
    kubectl.patch("djb", "seen-job", {"status": {"jobStatus": "Running"}}, subresource="status")
    plain = {"NAME": "seen", "WORKERS": "3", "READY": "2", "STATUS": "Running", "AVAILABLE": "False"}
    assert columns(kubectl, "dsk", "seen") == plain
    assert columns(kubectl, "dsk", "seen", "--output=wide") == {**plain, "SCHEDULER": "True", "EXISTING": "3", "IDLE TIMEOUT": "0"}
    assert columns(kubectl, "daskworkers", "seen-more") == {"NAME": "seen-more", "WORKERS": "2", "READY": "", "CLUSTER": "seen"}
    assert columns(kubectl, "djb", "seen-job") == {"NAME": "seen-job", "STATUS": "Running", "NUMBER OF WORKERS": "1"}
    kubectl.patch("daskautoscaler", "seen", {"status": {"currentReplicas": 3, "desiredReplicas": 5}}, subresource="status")
    assert columns(kubectl, "daskautoscalers", "seen") == {
        "NAME": "seen", "CLUSTER": "seen", "MINIMUM": "1", "MAXIMUM": "9", "CURRENT": "3", "DESIRED": "5"}


@pytest.mark.parametrize("kind, name", [("DaskPlugin", "dpl"), ("ClusterDaskPlugin", "cdpl")])
def test_printer_columns_of_plugins(kubectl, kind, name):
    namespace = {"namespace": "plugins"} if kind == "ClusterDaskPlugin" else {}
    source = {"configMap": {"name": "limits", "key": "limits.wasm", **namespace}}
    kubectl.apply({"apiVersion": API, "kind": kind, "metadata": {"name": "limits"}, "spec": {"source": source, "mode": "monitor"}})
    ready = {"type": "Ready", "status": "False", "reason": "RolledBack", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"version": "1.2.0", "shortDigest": "0123456789ab", "interfaceNames": "cluster,policy", "conditions": [ready]}
    kubectl.patch(name, "limits", {"status": status}, subresource="status")
    plain = {"NAME": "limits", "IN FORCE": "1.2.0", "DIGEST": "0123456789ab", "INTERFACES": "cluster,policy", "MODE": "monitor",
             "READY": "False"}
    try:
        assert columns(kubectl, name, "limits") == plain
        assert columns(kubectl, name, "limits", "--output=wide") == {**plain, "REASON": "RolledBack"}
    finally:
        kubectl("delete", name, "limits")
