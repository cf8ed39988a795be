"""docs/authors.md, walked word for word: all its shell blocks, one after the other, as somebody pastes them."""

import re
import subprocess
import textwrap
import time

from support.cluster import ROOT

#: Seconds after which the page hangs, on a machine that others use, too.
TOO_LONG = 2400

#: Words that the output must have, in this order.
SEEN = [
    "a plugin crate", "test result: ok. 2 passed", "target/plugin/worker-limit.wasm", "sha256:",
    "worker-limit 0.1.0: Refuses clusters that ask for too many workers, and gives labels to all others.", "dask:operator/policy@0.1.0",
    "maximum: How many workers a cluster or a worker group may have. [default: 100]",
    "DaskCluster large: admitted (create)", "Service large-scheduler", "without the plugin they are the same",
    "DaskCluster large: refused (create)", "spec.worker.replicas: 3 workers are too many: write at most 2", "refused",
    "DaskCluster large: admitted (create)", "example.com/team",
    "ok    few workers", "ok    too many workers", "ok    labels", "4 passed, 0 failed",
    "localhost:5000/policies/worker-limit:0.1.0", "pulled.wasm",
    "daskplugin.kubernetes.dask.org/worker-limit condition met", "worker-limit   0.1.0",
    "spec.worker.replicas: 3 workers are too many: write at most 2", "refused",
    "configmap/worker-limit replaced", "daskplugin.kubernetes.dask.org/worker-limit condition met",
    "spec.worker.replicas: 3 workers are more than this team has: write at most 2", "refused",
]


def blocks():
    """The shell blocks of the page."""
    text = (ROOT / "docs" / "authors.md").read_text()
    return re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_code_is_that_of_a_new_crate():
    """What the page shows of the policy stands in it."""
    text = (ROOT / "docs" / "authors.md").read_text()
    template = (ROOT / "host" / "author" / "templates" / "policy.rs").read_text()
    shown = re.findall(r"^```rust\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert shown
    for code in shown:
        assert textwrap.indent(code, " " * 8) in template


def test_the_page(cluster, tmp_path):
    # What runs in the background ends with the shell.
    script = "set -eu\ntrap 'kill $(jobs -p) 2> /dev/null' EXIT\n" + "\n".join(blocks())
    begun = time.monotonic()
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=cluster, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TOO_LONG)
    took = time.monotonic() - begun
    assert done.returncode == 0, done.stdout
    rest = done.stdout
    for words in SEEN:
        before, found, rest = rest.partition(words)
        assert found, f"{words!r} is not in what follows:\n{before}"
    print(f"the page took {took:.0f} s")
