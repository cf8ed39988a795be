"""The command line."""

import argparse
import os
import signal
import sys

from . import binaries, inventory, lifecycle
from .console import Failure, say
from .settings import DEFAULT_NAME, DEFAULT_RANGE, STATE_HOME, Cluster


def parser():
    """All verbs with their help."""
    top = argparse.ArgumentParser(prog="python3 tests/cluster", description="A real Kubernetes on this machine, for tests and for people.",
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name, text, which=True):
        added = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.set_defaults(run=globals()[f"run_{name.replace('-', '_')}"])
        if which:
            added.add_argument("--name", default=DEFAULT_NAME, help="name of the cluster (default: %(default)s)")
            added.add_argument("--dir", help=f"its folder (default: {STATE_HOME}/NAME)")
            added.add_argument("--range", help=f"its addresses (default: {DEFAULT_RANGE}); a second cluster can take 198.19.128.0/17")
        return added

    up = verb("up", "start the cluster, or repair it, or do nothing when it runs")
    up.add_argument("--no-node", action="store_true", help="control plane only: pods stay pending (in seconds, for tests of the API)")
    up.add_argument("--prefer-kubeconfig", action="store_true",
                    help="when KUBECONFIG names an existing cluster that is not one of ours, check that it answers and start nothing")
    down = verb("down", "stop the cluster and remove every trace of it; caches stay")
    down.add_argument("--all", action="store_true", help="every cluster of this machine")
    verb("status", "say what runs, since when, how large it is and where its log is")
    kubeconfig = verb("kubeconfig", "print shell lines for `eval`: KUBECONFIG, and kubectl and helm in PATH")
    kubeconfig.add_argument("--prefer-kubeconfig", action="store_true", help="print an existing cluster's KUBECONFIG when one is set")
    build = verb("build", "build the programs and cache them; nothing is started", which=False)
    build.add_argument("what", nargs="*", default=["all"], help=f"{', '.join(binaries.SETS)}, or names of programs (default: all)")
    build.add_argument("--pin-kubernetes", metavar="VERSION", help="rewrite tools/kubernetes for another version (then build)")
    logs = verb("logs", "print a component's log")
    logs.add_argument("component", help="as in `status`")
    logs.add_argument("-f", "--follow", action="store_true", help="go on printing")
    verb("leftovers", "list what is left of clusters on this machine (exit code 1 when there is something)", which=False)
    return top


def chosen(arguments):
    """The cluster that the parameters name: as it was started, when it was."""
    known = inventory.known(arguments.name)
    folder = arguments.dir or (known.folder if known else None)
    network = arguments.range or (known.range if known else DEFAULT_RANGE)
    try:
        return Cluster.create(arguments.name, folder, network)
    except ValueError as error:
        raise Failure(str(error)) from None


def must_run(arguments):
    """The same, which must be up."""
    running = lifecycle.Running(chosen(arguments))
    if not running.keeper:
        raise Failure(f"cluster {arguments.name} is not up; start it with: python3 tests/cluster up")
    return running


def run_up(arguments):
    """``up``"""
    lifecycle.up(chosen(arguments), with_node=not arguments.no_node)


def run_down(arguments):
    """``down``"""
    for cluster in inventory.all_known() if arguments.all else [chosen(arguments)]:
        lifecycle.down(cluster)


def run_kubeconfig(arguments):
    """``kubeconfig``"""
    cluster = must_run(arguments).cluster
    print(f"export KUBECONFIG={cluster.kubeconfig}; export PATH={cluster.path('bin')}:$PATH")


def run_status(arguments):
    """``status``"""
    running = must_run(arguments)
    for name, process in running.components():
        print(name, process.pid, process.alive)


def run_build(arguments):
    """``build``"""
    if arguments.pin_kubernetes:
        binaries.pin_kubernetes(arguments.pin_kubernetes)
    names = []
    for word in arguments.what:
        if word not in binaries.SETS and word not in binaries.PROGRAMS:
            raise Failure(f"there is no program {word}; known are {', '.join([*binaries.SETS, *binaries.PROGRAMS])}")
        names += binaries.SETS.get(word, (word,))
    for name, path in binaries.ensure(names).items():
        print(f"{name}\t{path}")


def run_logs(arguments):
    """``logs``"""
    cluster = must_run(arguments).cluster
    log = cluster.log(arguments.component)
    if not log.exists():
        known = sorted(path.stem for path in log.parent.glob("*.log"))
        raise Failure(f"there is no component {arguments.component}; known are {', '.join(known)}")
    sys.stdout.flush()
    os.execvp("tail", ["tail", *(["-F"] if arguments.follow else []), "-n", "+1", str(log)])


def run_leftovers(_):
    """``leftovers``"""
    found = lifecycle.leftovers()
    for line in found:
        print(line)
    return 1 if found else 0


def main(argv=None):
    """Run one verb; returns the exit code."""
    arguments = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return arguments.run(arguments) or 0
    except Failure as failure:
        say(f"error: {failure}")
        return 1
    except KeyboardInterrupt:
        say("\ninterrupted; `python3 tests/cluster down` removes what was started, `up` starts again")
        return 130
    except BrokenPipeError:
        return 1
