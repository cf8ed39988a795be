"""Tests of the command line, of KUBECONFIG and of the list of clusters."""

import argparse
import contextlib
import io
import json
import os
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from localkube import cli, controlplane, fakenodes, inventory, node
from localkube.console import Failure
from localkube.settings import STATE_HOME, Cluster


class Help(unittest.TestCase):
    """Help of the verbs."""

    def test_every_verb(self):
        """``--help`` of each verb succeeds and prints a text."""
        verbs = next(action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))  # pylint: disable=protected-access
        for verb in verbs.choices:
            with self.subTest(verb), contextlib.redirect_stdout(io.StringIO()) as output, self.assertRaises(SystemExit) as ended:
                cli.parser().parse_args([verb, "--help"])
            self.assertEqual(ended.exception.code, 0)
            self.assertGreater(len(output.getvalue()), 80)


class Kubeconfigs(unittest.TestCase):
    """Distinction of the user's own KUBECONFIG from that of a local cluster."""

    def setUp(self):
        scratch = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.cluster = Cluster.create("unit", str(scratch / "c"))
        self.enterContext(unittest.mock.patch.multiple(inventory, STATE_HOME=scratch / "state", FOLDER=scratch / "list"))

    def foreign(self, path, prefer=True):
        """Return the result of :func:`cli.foreign_kubeconfig` with this KUBECONFIG."""
        with unittest.mock.patch.dict(os.environ, {"KUBECONFIG": path}):
            return cli.foreign_kubeconfig(argparse.Namespace(prefer_kubeconfig=prefer))

    def test_foreign(self):
        """The user's own KUBECONFIG is used only with ``--prefer-kubeconfig``."""
        self.assertEqual(self.foreign("/home/me/.kube/config"), "/home/me/.kube/config")
        self.assertIsNone(self.foreign("/home/me/.kube/config", prefer=False))
        self.assertIsNone(self.foreign(""))

    def test_ours(self):
        """The kubeconfig of a local cluster is not foreign, even if the cluster is down by now."""
        inventory.remember(self.cluster)
        self.assertIsNone(self.foreign(str(self.cluster.kubeconfig)))
        self.assertIsNone(self.foreign(str(STATE_HOME / "gone" / "admin.kubeconfig")))

    def test_inventory(self):
        """A cluster is listed from before its start until after its end; another may not share its addresses or folder."""
        inventory.remember(self.cluster)
        self.assertEqual(inventory.known("unit"), self.cluster)
        inventory.check_apart(self.cluster)
        for other in (Cluster.create("other"), Cluster.create("other", self.cluster.folder, "10.0.0.0/16")):
            with self.assertRaisesRegex(Failure, "unit"):
                inventory.check_apart(other)
        inventory.forget(self.cluster)
        self.assertEqual(inventory.all_known(), [])


class Rates(unittest.TestCase):
    """Request rates of the controller manager and the scheduler."""

    def setUp(self):
        self.scratch = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(unittest.mock.patch.multiple(inventory, STATE_HOME=self.scratch / "state", FOLDER=self.scratch / "list"))

    def chosen(self, *arguments):
        """Return the cluster that a command line selects."""
        return cli.chosen(cli.parser().parse_args([*arguments, "--name", "unit", "--dir", str(self.scratch / "c")]))

    def test_flags(self):
        """Rates are higher by default. With ``--default-rates``, no flag changes them."""
        for arguments, flags in ((("up",), 2), (("up", "--default-rates"), 0)):
            for component in (controlplane.controller_manager, controlplane.scheduler):
                with self.subTest(arguments, component=component.__name__):
                    argv = component(self.chosen(*arguments), "program").argv
                    self.assertEqual(sum(flag.startswith("--kube-api-") for flag in argv), flags)

    def test_rates_are_kept(self):
        """All verbs select the cluster with the rates with which it was started."""
        inventory.remember(self.chosen("up", "--default-rates"))
        for verb in ("up", "down", "status"):
            self.assertTrue(self.chosen(verb).default_rates)
        inventory.forget(self.chosen("down"))
        self.assertFalse(self.chosen("up").default_rates)


class Objects(unittest.TestCase):
    """Objects that are sent to the API server or to kwok."""

    def test_stages(self):
        """kwok's stages are valid JSON and have match expressions."""
        for stage in fakenodes.stages():
            self.assertTrue(json.loads(json.dumps(stage))["spec"]["selector"]["matchExpressions"])

    def test_ready(self):
        """A node is ready if its condition ``Ready`` is true, and not ready without that condition."""
        self.assertFalse(node.is_ready({}))
        self.assertFalse(node.is_ready({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}))
        self.assertTrue(node.is_ready({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}))
