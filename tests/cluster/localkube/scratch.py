"""Temporary folders of runs: each is removed at the end of its run, with everything that the run's processes left in it.

Programs that are killed leave their temporary files, and some libraries never delete theirs: kr8s, the client that KubeCluster uses,
writes the certificates of a kubeconfig to files. The name of a folder has the process id and the start time of its owner, so that
``down`` recognizes the folder of a process that was killed.
"""

import contextlib
import dataclasses
import os
import re
import shutil
import tempfile
from pathlib import Path

from .processes import Process, start_time
from .settings import PREFIX

#: Name of a folder: process id and start time of its owner, and random characters.
NAME = re.compile(rf"{PREFIX}-(\d+)-(\d+)-\w+")


@dataclasses.dataclass
class Folder:
    """A temporary folder. With ``keep`` it is not removed at the end of its run, but by the next ``down``."""

    path: Path
    keep: bool = False


@contextlib.contextmanager
def folder():
    """Create a temporary folder, which this process and those that it starts use in place of the system's, and remove it at the end."""
    inherited, outer = os.environ.get("TMPDIR"), tempfile.tempdir
    path = tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-{start_time(os.getpid())}-")
    created = Folder(Path(path))
    os.environ["TMPDIR"] = tempfile.tempdir = path
    try:
        yield created
    finally:
        tempfile.tempdir = outer
        if inherited is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = inherited
        if not created.keep:
            shutil.rmtree(path, ignore_errors=True)


def abandoned():
    """Return this user's temporary folders of runs that have ended."""
    found = []
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}-*")):
        name = NAME.fullmatch(path.name)
        with contextlib.suppress(FileNotFoundError):  # it is removed meanwhile
            if name and path.is_dir() and path.lstat().st_uid == os.geteuid() and not Process(*map(int, name.groups())).alive:
                found.append(path)
    return found


def remove_abandoned():
    """Remove the temporary folders of runs that have ended."""
    for path in abandoned():
        shutil.rmtree(path, ignore_errors=True)
