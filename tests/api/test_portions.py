"""Workers that come in portions, as the predecessor's settings say."""

import datetime
import itertools

from support.dask import WORKERS, workers
from support.manifests import cluster

PORTIONS = "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__"
DELAY = 4


def test_the_delay_is_kept_whatever_happens_meanwhile(kubectl, own):
    """The events of pods that were made bring the group back at once, and it waits all the same."""
    with own(**{f"{PORTIONS}BATCH_SIZE": "2", f"{PORTIONS}DELAY": str(DELAY)}) as operator:
        kubectl.apply(cluster("c", 6))
        workers(kubectl, "c-default", 6)
        assert operator.missing_rights() == []
    created = sorted(datetime.datetime.fromisoformat(pod["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
                     for pod in kubectl.list("pods", WORKERS))
    portions = [created[index:index + 2] for index in range(0, 6, 2)]
    # Kubernetes cuts off the parts of a second.
    for before, after in itertools.pairwise(portions):
        assert (after[0] - before[-1]).total_seconds() >= DELAY - 1, portions
