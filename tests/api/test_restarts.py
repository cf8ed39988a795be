"""Stops, kills and restarts of operators. Each operator manages its test's namespace only, and has no permissions elsewhere."""

import collections
import time

from support.dask import WORKERS, workers
from support.manifests import cluster, group, job
from support.waiting import until

FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"


def test_twenty_kills_during_a_scale_up_lead_to_exactly_fifty_workers(kubectl, make_operator):
    """The operator is killed at arbitrary points. There are never more than fifty workers, and exactly fifty at the end."""
    counts = collections.Counter()
    # Batches of three, so that the kills are spread over the whole scale-up.
    allocation = "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__"
    operator = make_operator("--writes-in-flight", "2", **{f"{allocation}BATCH_SIZE": "3", f"{allocation}DELAY": "1"})
    try:
        kubectl.apply(cluster("c", 50))
        for round in range(20):
            before = len(kubectl.names("pods", WORKERS))
            operator.start(wait=False)
            # Kill at different points of the start, and, independent of the speed of the machine, during the scale-up.
            if round % 2 and before < 50:
                until(lambda before=before: len(kubectl.names("pods", WORKERS)) > before, "another worker", pause=0.02)
            else:
                time.sleep(0.15 + 0.04 * round)
            operator.kill()
            count = len(kubectl.names("pods", WORKERS))
            counts[count] += 1
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
    print(f"workers after each kill: {sorted(counts.elements())}")
    assert len(counts) > 2, f"the kills came before or after the scale-up, not during it: {counts}"


def test_a_restart_and_a_resync_cause_no_writes(kubectl, make_operator):
    def versions():
        objects = kubectl.list("daskclusters,daskworkergroups,daskjobs,pods,services")
        return {(object["kind"], object["metadata"]["name"]): object["metadata"]["resourceVersion"] for object in objects}

    with make_operator() as operator:
        kubectl.apply(cluster("c", 5), group("more", "c", 3), job("j", replicas=2))
        workers(kubectl, "more", 3)
        workers(kubectl, "c-default", 5)
        workers(kubectl, "j-default", 2)
        operator.wait_until_quiet()
        assert operator.missing_rights() == []
    before = versions()
    with make_operator() as operator:
        until(lambda: operator.metric("dask_operator_reconciles_total", result="success") >= 5, "all resources to be reconciled")
        operator.wait_until_quiet()
        assert operator.writes() == 0
        assert versions() == before
        reconciles = operator.metric("dask_operator_reconciles_total")
        # A change that is irrelevant to the plan triggers a reconcile, but no write.
        kubectl("annotate", "pod", "c-scheduler", "example.com/note=1")
        until(lambda: operator.metric("dask_operator_reconciles_total") > reconciles, "another reconcile")
        operator.wait_until_quiet()
        assert operator.writes() == 0


def test_a_deletion_blocked_by_a_kopf_finalizer_completes(kubectl, make_operator):
    kubectl.apply(cluster("c", 1, finalizers=[FINALIZER]))
    kubectl("delete", "dsk", "c", "--wait=false")
    assert kubectl.get("dsk", "c")
    with make_operator() as operator:
        until(lambda: not kubectl.get("dsk", "c"), "the cluster to be deleted")
        assert operator.missing_rights() == []
