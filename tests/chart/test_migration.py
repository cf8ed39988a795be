"""Migration from the chart of dask-kubernetes to this chart and back, with the exact commands of docs/install.md.

The old operator is the newest release on PyPI, in a pod. Its chart is a minimal one of the same structure. Its CRDs are those of
crds/, reduced to the form that the predecessor had.
"""

import os
import re
import shutil
import subprocess

import pytest
import yaml
from support import chart, manifests
from support.cluster import ROOT, local_name
from support.dask import in_scheduler, joined, pods
from support.release import NAME, START, build_image, namespaces
from support.waiting import stays, until

pytestmark = pytest.mark.e2e

#: Name of the old release.
OLD = "old"
FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"
DEFINITIONS = ROOT / "crds"
#: Stores results and data in a cluster that cannot be recomputed, and prints their sums.
STORE = """
import random
from distributed import Client
if __name__ == "__main__":
    with Client("tcp://localhost:8786", timeout=30) as client:
        made = client.map(lambda _: random.random(), range(20), pure=False)
        given = client.scatter([random.random() for _ in range(20)], hash=False)
        client.publish_dataset(made=made, given=given, override=True)
        print(sum(client.gather(made)), sum(client.gather(given)))
"""
#: Prints the sums of the stored results and data.
RECALL = """
from distributed import Client
if __name__ == "__main__":
    with Client("tcp://localhost:8786", timeout=30) as client:
        print(*(sum(client.gather(client.get_dataset(name), errors="raise")) for name in ("made", "given")))
"""
#: Code of a job that ends once the file /tmp/go exists.
UNTIL_SIGNALLED = """
import pathlib, time
from distributed import Client
if __name__ == "__main__":
    with Client(timeout=240) as client:
        print("begun", flush=True)
        while not pathlib.Path("/tmp/go").exists():
            time.sleep(0.2)
        print("sum", client.submit(sum, [1, 2, 3]).result(), flush=True)
"""


def predecessor_definition(definition):
    """Reduces a CRD to the predecessor's form: no status subresource except for jobs, and no validation rules."""
    name = definition["spec"]["names"]["kind"]
    version = definition["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    if name != "DaskJob":
        version["subresources"].pop("status")
        schema["properties"]["status"] = {"type": "object", "properties": {"phase": {"type": "string"}} if name == "DaskCluster" else {}}
    version.get("subresources", {}).get("scale", {}).pop("labelSelectorPath", None)

    def drop_rules(part):
        if isinstance(part, dict):
            part.pop("x-kubernetes-validations", None)
            for inner in part.values():
                drop_rules(inner)

    drop_rules(schema)
    return definition


@pytest.fixture
def old_chart(admin, tmp_path):
    """Folder of the old chart. Its image is in the registry. No CRDs are installed before and after the test."""
    build_image(local_name(admin.environment), "tests/chart/predecessor/image.toml")
    folder = tmp_path / "old-chart"
    shutil.copytree(ROOT / "tests" / "chart" / "predecessor", folder)
    (folder / "crds").mkdir()
    for kind in ("daskcluster", "daskworkergroup", "daskjob", "daskautoscaler"):
        definition = predecessor_definition(yaml.safe_load((DEFINITIONS / f"{kind}.yaml").read_text()))
        (folder / "crds" / f"{kind}.yaml").write_text(yaml.safe_dump(definition))
    undefine = ("delete", "--ignore-not-found", "--filename", DEFINITIONS, "--timeout=120s")
    admin(*undefine)
    yield folder
    admin(*undefine)


def commands_below(title):
    """Commands of the first console block below a heading of docs/install.md, as a script."""
    text = (ROOT / "docs" / "install.md").read_text()
    section = re.split(rf"(?m)^##+ {re.escape(title)}$", text)[1]
    block = re.search(r"(?ms)^```console\n(.*?)^```$", section)[1]
    lines = [line.removeprefix("$ ") for line in block.splitlines()]
    assert all(line.startswith(("helm ", "kubectl ", "    ")) for line in lines), lines
    return "\n".join(lines)


class Reader:
    """Runs the commands of docs/install.md in a folder with the charts, with the given values for its placeholders."""

    def __init__(self, admin, folder, **placeholders):
        self.environment, self.folder, self.placeholders = admin.environment, folder, placeholders
        folder.mkdir()
        (folder / "charts").symlink_to(ROOT / "charts")

    def run(self, title):
        """Runs the commands below a heading until one fails. Returns the exit code and the output."""
        script = commands_below(title)
        for word, value in self.placeholders.items():
            script = re.sub(rf"\b{word.replace('_', '-')}\b(?!-)", str(value), script)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=self.folder, env={**os.environ, **self.environment},
                              text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=2 * START)
        return done.returncode, done.stdout


def releases(admin, namespace):
    """Names of the releases in a namespace."""
    return chart.helm("list", "--short", "--namespace", namespace, environment=admin.environment).split()


def install_old(admin, namespace, folder, **values):
    """Installs the old operator with its own chart."""
    chart.helm("install", OLD, folder, "--namespace", namespace, "--wait", f"--timeout={START}s", values=values or None, environment=admin.environment)


def is_managed_by_predecessor(work, name):
    """Returns whether a cluster has the finalizer of the old operator."""
    return FINALIZER in work.get("daskcluster", name)["metadata"].get("finalizers", [])


def test_clusters_and_jobs_survive_a_migration_and_its_reversal(admin, old_chart, tmp_path):
    """The pods and the results of all clusters and jobs are preserved in both directions."""
    with namespaces(admin, "operators", "work", releases=(NAME, OLD)) as (operators, work):
        reader = Reader(admin, tmp_path / "person", NAMESPACE=operators.namespace, OLD_CHART=old_chart, OLD=OLD)
        install_old(admin, operators.namespace, old_chart, kopfArgs=["--all-namespaces", "--verbose"], workerAllocation={"size": 5})
        work.apply(manifests.cluster("held", 2), manifests.job("first", UNTIL_SIGNALLED), manifests.job("second", UNTIL_SIGNALLED))
        joined(work, "held", 2)
        sums = until(lambda: in_scheduler(work, "held", STORE), "results to be stored", START, 2)
        for job in ("first", "second"):
            until(lambda: "begun" in work("logs", f"{job}-runner", "--tail=-1"), f"the job {job} to run", START, 1)
            joined(work, job, 1)
        assert is_managed_by_predecessor(work, "held")
        before = {name: pods(work, name) for name in ("held", "first", "second")}

        def nothing_is_lost(*names):
            stays(lambda: all(before[name].items() <= pods(work, name).items() for name in names), f"the pods of {names}", 5, 0.5)
            assert in_scheduler(work, "held", RECALL) == sums

        # Migrate to this chart.
        code, output = reader.run("In place of the chart of dask-kubernetes")
        assert code == 0, output
        assert releases(admin, operators.namespace) == [NAME]
        until(lambda: not is_managed_by_predecessor(work, "held"), "the new operator to take over")
        nothing_is_lost("held", "first", "second")
        work("scale", "daskworkergroup", "held-default", "--replicas=3")
        joined(work, "held", 3)
        finish_job(work, "first")
        nothing_is_lost("held", "second")
        work("delete", "daskjob", "first", "--timeout=120s")

        # Migrate back to the old chart.
        code, output = reader.run("Back again")
        assert code == 0, output
        assert releases(admin, operators.namespace) == [OLD]
        until(lambda: is_managed_by_predecessor(work, "held"), "the old operator to take over", START, 0.5)
        nothing_is_lost("held", "second")
        finish_job(work, "second")
        work("scale", "daskworkergroup", "held-default", "--replicas=4")
        until(lambda: len(work.names("deployments", "dask.org/workergroup-name=held-default")) == 4, "the old operator to create a worker", START, 1)
        nothing_is_lost("held")
        work("delete", "daskcluster", "held", "--timeout=120s")


def finish_job(work, job):
    """Signals a job to end, and checks its result."""
    work("exec", f"{job}-runner", "--", "touch", "/tmp/go")
    until(lambda: work.get("daskjob", job)["status"]["jobStatus"] == "Successful", f"the job {job} to end", START, 0.5)
    assert "sum 6" in work("logs", f"{job}-runner", "--tail=-1")


@pytest.mark.parametrize("values, message", [
    ({"kopfArgs": ["--namespace=team-*"]}, "Patterns are not understood"),
    ({"resources": {"limit": {"cpu": 1}}}, "additional properties 'limit' not allowed"),
])
def test_incompatible_values_are_refused_before_the_old_release_is_removed(admin, old_chart, tmp_path, values, message):
    with namespaces(admin, "operators", releases=(NAME, OLD)) as (operators,):
        install_old(admin, operators.namespace, old_chart)
        # The old chart accepts values that this chart refuses.
        chart.helm("upgrade", OLD, old_chart, "--namespace", operators.namespace, values=values, environment=admin.environment)
        reader = Reader(admin, tmp_path / "person", NAMESPACE=operators.namespace, OLD_CHART=old_chart, OLD=OLD)
        code, output = reader.run("In place of the chart of dask-kubernetes")
        assert code != 0 and message in output, output
        assert releases(admin, operators.namespace) == [OLD]


def test_a_release_without_values_can_be_migrated(admin, old_chart, tmp_path):
    """The values file of such a release is empty."""
    with namespaces(admin, "operators", releases=(NAME, OLD)) as (operators,):
        install_old(admin, operators.namespace, old_chart)
        reader = Reader(admin, tmp_path / "person", NAMESPACE=operators.namespace, OLD_CHART=old_chart, OLD=OLD)
        code, output = reader.run("In place of the chart of dask-kubernetes")
        assert code == 0, output
        assert releases(admin, operators.namespace) == [NAME]
