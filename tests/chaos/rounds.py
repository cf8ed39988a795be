"""One round: trouble, then rest, then a look at everything."""

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

#: Seconds in which nothing may be written when everything is as wanted, and again after a restart.
QUIET = 5


#: Seconds after which the API server ends a watch, and it is begun anew.
WATCH_SECONDS = 240


@dataclass
class Figures:
    """What a round was like."""

    trouble: float = 0
    rest: float = 0
    starts: int = 0
    steps: int = 0
    faults: int = 0
    requests: int = 0
    #: Kinds that are watched.
    kinds: int = 0
    #: Objects that the operator made.
    children: int = 0

    @property
    def bound(self):
        """How many requests there may be. For each start, and when a watch has come to its end, each kind is listed and
        watched; for each fault, that again, or what failed again and an event; each child is created and deleted, and
        that is counted in a status; and of each step a status, an event and a change or two of other objects tell."""
        lists = 2 * self.kinds * (self.starts + int((self.trouble + self.rest) / WATCH_SECONDS) + 1)
        return lists + 3 * self.faults + 3 * self.children + 6 * self.steps

    def __str__(self):
        return (f"{self.trouble:.0f} s of trouble, {self.starts} starts, {self.faults} faults, {self.children} children; "
                f"at rest after {self.rest:.1f} s; {self.requests} requests, at most {self.bound} = "
                f"2·{self.kinds} kinds·(starts + {1 + int((self.trouble + self.rest) / WATCH_SECONDS)}) + 3·faults + "
                f"3·children + 6·{self.steps} steps")


class Failed(Exception):
    """Something does not hold; the text says what."""


class Round:
    """A round with a seed, in a namespace of its own; what it logs goes into ``folder``."""

    def __init__(self, flavour, environment, seed, shape, folder):
        self.flavour = flavour
        self.environment = environment
        self.seed = seed
        self.script = Script(seed, shape)
        self.folder = folder
        self.figures = Figures()

    def run(self):
        """The whole of it. Raises :class:`Failed`, with the folder left behind."""
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
                    self._keep(kubectl, error)
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

        def as_wanted():
            player.settle(self.script)
            found = invariants.problems(player.kubectl, self.script, self.flavour.node) + decoys.problems(player.kubectl, before)
            assert not found, "\n  ".join(["", *found])
            return True

        until(as_wanted, "everything to be as wanted", self.flavour.rest, 0.5)
        figures.rest = time.monotonic() - calm
        self._is_quiet(player, "at rest")
        player.operator.stop()
        player.start_operator(wait=True)
        self._is_quiet(player, "after a restart")
        as_wanted()
        if found := player.problems(self.script):
            raise Failed("\n  ".join(["", *found]))
        self._count(player)

    def _is_quiet(self, player, when):
        """Writes come to their end, and then there are none."""
        seen = {"writes": None, "since": time.monotonic()}

        def quiet():
            writes = player.proxy.writes()
            if writes != seen["writes"]:
                seen.update(writes=writes, since=time.monotonic())
            return time.monotonic() - seen["since"] > QUIET

        if when == "at rest":
            until(quiet, "writes to end", self.flavour.rest)
            return
        before = player.proxy.writes()
        time.sleep(QUIET)
        written = player.proxy.writes() - before
        if written:
            raise Failed(f"{written} writes {when}, though everything is as wanted")

    def _count(self, player):
        figures, proxy = self.figures, player.proxy
        figures.starts = player.starts
        # To make a decoy is a step, too.
        figures.steps = len(self.script.steps) + decoys.RESOURCES
        figures.kinds = len({resource for verb, resource, _ in proxy.forwarded if verb == "watch"})
        figures.faults = sum(proxy.injected.values())
        figures.requests = proxy.counted()
        figures.children = sum(count for (verb, resource, code), count in proxy.forwarded.items()
                               if verb in ("create", "apply") and code == "201" and resource != "events")
        if figures.requests > figures.bound:
            raise Failed(f"too many requests: {figures}")

    def _keep(self, kubectl, error):
        try:
            (self.folder / "objects.txt").write_text(kubectl.report())
            (self.folder / "objects.yaml").write_text(kubectl("get", invariants.KINDS, "--output", "yaml"))
        except (Refused, OSError) as problem:
            (self.folder / "objects.txt").write_text(str(problem))
        (self.folder / "failure.txt").write_text("".join(traceback.format_exception(error)))
