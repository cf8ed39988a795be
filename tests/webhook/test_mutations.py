"""Everything that judges manifests agrees on each: ``render``, ``plugin test``, the webhook, the API server, and the operator afterwards."""

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
#: A default component, as `make build` leaves it: what an author's own would be tried like.
COMPONENT = ROOT / "target" / "components" / "cluster.wasm"
#: What no component says: it comes from the API server, which knows more than can be known without it.
API_SERVER = re.compile(r"strict decoding error|unknown field|the API server takes no such|: (Invalid|Unsupported|Duplicate) value|: Required value|"
                        r": Forbidden:|: Too (long|many)|may not be specified|cannot unmarshal|in body")
#: What it says by the definition of a field alone.
DEFINITION = re.compile(r"(spec[\w.]*): (?:Unsupported value|[^,]* in body (?:must be of type|should be greater than or equal))")
#: What is said in place of an answer that did not come.
SILENCE = re.compile(r"timed out|failed calling webhook|context deadline exceeded")
#: What is warned of where the API server was too slow to say it.
UNTRIED = "whether the API server takes it is not known yet"
#: Conditions with which the operator says that it can't do what the resource says.
FAILED = {"PluginFailed", "PlanRefused", "ApplyFailed", "SpecInvalid", "PolicyViolated"}
#: Seconds for a program that judges all of them.
LONG = 600


@functools.cache
def fields_of(kind):
    """The paths of a kind's own fields."""
    return frozenset(fields(kind))


def bases():
    """A manifest of each kind, with all of its fields."""
    return [whole_cluster("m"), whole_group("m", "base"), whole_job("m"), whole_autoscaler("m", "base")]


@pytest.mark.parametrize("base", bases(), ids=lambda base: base["kind"])
def test_each_field_is_mutated(base):
    """A field that is new in a definition needs a value in support/whole.py."""
    missing = [".".join(path) for path in fields(base["kind"]) if not has(base, path)]
    assert not missing
    titles = [title for title, _ in mutations(base)]
    assert all(any(title.startswith(f"{'.'.join(path)} is ") for title in titles) for path in fields(base["kind"]))


def named(manifest, name):
    """A manifest under another name, which its Service selects by."""
    return json.loads(json.dumps(manifest).replace('"m"', f'"{name}"'))


def all_manifests(kubectl):
    """Titles, manifests and their YAML, with names of their own: one change in each."""
    found = []
    for base in bases():
        for title, manifest in mutations(base):
            manifest = named(manifest, f"m{len(found):04}")
            found.append((f"{base['kind']} {title}", manifest, text_of(manifest)))
    base = whole_cluster("m")
    written = [(title, text.replace("w0000", f"w{number:04}")) for number, (title, text) in enumerate(writings(named(base, "w0000")))]
    manifests = as_kubectl_reads(kubectl, [text for _, text in written])
    return found + [(f"DaskCluster {title}", manifest, text) for (title, text), manifest in zip(written, manifests, strict=True)]


def as_kubectl_reads(kubectl, texts):
    """The objects of YAML texts, as kubectl would send them."""
    mark = "kubectl-has-read-it"
    printed = kubectl("annotate", "--local", "--filename", "-", f"{mark}=", "--output", "json", stdin="\n---\n".join(texts))
    decoder, objects, position = json.JSONDecoder(), [], 0
    while position < len(printed.rstrip()):
        made, position = decoder.raw_decode(printed, position)
        position += len(printed[position:]) - len(printed[position:].lstrip())
        objects.append(made)
    for made in objects:
        del made["metadata"]["annotations"][mark]
    assert len(objects) == len(texts)
    return objects


def by_render(folder):
    """What ``render`` says of each of the files: the errors by their numbers."""
    done = subprocess.run([BINARY, "render", "--filename", folder], text=True, capture_output=True, timeout=LONG, check=False)
    assert done.returncode in (0, 1), done.stderr[-5000:]
    errors = {}
    for line in done.stderr.splitlines():
        if said := re.match(r"error: .*?(\d{4})\.yaml(.*)", line):
            errors.setdefault(int(said[1]), said[2])
    return errors


def by_plugin_test(folder, refused, count):
    """Where the trial of a component says something else of the files than that these are refused and the others are not."""
    cases = [{"name": f"{number:04}", "manifest": str(folder / f"{number:04}.yaml"),
              "expect": {"verdict": "refuse" if number in refused else "allow"}} for number in range(count)]
    tests = folder / "trial.tests"
    tests.write_text(yaml.safe_dump({"cases": cases}))
    done = subprocess.run([BINARY, "plugin", "test", tests, "--component", COMPONENT], text=True, capture_output=True, timeout=LONG,
                          check=False)
    assert f"{count} passed" in done.stdout or re.search(r"\d+ passed, \d+ failed", done.stdout), done.stderr[-5000:]
    return {int(said[1]): said[2].strip() for said in re.finditer(r"^  FAIL  (\d{4})\n((?:    .*\n)*)", done.stdout, re.MULTILINE)}


def by_api_server(asked, manifest, how=""):
    """What is stored, or the refusal; how long it took; and what was warned of."""
    path = f"/apis/{API}/namespaces/{asked.namespace}/{PLURALS[manifest['kind']]}?fieldValidation=Strict{how}"
    begin, warnings = time.monotonic(), []
    try:
        return asked.create_raw(path, manifest, warnings), None, time.monotonic() - begin, " ".join(warnings)
    except Refused as refused:
        return None, str(refused), time.monotonic() - begin, " ".join(warnings)


def is_refused_in_calm(asked, manifest):
    """Whether a manifest is refused after all that was only warned of while the API server was too slow for dry runs."""
    again = {**manifest, "metadata": {**manifest["metadata"], "name": "again"}}
    for _ in range(30):
        _, refusal, *_ = by_api_server(asked, again, "&dryRun=All")
        if refusal and not SILENCE.search(refusal):
            return True
        time.sleep(1)
    return False


def is_for_all_to_know(kind, refusal):
    """Whether the definition alone refuses what stands in a field of ours: then whoever has the definition must, too."""
    said = DEFINITION.search(refusal)
    return bool(said) and tuple(said[1].split(".")) in fields_of(kind)


def test_all_agree(asked, hook, tmp_path):
    asked.apply(cluster("base", 0))
    manifests = all_manifests(asked)
    assert len(manifests) >= 300
    for number, (_, _, text) in enumerate(manifests):
        (tmp_path / f"{number:04}.yaml").write_text(text)
    begin = time.monotonic()
    rendered = by_render(tmp_path)
    tried = by_plugin_test(tmp_path, rendered, len(manifests))
    spent = [f"{time.monotonic() - begin:.0f} s without a cluster"]
    begin = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        judged = list(pool.map(lambda found: by_api_server(asked, found[1]), manifests))
    spent.append(f"{time.monotonic() - begin:.0f} s by the API server, {max(took for _, _, took, _ in judged):.1f} s for one at most")
    disagreements = [f"{manifests[number][0]}: render {'refuses' if number in rendered else 'prints'} it, and plugin test says {said}"
                     for number, said in tried.items()]
    accepted = {}
    for number, ((title, manifest, _), (stored, refusal, _, warned)) in enumerate(zip(manifests, judged, strict=True)):
        if stored is not None:
            accepted[manifest["metadata"]["name"]] = title, manifest if UNTRIED in warned else None
            disagreements += [f"{title}: {field}" for field in lost(manifest["spec"], stored["spec"], "spec")]
            if number in rendered:
                disagreements.append(f"{title}: stored, and render says{rendered[number]}")
        elif SILENCE.search(refusal):
            disagreements.append(f"{title}: it was not answered: {refusal}")
        elif number not in rendered and (is_for_all_to_know(manifest["kind"], refusal) or not API_SERVER.search(refusal)):
            disagreements.append(f"{title}: render prints it, and it is refused: {refusal}")
    for outcome in ("late", "failed"):
        requests = hook.operator.metric("dask_operator_webhook_requests_total", outcome=outcome)
        if requests:
            disagreements.append(f"{requests:.0f} answers of the webhook were {outcome}")

    def settled():
        resources = [item for plural in PLURALS.values() for item in asked.list(plural)]
        waiting = [item["metadata"]["name"] for item in resources if item["metadata"]["name"] in accepted and not item.get("status")]
        assert not waiting, waiting
        return resources

    begin = time.monotonic()
    for item in until(settled, "the operator to look at all that was stored", 300, 1):
        title, untried = accepted.get(item["metadata"]["name"], (None, None))
        for condition in item["status"].get("conditions", []) if title else []:
            if condition["type"] in FAILED and condition["status"] == "True" and not (untried and is_refused_in_calm(asked, untried)):
                disagreements.append(f"{title}: stored, and then {condition['type']}: {condition['message']}")
    spent.append(f"{time.monotonic() - begin:.0f} s until the operator had seen all")
    tell(f"{len(manifests)} manifests, {len(accepted)} stored: {', '.join(spent)}")
    assert not disagreements, f"{len(disagreements)} of {len(manifests)}:\n" + "\n".join(disagreements)
