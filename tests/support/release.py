"""The operator as a release of its chart, from its image and in a pod."""

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
#: Name of the release's objects.
OBJECT = "dask-dask-kubernetes-operator"
#: Timeout in seconds for the start of pods on a busy machine.
START = 300


def build_image(cluster, description, *options):
    """Build an image and push it to the registry of a local cluster."""
    subprocess.run([sys.executable, "tests/cluster", "image", "build", description, "--name", cluster, *options], cwd=ROOT, check=True)


def put_image(cluster):
    """Build the operator's image from the program under test and push it to the registry of a local cluster."""
    build_image(cluster, "charts/image/operator.toml", "--source", f"/usr/bin/dask-operator={BINARY}")


@contextmanager
def namespaces(admin, *names, releases=(NAME,)):
    """Create namespaces and provide a :class:`Kubectl` in each.

    At the end the releases in the first namespace are uninstalled and the namespaces are deleted.
    """
    made = [new_namespace(admin.environment, name) for name in names]
    try:
        yield made
    finally:
        # A release that a failed test left behind also has cluster-scoped objects.
        for release in releases:
            chart.helm("uninstall", release, "--ignore-not-found", "--wait", "--namespace", made[0].namespace, environment=admin.environment)
        for kubectl in made:
            try:
                drop_namespace(kubectl)
            except Refused:  # no Dask resources are defined
                admin("delete", "namespace", kubectl.namespace, "--wait=false")
        await_end(admin.environment, [kubectl.namespace for kubectl in made])


class Release(Observed):
    """A release of the chart in a namespace with the Pod Security level ``restricted``."""

    def __init__(self, admin, kubectl):
        self.admin, self.kubectl = admin, kubectl
        admin("label", "namespace", kubectl.namespace, "pod-security.kubernetes.io/enforce=restricted")

    def helm(self, *arguments):
        """Run helm in the release's namespace and return its output."""
        return chart.helm(*arguments, "--namespace", self.kubectl.namespace, environment=self.admin.environment)

    def apply(self, **values):
        """Install the release or upgrade it to these values, and wait until the operator is ready."""
        # --take-ownership: CRDs that an earlier release left behind become part of this one.
        return chart.helm("upgrade", "--install", NAME, CHART, "--namespace", self.kubectl.namespace, "--wait", f"--timeout={START}s",
                          "--take-ownership", "--force-conflicts",
                          values=values, environment=self.admin.environment)

    def leader(self):
        """Return the name of the leader's pod, or None."""
        return self.kubectl.get("lease", OBJECT)["spec"].get("holderIdentity")

    def fetch(self, path):
        """Return the response of any ready pod to a GET request."""
        return self.admin("get", "--raw", f"/api/v1/namespaces/{self.kubectl.namespace}/services/{OBJECT}-metrics:http/proxy{path}")

    def logs(self, *options):
        """Return the logs of all pods, except those that are deleted meanwhile."""
        texts = []
        for pod in self.kubectl.names("pods", f"app.kubernetes.io/instance={NAME}"):
            try:
                texts.append(self.kubectl("logs", pod, "--tail=-1", *options))
            except Refused:
                if self.kubectl.get("pod", pod):
                    raise
        return "".join(texts)

    def mark(self):
        """Return the current time, for :meth:`since`. A length would not do: a restarted container begins a new log."""
        return datetime.datetime.now(datetime.UTC).isoformat()

    def since(self, mark, most=400):
        """Return the log since ``mark``, at most its last ``most`` lines."""
        return "\n".join(self.logs(f"--since-time={mark}").splitlines()[-most:])


class Installed(Release):
    """An installed release with the interface of :class:`support.operator.Operator`; leaving the ``with`` block uninstalls it."""

    def __init__(self, admin, **values):
        super().__init__(admin, new_namespace(admin.environment, "operator"))
        self.values = values
        #: Missing permissions of operator processes that were killed.
        self.missed = set()
        #: Pod UID and container ID of the last start; None before the first.
        self.started = None

    def start(self):
        """Install the release, or, after the operator was killed, wait until a new container is ready."""
        if self.started is None:
            self.apply(**self.values)
        else:
            until(lambda: self.container() not in (None, self.started), "a new container", START, 0.3)
            until(self.is_ready, "the operator to be ready", START, 0.3)
        self.started = self.container()
        return self

    def container(self):
        """Return the pod UID and the container ID of the ready container, or None."""
        for pod in self.kubectl.list("pods", f"app.kubernetes.io/instance={NAME}"):
            for status in pod["status"].get("containerStatuses", []):
                if status["ready"] and "deletionTimestamp" not in pod["metadata"]:
                    return pod["metadata"]["uid"], status["containerID"]
        return None

    def is_ready(self):
        """Return whether ``/readyz`` succeeds."""
        try:
            return bool(self.fetch("/readyz"))
        except Refused:
            return False

    def missing_rights(self):
        """Return the missing permissions, including those of operator processes that were killed."""
        return sorted({*super().missing_rights(), *self.missed})

    def aim(self):
        """Return a function that kills the operator immediately with SIGKILL, without a graceful shutdown.

        The kubelet then starts another container in the same pod.
        """
        self.missed.update(super().missing_rights())
        processes = self.processes()
        return lambda: [os.kill(process, signal.SIGKILL) for process in processes]

    def processes(self):
        """Return the PIDs of the container's processes on this machine, found by their control group."""
        _, container = self.container()
        name = container.split("//")[1]
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdecimal() and name in (folder / "cgroup").read_text():
                    found.append(int(folder.name))
            except OSError:  # the process has exited meanwhile
                continue
        assert found, f"no process of the container {name} runs on this machine"
        return found

    def stop(self):
        """Uninstall the release and delete its namespace."""
        self.helm("uninstall", NAME, "--ignore-not-found", "--wait")
        Kubectl(self.admin.environment)("delete", "namespace", self.kubectl.namespace, "--wait=false")
        await_end(self.admin.environment, [self.kubectl.namespace])

    def tail(self, lines=40):
        """Return the last lines of the log, or the error if it can't be read."""
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
