"""The operator as a container has it: with a limit of memory, and started again when it ends."""

import re
import threading
import time
from pathlib import Path

import yaml
from localkube import cgroups
from support import operator as operators
from support.chart import CHART

#: The files of a control group, in each of both layouts: limit, maximum, counters of kills, and what else is set.
FILES = {
    True: ("memory.max", "memory.peak", "memory.events", {"memory.swap.max": "0", "memory.oom.group": "1"}),
    False: ("memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control", {"memory.swappiness": "0"}),
}
UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def size(quantity):
    """Bytes of a quantity such as ``2Gi``."""
    number, unit = re.fullmatch(r"(\d+)(|Ki|Mi|Gi)", quantity).groups()
    return int(number) * UNITS[unit]


def default_limit():
    """The chart's."""
    return yaml.safe_load((CHART / "values.yaml").read_text())["resources"]["limits"]["memory"]


class Group:
    """A control group with a limit of memory, for all operators that are started while it is there. Where none can be made, nothing
    is limited."""

    def __init__(self, name, limit, root=cgroups.ROOT):
        self.limit = limit
        unified = cgroups.unified(root)
        self.top = root if unified else root / "memory"
        self.folder = self.top / name
        self.limit_file, self.peak_file, self.kills_file, self.more = FILES[unified]
        self.is_there = False

    def __enter__(self):
        try:
            if (self.top / "cgroup.subtree_control").exists():
                (self.top / "cgroup.subtree_control").write_text("+memory")
            self.folder.mkdir(exist_ok=True)
            (self.folder / self.limit_file).write_text(str(self.limit))
            self.is_there = True
        except OSError as error:
            print(f"no control group can be made, so memory is not limited: {error}", flush=True)
        for name, value in self.more.items():
            try:
                (self.folder / name).write_text(value)
            except OSError:  # this kernel has no swap, or counts none
                pass
        return self

    def __exit__(self, *_):
        try:
            self.folder.rmdir()
        except OSError:  # it was not made
            pass

    def program(self, binary, folder):
        """A program that is the operator in this group."""
        if not self.is_there:
            return binary
        wrapper = Path(folder) / "limited-operator"
        wrapper.write_text(f'#!/bin/sh\necho $$ > "{self.folder}/cgroup.procs" || exit 1\nexec "{binary}" "$@"\n')
        wrapper.chmod(0o755)
        return wrapper

    def peak(self):
        """Bytes at the most; None where nobody counts them."""
        return number(self.folder / self.peak_file)

    def kills(self):
        """How many processes were ended for want of memory."""
        try:
            found = re.search(r"^oom_kill (\d+)$", (self.folder / self.kills_file).read_text(), re.MULTILINE)
        except OSError:
            return 0
        return int(found[1]) if found else 0


def number(file):
    """The number in a file; None where it is not there."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def resident(process):
    """Bytes that a process has had at the most; 0 where it has ended."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


class Keeper(threading.Thread):
    """Starts an operator again when it ends, and notes when that was."""

    def __init__(self, operator):
        super().__init__(daemon=True)
        self.operator = operator
        self.began = time.monotonic()
        #: Seconds after the beginning.
        self.restarts = []
        self.resident = 0
        self.over = threading.Event()

    def begin(self):
        """What was until now does not count."""
        self.began, self.restarts = time.monotonic(), []

    def run(self):
        while not self.over.wait(0.2):
            self.resident = max(self.resident, resident(self.operator.process.pid))
            if self.operator.process.poll() is not None:
                self.restarts.append(time.monotonic() - self.began)
                print(f"the operator ended with {self.operator.process.returncode}:\n{self.operator.tail(10)}", flush=True)
                self.operator.start(wait=False)

    def stop(self):
        """Let it end."""
        self.over.set()
        self.join()


def use(group, folder):
    """Have the operators of :mod:`support.operator` run in a group."""
    operators.BINARY = group.program(operators.BINARY.resolve(), folder)
