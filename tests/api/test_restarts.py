"""Operators that are stopped, killed and started again. Each looks after its test's namespace only, and has no rights elsewhere."""

import collections
import time

from support.dask import WORKERS, workers
from support.manifests import cluster, group, job
from support.waiting import until

FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"


def test_killed_twenty_times_while_fifty_workers_come_up(kubectl, own):
    """Whatever it was doing: in the end there are exactly fifty, and there were never more."""
    seen = collections.Counter()
    # In portions of three, so that the kills are spread over the whole work.
    portions = "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__"
    operator = own("--writes-in-flight", "2", **{f"{portions}BATCH_SIZE": "3", f"{portions}DELAY": "1"})
    try:
        kubectl.apply(cluster("c", 50))
        for round in range(20):
            before = len(kubectl.names("pods", WORKERS))
            operator.start(wait=False)
            # At different moments of its start, and, however slow the machine is, in the midst of its work.
            if round % 2 and before < 50:
                until(lambda before=before: len(kubectl.names("pods", WORKERS)) > before, "another worker", pause=0.02)
            else:
                time.sleep(0.15 + 0.04 * round)
            operator.kill()
            count = len(kubectl.names("pods", WORKERS))
            seen[count] += 1
            assert count <= 50
        operator.start()
        workers(kubectl, "c-default", 50)
        operator.wait_until_quiet()
        assert len(kubectl.names("pods", WORKERS)) == 50
        assert kubectl.names("daskworkergroups") == ["c-default"]
        assert len(kubectl.names("pods")) == 51
        assert operator.missing_rights() == []
    finally:
        operator.stop()
    print(f"workers after each kill: {sorted(seen.elements())}")
    assert len(seen) > 2, f"the kills came before or after the work, not in it: {seen}"


def test_a_restart_and_a_resync_write_nothing(kubectl, own):
    def versions():
        objects = kubectl.list("daskclusters,daskworkergroups,daskjobs,pods,services")
        return {(object["kind"], object["metadata"]["name"]): object["metadata"]["resourceVersion"] for object in objects}

    with own() as operator:
        kubectl.apply(cluster("c", 5), group("more", "c", 3), job("j", replicas=2))
        workers(kubectl, "more", 3)
        workers(kubectl, "c-default", 5)
        workers(kubectl, "j-default", 2)
        operator.wait_until_quiet()
        assert operator.missing_rights() == []
    before = versions()
    with own() as operator:
        until(lambda: operator.metric("dask_operator_reconciles_total", result="success") >= 5, "all to be looked at")
        operator.wait_until_quiet()
        assert operator.writes() == 0
        assert versions() == before
        reconciles = operator.metric("dask_operator_reconciles_total")
        # Something that means nothing to a plan wakes it up, and still it writes nothing.
        kubectl("annotate", "pod", "c-scheduler", "example.com/note=1")
        until(lambda: operator.metric("dask_operator_reconciles_total") > reconciles, "another look")
        operator.wait_until_quiet()
        assert operator.writes() == 0


def test_a_deletion_that_hangs_on_kopf_goes_on(kubectl, own):
    kubectl.apply(cluster("c", 1, finalizers=[FINALIZER]))
    kubectl("delete", "dsk", "c", "--wait=false")
    assert kubectl.get("dsk", "c")
    with own() as operator:
        until(lambda: not kubectl.get("dsk", "c"), "the cluster to be gone")
        assert operator.missing_rights() == []
