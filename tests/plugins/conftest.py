"""Fixtures for tests of plugins as resources, on a real API server without a node."""

import hashlib
import subprocess
from contextlib import ExitStack

import pytest
from support import chart
from support.cluster import ROOT
from support.cluster import kubernetes as any_kubernetes
from support.operator import Operator
from support.registry import Registry
from support.waiting import GENEROUS, until

API = "kubernetes.dask.org/v1"


@pytest.fixture(scope="session")
def kubernetes():
    """Environment for kubectl."""
    with any_kubernetes("plugins", "198.19.128.0/19", node=False) as environment:
        yield environment


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Plugin folder of the operator, from which plugins may load files."""
    return tmp_path_factory.mktemp("folder")


@pytest.fixture(scope="session")
def built():
    """Bytes of the test components by name."""
    out = ROOT / "target" / "plugins"
    crates = ["tests/api/plugin", "tests/plugins/scripted"]
    done = subprocess.run(["target/debug/dask-operator-plugin-build", "--out", out, *crates], cwd=ROOT, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return {"swapped": (out / "dask-operator-test-plugin.wasm").read_bytes(),
            "scripted": (out / "dask-operator-scripted-policy.wasm").read_bytes()}


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """Bytes of the components of plugins/hostile by name."""
    out = tmp_path_factory.mktemp("hostile")
    subprocess.run(["target/debug/examples/hostile", out], cwd=ROOT, check=True)
    return {path.stem: path.read_bytes() for path in sorted(out.glob("*.wasm"))}


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """Registry with TLS and a password."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def start(admin, folder, registry, tmp_path_factory):
    """Function that starts an operator with additional arguments and the permissions of a release, limited to ``namespace`` if
    given.

    Each operator has its own account, unless ``replica_of`` names an operator of the same release. The teardown fails if the API
    server refused a request of an operator that still runs for lack of permissions."""
    started = []

    with ExitStack() as accounts:
        def start(*arguments, namespace=None, cache=None, ca=None, replica_of=None):
            cache = cache or tmp_path_factory.mktemp("cache") / "components"
            values = {"namespaces": [namespace]} if namespace else {}
            account = replica_of.account if replica_of else accounts.enter_context(chart.account(
                admin, tmp_path_factory.mktemp("account"), plugins={"pullSecrets": ["login"]}, **values))
            operator = Operator(account.environment, tmp_path_factory.mktemp("operator"), *account.arguments(),
                                "--plugin-folder", folder, "--plugin-ca-file", ca or registry.ca, "--cache-dir", cache, *arguments)
            operator.account = account
            started.append(operator.start())
            return operator

        yield start
        try:
            missing = {right for operator in started if operator.process.poll() is None for right in operator.missing_rights()}
            assert not missing, "the chart does not grant a right that the operator needs"
        finally:
            for operator in started:
                operator.stop()


@pytest.fixture(scope="module")
def operator(start):
    """Operator that manages all namespaces. Its tenants may use ConfigMaps, files and one repository as sources, and may replace
    logic."""
    tenants = ("configmap", "file", "127.0.0.1:5443/tenants/*")
    return start(*(argument for pattern in tenants for argument in ("--allow-tenant-plugin-source", pattern)),
                 "--allow-tenant-interfaces", "policy,cluster,worker-group,job,autoscaler",
                 "--allow-plugin-source", "configmap", "--allow-plugin-source", "file",
                 "--allow-plugin-source", "127.0.0.1:5443/team/*")


class Plugins:
    """Plugin resources of a test. The fixture ``plugins`` deletes the cluster-scoped ones after the test."""

    def __init__(self, kubectl, folder):
        self.kubectl, self.folder = kubectl, folder
        self.of_cluster = []

    def file(self, name, component):
        """Writes a component into the plugin folder, and returns the `spec.source` for it."""
        path = self.folder / f"{self.kubectl.namespace}-{name}.wasm"
        temporary = path.with_suffix(".part")
        temporary.write_bytes(component)
        temporary.replace(path)
        return {"file": {"path": str(path)}}

    def apply(self, name, source, cluster=False, **spec):
        """Applies a plugin, and returns its name. The name of a cluster-scoped one starts with the test's namespace."""
        kind = "ClusterDaskPlugin" if cluster else "DaskPlugin"
        if cluster:
            name = f"{self.kubectl.namespace}-{name}"
            self.of_cluster.append(name)
        self.kubectl.apply({"apiVersion": API, "kind": kind, "metadata": {"name": name},
                            "spec": {"source": source, **spec}})
        return name

    def status(self, name):
        """Generation and status of a plugin; the status is empty if it is not set."""
        kind = "clusterdaskplugin" if name in self.of_cluster else "daskplugin"
        plugin = self.kubectl.get(kind, name)
        return plugin["metadata"]["generation"], plugin.get("status", {})

    def ready(self, name, status="True", timeout=GENEROUS):
        """Waits until the condition Ready of a plugin has this status for the newest spec, and returns the condition."""
        def condition():
            generation, found = self.status(name)
            ready = [condition for condition in found.get("conditions", []) if condition["type"] == "Ready"]
            assert found.get("observedGeneration") == generation and ready and ready[0]["status"] == status, found
            return ready[0]
        return until(condition, f"Ready={status} of {name}", timeout)

    def delete(self, name):
        """Deletes a plugin."""
        kind = "clusterdaskplugin" if name in self.of_cluster else "daskplugin"
        self.kubectl("delete", kind, name)


@pytest.fixture
def plugins(kubectl, folder):
    """Plugin resources of the test."""
    plugins = Plugins(kubectl, folder)
    yield plugins
    for name in set(plugins.of_cluster):
        kubectl("delete", "clusterdaskplugin", name, "--ignore-not-found")


def variant(component, number):
    """Returns a component with the same behaviour and another digest: a custom section is appended."""
    text = f"version {number}".encode()
    content = bytes([len(b"note")]) + b"note" + text
    return component + bytes([0, len(content)]) + content


def digest(component):
    """Digest of a component, in the form that the operator writes."""
    return "sha256:" + hashlib.sha256(component).hexdigest()
