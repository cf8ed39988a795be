"""Tests of sessions, of which there is at most one per cluster name, and of ``down``."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
import unittest.mock
from pathlib import Path

from localkube import cgroups, cli, inventory, network, session, teardown
from localkube.console import Failure
from localkube.settings import DEFAULT_NAME, MARKER, Cluster

#: Program that holds the session of the name in its arguments until it is killed, and prints a line when it has it.
HOLD = """
import sys, time
from pathlib import Path
from localkube import session
session.LOCKS = Path(sys.argv[1])
with session.held(sys.argv[2], "a suite"):
    print("held", flush=True)
    time.sleep(600)
"""


def forget(cluster):
    """Remove a cluster from the list, as `down` does."""
    inventory.forget(cluster)
    (cluster.folder / MARKER).unlink(missing_ok=True)


class Sessions(unittest.TestCase):
    """Sessions and the clusters that ``down --all`` stops."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.groups, self.routes = [], []
        for patch in (unittest.mock.patch.object(session, "LOCKS", self.folder / "sessions"),
                      unittest.mock.patch.object(tempfile, "tempdir", str(self.folder)),
                      unittest.mock.patch.multiple(inventory, STATE_HOME=self.folder, FOLDER=self.folder / ".clusters", LOCKS=self.folder / "locks"),
                      unittest.mock.patch.object(cgroups, "all_groups", lambda _: self.groups),
                      unittest.mock.patch.object(network, "links", lambda _: []),
                      unittest.mock.patch.object(network, "routes", lambda: list(self.routes)),
                      unittest.mock.patch.object(network, "_ip", lambda *words, **_: self.routes.remove(" ".join(words[2:])))):
            self.enterContext(patch)

    def test_held(self):
        """The holder of a session is reported to others, and sessions of other names are independent."""
        self.assertIsNone(session.holder("a"))
        with session.held("a", "tests/pytest tests/api"):
            holder = session.holder("a")
            self.assertIn(f"process {os.getpid()} since ", holder)
            self.assertIn(f": tests/pytest tests/api, in {Path.cwd()}", holder)
            self.assertIsNone(session.holder("b"))
            with session.held("b", "another suite"):
                self.assertIn("another suite", session.holder("b"))
        self.assertIsNone(session.holder("a"))

    def test_the_second_waits(self):
        """The waiting process reports the holder, and continues after the holder's end, even by an exception."""
        reports, order, waits = [], [], threading.Event()

        def report(text):
            reports.append(text)
            waits.set()

        def second():
            with session.held("a", "the second", report):
                order.append("second")

        thread = threading.Thread(target=second)
        with self.assertRaises(ZeroDivisionError), session.held("a", "the first"):
            thread.start()
            self.assertTrue(waits.wait(10))
            order.append("first")
            raise ZeroDivisionError
        thread.join(10)
        self.assertEqual(order, ["first", "second"])
        self.assertEqual(len(reports), 1)
        self.assertIn("cluster a is in use by process", reports[0])
        self.assertIn("the first", reports[0])

    def test_a_killed_process_releases_its_session(self):
        """The description that a killed process left in the file does not count as a holder."""
        command = [sys.executable, "-c", HOLD, session.LOCKS, "a"]
        home = Path(session.__file__).parents[1]
        with subprocess.Popen(command, cwd=home, text=True, stdout=subprocess.PIPE) as process:
            self.assertEqual(process.stdout.readline(), "held\n")
            self.assertIn("a suite", session.holder("a"))
            process.send_signal(signal.SIGKILL)
        self.assertIsNone(session.holder("a"))
        with session.held("a", "the next", self.fail):
            self.assertIn("the next", session.holder("a"))

    def test_down_of_all_keeps_clusters_in_use(self):
        """``down --all`` skips clusters with a session in use, and ``down`` with a name does not."""
        ranges = {"used": "198.18.0.0/20", "free": "198.18.16.0/20"}
        for name, cidr in ranges.items():
            inventory.remember(Cluster.create(name, self.folder / name, cidr))
        downs = unittest.mock.patch.object(teardown, "down")
        with downs as down, session.held("used", "a suite"):
            cli.run_down(argparse.Namespace(all=True))
            self.assertEqual([call.args[0].name for call in down.call_args_list], ["free"])
            down.reset_mock()
            cli.run_down(argparse.Namespace(all=False, name="used", dir=None, range=None))
            self.assertEqual([call.args[0].name for call in down.call_args_list], ["used"])

    def test_down_of_all_finds_clusters_without_a_record(self):
        """A killed run whose record and folder are lost is found by its control group and its route."""
        inventory.remember(Cluster.create("noted", self.folder / "noted", "198.18.0.0/20"))
        (self.folder / "marked").mkdir()
        marked = Cluster.create("marked", self.folder / "marked", "198.18.16.0/20")
        (marked.folder / MARKER).write_text(json.dumps(marked.describe()))
        inventory.remember(Cluster.create("used", self.folder / "used", "198.18.32.0/20"))
        self.groups = ["dask-operator-lost", "dask-operator-used", "dask-operator-of-another.service"]
        self.routes = [f"unreachable 198.18.{part}.0/20 metric 1000" for part in (0, 16, 32, 48)]
        downs = unittest.mock.patch.object(teardown, "down", side_effect=forget)
        with downs as down, session.held("used", "a suite"):
            self.assertEqual(len([line for line in teardown.leftovers(but=["used"]) if line.startswith("route")]), 3)
            cli.run_down(argparse.Namespace(all=True))
            self.assertEqual([call.args[0].name for call in down.call_args_list], ["lost", "marked", "noted"])
            self.assertEqual(down.call_args_list[1].args[0], marked)
            self.assertEqual(self.routes, ["unreachable 198.18.32.0/20 metric 1000"])

    def test_down_stops_only_the_default_cluster(self):
        """`make down` stops only the cluster that `make demo` starts."""
        ranges = {DEFAULT_NAME: "198.18.0.0/20", "chaos-real": "198.18.16.0/20", "other-user": "198.18.32.0/20"}
        for name, cidr in ranges.items():
            inventory.remember(Cluster.create(name, self.folder / name, cidr))
        started = cli.parser().parse_args(["up"])
        arguments = cli.parser().parse_args(["down"])
        self.assertEqual((arguments.name, arguments.dir, arguments.range), (started.name, started.dir, started.range))
        removes = unittest.mock.patch.object(teardown, "remove", inventory.forget)
        with removes, unittest.mock.patch.object(teardown, "leftovers", return_value=[]), \
                unittest.mock.patch.object(teardown.machine, "require_root"):
            arguments.run(arguments)
        self.assertEqual({cluster.name for cluster in inventory.all_known()}, ranges.keys() - {DEFAULT_NAME})
        for words, command in {"down": "python3 tests/demo down", "down ALL=1": "python3 tests/demo down --all"}.items():
            environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
            done = subprocess.run(["make", "--dry-run", *words.split()], cwd=Path(__file__).parents[3], env=environment, text=True,
                                  capture_output=True, check=True)
            self.assertEqual(done.stdout.strip(), command)

    def test_session_runs_a_command(self):
        """The verb ``session`` holds the session while the command runs, and returns its exit code."""
        script = f"import sys; from pathlib import Path; from localkube import session; session.LOCKS = Path({str(session.LOCKS)!r}); " \
                 "sys.exit(3 if session.holder('a') else 4)"
        with unittest.mock.patch.dict(os.environ, {"PYTHONPATH": str(Path(session.__file__).parents[1])}):
            arguments = cli.parser().parse_args(["session", "--name", "a", "--", sys.executable, "-c", script])
            self.assertEqual(arguments.run(arguments), 3)
        self.assertIsNone(session.holder("a"))
        with self.assertRaises(Failure):
            cli.run_session(argparse.Namespace(name="a", command=[]))
