"""A round: steps with faults, convergence without faults, and checks."""

import shutil
import time
import traceback
from dataclasses import dataclass

import decoys
import invariants
from proxy import Proxy
from script import Script
from support import kubectl as kubectls
from support.kubectl import Refused
from support.operator import Operator
from support.waiting import until

#: Seconds without writes that are required in the desired state, and again after a restart of the operator.
QUIET = 5
#: Seconds after which a watch ends and is restarted.
WATCH_SECONDS = 240


@dataclass
class Figures:
    """Measurements of a round."""

    trouble: float = 0
    rest: float = 0
    starts: int = 0
    steps: int = 0
    faults: int = 0
    requests: int = 0
    #: Number of watched kinds.
    kinds: int = 0
    #: Number of objects that the operator created.
    children: int = 0

    @property
    def bound(self):
        """The maximum number of requests.

        - Two per kind for each start and each regular end of a watch: a list and a watch.
        - Three per fault: a list and a watch again, or the failed request again and an event.
        - Three per child: its creation, its deletion, and a status that counts it.
        - Six per step: statuses, events and changes of other objects.
        """
        lists = 2 * self.kinds * (self.starts + int((self.trouble + self.rest) / WATCH_SECONDS) + 1)
        return lists + 3 * self.faults + 3 * self.children + 6 * self.steps

    def __str__(self):
        return (f"{self.trouble:.0f} s of faults, {self.starts} starts, {self.faults} faults, {self.children} children; "
                f"converged after {self.rest:.1f} s; {self.requests} requests, at most {self.bound} = "
                f"2·{self.kinds} kinds·(starts + {1 + int((self.trouble + self.rest) / WATCH_SECONDS)}) + 3·faults + "
                f"3·children + 6·{self.steps} steps")


class Failed(Exception):
    """A check failed; the text describes the violations."""


class Round:
    """A round with a seed, in its own namespace, with its logs in ``folder``."""

    def __init__(self, flavour, environment, seed, shape, folder):
        self.flavour = flavour
        self.environment = environment
        self.seed = seed
        self.script = Script(seed, shape)
        self.folder = folder
        self.figures = Figures()

    def run(self):
        """Run the round and return its figures. Raises an exception, and leaves the folder, if a check fails."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        kubectl = kubectls.new_namespace(self.environment, f"chaos-{self.seed}")
        try:
            with Proxy(self.environment["KUBECONFIG"], self.folder) as proxy, (self.folder / "steps.log").open("w") as log:
                operator = Operator({**self.environment, "KUBECONFIG": str(proxy.kubeconfig)}, self.folder,
                                    "--namespace", kubectl.namespace, "--verbose")
                player = self.flavour.player(kubectl, operator, proxy, log)
                try:
                    self._play(player)
                except Exception as error:
                    self._save(kubectl, error)
                    raise
                finally:
                    player.close()
                    if operator.process:
                        operator.kill()
        finally:
            kubectls.drop_namespace(kubectl)
            kubectls.await_end(self.environment, [kubectl.namespace])
        shutil.rmtree(self.folder)
        return self.figures

    def _play(self, player):
        figures = self.figures
        begin = time.monotonic()
        before = decoys.create(player.kubectl)
        player.start_operator(wait=True)
        player.play(self.script)
        figures.trouble = time.monotonic() - begin
        player.faults_off()
        calm = time.monotonic()

        def converged():
            player.settle(self.script)
            found = invariants.problems(player.kubectl, self.script, self.flavour.node) + decoys.problems(player.kubectl, before)
            assert not found, "\n  ".join(["", *found])
            return True

        until(converged, "the desired state", self.flavour.rest, 0.5)
        figures.rest = time.monotonic() - calm
        self._check_quiet(player, "after convergence")
        player.operator.stop()
        player.start_operator(wait=True)
        self._check_quiet(player, "after a restart")
        converged()
        if found := player.problems(self.script):
            raise Failed("\n  ".join(["", *found]))
        self._count(player)

    def _check_quiet(self, player, when):
        """Wait until the operator stops writing; after a restart, fail if it writes at all."""
        seen = {"writes": None, "since": time.monotonic()}

        def quiet():
            writes = player.proxy.writes()
            if writes != seen["writes"]:
                seen.update(writes=writes, since=time.monotonic())
            return time.monotonic() - seen["since"] > QUIET

        if when == "after convergence":
            until(quiet, "writes to end", self.flavour.rest)
            return
        before = player.proxy.writes()
        time.sleep(QUIET)
        written = player.proxy.writes() - before
        if written:
            raise Failed(f"{written} writes {when}, although the state is the desired one")

    def _count(self, player):
        figures, proxy = self.figures, player.proxy
        figures.starts = player.starts
        # The creation of a decoy counts as a step.
        figures.steps = len(self.script.steps) + decoys.RESOURCES
        figures.kinds = len({resource for verb, resource, _ in proxy.forwarded if verb == "watch"})
        figures.faults = sum(proxy.injected.values())
        figures.requests = proxy.counted()
        figures.children = sum(count for (verb, resource, code), count in proxy.forwarded.items()
                               if verb in ("create", "apply") and code == "201" and resource != "events")
        if figures.requests > figures.bound:
            raise Failed(f"too many requests: {figures}")

    def _save(self, kubectl, error):
        try:
            (self.folder / "objects.txt").write_text(kubectl.report())
            (self.folder / "objects.yaml").write_text(kubectl("get", invariants.KINDS, "--output", "yaml"))
        except (Refused, OSError) as problem:
            (self.folder / "objects.txt").write_text(str(problem))
        (self.folder / "failure.txt").write_text("".join(traceback.format_exception(error)))
