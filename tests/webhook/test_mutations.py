"""Agreement of all validators on generated manifests: ``render``, ``plugin test``, the webhook, the API server and the operator."""

import functools
import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from support.api_server import Refused
from support.cluster import ROOT, tell
from support.manifests import API, cluster, lost
from support.mutations import mutations, text_of, writings
from support.operator import BINARY
from support.waiting import until
from support.whole import (
    fields,
    has,
    whole_autoscaler,
    whole_cluster,
    whole_group,
    whole_job,
)

PLURALS = {"DaskCluster": "daskclusters", "DaskWorkerGroup": "daskworkergroups", "DaskJob": "daskjobs", "DaskAutoscaler": "daskautoscalers"}
#: A default component, as `make build` writes it. It stands for the component of a plugin author.
DEFAULT_COMPONENT = ROOT / "target" / "components" / "cluster.wasm"
#: Refusals that only the API server can give.
API_SERVER_ONLY = re.compile(r"strict decoding error|unknown field|the API server takes no such|: (Invalid|Unsupported|Duplicate) value|: Required value|"
                             r": Forbidden:|: Too (long|many)|may not be specified|cannot unmarshal|in body")
#: Refusals that follow from the CRD of a field alone.
BY_CRD = re.compile(r"(spec[\w.]*): (?:Unsupported value|[^,]* in body (?:must be of type|should be greater than or equal))")
#: Errors of requests that were not answered in time.
NO_ANSWER = re.compile(r"timed out|failed calling webhook|context deadline exceeded")
#: Part of the warning of the webhook if the API server was too slow for a dry run.
NOT_TRIED = "whether the API server takes it is not known yet"
#: Conditions that report that the operator cannot apply the spec.
FAILURE_CONDITIONS = {"PluginFailed", "PlanRefused", "ApplyFailed", "SpecInvalid", "PolicyViolated"}
#: Timeout of a program that checks all manifests, in seconds.
TIMEOUT = 600


@functools.cache
def fields_of(kind):
    """Paths of the fields that a kind's CRD defines."""
    return frozenset(fields(kind))


def bases():
    """One manifest of each kind, with all of its fields."""
    return [whole_cluster("m"), whole_group("m", "base"), whole_job("m"), whole_autoscaler("m", "base")]


@pytest.mark.parametrize("base", bases(), ids=lambda base: base["kind"])
def test_every_field_has_mutations(base):
    """A new field of a CRD needs a value in support/whole.py."""
    missing = [".".join(path) for path in fields(base["kind"]) if not has(base, path)]
    assert not missing
    titles = [title for title, _ in mutations(base)]
    assert all(any(title.startswith(f"{'.'.join(path)} is ") for title in titles) for path in fields(base["kind"]))


def renamed(manifest, name):
    """Returns a copy of a manifest under another name, which also replaces the name in the selector of its Service."""
    return json.loads(json.dumps(manifest).replace('"m"', f'"{name}"'))


def all_manifests(kubectl):
    """Returns title, manifest and YAML text of each mutation. Each manifest has one change and a unique name."""
    titled_manifests = []
    for base in bases():
        for title, manifest in mutations(base):
            manifest = renamed(manifest, f"m{len(titled_manifests):04}")
            titled_manifests.append((f"{base['kind']} {title}", manifest, text_of(manifest)))
    base = whole_cluster("m")
    written = [(title, text.replace("w0000", f"w{number:04}")) for number, (title, text) in enumerate(writings(renamed(base, "w0000")))]
    manifests = parse_with_kubectl(kubectl, [text for _, text in written])
    return titled_manifests + [
        (f"DaskCluster {title}", manifest, text) for (title, text), manifest in zip(written, manifests, strict=True)
    ]


def parse_with_kubectl(kubectl, texts):
    """Objects of YAML texts as kubectl would send them."""
    annotation = "kubectl-has-read-it"
    printed = kubectl("annotate", "--local", "--filename", "-", f"{annotation}=", "--output", "json", stdin="\n---\n".join(texts))
    decoder, objects, position = json.JSONDecoder(), [], 0
    while position < len(printed.rstrip()):
        item, position = decoder.raw_decode(printed, position)
        position += len(printed[position:]) - len(printed[position:].lstrip())
        objects.append(item)
    for item in objects:
        del item["metadata"]["annotations"][annotation]
    assert len(objects) == len(texts)
    return objects


def errors_of_render(folder):
    """Runs ``render`` on a folder of manifests, and returns its errors by the number of the file."""
    done = subprocess.run([BINARY, "render", "--filename", folder], text=True, capture_output=True, timeout=TIMEOUT, check=False)
    assert done.returncode in (0, 1), done.stderr[-5000:]
    errors = {}
    for line in done.stderr.splitlines():
        if match := re.match(r"error: .*?(\d{4})\.yaml(.*)", line):
            errors.setdefault(int(match[1]), match[2])
    return errors


def differences_of_plugin_test(folder, refused, count):
    """Runs ``plugin test`` on the manifests, with the expectation that exactly those in ``refused`` are refused. Returns the
    failures by the number of the file."""
    cases = [{"name": f"{number:04}", "manifest": str(folder / f"{number:04}.yaml"),
              "expect": {"verdict": "refuse" if number in refused else "allow"}} for number in range(count)]
    tests = folder / "trial.tests"
    tests.write_text(yaml.safe_dump({"cases": cases}))
    done = subprocess.run([BINARY, "plugin", "test", tests, "--component", DEFAULT_COMPONENT], text=True, capture_output=True,
                          timeout=TIMEOUT, check=False)
    assert f"{count} passed" in done.stdout or re.search(r"\d+ passed, \d+ failed", done.stdout), done.stderr[-5000:]
    return {int(match[1]): match[2].strip() for match in re.finditer(r"^  FAIL  (\d{4})\n((?:    .*\n)*)", done.stdout, re.MULTILINE)}


def create_on_api_server(reviewed, manifest, query=""):
    """Creates an object. Returns the stored object or None, the refusal or None, the duration in seconds, and the warnings as one
    text."""
    path = f"/apis/{API}/namespaces/{reviewed.namespace}/{PLURALS[manifest['kind']]}?fieldValidation=Strict{query}"
    start, warnings = time.monotonic(), []
    try:
        return reviewed.create_raw(path, manifest, warnings), None, time.monotonic() - start, " ".join(warnings)
    except Refused as refused:
        return None, str(refused), time.monotonic() - start, " ".join(warnings)


def is_refused_without_load(reviewed, manifest):
    """Returns whether a manifest is refused once the API server is fast enough for the webhook's dry run."""
    copy = {**manifest, "metadata": {**manifest["metadata"], "name": "again"}}
    for _ in range(30):
        _, refusal, *_ = create_on_api_server(reviewed, copy, "&dryRun=All")
        if refusal and not NO_ANSWER.search(refusal):
            return True
        time.sleep(1)
    return False


def is_refused_by_crd_alone(kind, refusal):
    """Returns whether the CRD alone refuses the value of a field that it defines. Then every validator must refuse it."""
    match = BY_CRD.search(refusal)
    return bool(match) and tuple(match[1].split(".")) in fields_of(kind)


def test_all_validators_agree_on_every_manifest(reviewed, hook, tmp_path):
    reviewed.apply(cluster("base", 0))
    manifests = all_manifests(reviewed)
    assert len(manifests) >= 300
    for number, (_, _, text) in enumerate(manifests):
        (tmp_path / f"{number:04}.yaml").write_text(text)
    start = time.monotonic()
    rendered = errors_of_render(tmp_path)
    differences = differences_of_plugin_test(tmp_path, rendered, len(manifests))
    timings = [f"{time.monotonic() - start:.0f} s without a cluster"]
    start = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda titled: create_on_api_server(reviewed, titled[1]), manifests))
    timings.append(f"{time.monotonic() - start:.0f} s by the API server, {max(took for _, _, took, _ in results):.1f} s for one at most")
    disagreements = [f"{manifests[number][0]}: render {'refuses' if number in rendered else 'prints'} it, and plugin test reports {difference}"
                     for number, difference in differences.items()]
    accepted = {}
    for number, ((title, manifest, _), (stored, refusal, _, warnings)) in enumerate(zip(manifests, results, strict=True)):
        if stored is not None:
            accepted[manifest["metadata"]["name"]] = title, manifest if NOT_TRIED in warnings else None
            disagreements += [f"{title}: {field}" for field in lost(manifest["spec"], stored["spec"], "spec")]
            if number in rendered:
                disagreements.append(f"{title}: stored, and render reports{rendered[number]}")
        elif NO_ANSWER.search(refusal):
            disagreements.append(f"{title}: the request was not answered: {refusal}")
        elif number not in rendered and (is_refused_by_crd_alone(manifest["kind"], refusal) or not API_SERVER_ONLY.search(refusal)):
            disagreements.append(f"{title}: render prints it, and it is refused: {refusal}")
    for outcome in ("late", "failed"):
        requests = hook.operator.metric("dask_operator_webhook_requests_total", outcome=outcome)
        if requests:
            disagreements.append(f"{requests:.0f} answers of the webhook were {outcome}")

    def settled():
        resources = [item for plural in PLURALS.values() for item in reviewed.list(plural)]
        waiting = [item["metadata"]["name"] for item in resources if item["metadata"]["name"] in accepted and not item.get("status")]
        assert not waiting, waiting
        return resources

    start = time.monotonic()
    for item in until(settled, "a status of every stored resource", 300, 1):
        title, untried = accepted.get(item["metadata"]["name"], (None, None))
        for condition in item["status"].get("conditions", []) if title else []:
            if (condition["type"] in FAILURE_CONDITIONS and condition["status"] == "True"
                    and not (untried and is_refused_without_load(reviewed, untried))):
                disagreements.append(f"{title}: stored, and then {condition['type']}: {condition['message']}")
    timings.append(f"{time.monotonic() - start:.0f} s until every resource had a status")
    tell(f"{len(manifests)} manifests, {len(accepted)} stored: {', '.join(timings)}")
    assert not disagreements, f"{len(disagreements)} of {len(manifests)}:\n" + "\n".join(disagreements)
