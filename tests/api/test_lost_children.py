"""Immediate replacement of children of which a cluster or a job has exactly one.

The absolute time depends on the machine, so no time is asserted. The operator collects all other changes of children for at
least :data:`COLLECTED`, and for a second while there are many. Therefore a child that is replaced faster than that did not wait.
Each measurement starts before the deletion is requested and ends when the new child is visible, so it can only be too long.
"""

import time

import pytest
from support.cluster import tell
from support.dask import workers
from support.manifests import cluster, job
from support.waiting import until

#: Minimum number of seconds for which the operator collects changes: BATCH in host/operator/src/controller/debounce.rs.
COLLECTED = 0.1
#: Maximum number of deletions until one replacement is faster than :data:`COLLECTED`.
TRIES = 40


def seconds_until_replaced(kubectl, kind, name):
    """Deletes an object, and returns the number of seconds until another object of its name exists."""
    def is_replaced():
        return (server.get(kind, kubectl.namespace, name) or {}).get("metadata", {}).get("uid") not in (None, old_uid)

    server = kubectl.server()
    old_uid = server.get(kind, kubectl.namespace, name)["metadata"]["uid"]
    start = time.monotonic()
    server.delete(kind, kubectl.namespace, name)
    until(is_replaced, f"another {kind} {name}", pause=0.001)
    return time.monotonic() - start


@pytest.mark.parametrize("kind, name", [("pod", "c-scheduler"), ("service", "c-scheduler"), ("pod", "j-runner")])
def test_a_deleted_child_is_replaced_without_delay(kubectl, operator, kind, name):
    kubectl.apply(job("j", replicas=0) if name.startswith("j") else cluster("c", 1))
    if name.startswith("c"):
        workers(kubectl, "c-default", 1)
    until(lambda: kubectl.get(kind, name), f"the {kind} {name}")
    operator.wait_until_quiet()
    durations = []
    while not durations or min(durations) >= COLLECTED:
        assert len(durations) < TRIES, f"no replacement was faster than {COLLECTED} s: {durations}"
        durations.append(seconds_until_replaced(kubectl, kind, name))
    tell(f"a deleted {kind} {name} was replaced after {', '.join(f'{1000 * seconds:.0f}' for seconds in durations)} ms")
