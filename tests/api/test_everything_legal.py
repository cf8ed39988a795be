"""A manifest with every pod and Service field: each field reaches the children unchanged, and is written only once."""

import json
import subprocess

import yaml
from support.cluster import ROOT
from support.dask import workers
from support.manifests import lost
from support.operator import BINARY, REQUESTS
from support.waiting import until

MANIFEST = ROOT / "tests" / "golden" / "manifests" / "everything-legal.yaml"
#: Pod fields that need other objects, or a Kubernetes release with all features enabled. Only `render` covers them.
RENDER_ONLY = {"priorityClassName", "preemptionPolicy", "runtimeClassName", "resourceClaims", "resources"}


def load_manifest():
    """Loads the manifest with every field."""
    return yaml.safe_load(MANIFEST.read_text())


def portable_manifest():
    """Returns the manifest without the fields that some Kubernetes clusters do not support."""
    manifest = load_manifest()
    manifest["metadata"] = {"name": "legal"}
    spec = manifest["spec"]["worker"]["spec"]
    manifest["spec"]["worker"]["spec"] = {name: value for name, value in spec.items() if name not in RENDER_ONLY}
    spec["volumes"][:] = [volume for volume in spec["volumes"] if "image" not in volume]
    container = spec["containers"][0]
    container["volumeMounts"][:] = [mount for mount in container["volumeMounts"] if mount["name"] != "model"]
    del container["resources"]
    return manifest


def without_empty_fields(value):
    """Removes empty and false fields from a value. The API server drops them, and a Service need not have them."""
    if isinstance(value, dict):
        return {name: without_empty_fields(member) for name, member in value.items() if member not in ("", [], {}, False)}
    return [without_empty_fields(item) for item in value] if isinstance(value, list) else value


def test_render_prints_every_field_and_no_warning():
    done = subprocess.run([BINARY, "render", "--filename", MANIFEST, "--output", "json"], text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    pods = {item["metadata"]["name"]: item for item in json.loads(done.stdout)["items"] if item["kind"] == "Pod"}
    services = [item for item in json.loads(done.stdout)["items"] if item["kind"] == "Service"]
    spec = load_manifest()["spec"]
    worker = next(pod for name, pod in pods.items() if name.startswith("legal-default-worker-"))
    assert list(lost(spec["worker"]["spec"], worker["spec"])) == []
    assert list(lost(spec["scheduler"]["spec"], pods["legal-scheduler"]["spec"])) == []
    assert list(lost(without_empty_fields(spec["scheduler"]["service"]), services[0]["spec"])) == []


def test_a_manifest_with_every_field_is_written_once(kubectl, make_operator):
    """Empty fields do not make the operator write a Service again and again."""
    def service_writes():
        return sum(count for labels, count in operator.samples(REQUESTS)
                   if labels["resource"] == "services" and labels["verb"] not in ("get", "list", "watch"))

    def service_version_and_writes():
        return kubectl.get("service", "legal-scheduler")["metadata"]["resourceVersion"], service_writes()

    manifest = portable_manifest()
    with make_operator() as operator:
        kubectl.apply(manifest)
        name = workers(kubectl, "legal-default", 1)[0]
        until(lambda: kubectl.get("service", "legal-scheduler"), "the Service")
        operator.wait_until_quiet()
        assert list(lost(without_empty_fields(manifest["spec"]["worker"]["spec"]), kubectl.get("pod", name)["spec"])) == []
        before = service_version_and_writes()
        assert before[1] > 0
        kubectl("scale", "dsk/legal", "--replicas=2")
        workers(kubectl, "legal-default", 2)
        operator.wait_until_quiet()
        assert service_version_and_writes() == before
        assert operator.missing_rights() == []
