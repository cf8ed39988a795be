"""Long-running processes, each identified by its process id *and* start time.

The kernel reuses process ids. Together with the start time (clock ticks since boot, from ``/proc/PID/stat``) the id is unique,
so no other process is ever signalled.
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
    """A process that was started and may have ended."""

    pid: int
    start: int

    @property
    def alive(self):
        """True if the process runs. A zombie does not."""
        found = start_time(self.pid)
        return found is not None and found == self.start

    def kill(self, signal_number=signal.SIGKILL):
        """Signal exactly this process.

        The pidfd is opened before the start time is checked, so the process id cannot be reused in between.
        """
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
        """Wait for the process, which need not be a child, and return whether it ended within ``timeout`` seconds."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            return not self.alive or bool(select.select([descriptor], [], [], timeout)[0])
        finally:
            os.close(descriptor)


def parse_stat(text):
    """Return the state letter and the start time from ``/proc/PID/stat``. The name in parentheses may contain any characters."""
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def start_time(pid):
    """Return the start time of a process, or ``None`` if it does not run (a zombie does not)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, start = parse_stat(file.read())
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else start


class Records:
    """Process records in a folder, one ``COMPONENT.json`` each."""

    def __init__(self, folder):
        self.folder = folder

    def _file(self, component):
        return self.folder / f"{component}.json"

    def write(self, component, process):
        """Record a process atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{component}.tmp"
        draft.write_text(json.dumps(dataclasses.asdict(process)))
        draft.replace(self._file(component))

    def read(self, component):
        """Return the recorded process, or ``None``."""
        try:
            return Process(**json.loads(self._file(component).read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def all(self):
        """Return every recorded component with its process, oldest first."""
        found = [(file.stem, self.read(file.stem)) for file in self.folder.glob("*.json")]
        return sorted(((name, process) for name, process in found if process), key=lambda item: item[1].start)

    def forget(self, component):
        """Delete a record."""
        self._file(component).unlink(missing_ok=True)


def launch(argv, log, before_exec=None, env=None):
    """Start a daemon in a new session (without the terminal's Ctrl-C), with its output appended to ``log``.

    ``before_exec`` runs in the child before exec, for example to join a control group.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        output.write(f"--- {time.strftime('%F %T')} {argv[0]}\n".encode())
        output.flush()
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", env=env,
                                 start_new_session=True, preexec_fn=before_exec)
    start = start_time(child.pid)
    if start is None:
        raise Failure(f"{argv[0]} ended immediately:\n{tail(log)}")
    return Process(child.pid, start)


def tail(log, lines=12):
    """Return the last lines of a log, indented for the console."""
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            last = file.readlines()[-lines:]
    except FileNotFoundError:
        last = ["(no log)\n"]
    return "".join(f"    | {line.rstrip()[:400]}\n" for line in last).rstrip("\n")


def wait_until(ready, timeout, process=None, every=0.05):
    """Poll ``ready`` until it returns true. Returns False if ``timeout`` seconds have passed or ``process`` has ended."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline or (process is not None and not process.alive):
            return False
        time.sleep(every)
    return True
