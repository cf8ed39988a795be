"""Third-party programs, from the module that makes them."""

import functools
import subprocess
import sys

from support.cluster import ROOT


@functools.cache
def path(name):
    """The path of a program; made once, then cached."""
    made = subprocess.run([sys.executable, "tests/cluster", "build", name], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    return made.stdout.split()[1]
