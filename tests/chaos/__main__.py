"""Chaos: rounds of trouble for the operator, each followed by a look at whether everything is as it should be.

See docs/development.md. ``tests/chaos/run --help`` says what can be chosen.
"""

import argparse
import dataclasses
import logging
import os
import random
import subprocess
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import flavours  # noqa: E402
import pytest  # noqa: E402
from rounds import Round  # noqa: E402
from support.cluster import ROOT, kubernetes  # noqa: E402
from support.kubectl import Kubectl  # noqa: E402

#: Where logs of rounds that failed stay.
LOGS = ROOT / "target" / "chaos"


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests/chaos/run", description="Rounds of trouble for the operator.")
    parser.add_argument("--seed", type=int, help="seed of the first round; the next has the next number (default: any)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of each flavour (default: %(default)s)")
    parser.add_argument("--flavour", choices=list(flavours.ALL),
                        help="control-plane: many pods that no container runs; real: Dask processes (default: both)")
    parser.add_argument("--steps", type=int, help="steps of a round (default: the flavour's)")
    parser.add_argument("--silence", type=float, help="seconds that the API server is silent at a time (default: 30)")
    parser.add_argument("--short", action="store_true", help="few steps and short silences, as CI runs it")
    parser.add_argument("--keep-going", action="store_true", help="go on after a round that failed")
    arguments = parser.parse_args()
    if os.environ.get("KUBECONFIG") and not arguments.flavour:
        parser.error("KUBECONFIG names a cluster: say with --flavour for which rounds, or unset it")
    return arguments


def shape(flavour, arguments):
    """What rounds are like, and the arguments that make them so again."""
    changes = {}
    if arguments.short:
        changes = {"steps": flavour.short_steps, "silence": 3.0}
    changes |= {name: value for name in ("steps", "silence") if (value := getattr(arguments, name)) is not None}
    return dataclasses.replace(flavour.shape, **changes), [f"--{name} {value:g}" for name, value in changes.items()]


def prepare(flavour, environment):
    """Fake nodes where there are no real ones, and the Dask resources."""
    if not flavour.node and not os.environ.get("KUBECONFIG"):
        subprocess.run([sys.executable, "tests/cluster", "fake-nodes", "2", "--name", flavour.cluster],
                       cwd=ROOT, check=True)
    admin = Kubectl(environment)
    admin("apply", "--server-side", "--force-conflicts", "--filename", ROOT / "crds")
    admin("wait", "--for=condition=Established", "--timeout=30s", "--filename", ROOT / "crds")


def run(flavour, arguments, first):
    """All rounds of a flavour. How many failed."""
    chosen, options = shape(flavour, arguments)
    failed = 0
    with kubernetes(flavour.cluster, flavour.range, flavour.node) as environment:
        prepare(flavour, environment)
        for number in range(arguments.rounds):
            seed = first + number
            title = f"{flavour.name}, round {number + 1} of {arguments.rounds}, seed {seed}"
            folder = LOGS / f"{flavour.name}-{seed}"
            begin = time.monotonic()
            try:
                figures = Round(flavour, environment, seed, chosen, folder).run()
                print(f"{title}: good: {figures}; {time.monotonic() - begin:.0f} s in all", flush=True)
            except Exception as error:
                failed += 1
                again = " ".join([f"--flavour {flavour.name} --seed {seed}", *options])
                print(f"{title}: FAILED: {type(error).__name__}: {error}\n"
                      f"  logs, steps and objects: {folder.relative_to(ROOT)}\n"
                      f'  again: make chaos CHAOS="{again}"', flush=True)
                if not arguments.keep_going:
                    break
    return failed


def main():
    """Run what the command line asks for."""
    arguments = parse()
    # What clients leave behind that were killed is no news here.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="distributed")  # other patch versions of Python and libraries than in the image
    first = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    failed = 0
    for flavour in flavours.ALL.values():
        if arguments.flavour in (None, flavour.name):
            failed += run(flavour, arguments, first)
            if failed and not arguments.keep_going:
                break
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except pytest.exit.Exception as error:
        sys.exit(f"chaos: {error}")
