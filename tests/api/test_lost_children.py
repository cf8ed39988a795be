"""What a cluster or a job has one of is made anew at once.

How fast that is depends on the machine, so no time is promised here. But changes of children are otherwise collected, for
:data:`COLLECTED` at the least and for a second while there are many: no child that is waited for like that can be there sooner.
Times count from before the deletion is asked for until the next one is seen, so that they can only be too long.
"""

import time

import pytest
from support.cluster import tell
from support.dask import workers
from support.manifests import cluster, job
from support.waiting import until

#: Seconds for which the operator collects changes at the least: COLLECT in host/operator/src/controller.rs.
COLLECTED = 0.1
#: Tries until one is sooner.
TRIES = 40


def seconds_until_replaced(kubectl, kind, name):
    """From before an object is deleted until there is another of its name."""
    def other():
        return (server.get(kind, kubectl.namespace, name) or {}).get("metadata", {}).get("uid") not in (None, before)

    server = kubectl.server()
    before = server.get(kind, kubectl.namespace, name)["metadata"]["uid"]
    begin = time.monotonic()
    server.delete(kind, kubectl.namespace, name)
    until(other, f"another {kind} {name}", pause=0.001)
    return time.monotonic() - begin


@pytest.mark.parametrize("kind, name", [("pod", "c-scheduler"), ("service", "c-scheduler"), ("pod", "j-runner")])
def test_it_is_made_anew_without_waiting(kubectl, operator, kind, name):
    kubectl.apply(job("j", replicas=0) if name.startswith("j") else cluster("c", 1))
    if name.startswith("c"):
        workers(kubectl, "c-default", 1)
    until(lambda: kubectl.get(kind, name), f"the {kind} {name}")
    operator.wait_until_quiet()
    took = []
    while not took or min(took) >= COLLECTED:
        assert len(took) < TRIES, f"none was there sooner than what is collected: {took}"
        took.append(seconds_until_replaced(kubectl, kind, name))
    tell(f"a deleted {kind} {name} was there again after {', '.join(f'{1000 * seconds:.0f}' for seconds in took)} ms")
