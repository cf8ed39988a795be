"""Tests of processes, control groups, routes and the console, without a cluster."""

import ipaddress
import subprocess
import tempfile
import unittest
import warnings
from pathlib import Path

from localkube import cgroups, console, network, processes, teardown
from localkube.processes import Process, Records
from localkube.settings import Cluster


class Processes(unittest.TestCase):
    """Processes identified by id and start time."""

    def test_parse_stat(self):
        """The name in parentheses may hold spaces and parentheses."""
        line = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 10 18446744073709551615\n"
        self.assertEqual(processes.parse_stat(line), ("S", 987654))

    def test_a_reused_process_id_is_not_signalled(self):
        """A process with the same id and another start time is another process."""
        with subprocess.Popen(["sleep", "60"]) as child:
            real = Process(child.pid, processes.start_time(child.pid))
            recycled = Process(child.pid, real.start - 1)
            recycled.kill()
            self.assertFalse(recycled.alive)
            self.assertTrue(real.alive)
            self.assertTrue(recycled.wait(0))
            self.assertFalse(real.wait(0.01))
            real.kill()
            self.assertTrue(real.wait(5))
            self.assertFalse(real.alive)  # it is a zombie
        self.assertTrue(real.wait(0))
        real.kill()

    def test_records(self):
        """Records can be read back in order of start time, and an invalid record is ignored."""
        with tempfile.TemporaryDirectory() as scratch:
            records = Records(Path(scratch, "pids"))
            self.assertEqual(records.all(), [])
            records.write("late", Process(2, 20))
            records.write("early", Process(1, 10))
            Path(scratch, "pids/broken.json").write_text("{")
            self.assertEqual(records.all(), [("early", Process(1, 10)), ("late", Process(2, 20))])
            records.forget("late")
            self.assertIsNone(records.read("late"))

    def test_launch_and_tail(self):
        """A daemon's output is in its log."""
        with tempfile.TemporaryDirectory() as scratch:
            log = Path(scratch, "logs/x.log")
            with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # a daemon is not waited for
                process = processes.launch(["sh", "-c", "echo one; echo two >&2; sleep 0.2"], log)
            self.assertTrue(process.wait(5))
            self.assertRegex(processes.tail(log, 2), r"\| one\n *\| two$")


class ControlGroups(unittest.TestCase):
    """Both versions of control groups, on a tree of ordinary files."""

    def tree(self, *files):
        """Create a folder that looks like /sys/fs/cgroup."""
        root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name, text in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    def test_version_1(self):
        """In version 1 the group is created in every tree, daemons join one of them, and a new cpuset gets its processors."""
        root = self.tree(("pids/cgroup.procs", ""), ("memory/cgroup.procs", ""), ("cpuset/cgroup.procs", ""), ("cpuset/cpuset.cpus", "0-1"),
                         ("cpuset/cpuset.mems", "0"), ("cpuset/g/cpuset.cpus", "\n"), ("cpuset/g/cpuset.mems", "\n"), ("not-a-tree/x", ""))
        cgroups.create("g", root)
        self.assertEqual([folder.parent.name for folder in cgroups.folders("g", root)], ["cpuset", "memory", "pids"])
        self.assertTrue((root / "pids/g/system").is_dir())
        self.assertFalse((root / "memory/g/system").exists())
        self.assertEqual((root / "cpuset/g/cpuset.cpus").read_text(), "0-1")

    def test_version_2(self):
        """In version 2 there is one tree, and the group's children get its controllers."""
        root = self.tree(("cgroup.controllers", "cpu memory"), ("cgroup.procs", ""), ("cgroup.subtree_control", ""), ("g/cgroup.controllers", "cpu memory"),
                         ("g/cgroup.subtree_control", ""), ("g/cpu.weight", "100"))
        cgroups.create("g", root)
        self.assertTrue(cgroups.unified(root))
        self.assertEqual(cgroups.folders("g", root), [root / "g"])
        self.assertTrue((root / "g/system").is_dir())
        self.assertIn("memory", (root / "g/cgroup.subtree_control").read_text())

    def test_members(self):
        """The members include processes in subgroups, but not those that have ended."""
        with subprocess.Popen(["sleep", "60"]) as child:
            root = self.tree(("cgroup.controllers", ""), ("g/a/b/cgroup.procs", f"{child.pid}\n4194305\n0\n"), ("h/cgroup.procs", "1\n"))
            self.assertEqual([process.pid for process in cgroups.members("g", root)], [child.pid])
            child.kill()


class Routes(unittest.TestCase):
    """Routes and address ranges."""

    def test_overlaps(self):
        """Routes inside and around a range overlap it, others do not."""
        network_ = ipaddress.IPv4Network("198.18.0.0/17")
        for destination, wanted in {"198.18.3.4": True, "198.18.0.0/15": True, "198.18.128.0/17": False, "10.0.0.0/8": False}.items():
            self.assertEqual(network.overlaps(network_, destination), wanted)


class Teardown(unittest.TestCase):
    """Protection of other data against deletion."""

    def test_folder_with_other_data(self):
        """A folder without the marker file is refused and left alone."""
        with tempfile.TemporaryDirectory() as scratch:
            Path(scratch, "precious").touch()
            cluster = Cluster.create("unit", scratch)
            with self.assertRaisesRegex(console.Failure, "left alone"):
                teardown.check_folder(cluster)
            self.assertTrue(Path(scratch, "precious").exists())


class Durations(unittest.TestCase):
    """Format of durations."""

    def test_seconds(self):
        """The precision depends on the magnitude."""
        self.assertEqual([console.seconds(value) for value in (0.04, 9.96, 12.4, 61, 3725)], ["0.0 s", "10.0 s", "12 s", "1 min 01 s", "62 min 05 s"])
