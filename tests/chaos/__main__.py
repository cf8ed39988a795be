"""Chaos tests: rounds of fault injection for the operator, each followed by a check of the final state.

See docs/development.md. ``tests/chaos/run --help`` describes the arguments.
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

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "cluster")]

import flavours  # noqa: E402
import pytest  # noqa: E402
from localkube import scratch  # noqa: E402
from rounds import Round  # noqa: E402
from support.cluster import ROOT, define_resources, kubernetes  # noqa: E402
from support.kubectl import Kubectl  # noqa: E402

#: Folder of the logs of failed rounds.
LOGS = ROOT / "target" / "chaos"


def parse():
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="tests/chaos/run", description="Rounds of fault injection for the operator.")
    parser.add_argument("--seed", type=int, help="seed of the first round; each further round has the next number (default: random)")
    parser.add_argument("--rounds", type=int, default=1, help="number of rounds of each flavour (default: %(default)s)")
    parser.add_argument("--flavour", choices=list(flavours.ALL),
                        help="control-plane: many pods without containers; real: Dask processes (default: both)")
    parser.add_argument("--steps", type=int, help="number of steps of a round (default: that of the flavour)")
    parser.add_argument("--silence", type=float, help="seconds for which the API server does not respond at a time (default: 30)")
    parser.add_argument("--short", action="store_true", help="few steps and short silences, as in CI")
    parser.add_argument("--keep-going", action="store_true", help="continue after a failed round")
    arguments = parser.parse_args()
    if os.environ.get("KUBECONFIG") and not arguments.flavour:
        parser.error("KUBECONFIG is set: select the rounds for that cluster with --flavour, or unset it")
    return arguments


def shape(flavour, arguments):
    """Return the shape of the rounds, and the arguments that reproduce it."""
    changes = {}
    if arguments.short:
        changes = {"steps": flavour.short_steps, "silence": 3.0}
    changes |= {name: value for name in ("steps", "silence") if (value := getattr(arguments, name)) is not None}
    return dataclasses.replace(flavour.shape, **changes), [f"--{name} {value:g}" for name, value in changes.items()]


def prepare(flavour, environment):
    """Create fake nodes in a local cluster without a real one, and install the CRDs of the Dask resources."""
    if not flavour.node and not os.environ.get("KUBECONFIG"):
        subprocess.run([sys.executable, "tests/cluster", "fake-nodes", "2", "--name", flavour.cluster],
                       cwd=ROOT, check=True)
    define_resources(Kubectl(environment))


def run(flavour, arguments, first):
    """Run all rounds of a flavour, and return how many failed."""
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
                print(f"{title}: passed: {figures}; {time.monotonic() - begin:.0f} s in total", flush=True)
            except Exception as error:
                failed += 1
                repeat = " ".join([f"--flavour {flavour.name} --seed {seed}", *options])
                print(f"{title}: FAILED: {type(error).__name__}: {error}\n"
                      f"  logs, steps and objects: {folder.relative_to(ROOT)}\n"
                      f'  to repeat it: make chaos CHAOS="{repeat}"', flush=True)
                if not arguments.keep_going:
                    break
    return failed


def main():
    """Run the rounds that the command line selects, and return the exit code."""
    arguments = parse()
    # Suppress the errors that clients log after their scheduler was killed.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="distributed")  # patch versions of Python and libraries differ from those in the image
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
        with scratch.folder():
            sys.exit(main())
    except pytest.exit.Exception as error:
        sys.exit(f"chaos: {error}")
