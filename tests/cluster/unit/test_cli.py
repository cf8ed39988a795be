"""The command line, and whose KUBECONFIG is whose."""

import argparse
import contextlib
import io
import json
import os
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from localkube import cli, fakenodes, inventory, node
from localkube.console import Failure
from localkube.settings import STATE_HOME, Cluster


class Help(unittest.TestCase):
    """Every verb explains itself."""

    def test_every_verb(self):
        """``--help`` of each verb ends well and says something."""
        verbs = next(action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))  # pylint: disable=protected-access
        for verb in verbs.choices:
            with self.subTest(verb), contextlib.redirect_stdout(io.StringIO()) as said, self.assertRaises(SystemExit) as ended:
                cli.parser().parse_args([verb, "--help"])
            self.assertEqual(ended.exception.code, 0)
            self.assertGreater(len(said.getvalue()), 80)


class Kubeconfigs(unittest.TestCase):
    """Whether KUBECONFIG is the user's own."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.cluster = Cluster.create("unit", f"{scratch.name}/c")
        places = unittest.mock.patch.multiple(inventory, STATE_HOME=Path(scratch.name, "state"), FOLDER=Path(scratch.name, "list"))
        places.start()
        self.addCleanup(places.stop)

    def foreign(self, path, prefer=True):
        """What the command line makes of a KUBECONFIG."""
        with unittest.mock.patch.dict(os.environ, {"KUBECONFIG": path}):
            return cli.foreign_kubeconfig(argparse.Namespace(prefer_kubeconfig=prefer))

    def test_foreign(self):
        """Used only when that was asked for."""
        self.assertEqual(self.foreign("/home/me/.kube/config"), "/home/me/.kube/config")
        self.assertIsNone(self.foreign("/home/me/.kube/config", prefer=False))
        self.assertIsNone(self.foreign(""))

    def test_ours(self):
        """One of ours is none, also when its cluster is down by now."""
        inventory.remember(self.cluster)
        self.assertIsNone(self.foreign(str(self.cluster.kubeconfig)))
        self.assertIsNone(self.foreign(str(STATE_HOME / "gone" / "admin.kubeconfig")))

    def test_inventory(self):
        """A cluster is known from before it is started until it is gone; another may not share its addresses or folder."""
        inventory.remember(self.cluster)
        self.assertEqual(inventory.known("unit"), self.cluster)
        inventory.check_apart(self.cluster)
        for other in (Cluster.create("other"), Cluster.create("other", self.cluster.folder, "10.0.0.0/16")):
            with self.assertRaisesRegex(Failure, "unit"):
                inventory.check_apart(other)
        inventory.forget(self.cluster)
        self.assertEqual(inventory.all_known(), [])


class Objects(unittest.TestCase):
    """What is sent to the API server or to kwok."""

    def test_stages(self):
        """kwok's stages are JSON and name what they match."""
        for stage in fakenodes.stages():
            self.assertTrue(json.loads(json.dumps(stage))["spec"]["selector"]["matchExpressions"])

    def test_ready(self):
        """A node is ready when its condition says so, not when it says nothing."""
        self.assertFalse(node.is_ready({}))
        self.assertFalse(node.is_ready({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}))
        self.assertTrue(node.is_ready({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}))
