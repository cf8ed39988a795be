"""Long-running processes, each remembered by its id *and* start time.

A process id alone is reused by the kernel sooner or later; together with the start time (clock ticks since boot,
``/proc/PID/stat``) it names one process for ever, so nothing else is ever signalled.
"""

import dataclasses
import json
import os
import select
import signal
import subprocess
import time

from .console import Failure


@dataclasses.dataclass(frozen=True)
class Process:
    """One process that was started, alive or not."""

    pid: int
    start: int

    @property
    def alive(self):
        """Whether it still runs; one that has ended but was not yet reaped does not."""
        found = start_time(self.pid)
        return found is not None and found == self.start

    def kill(self, signal_number=signal.SIGKILL):
        """Signal exactly this process. The descriptor is taken first and the start time checked after, so the id cannot be recycled in between."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive:
                signal.pidfd_send_signal(descriptor, signal_number)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)

    def wait(self, timeout):
        """Whether it ended within ``timeout`` seconds. It need not be our child."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            return not self.alive or bool(select.select([descriptor], [], [], timeout)[0])
        finally:
            os.close(descriptor)


def parse_stat(text):
    """State letter and start time from a line of ``/proc/PID/stat``. The name in parentheses may hold anything."""
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def start_time(pid):
    """The start time of a running process, or ``None`` when there is none (a zombie does not run)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, start = parse_stat(file.read())
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else start


class Records:
    """The process records of one cluster: ``run/COMPONENT.json`` in its folder."""

    def __init__(self, folder):
        self.folder = folder

    def _file(self, component):
        return self.folder / f"{component}.json"

    def write(self, component, process):
        """Remember a process; written whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{component}.tmp"
        draft.write_text(json.dumps(dataclasses.asdict(process)))
        draft.replace(self._file(component))

    def read(self, component):
        """The recorded process, or ``None``."""
        try:
            return Process(**json.loads(self._file(component).read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def all(self):
        """Every recorded component with its process, oldest first."""
        found = [(file.stem, self.read(file.stem)) for file in self.folder.glob("*.json")]
        return sorted(((name, process) for name, process in found if process), key=lambda item: item[1].start)

    def forget(self, component):
        """Drop a record."""
        self._file(component).unlink(missing_ok=True)


def launch(argv, log, before_exec=None, env=None):
    """Start a daemon: own session (a terminal's Ctrl-C is not for it), output to its log.

    ``before_exec`` runs in the child, before the program: it joins the control group there.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        output.write(f"--- {time.strftime('%F %T')} {argv[0]}\n".encode())
        output.flush()
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", env=env,
                                 start_new_session=True, preexec_fn=before_exec)
    start = start_time(child.pid)
    if start is None:
        raise Failure(f"{argv[0]} ended at once:\n{tail(log)}")
    return Process(child.pid, start)


def tail(log, lines=12):
    """The last lines of a log, indented, for a person."""
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            last = file.readlines()[-lines:]
    except FileNotFoundError:
        last = ["(no log)\n"]
    return "".join(f"    | {line.rstrip()[:400]}\n" for line in last).rstrip("\n")


def wait_until(ready, timeout, process=None, every=0.05):
    """Poll ``ready`` until true. False when the time is over or ``process`` has ended."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline or (process is not None and not process.alive):
            return False
        time.sleep(every)
    return True
