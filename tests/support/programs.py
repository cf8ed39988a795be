"""Third-party programs, built by tests/cluster."""

import functools
import subprocess
import sys

from support.cluster import ROOT


@functools.cache
def path(name):
    """Build a program unless it is cached, and return its path."""
    made = subprocess.run([sys.executable, "tests/cluster", "build", name], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    return made.stdout.split()[1]
