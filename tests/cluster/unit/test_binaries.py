"""Which programs are built, and how the cache names them."""

import os
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from localkube import binaries
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
    """Reading go.mod."""

    def test_version_is_that_of_the_tools_module(self):
        """Not that of the first requirement, nor of a module with a shorter path."""
        self.assertEqual(binaries.pinned_version(GO_MOD), "v2.3.4")

    def test_every_module_pins_its_programs(self):
        """Each program is a ``tool`` line of its module, and the module's version can be read."""
        for program in binaries.PROGRAMS.values():
            with self.subTest(program.name):
                text = (binaries.TOOLS / program.module / "go.mod").read_text()
                self.assertRegex(text, rf"(?m)^(tool |\t){program.package}$")
                self.assertRegex(binaries.version(program.module), r"^v\d+\.\d+\.\d+$")

    def test_staging_modules(self):
        """Only requirements at exactly v0.0.0 are replaced."""
        text = "require (\n\tk8s.io/api v0.0.0\n\tk8s.io/klog/v2 v2.1.0\n\tk8s.io/kubelet v0.0.0\n)\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n"
        self.assertEqual(binaries.staging_modules(text), ["k8s.io/api", "k8s.io/kubelet"])

    def test_stamp(self):
        """Kubernetes reports its version as kubectl, helm and kubelets compare it."""
        flags = binaries.linker_flags("kubernetes", "v1.36.4")
        for wanted in ("component-base/version.gitVersion=v1.36.4", "gitMajor=1 ", "gitMinor=36 "):
            self.assertIn(wanted, flags)


class Cache(unittest.TestCase):
    """Where a program is."""

    def test_key_follows_the_pins(self):
        """Changed pins give another folder, unchanged ones the same."""
        with tempfile.TemporaryDirectory() as scratch:
            module = Path(scratch, "thing")
            module.mkdir()
            (module / "go.mod").write_text(GO_MOD)
            (module / "go.sum").write_text("a")
            first = binaries.cache_folder("thing", Path(scratch), Path("/cache"))
            self.assertEqual(first, binaries.cache_folder("thing", Path(scratch), Path("/cache")))
            (module / "go.sum").write_text("b")
            self.assertNotEqual(first, binaries.cache_folder("thing", Path(scratch), Path("/cache")))
            self.assertTrue(first.name.startswith("thing-v2.3.4-"))

    def test_prebuilt(self):
        """KUBEBUILDER_ASSETS gives three programs, and says so when one is missing."""
        with tempfile.TemporaryDirectory() as assets, unittest.mock.patch.dict(os.environ, {"KUBEBUILDER_ASSETS": assets}):
            Path(assets, "etcd").touch()
            self.assertEqual(binaries.locate("etcd"), Path(assets, "etcd"))
            self.assertNotEqual(binaries.locate("kubelet").parent, Path(assets))
            with self.assertRaisesRegex(Failure, "KUBEBUILDER_ASSETS"):
                binaries.locate("kubectl")

    def test_sets(self):
        """A cluster with a node has the clients that `kubeconfig` promises, and one without is not delayed by them."""
        self.assertLessEqual({"kubectl", "helm", "crane"}, set(binaries.SETS["all"]))
        self.assertNotIn("helm", binaries.SETS["control-plane"])

    def test_batches(self):
        """The control plane is built first, and one call of Go has programs of one module only."""
        batches = binaries._batches(list(binaries.PROGRAMS))  # pylint: disable=protected-access
        self.assertEqual([name for batch in batches[:2] for name in batch], list(binaries.CONTROL_PLANE))
        for batch in batches:
            self.assertEqual(len({binaries.PROGRAMS[name].module for name in batch}), 1)
