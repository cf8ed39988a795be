"""Creation of workers in batches, with the settings of the predecessor."""

import datetime
import itertools

from support.dask import WORKERS, workers
from support.manifests import cluster

ALLOCATION = "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__"
DELAY = 4


def test_pod_events_do_not_shorten_the_delay_between_batches(kubectl, make_operator):
    """The events of new pods requeue the group at once. The next batch must still wait for the delay."""
    with make_operator(**{f"{ALLOCATION}BATCH_SIZE": "2", f"{ALLOCATION}DELAY": str(DELAY)}) as operator:
        kubectl.apply(cluster("c", 6))
        workers(kubectl, "c-default", 6)
        assert operator.missing_rights() == []
    created = sorted(datetime.datetime.fromisoformat(pod["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
                     for pod in kubectl.list("pods", WORKERS))
    batches = [created[index:index + 2] for index in range(0, 6, 2)]
    # Kubernetes truncates timestamps to seconds.
    for previous, following in itertools.pairwise(batches):
        assert (following[0] - previous[-1]).total_seconds() >= DELAY - 1, batches
