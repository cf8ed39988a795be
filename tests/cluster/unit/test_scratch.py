"""Tests of the temporary folders of runs."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from localkube import cli, inventory, network, scratch, session, teardown

#: Program that leaves a file in its temporary folder, prints the folder's path, and runs until it is killed.
LEAVE = """
import tempfile, time
from localkube import scratch
with scratch.folder() as folder:
    tempfile.mkstemp()
    print(folder.path, flush=True)
    time.sleep(600)
"""


class Scratch(unittest.TestCase):
    """Temporary folders, in a folder in place of the system's."""

    def setUp(self):
        self.system = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(unittest.mock.patch.object(tempfile, "tempdir", str(self.system)))
        self.enterContext(unittest.mock.patch.dict(os.environ, {"TMPDIR": str(self.system)}))
        # No cluster of this machine is listed or removed.
        self.enterContext(unittest.mock.patch.multiple(inventory, STATE_HOME=self.system / "state", FOLDER=self.system / "list"))
        self.enterContext(unittest.mock.patch.object(teardown, "present", return_value=[]))
        self.enterContext(unittest.mock.patch.object(teardown, "daemons", return_value=[]))
        self.enterContext(unittest.mock.patch.object(network, "routes", return_value=[]))
        self.enterContext(unittest.mock.patch.object(session, "holder", return_value=None))

    def killed(self):
        """Return the temporary folder of a process that was killed."""
        command = [sys.executable, "-c", LEAVE]
        with subprocess.Popen(command, cwd=Path(scratch.__file__).parents[1], text=True, stdout=subprocess.PIPE) as process:
            folder = Path(process.stdout.readline().strip())
            self.assertEqual(scratch.abandoned(), [])
            process.send_signal(signal.SIGKILL)
        return folder

    def test_everything_is_removed(self):
        """What this process and others leave in the folder is removed at the end, even after an exception."""
        with self.assertRaises(ZeroDivisionError), scratch.folder() as folder:
            tempfile.mkstemp()
            tempfile.mkdtemp()
            subprocess.run([sys.executable, "-c", "import tempfile; tempfile.mkstemp()"], check=True)
            self.assertEqual(list(self.system.iterdir()), [folder.path])
            self.assertEqual(len(list(folder.path.iterdir())), 3)
            self.assertEqual(scratch.abandoned(), [])
            raise ZeroDivisionError
        self.assertEqual(list(self.system.iterdir()), [])
        self.assertEqual((tempfile.gettempdir(), os.environ["TMPDIR"]), (str(self.system), str(self.system)))

    def test_a_folder_can_be_kept(self):
        """A folder that is kept is not removed at the end of its run."""
        with scratch.folder() as folder:
            folder.keep = True
        self.assertTrue(folder.path.exists())

    def test_down_removes_the_folder_of_a_killed_process(self):
        """The folder of a process that was killed is a leftover until the next ``down``. Folders of others are not touched."""
        folder = self.killed()
        other = self.system / "dask-operator-of-a-user"
        other.mkdir()
        with unittest.mock.patch("builtins.print") as printed:
            self.assertEqual(cli.run_leftovers(argparse.Namespace()), 1)
        printed.assert_called_once_with(f"temporary folder: {folder}")
        cli.run_down(argparse.Namespace(all=True))
        self.assertEqual(teardown.leftovers(), [])
        self.assertEqual(list(self.system.iterdir()), [other])
