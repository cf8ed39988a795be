"""What Kubernetes can do, Dask's pods and Services can: all of it arrives as it was written, and is written once."""

import json
import subprocess

import yaml
from support.cluster import ROOT
from support.dask import workers
from support.manifests import lost
from support.operator import BINARY, REQUESTS
from support.waiting import until

MANIFEST = ROOT / "tests" / "golden" / "manifests" / "everything-legal.yaml"
#: What needs other objects, or a release of Kubernetes with all features on: `render` alone shows it.
ELSEWHERE = {"priorityClassName", "preemptionPolicy", "runtimeClassName", "resourceClaims", "resources"}


def legal():
    """The manifest."""
    return yaml.safe_load(MANIFEST.read_text())


def for_any_kubernetes():
    """The same, but for what not every Kubernetes has."""
    made = legal()
    made["metadata"] = {"name": "legal"}
    spec = made["spec"]["worker"]["spec"]
    made["spec"]["worker"]["spec"] = {name: value for name, value in spec.items() if name not in ELSEWHERE}
    spec["volumes"][:] = [volume for volume in spec["volumes"] if "image" not in volume]
    container = spec["containers"][0]
    container["volumeMounts"][:] = [mount for mount in container["volumeMounts"] if mount["name"] != "model"]
    del container["resources"]
    return made


def but_nothings(value):
    """A value without fields that say nothing: neither the API server keeps them, nor must a Service have them."""
    if isinstance(value, dict):
        return {name: but_nothings(member) for name, member in value.items() if member not in ("", [], {}, False)}
    return [but_nothings(item) for item in value] if isinstance(value, list) else value


def test_render_says_nothing_and_loses_nothing():
    done = subprocess.run([BINARY, "render", "--filename", MANIFEST, "--output", "json"], text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    made = {item["metadata"]["name"]: item for item in json.loads(done.stdout)["items"] if item["kind"] == "Pod"}
    services = [item for item in json.loads(done.stdout)["items"] if item["kind"] == "Service"]
    written = legal()["spec"]
    worker = next(pod for name, pod in made.items() if name.startswith("legal-default-worker-"))
    assert list(lost(written["worker"]["spec"], worker["spec"])) == []
    assert list(lost(written["scheduler"]["spec"], made["legal-scheduler"]["spec"])) == []
    assert list(lost(but_nothings(written["scheduler"]["service"]), services[0]["spec"])) == []


def test_it_is_written_once(kubectl, own):
    """Fields that are empty are no reason to write a Service again and again."""
    def writes_of_services():
        return sum(count for labels, count in operator.samples(REQUESTS)
                   if labels["resource"] == "services" and labels["verb"] not in ("get", "list", "watch"))

    def seen():
        return kubectl.get("service", "legal-scheduler")["metadata"]["resourceVersion"], writes_of_services()

    made = for_any_kubernetes()
    with own() as operator:
        kubectl.apply(made)
        name = workers(kubectl, "legal-default", 1)[0]
        until(lambda: kubectl.get("service", "legal-scheduler"), "the Service")
        operator.wait_until_quiet()
        assert list(lost(but_nothings(made["spec"]["worker"]["spec"]), kubectl.get("pod", name)["spec"])) == []
        before = seen()
        assert before[1] > 0
        kubectl("scale", "dsk/legal", "--replicas=2")
        workers(kubectl, "legal-default", 2)
        operator.wait_until_quiet()
        assert seen() == before
        assert operator.missing_rights() == []
