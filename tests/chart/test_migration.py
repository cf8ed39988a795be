"""From the chart of dask-kubernetes to this one and back, as docs/install.md says it, word for word.

The old operator is the newest of PyPI, in a pod. Its chart is a short one of the same form, with its definitions: those of crds/
as the predecessor had them.
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

#: The name of the old release.
OLD = "old"
FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"
DEFINITIONS = ROOT / "crds"
#: Leaves results and data in a cluster, none of which can be computed a second time. Prints the sums.
KEEP = """
import random
from distributed import Client
if __name__ == "__main__":
    with Client("tcp://localhost:8786", timeout=30) as client:
        made = client.map(lambda _: random.random(), range(20), pure=False)
        given = client.scatter([random.random() for _ in range(20)], hash=False)
        client.publish_dataset(made=made, given=given, override=True)
        print(sum(client.gather(made)), sum(client.gather(given)))
"""
#: Prints the same sums later.
RECALL = """
from distributed import Client
if __name__ == "__main__":
    with Client("tcp://localhost:8786", timeout=30) as client:
        print(*(sum(client.gather(client.get_dataset(name), errors="raise")) for name in ("made", "given")))
"""
#: The code of a job that ends when it is told to.
UNTIL_TOLD = """
import pathlib, time
from distributed import Client
if __name__ == "__main__":
    with Client(timeout=240) as client:
        print("begun", flush=True)
        while not pathlib.Path("/tmp/go").exists():
            time.sleep(0.2)
        print("sum", client.submit(sum, [1, 2, 3]).result(), flush=True)
"""


def as_before(definition):
    """A definition as the predecessor has it: the status is a part of the object (but a job's), and nothing is checked by rules."""
    name = definition["spec"]["names"]["kind"]
    version = definition["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    if name != "DaskJob":
        version["subresources"].pop("status")
        schema["properties"]["status"] = {"type": "object", "properties": {"phase": {"type": "string"}} if name == "DaskCluster" else {}}
    version.get("subresources", {}).get("scale", {}).pop("labelSelectorPath", None)

    def plain(part):
        if isinstance(part, dict):
            part.pop("x-kubernetes-validations", None)
            for inner in part.values():
                plain(inner)

    plain(schema)
    return definition


@pytest.fixture
def old_chart(admin, tmp_path):
    """The folder of the old chart. Its image is in the registry, and no Dask resources are defined, before and afterwards."""
    build_image(local_name(admin.environment), "tests/chart/predecessor/image.toml")
    folder = tmp_path / "old-chart"
    shutil.copytree(ROOT / "tests" / "chart" / "predecessor", folder)
    (folder / "crds").mkdir()
    for kind in ("daskcluster", "daskworkergroup", "daskjob", "daskautoscaler"):
        definition = as_before(yaml.safe_load((DEFINITIONS / f"{kind}.yaml").read_text()))
        (folder / "crds" / f"{kind}.yaml").write_text(yaml.safe_dump(definition))
    undefine = ("delete", "--ignore-not-found", "--filename", DEFINITIONS, "--timeout=120s")
    admin(*undefine)
    yield folder
    admin(*undefine)


def commands(title):
    """What there is to type in the first block below a title of the page, as a script."""
    text = (ROOT / "docs" / "install.md").read_text()
    below = re.split(rf"(?m)^##+ {re.escape(title)}$", text)[1]
    block = re.search(r"(?ms)^```console\n(.*?)^```$", below)[1]
    lines = [line.removeprefix("$ ") for line in block.splitlines()]
    assert all(line.startswith(("helm ", "kubectl ", "    ")) for line in lines), lines
    return "\n".join(lines)


class Person:
    """A person who types what the page says, in a folder with the charts."""

    def __init__(self, admin, folder, **words):
        self.environment, self.folder, self.words = admin.environment, folder, words
        folder.mkdir()
        (folder / "charts").symlink_to(ROOT / "charts")

    def types(self, title):
        """All that stands below a title, until something fails. Returns the exit code, and what was printed."""
        script = commands(title)
        for word, meant in self.words.items():
            script = re.sub(rf"\b{word.replace('_', '-')}\b(?!-)", str(meant), script)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=self.folder, env={**os.environ, **self.environment},
                              text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=2 * START)
        return done.returncode, done.stdout


def releases(admin, namespace):
    """The names of the releases in a namespace."""
    return chart.helm("list", "--short", "--namespace", namespace, environment=admin.environment).split()


def install_old(admin, namespace, folder, **values):
    """Install the old operator as its users have it."""
    chart.helm("install", OLD, folder, "--namespace", namespace, "--wait", f"--timeout={START}s", values=values or None, environment=admin.environment)


def is_the_olds(work, name):
    """Whether a cluster has what the old operator leaves on it."""
    return FINALIZER in work.get("daskcluster", name)["metadata"].get("finalizers", [])


def test_there_and_back(admin, old_chart, tmp_path):
    """Everything that was alive before is alive afterwards: the same pods, the same results."""
    with namespaces(admin, "operators", "work", releases=(NAME, OLD)) as (operators, work):
        person = Person(admin, tmp_path / "person", NAMESPACE=operators.namespace, OLD_CHART=old_chart, OLD=OLD)
        install_old(admin, operators.namespace, old_chart, kopfArgs=["--all-namespaces", "--verbose"], workerAllocation={"size": 5})
        work.apply(manifests.cluster("held", 2), manifests.job("first", UNTIL_TOLD), manifests.job("second", UNTIL_TOLD))
        joined(work, "held", 2)
        kept = until(lambda: in_scheduler(work, "held", KEEP), "results to be kept", START, 2)
        for job in ("first", "second"):
            until(lambda: "begun" in work("logs", f"{job}-runner", "--tail=-1"), f"the job {job} to run", START, 1)
            joined(work, job, 1)
        assert is_the_olds(work, "held")
        before = {name: pods(work, name) for name in ("held", "first", "second")}

        def nothing_is_lost(*names):
            stays(lambda: all(before[name].items() <= pods(work, name).items() for name in names), f"the pods of {names}", 5, 0.5)
            assert in_scheduler(work, "held", RECALL) == kept

        # There.
        code, said = person.types("In place of the chart of dask-kubernetes")
        assert code == 0, said
        assert releases(admin, operators.namespace) == [NAME]
        until(lambda: not is_the_olds(work, "held"), "the new operator to take over")
        nothing_is_lost("held", "first", "second")
        work("scale", "daskworkergroup", "held-default", "--replicas=3")
        joined(work, "held", 3)
        end(work, "first")
        nothing_is_lost("held", "second")
        work("delete", "daskjob", "first", "--timeout=120s")

        # And back.
        code, said = person.types("Back again")
        assert code == 0, said
        assert releases(admin, operators.namespace) == [OLD]
        until(lambda: is_the_olds(work, "held"), "the old operator to take over", START, 0.5)
        nothing_is_lost("held", "second")
        end(work, "second")
        work("scale", "daskworkergroup", "held-default", "--replicas=4")
        until(lambda: len(work.names("deployments", "dask.org/workergroup-name=held-default")) == 4, "the old operator to make workers", START, 1)
        nothing_is_lost("held")
        work("delete", "daskcluster", "held", "--timeout=120s")


def end(work, job):
    """Tell a job to end; it does so with the right answer."""
    work("exec", f"{job}-runner", "--", "touch", "/tmp/go")
    until(lambda: work.get("daskjob", job)["status"]["jobStatus"] == "Successful", f"the job {job} to end", START, 0.5)
    assert "sum 6" in work("logs", f"{job}-runner", "--tail=-1")


@pytest.mark.parametrize("values, words", [
    ({"kopfArgs": ["--namespace=team-*"]}, "Patterns are not understood"),
    ({"resources": {"limit": {"cpu": 1}}}, "additional properties 'limit' not allowed"),
])
def test_wrong_values_are_told_of_while_the_old_operator_runs(admin, old_chart, tmp_path, values, words):
    with namespaces(admin, "operators", releases=(NAME, OLD)) as (operators,):
        install_old(admin, operators.namespace, old_chart)
        # What it takes is more than what this one takes.
        chart.helm("upgrade", OLD, old_chart, "--namespace", operators.namespace, values=values, environment=admin.environment)
        person = Person(admin, tmp_path / "person", NAMESPACE=operators.namespace, OLD_CHART=old_chart, OLD=OLD)
        code, said = person.types("In place of the chart of dask-kubernetes")
        assert code != 0 and words in said, said
        assert releases(admin, operators.namespace) == [OLD]


def test_a_release_without_values(admin, old_chart, tmp_path):
    """Its file of values has no values in it."""
    with namespaces(admin, "operators", releases=(NAME, OLD)) as (operators,):
        install_old(admin, operators.namespace, old_chart)
        person = Person(admin, tmp_path / "person", NAMESPACE=operators.namespace, OLD_CHART=old_chart, OLD=OLD)
        code, said = person.types("In place of the chart of dask-kubernetes")
        assert code == 0, said
        assert releases(admin, operators.namespace) == [NAME]
