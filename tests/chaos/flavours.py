"""The two flavours of rounds: many pods without containers, and few pods with real Dask processes."""

from dataclasses import dataclass

from play import ControlPlanePlayer
from results import RealPlayer
from script import Shape


@dataclass(frozen=True)
class Flavour:
    """Parameters of a flavour."""

    name: str
    shape: Shape
    #: Number of steps of a short round.
    short_steps: int
    #: Class that executes the steps.
    player: type
    #: Name and address range of its local Kubernetes, and whether that has a real node.
    cluster: str
    range: str
    node: bool
    #: Maximum time in seconds from the end of the faults to the desired state. A watch that failed often is restarted after
    #: 30 s at the latest, and the back-off of a resource after failures is of the same magnitude. Real pods need more time.
    rest: float


CONTROL_PLANE = Flavour(
    "control-plane",
    Shape(
        weights={
            "create-cluster": 4, "scale-cluster": 6, "roll-cluster": 2, "delete-cluster": 1, "recreate-cluster": 1,
            "create-group": 2, "scale-group": 2, "delete-group": 1,
            "create-job": 3, "end-job": 3, "delete-job": 0.5, "recreate-job": 1, "kill-runner": 0.5,
            "kill-workers": 3, "kill-scheduler": 1, "delete-service": 0.5, "delete-default-group": 0.5,
            "kill-operator": 3, "faults-on": 2, "faults-off": 0.5, "silence": 0.7, "end-watches": 1.5,
        },
        kills=("delete", "force", "evict"), clusters=5, jobs=3, workers=40, job_workers=10, steps=60, pause=1.0, silence=30,
    ),
    30, ControlPlanePlayer, "chaos-fake", "198.19.160.0/19", node=False, rest=90,
)

REAL = Flavour(
    "real",
    Shape(
        weights={
            "create-cluster": 2, "scale-cluster": 6, "roll-cluster": 1.5, "delete-cluster": 0.5, "recreate-cluster": 0.5,
            "create-group": 1, "scale-group": 1, "delete-group": 0.5, "hold-results": 2,
            "create-job": 3, "delete-job": 0.3, "kill-runner": 0.3,
            "kill-workers": 2, "kill-scheduler": 0.7, "delete-service": 0.3, "delete-default-group": 0.2,
            "kill-operator": 4, "faults-on": 3, "faults-off": 0.7, "silence": 0.7, "end-watches": 1.5,
        },
        kills=("delete", "force"), clusters=2, jobs=2, workers=4, job_workers=2, steps=40, pause=3.0, silence=30,
        holds=True, jobs_end=True,
    ),
    12, RealPlayer, "chaos-real", "198.19.192.0/19", node=True, rest=240,
)

ALL = {flavour.name: flavour for flavour in (CONTROL_PLANE, REAL)}
