"""The operator with the conditions of a container: a memory limit, dedicated processors, a liveness probe and restarts."""

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

#: Files of a control group by version (True for version 2): limit, peak, counters of kills, and further settings.
FILES = {
    True: ("memory.max", "memory.peak", "memory.events", {"memory.swap.max": "0", "memory.oom.group": "1"}),
    False: ("memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control", {"memory.swappiness": "0"}),
}
UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
#: The kubelet's maximum back-off before it restarts a container, and the run time after which it resets the back-off, in seconds.
LONGEST, RESET = 300, 600
#: Probes as in the chart's Deployment: period of the liveness probe, period of the startup probe, failure threshold, maximum time to
#: start, and timeout; times in seconds.
PERIOD, STARTING_PERIOD, FAILURES, STARTING, PATIENCE = 10, 2, 3, 180, 5


def size(quantity):
    """Return the number of bytes of a quantity such as ``2Gi``."""
    number, unit = re.fullmatch(r"(\d+)(|Ki|Mi|Gi)", quantity).groups()
    return int(number) * UNITS[unit]


def default_limit():
    """Return the chart's memory limit."""
    return yaml.safe_load((CHART / "values.yaml").read_text())["resources"]["limits"]["memory"]


class Group:
    """A control group with a memory limit, for the operators that are started while it exists, and for their compilers.

    If it can't be created, memory is not limited.
    """

    def __init__(self, name, limit, root=cgroups.ROOT):
        self.limit = limit
        unified = cgroups.unified(root)
        self.top = root if unified else root / "memory"
        self.folder = self.top / name
        self.limit_file, self.peak_file, self.kills_file, self.more = FILES[unified]
        self.exists = False

    def __enter__(self):
        try:
            if (self.top / "cgroup.subtree_control").exists():
                (self.top / "cgroup.subtree_control").write_text("+memory")
            self.folder.mkdir(exist_ok=True)
            (self.folder / self.limit_file).write_text(str(self.limit))
            self.exists = True
        except OSError as error:
            print(f"cannot create a control group, so memory is not limited: {error}", flush=True)
        for name, value in self.more.items():
            try:
                (self.folder / name).write_text(value)
            except OSError:  # the kernel does not support swap or its accounting
                pass
        return self

    def __exit__(self, *_):
        try:
            self.folder.rmdir()
        except OSError:  # it does not exist
            pass

    def program(self, binary, folder, processors):
        """Write a script that runs the operator in this group on these processors, and return its path."""
        enter = f'echo $$ > "{self.folder}/cgroup.procs" || exit 1\n' if self.exists else ""
        wrapper = Path(folder) / "limited-operator"
        wrapper.write_text(f'#!/bin/sh\n{enter}exec taskset --cpu-list {",".join(map(str, sorted(processors)))} "{binary}" "$@"\n')
        wrapper.chmod(0o755)
        return wrapper

    def peak(self):
        """Return the peak memory of the group in bytes, or None if the kernel does not count it."""
        return number(self.folder / self.peak_file)

    def kills(self):
        """Return the number of processes that were killed because the group was out of memory."""
        try:
            found = re.search(r"^oom_kill (\d+)$", (self.folder / self.kills_file).read_text(), re.MULTILINE)
        except OSError:
            return 0
        return int(found[1]) if found else 0


def number(file):
    """Return the number in a file, or None if there is none."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def resident(process):
    """Return the peak resident memory of a process in bytes, or 0 if it has ended."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


class BackOff:
    """The back-off before restarts of a container: none before the first, then ten seconds, doubled each time up to the maximum."""

    def __init__(self):
        self.next = 0

    def pause(self, lived):
        """Return the seconds to wait before a restart, after a process that ran for ``lived`` seconds."""
        if lived > RESET:
            self.next = 0
        pause, self.next = self.next, min(max(10, 2 * self.next), LONGEST)
        return pause


class Liveness:
    """The chart's startup and liveness probes of a process that starts now."""

    def __init__(self, is_alive, now):
        self.is_alive = is_alive
        self.probed = self.started = now
        self.has_started = False
        self.failures = 0

    def has_failed(self, now):
        """Probe the process if the probe is due, and return whether the process must be killed."""
        if now < self.probed + (PERIOD if self.has_started else STARTING_PERIOD):
            return False
        self.probed = now
        if self.is_alive():
            self.has_started, self.failures = True, 0
            return False
        self.failures += self.has_started
        return self.failures >= FAILURES or (not self.has_started and now > self.started + STARTING)


class Supervisor(threading.Thread):
    """Restarts the operator after its end, and kills it when its liveness probe fails, as a kubelet does. Records the restarts."""

    def __init__(self, operator):
        super().__init__(daemon=True)
        self.operator = operator
        self.began = time.monotonic()
        #: Time of each restart, in seconds since the start or the last :meth:`reset`, and its reason.
        self.restarts = []
        self.resident = 0
        self.over = threading.Event()

    def reset(self):
        """Discard the recorded restarts."""
        self.began, self.restarts = time.monotonic(), []

    def run(self):
        back_off, why = BackOff(), None
        started, liveness = self.watch()
        while not self.over.wait(0.2):
            process, now = self.operator.process, time.monotonic()
            self.resident = max(self.resident, resident(process.pid))
            if process.poll() is not None:
                why = why or describe_exit(process.returncode)
                self.restarts.append({"after": round(now - self.began, 1), "why": why})
                print(f"the operator {why}:\n{self.operator.tail(10)}", flush=True)
                why = None
                if self.over.wait(back_off.pause(now - started)):
                    return
                self.operator.start(wait=False)
                started, liveness = self.watch()
            elif liveness.has_failed(now):
                why = "failed its liveness probe and was killed"
                self.operator.kill()

    def watch(self):
        """Return the current time, and the probes of the process that starts now."""
        now = time.monotonic()
        return now, Liveness(self.is_alive, now)

    def is_alive(self):
        """Return whether ``/healthz`` succeeds within the probe's timeout."""
        try:
            with urllib.request.urlopen(f"http://{self.operator.address}/healthz", timeout=PATIENCE):
                return True
        except OSError:
            return False

    def stop(self):
        """Stop the thread."""
        self.over.set()
        self.join()


def describe_exit(code):
    """Return a description of the end of a process from its return code."""
    return f"was terminated by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def run_in(group, folder, processors):
    """Make the operators of :mod:`support.operator` run in a group on these processors."""
    operators.BINARY = group.program(operators.BINARY.resolve(), folder, processors)


def split_processors():
    """Return the processors for the operator and those for all other processes. Both are the same if there is only one."""
    every = sorted(os.sched_getaffinity(0))
    half = len(every) // 2
    return (every[-half:], every[:-half]) if half else (every, every)
