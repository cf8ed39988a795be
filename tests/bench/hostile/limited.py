"""The operator as a container has it: with a limit of memory, processors of its own, and started again when it ends."""

import os
import re
import signal
import threading
import time
import urllib.request
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
#: The kubelet's longest pause before it starts a container again, and for how long one lives that is no failure any more.
LONGEST, FORGIVEN = 300, 600
#: Probes as in the chart's Deployment: seconds between two, and until the first success; failures in a row; seconds to start in; seconds
#: for an answer.
PERIOD, STARTING_PERIOD, FAILURES, STARTING, PATIENCE = 10, 2, 3, 180, 5


def size(quantity):
    """Bytes of a quantity such as ``2Gi``."""
    number, unit = re.fullmatch(r"(\d+)(|Ki|Mi|Gi)", quantity).groups()
    return int(number) * UNITS[unit]


def default_limit():
    """The chart's."""
    return yaml.safe_load((CHART / "values.yaml").read_text())["resources"]["limits"]["memory"]


class Group:
    """A control group with a limit of memory, for all operators that are started while it is there, and the compilers that they start.
    Where none can be made, nothing is limited."""

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

    def program(self, binary, folder, processors):
        """A program that is the operator in this group, on these processors."""
        enter = f'echo $$ > "{self.folder}/cgroup.procs" || exit 1\n' if self.is_there else ""
        wrapper = Path(folder) / "limited-operator"
        wrapper.write_text(f'#!/bin/sh\n{enter}exec taskset --cpu-list {",".join(map(str, sorted(processors)))} "{binary}" "$@"\n')
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


class BackOff:
    """The pauses before a container is started again: none at first, then ten seconds, and twice as long each time."""

    def __init__(self):
        self.next = 0

    def pause(self, lived):
        """Seconds to wait, where the process before has lived for so many."""
        if lived > FORGIVEN:
            self.next = 0
        pause, self.next = self.next, min(max(10, 2 * self.next), LONGEST)
        return pause


class Liveness:
    """A liveness probe of a process that begins now, behind a startup probe, as the chart has them."""

    def __init__(self, is_alive, now):
        self.is_alive = is_alive
        self.asked = self.began = now
        self.has_started = False
        self.failures = 0

    def has_failed(self, now):
        """Whether the process has to be ended."""
        if now < self.asked + (PERIOD if self.has_started else STARTING_PERIOD):
            return False
        self.asked = now
        if self.is_alive():
            self.has_started, self.failures = True, 0
            return False
        self.failures += self.has_started
        return self.failures >= FAILURES or (not self.has_started and now > self.began + STARTING)


class Keeper(threading.Thread):
    """What a kubelet does for an operator: starts it again when it has ended, and ends it when its liveness probe fails. Notes when and why."""

    def __init__(self, operator):
        super().__init__(daemon=True)
        self.operator = operator
        self.began = time.monotonic()
        #: Seconds after the beginning, and why.
        self.restarts = []
        self.resident = 0
        self.over = threading.Event()

    def begin(self):
        """What was until now does not count."""
        self.began, self.restarts = time.monotonic(), []

    def run(self):
        back_off, why = BackOff(), None
        started, liveness = self.watch()
        while not self.over.wait(0.2):
            process, now = self.operator.process, time.monotonic()
            self.resident = max(self.resident, resident(process.pid))
            if process.poll() is not None:
                why = why or ended(process.returncode)
                self.restarts.append({"after": round(now - self.began, 1), "why": why})
                print(f"the operator {why}:\n{self.operator.tail(10)}", flush=True)
                why = None
                if self.over.wait(back_off.pause(now - started)):
                    return
                self.operator.start(wait=False)
                started, liveness = self.watch()
            elif liveness.has_failed(now):
                why = "did not answer its liveness probe and was killed"
                self.operator.kill()

    def watch(self):
        """The time, and a probe of the process that began now."""
        now = time.monotonic()
        return now, Liveness(self.is_alive, now)

    def is_alive(self):
        """Whether the operator says that it is well, in the time that the chart gives it."""
        try:
            with urllib.request.urlopen(f"http://{self.operator.address}/healthz", timeout=PATIENCE):
                return True
        except OSError:
            return False

    def stop(self):
        """Let it end."""
        self.over.set()
        self.join()


def ended(code):
    """How a process ended, by its code."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def use(group, folder, processors):
    """Have the operators of :mod:`support.operator` run in a group, on these processors."""
    operators.BINARY = group.program(operators.BINARY.resolve(), folder, processors)


def parted():
    """The processors of this machine: for the operator, and for all else. Both are the same where there is only one."""
    every = sorted(os.sched_getaffinity(0))
    half = len(every) // 2
    return (every[-half:], every[:-half]) if half else (every, every)
