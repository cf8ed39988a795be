"""The steps of a round, and the desired state after them.

Pure: a seed determines both before the first request to Kubernetes, so that a round can be repeated.
"""

import random
from dataclasses import dataclass, field


@dataclass
class Group:
    """A worker group of the desired state."""

    name: str
    replicas: int
    #: Maximum of all desired numbers of workers so far: running workers may be held back when the group is scaled down.
    most: int = 0
    #: True if the group removes workers even if the scheduler is unreachable.
    unsafe: bool = False

    def scale(self, replicas):
        """Set the desired number of workers."""
        self.replicas = replicas
        self.most = max(self.most, replicas)

    def __post_init__(self):
        self.most = max(self.most, self.replicas)


@dataclass
class Cluster:
    """A cluster of the desired state, or that of a job."""

    name: str
    groups: dict = field(default_factory=dict)
    #: Version of the worker template.
    version: int = 0

    @property
    def default(self):
        """The cluster's default group."""
        return self.groups[f"{self.name}-default"]

    @classmethod
    def of(cls, name, replicas, unsafe=False):
        """Return a cluster with its default group."""
        group = Group(f"{name}-default", replicas, unsafe=unsafe)
        return cls(name, {group.name: group})


@dataclass
class Job:
    """A job of the desired state."""

    cluster: Cluster
    #: Phase of the runner's pod after the end of its code: ``Succeeded`` or ``Failed``.
    end: str
    #: True if its code ends, false if it keeps running.
    ends: bool = False
    #: True if its runner was deleted, so that the job may have failed.
    disturbed: bool = False


@dataclass(frozen=True)
class Step:
    """An action after a pause in seconds."""

    pause: float
    action: str
    target: str = ""
    #: Argument of the action, for example a number of replicas, a version, a share or a seed.
    number: float = 0
    how: str = ""

    def __str__(self):
        return " ".join(str(part) for part in (self.action, self.target, self.number or "", self.how) if part != "")


@dataclass(frozen=True)
class Shape:
    """Parameters of the rounds of a flavour."""

    #: Relative frequency of each action. Actions that are impossible at the moment are excluded.
    weights: dict
    #: Ways to kill pods: ``delete``, ``force``, ``evict``.
    kills: tuple
    #: Number of names of clusters and of jobs. Names are reused.
    clusters: int
    jobs: int
    #: Maximum number of workers of a group, and of a job's group.
    workers: int
    job_workers: int
    #: Number of steps, and the maximum pause between two steps in seconds.
    steps: int
    pause: float
    #: Duration of a silence in seconds.
    silence: float
    #: True if the first cluster holds results, so that actions of :data:`HARMFUL` must not apply to it.
    holds: bool = False
    #: True if the code of a job ends by itself.
    jobs_end: bool = False


#: Actions that could lose results that a client holds.
HARMFUL = frozenset({"delete-cluster", "recreate-cluster", "delete-group", "kill-workers", "kill-scheduler",
                     "delete-default-group"})


class Script:
    """The steps of a round, and the desired state after them."""

    def __init__(self, seed, shape):
        self._chance = random.Random(seed)
        self._shape = shape
        self.clusters = {}
        self.jobs = {}
        self.steps = []
        #: Name of the cluster that holds results, or None.
        self.held = "c0" if shape.holds else None
        self._down = 0
        if self.held:
            self._create_cluster(self.held)
            self._add("hold-results", self.held)
        self._faults_on("")
        for _ in range(shape.steps):
            if self._down:
                self._down -= 1
                if not self._down:
                    self._add("start-operator")
                    continue
            possible = {name: weight for name, weight in shape.weights.items() if self._targets(name)}
            action = self._chance.choices(list(possible), possible.values())[0]
            target = self._chance.choice(self._targets(action))
            getattr(self, f"_{action.replace('-', '_')}")(target)
        if self._down:
            self._add("start-operator")

    def _add(self, action, target="", number=0, how=""):
        # Mostly short, sometimes long enough for the state to converge.
        pause = self._chance.uniform(0, self._shape.pause) * self._chance.choice((0, 0.3, 1, 1))
        self.steps.append(Step(round(pause, 2), action, target, number, how))

    def _targets(self, action):
        """Return the possible targets of an action."""
        return [target for target in self._all_targets(action) if target != self.held or action not in HARMFUL]

    def _all_targets(self, action):
        free_clusters = sorted({f"c{number}" for number in range(self._shape.clusters)} - set(self.clusters))
        free_jobs = sorted({f"j{number}" for number in range(self._shape.jobs)} - set(self.jobs))
        match action:
            case "create-cluster":
                return free_clusters
            case "create-job":
                return free_jobs
            case "create-group" | "scale-group" | "delete-group":
                has_one = action != "create-group"
                return [name for name, cluster in self.clusters.items() if (len(cluster.groups) > 1) == has_one]
            case "end-job":
                return [name for name, job in self.jobs.items() if not job.ends]
            case "delete-job" | "recreate-job":
                return list(self.jobs)
            case "kill-runner":
                return [name for name, job in self.jobs.items() if not job.disturbed and (self._shape.jobs_end or not job.ends)]
            case "kill-operator":
                return [] if self._down else [""]
            case "faults-on" | "faults-off" | "silence" | "end-watches":
                return [""]
            case _:
                return list(self.clusters)

    def _workers(self, least=0):
        return self._chance.randint(least, self._shape.workers)

    def _default_workers(self):
        # With results, at least one worker must remain that can take them over.
        return self._workers(1 if self._shape.holds else 0)

    # Changes of the desired state -----------------------------------------------

    def _create_cluster(self, name):
        unsafe = not self._shape.holds and self._chance.random() < 0.5
        self.clusters[name] = Cluster.of(name, self._default_workers(), unsafe)
        self._add("create-cluster", name, self.clusters[name].default.replicas, "unsafe" if unsafe else "")

    def _scale_cluster(self, name):
        self.clusters[name].default.scale(self._default_workers())
        self._add("scale-cluster", name, self.clusters[name].default.replicas)

    def _roll_cluster(self, name):
        self.clusters[name].version += 1
        self._add("roll-cluster", name, self.clusters[name].version)

    def _delete_cluster(self, name):
        del self.clusters[name]
        self._add("delete-cluster", name)

    def _recreate_cluster(self, name):
        self._delete_cluster(name)
        self._create_cluster(name)

    def _create_group(self, name):
        group = Group(f"{name}-more", self._workers())
        self.clusters[name].groups[group.name] = group
        self._add("create-group", name, group.replicas)

    def _scale_group(self, name):
        group = self.clusters[name].groups[f"{name}-more"]
        group.scale(self._workers())
        self._add("scale-group", name, group.replicas)

    def _delete_group(self, name):
        del self.clusters[name].groups[f"{name}-more"]
        self._add("delete-group", name)

    def _create_job(self, name):
        end = self._chance.choice(("Succeeded", "Succeeded", "Failed"))
        self.jobs[name] = Job(Cluster.of(name, self._chance.randint(1, self._shape.job_workers)), end, self._shape.jobs_end)
        self._add("create-job", name, self.jobs[name].cluster.default.replicas, end)

    def _end_job(self, name):
        self.jobs[name].ends = True
        self._add("end-job", name, how=self.jobs[name].end)

    def _delete_job(self, name):
        del self.jobs[name]
        self._add("delete-job", name)

    def _recreate_job(self, name):
        self._delete_job(name)
        self._create_job(name)

    def _hold_results(self, name):
        self._add("hold-results", name)

    # Faults -----------------------------------------------------------------------

    def _kill_runner(self, name):
        self.jobs[name].disturbed = True
        self._add("kill-runner", name)

    def _kill_workers(self, name):
        share = round(self._chance.choice((0.1, 0.5, 1.0)) * self._chance.random(), 2)
        self._add("kill-workers", name, share, self._chance.choice(self._shape.kills))

    def _kill_scheduler(self, name):
        self._add("kill-scheduler", name, how=self._chance.choice(self._shape.kills))

    def _delete_service(self, name):
        self._add("delete-service", name)

    def _delete_default_group(self, name):
        self.clusters[name].default.most = self.clusters[name].default.replicas
        self._add("delete-default-group", name)

    def _kill_operator(self, _):
        self._add("kill-operator")
        self._down = self._chance.randint(1, 4)

    def _faults_on(self, _):
        self._add("faults-on", number=self._chance.randint(1, 10**6))

    def _faults_off(self, _):
        self._add("faults-off")

    def _silence(self, _):
        self._add("silence", number=self._shape.silence)

    def _end_watches(self, _):
        self._add("end-watches", how=self._chance.choice(("dropped", "expired", "closed")))
