"""The operator as a release of its chart: from its image, in a pod."""

import datetime
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from support import chart
from support.chart import CHART
from support.cluster import ROOT
from support.kubectl import (
    Kubectl,
    Refused,
    await_end,
    drop_namespace,
    new_namespace,
)
from support.operator import BINARY, Observed
from support.waiting import until

NAME = "dask"
#: The name of its objects.
OBJECT = "dask-dask-kubernetes-operator"
#: Seconds until pods have started, on a busy machine.
START = 300


def build_image(cluster, description, *options):
    """Make an image, and put it into the registry of a local Kubernetes."""
    subprocess.run([sys.executable, "tests/cluster", "image", "build", description, "--name", cluster, *options], cwd=ROOT, check=True)


def put_image(cluster):
    """The same with the operator's image, made of the program that tests use."""
    build_image(cluster, "charts/image/operator.toml", "--source", f"/usr/bin/dask-operator={BINARY}")


@contextmanager
def namespaces(admin, *names, releases=(NAME,)):
    """kubectl in each of some new namespaces, which are gone in the end, and with them the releases in the first."""
    made = [new_namespace(admin.environment, name) for name in names]
    try:
        yield made
    finally:
        # What a test that failed has left belongs to no namespace, too.
        for release in releases:
            chart.helm("uninstall", release, "--ignore-not-found", "--wait", "--namespace", made[0].namespace, environment=admin.environment)
        for kubectl in made:
            try:
                drop_namespace(kubectl)
            except Refused:  # no Dask resources are defined
                admin("delete", "namespace", kubectl.namespace, "--wait=false")
        await_end(admin.environment, [kubectl.namespace for kubectl in made])


class Release(Observed):
    """A release of the chart in a namespace that is held to the ``restricted`` level."""

    def __init__(self, admin, kubectl):
        self.admin, self.kubectl = admin, kubectl
        admin("label", "namespace", kubectl.namespace, "pod-security.kubernetes.io/enforce=restricted")

    def helm(self, *arguments):
        """helm, in the release's namespace."""
        return chart.helm(*arguments, "--namespace", self.kubectl.namespace, environment=self.admin.environment)

    def apply(self, **values):
        """Install it, or upgrade it to these values, and wait until the operator is ready."""
        # The definitions that an earlier release has left are taken over.
        return chart.helm("upgrade", "--install", NAME, CHART, "--namespace", self.kubectl.namespace, "--wait", f"--timeout={START}s",
                          "--take-ownership", "--force-conflicts",
                          values=values, environment=self.admin.environment)

    def leader(self):
        """The pod that leads."""
        return self.kubectl.get("lease", OBJECT)["spec"].get("holderIdentity")

    def fetch(self, path):
        """What it answers at a path; any of its pods that are ready."""
        return self.admin("get", "--raw", f"/api/v1/namespaces/{self.kubectl.namespace}/services/{OBJECT}-metrics:http/proxy{path}")

    def logs(self, *options):
        """All that its pods logged, but those that go meanwhile."""
        texts = []
        for pod in self.kubectl.names("pods", f"app.kubernetes.io/instance={NAME}"):
            try:
                texts.append(self.kubectl("logs", pod, "--tail=-1", *options))
            except Refused:
                if self.kubectl.get("pod", pod):
                    raise
        return "".join(texts)

    def mark(self):
        """The time, for :meth:`since`: a container that is started again begins a new log."""
        return datetime.datetime.now(datetime.UTC).isoformat()

    def since(self, mark, most=400):
        """What it has logged since then, the newest lines at most."""
        return "\n".join(self.logs(f"--since-time={mark}").splitlines()[-most:])


class Installed(Release):
    """An operator that is installed while tests run, with the surface of :class:`support.operator.Operator`; ``with`` ends it."""

    def __init__(self, admin, **values):
        super().__init__(admin, new_namespace(admin.environment, "operator"))
        self.values = values
        #: What operators that were killed had been forbidden.
        self.missed = set()
        #: Starts of its container that there were before the next one.
        self.started = None

    def start(self):
        """Install it; or, after it was killed, wait until there is another process that is ready."""
        if self.started is None:
            self.apply(**self.values)
        else:
            until(lambda: self.container() not in (None, self.started), "another process", START, 0.3)
            until(self.is_ready, "the operator to be ready", START, 0.3)
        self.started = self.container()
        return self

    def container(self):
        """Name and number of the container that runs and is ready, or None."""
        for pod in self.kubectl.list("pods", f"app.kubernetes.io/instance={NAME}"):
            for status in pod["status"].get("containerStatuses", []):
                if status["ready"] and "deletionTimestamp" not in pod["metadata"]:
                    return pod["metadata"]["uid"], status["containerID"]
        return None

    def is_ready(self):
        """Whether it says so."""
        try:
            return bool(self.fetch("/readyz"))
        except Refused:
            return False

    def missing_rights(self):
        """As of any operator, those that were killed included."""
        return sorted({*super().missing_rights(), *self.missed})

    def aim(self):
        """What kills it at once when called, by SIGKILL: it has no chance to say goodbye. The kubelet starts another container in
        the same pod."""
        self.missed.update(super().missing_rights())
        processes = self.processes()
        return lambda: [os.kill(process, signal.SIGKILL) for process in processes]

    def processes(self):
        """Its processes on this machine, by the control group of its container."""
        _, container = self.container()
        name = container.split("//")[1]
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdecimal() and name in (folder / "cgroup").read_text():
                    found.append(int(folder.name))
            except OSError:  # it has ended meanwhile
                continue
        assert found, f"no process of the container {name} runs on this machine"
        return found

    def stop(self):
        """Uninstall it."""
        self.helm("uninstall", NAME, "--ignore-not-found", "--wait")
        Kubectl(self.admin.environment)("delete", "namespace", self.kubectl.namespace, "--wait=false")
        await_end(self.admin.environment, [self.kubectl.namespace])

    def tail(self, lines=40):
        """The end of its log."""
        try:
            return super().tail(lines)
        except Refused as error:
            return str(error)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            print(self.kubectl("get", "pods,events", "--output", "wide"), self.tail())
            self.stop()
            raise
