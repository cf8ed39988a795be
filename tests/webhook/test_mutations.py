"""Everything that judges manifests agrees on each: ``render``, the webhook, the API server, and the operator afterwards."""

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from support.api_server import Refused
from support.manifests import API, autoscaler, cluster, group, job
from support.mutations import mutations
from support.operator import BINARY
from support.waiting import until

PLURALS = {"DaskCluster": "daskclusters", "DaskWorkerGroup": "daskworkergroups", "DaskJob": "daskjobs", "DaskAutoscaler": "daskautoscalers"}
#: What no component says: it comes from the API server, which knows more than can be known without it.
API_SERVER = re.compile(r"strict decoding error|unknown field|the API server takes no such|: (Invalid|Unsupported|Duplicate) value|: Required value|"
                        r": Forbidden:|: Too (long|many)|may not be specified|cannot unmarshal|in body")
#: Conditions with which the operator says that it can't do what the resource says.
FAILED = {"PluginFailed", "PlanRefused", "ApplyFailed", "SpecInvalid", "PolicyViolated"}


def rich_cluster(name):
    """A cluster with a field of each kind in its pod specs."""
    manifest = cluster(name)
    container = manifest["spec"]["worker"]["spec"]["containers"][0]
    container.update({
        "env": [{"name": "A", "value": "b"}, {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "securityContext": {"runAsUser": 1000},
    })
    manifest["spec"]["worker"]["spec"].update({
        "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}],
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "nodeSelector": {"disk": "ssd"},
        "terminationGracePeriodSeconds": 30,
        "hostNetwork": False,
    })
    manifest["spec"].update({"idleTimeout": 3600})
    manifest["metadata"].update({"labels": {"team": "a"}, "annotations": {"note": "b"}})
    manifest["spec"]["worker"]["metadata"] = {"labels": {"team": "a"}, "annotations": {"note": "b"}}
    return manifest


def all_mutations():
    """Titles and manifests, with names of their own."""
    bases = [rich_cluster("m"), group("m", "base", 0), job("m"), autoscaler("m", "base", 1, 5)]
    found = []
    for base in bases:
        for title, manifest in mutations(base):
            name = f"m{len(found):04}"
            service = manifest["spec"].get("scheduler", {})
            text = json.dumps(manifest)
            if isinstance(service, dict):
                text = text.replace('"dask.org/cluster-name": "m"', f'"dask.org/cluster-name": "{name}"')
            manifest = json.loads(text)
            manifest["metadata"]["name"] = name
            found.append((f"{base['kind']} {title}", manifest))
    return found


def by_render(folder, manifests):
    """What ``render`` says of each: the errors by position."""
    for number, (_, manifest) in enumerate(manifests):
        (folder / f"{number:04}.json").write_text(json.dumps(manifest))
    done = subprocess.run([BINARY, "render", "--filename", folder], text=True, capture_output=True, timeout=600, check=False)
    assert done.returncode in (0, 1), done.stderr[-5000:]
    errors = {}
    for line in done.stderr.splitlines():
        if said := re.match(r"error: .*?(\d{4})\.json(.*)", line):
            errors.setdefault(int(said[1]), said[2])
    return errors


def by_api_server(asked, manifest):
    """What is stored, or the refusal."""
    path = f"/apis/{API}/namespaces/{asked.namespace}/{PLURALS[manifest['kind']]}?fieldValidation=Strict"
    try:
        return asked.create_raw(path, manifest), None
    except Refused as refused:
        return None, str(refused)


def lost(sent, stored, path=""):
    """The fields that were sent and are not stored as they were sent; nulls are nothing."""
    if sent is None:
        return
    if isinstance(sent, dict) and isinstance(stored, dict):
        for key, value in sent.items():
            yield from lost(value, stored.get(key), f"{path}.{key}")
    elif isinstance(sent, list) and isinstance(stored, list) and len(sent) <= len(stored):
        for number, value in enumerate(sent):
            yield from lost(value, stored[number], f"{path}[{number}]")
    elif sent != stored:
        yield f"{path}: {str(sent)[:60]!r} became {str(stored)[:60]!r}"


def test_all_agree(asked, tmp_path):
    asked.apply(cluster("base", 0))
    manifests = all_mutations()
    assert len(manifests) >= 300
    rendered = by_render(tmp_path, manifests)
    with ThreadPoolExecutor(8) as pool:
        judged = list(pool.map(lambda pair: by_api_server(asked, pair[1]), manifests))
    disagreements, accepted = [], {}
    for number, ((title, manifest), (stored, refusal)) in enumerate(zip(manifests, judged, strict=True)):
        if stored is not None:
            accepted[manifest["metadata"]["name"]] = title
            disagreements += [f"{title}: {field}" for field in lost(manifest["spec"], stored["spec"], "spec")]
            if number in rendered:
                disagreements.append(f"{title}: stored, and render says{rendered[number]}")
        elif number not in rendered and not API_SERVER.search(refusal):
            disagreements.append(f"{title}: render prints it, and it is refused: {refusal}")

    def settled():
        resources = [item for plural in PLURALS.values() for item in asked.list(plural)]
        waiting = [item["metadata"]["name"] for item in resources if item["metadata"]["name"] in accepted and not item.get("status")]
        assert not waiting, waiting
        return resources

    for item in until(settled, "the operator to look at all that was stored", 300):
        title = accepted.get(item["metadata"]["name"])
        for condition in item["status"].get("conditions", []) if title else []:
            if condition["type"] in FAILED and condition["status"] == "True":
                disagreements.append(f"{title}: stored, and then {condition['type']}: {condition['message']}")
    assert not disagreements, f"{len(disagreements)} of {len(manifests)}:\n" + "\n".join(disagreements)
