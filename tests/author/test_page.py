"""Tests of docs/authors.md: all shell blocks of the page run in order and unchanged."""

import re
import subprocess
import textwrap
import time

from support.cluster import ROOT

#: Timeout for the whole page, in seconds, for a machine that runs other work too.
TOO_LONG = 2400

#: Fragments that the output must contain, in this order.
OUTPUT = [
    "a plugin crate", "test result: ok. 2 passed", "target/plugin/worker-limit.wasm", "sha256:",
    "worker-limit 0.1.0: Refuses clusters that ask for too many workers, and gives labels to all others.", "dask:operator/policy@0.1.0",
    "maximum: Maximum number of workers of a cluster or a worker group. [default: 100]",
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
    """Returns the shell blocks of the page."""
    text = (ROOT / "docs" / "authors.md").read_text()
    return re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_code_on_the_page_matches_the_template_of_a_new_crate():
    """Each code block of the policy on the page is part of the template."""
    text = (ROOT / "docs" / "authors.md").read_text()
    template = (ROOT / "host" / "author" / "templates" / "policy.rs").read_text()
    snippets = re.findall(r"^```rust\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert snippets
    for snippet in snippets:
        assert textwrap.indent(snippet, " " * 8) in template


def test_all_commands_of_the_page_succeed(cluster, tmp_path):
    # Background processes end with the shell.
    script = "set -eu\ntrap 'kill $(jobs -p) 2> /dev/null' EXIT\n" + "\n".join(blocks())
    start = time.monotonic()
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=cluster, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TOO_LONG)
    duration = time.monotonic() - start
    assert done.returncode == 0, done.stdout
    rest = done.stdout
    for fragment in OUTPUT:
        output_before, found, rest = rest.partition(fragment)
        assert found, f"{fragment!r} is not in this output:\n{output_before}"
    print(f"the page took {duration:.0f} s")
