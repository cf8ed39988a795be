"""What a round does, step by step, and what is wanted in the end. A seed decides both, before anything is asked of
Kubernetes: so a round can be repeated."""

import random
from dataclasses import dataclass, field


@dataclass
class Group:
    """A worker group that is wanted."""

    name: str
    replicas: int
    #: The most workers that it was ever to have: running ones may be held back when it shrinks.
    most: int = 0
    #: Whether it gives its workers up where the scheduler can't be asked.
    unsafe: bool = False

    def scale(self, replicas):
        """Want another number of workers."""
        self.replicas = replicas
        self.most = max(self.most, replicas)

    def __post_init__(self):
        self.most = max(self.most, self.replicas)


@dataclass
class Cluster:
    """A cluster that is wanted, or that of a job."""

    name: str
    groups: dict = field(default_factory=dict)
    #: Changes with the template.
    version: int = 0

    @property
    def default(self):
        """The group that comes with it."""
        return self.groups[f"{self.name}-default"]

    @classmethod
    def of(cls, name, replicas, unsafe=False):
        """One with its default group."""
        group = Group(f"{name}-default", replicas, unsafe=unsafe)
        return cls(name, {group.name: group})


@dataclass
class Job:
    """A job that is wanted."""

    cluster: Cluster
    #: How its code ends: ``Succeeded`` or ``Failed``, a pod's phase.
    end: str
    #: Whether its code is to end, or to run on.
    ends: bool = False
    #: Whether its runner was taken away: then it may have failed.
    disturbed: bool = False


@dataclass(frozen=True)
class Step:
    """One thing that is done, after a pause of so many seconds."""

    pause: float
    action: str
    target: str = ""
    #: A number whose meaning the action knows: how many, or which.
    number: float = 0
    how: str = ""

    def __str__(self):
        return " ".join(str(part) for part in (self.action, self.target, self.number or "", self.how) if part != "")


@dataclass(frozen=True)
class Shape:
    """What rounds of a flavour are like."""

    #: How often each action is chosen. Those that make no sense at the moment are left out.
    weights: dict
    #: How pods are killed: ``delete``, ``force``, ``evict``.
    kills: tuple
    #: Names that clusters and jobs can have. They are used again.
    clusters: int
    jobs: int
    #: Workers of a group, and of a job's, at the most.
    workers: int
    job_workers: int
    #: Steps, and seconds between two of them at the most.
    steps: int
    pause: float
    #: Seconds of silence.
    silence: float
    #: Whether the first cluster holds results, so that no pod of it may be killed and nothing of it be deleted.
    holds: bool = False
    #: Whether the code of a job comes to its end by itself.
    jobs_end: bool = False


#: What would take results from who holds them.
HARMFUL = frozenset({"delete-cluster", "recreate-cluster", "delete-group", "kill-workers", "kill-scheduler",
                     "delete-default-group"})


class Script:
    """The steps of a round, and what is wanted when they are done."""

    def __init__(self, seed, shape):
        self._chance = random.Random(seed)
        self._shape = shape
        self.clusters = {}
        self.jobs = {}
        self.steps = []
        #: The cluster that holds results.
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
        # Mostly quick, sometimes long enough for things to settle.
        pause = self._chance.uniform(0, self._shape.pause) * self._chance.choice((0, 0.3, 1, 1))
        self.steps.append(Step(round(pause, 2), action, target, number, how))

    def _targets(self, action):
        """What an action can be about."""
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
        # Somebody has to be there who takes results over.
        return self._workers(1 if self._shape.holds else 0)

    # What is wanted -----------------------------------------------------------

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

    # What is done to it -------------------------------------------------------

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
