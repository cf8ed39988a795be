"""Tests of pinned versions, the cache and the sets of programs."""

import os
import subprocess
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from localkube import programs
from localkube.console import Failure

GO_MOD = """module example.org/x

go 1.26.0

tool example.org/big/thing/v2/cmd/thing

require (
	example.org/aaa v1.0.0
	example.org/big v0.1.0 // indirect
	example.org/big/thing/v2 v2.3.4
)
"""


class Versions(unittest.TestCase):
    """Versions in go.mod and in programs."""

    def test_version_is_that_of_the_tools_module(self):
        """The version is not that of the first requirement or of a module with a shorter path."""
        self.assertEqual(programs.pinned_version(GO_MOD), "v2.3.4")

    def test_version_without_tool_lines_is_that_of_the_direct_requirement(self):
        """The version is not that of an indirect requirement."""
        text = "module example.org/x\n\nrequire example.org/big v1.2.3\n\nrequire (\n\texample.org/aaa v1.0.0 // indirect\n)\n"
        self.assertEqual(programs.pinned_version(text), "v1.2.3")

    def test_every_module_pins_its_programs(self):
        """Each program is a ``tool`` line of its module or the module itself, and the module's version can be parsed."""
        for program in programs.BUILT.values():
            with self.subTest(program.name):
                text = (programs.TOOLS / program.module / "go.mod").read_text()
                self.assertRegex(text, rf"(?m)^(tool |module |\t){program.package}$")
                self.assertRegex(programs.version(program.module), r"^v\d+\.\d+\.\d+$")

    def test_staging_modules(self):
        """Only requirements at exactly v0.0.0 are replaced."""
        text = "require (\n\tk8s.io/api v0.0.0\n\tk8s.io/klog/v2 v2.1.0\n\tk8s.io/kubelet v0.0.0\n)\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n"
        self.assertEqual(programs.staging_modules(text), ["k8s.io/api", "k8s.io/kubelet"])

    def test_stamp(self):
        """Kubernetes reports its version in the fields that kubectl, helm and the kubelet compare."""
        flags = programs.linker_flags("kubernetes", "v1.36.4")
        for wanted in ("component-base/version.gitVersion=v1.36.4", "gitMajor=1 ", "gitMinor=36 "):
            self.assertIn(wanted, flags)


class Cache(unittest.TestCase):
    """Paths of programs."""

    def test_key_follows_the_pins(self):
        """The cache folder changes if and only if a pin changes."""
        with tempfile.TemporaryDirectory() as scratch:
            module = Path(scratch, "thing")
            module.mkdir()
            (module / "go.mod").write_text(GO_MOD)
            (module / "go.sum").write_text("a")
            first = programs.cache_folder("thing", Path(scratch), Path("/cache"))
            self.assertEqual(first, programs.cache_folder("thing", Path(scratch), Path("/cache")))
            (module / "go.sum").write_text("b")
            self.assertNotEqual(first, programs.cache_folder("thing", Path(scratch), Path("/cache")))
            self.assertTrue(first.name.startswith("thing-v2.3.4-"))

    def test_prebuilt(self):
        """KUBEBUILDER_ASSETS overrides its three programs, and a missing one is an error."""
        with tempfile.TemporaryDirectory() as assets, unittest.mock.patch.dict(os.environ, {"KUBEBUILDER_ASSETS": assets}):
            Path(assets, "etcd").touch()
            self.assertEqual(programs._path("etcd"), Path(assets, "etcd"))
            self.assertNotEqual(programs._path("kubelet").parent, Path(assets))
            with self.assertRaisesRegex(Failure, "KUBEBUILDER_ASSETS"):
                programs._path("kubectl")

    def test_sets(self):
        """A cluster with a node has the clients that `kubeconfig` adds to the PATH, and one without a node is not delayed by them."""
        self.assertLessEqual({"kubectl", "helm", "crane", "docker-registry"}, set(programs.SETS["all"]))
        self.assertNotIn("helm", programs.SETS["control-plane"])

    def test_links(self):
        """A folder of links has the given programs without CNI plugins."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "bin")
            programs.link({"helm": Path(scratch, "helm"), "bridge": Path(scratch, "bridge")}, folder)
            self.assertEqual([link.name for link in folder.iterdir()], ["helm"])

    def test_shadow(self):
        """A program that was not requested fails with a message, even if it is installed."""
        with tempfile.TemporaryDirectory() as folder:
            programs.shadow(Path(folder))
            done = subprocess.run(["kubectl", "version"], env={"PATH": f"{folder}:{os.environ['PATH']}"}, capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 127)
            self.assertIn("kubectl: it was not requested; python3 tests/cluster build kubectl", done.stderr)
            self.assertLessEqual({"helm", "crane", "kwok", "docker-registry", "etcd"}, set(os.listdir(folder)))
            self.assertNotIn("bridge", os.listdir(folder))

    def test_batches(self):
        """The control plane is built first, and one call of Go has programs of one module only."""
        batches = programs._batches(list(programs.BUILT))  # pylint: disable=protected-access
        self.assertEqual([name for batch in batches[:2] for name in batch], list(programs.CONTROL_PLANE))
        for batch in batches:
            self.assertEqual(len({programs.BUILT[name].module for name in batch}), 1)
