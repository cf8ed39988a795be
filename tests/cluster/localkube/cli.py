"""The command line: verbs, their arguments and their help."""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from . import (
    fakenodes,
    images,
    inventory,
    machine,
    oci,
    programs,
    registry,
    scratch,
    session,
    startup,
    status,
    teardown,
)
from .console import Failure, say
from .running import Running
from .settings import DEFAULT_NAME, DEFAULT_RANGE, STATE_HOME, Cluster

COMMAND = "python3 tests/cluster"


def parser():
    """Return the parser of all verbs."""
    top = argparse.ArgumentParser(prog=COMMAND, description="A real Kubernetes cluster on this machine, for tests and for interactive use.")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(parent, name, run, text, cluster=True):
        added = parent.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.set_defaults(run=run)
        if cluster:
            added.add_argument("--name", default=DEFAULT_NAME, help="name of the cluster (default: %(default)s)")
            added.add_argument("--dir", help=f"state folder of the cluster (default: {STATE_HOME}/NAME)")
            added.add_argument("--range", help=f"address range of the cluster (default: {DEFAULT_RANGE}); a second cluster can use 198.19.128.0/17")
        return added

    up = verb(verbs, "up", run_up, "start the cluster, or repair it; do nothing if it is healthy")
    up.add_argument("--no-node", action="store_true", help="start the control plane only: pods stay pending (for tests of the API)")
    up.add_argument("--prefer-kubeconfig", action="store_true",
                    help="if KUBECONFIG names a cluster that this program did not start, check that it responds and start nothing")
    up.add_argument("--default-rates", action="store_true",
                    help="start the controller manager and the scheduler with their default request rates, as most clusters do; otherwise they are higher")
    down = verb(verbs, "down", run_down, "stop the cluster and remove it completely, except for caches")
    down.add_argument("--all", action="store_true", help="all clusters of this machine, except those with a session in use")
    verb(verbs, "status", run_status, "show each component's process, age, memory and log (exit code 1 if the cluster is not healthy)")
    kubeconfig = verb(verbs, "kubeconfig", run_kubeconfig, "print shell lines for `eval`: KUBECONFIG, and PATH with this cluster's kubectl, helm, crane")
    kubeconfig.add_argument("--prefer-kubeconfig", action="store_true", help="change nothing if KUBECONFIG names a cluster that this program did not start")
    build = verb(verbs, "build", run_build, "build programs, cache them and print their paths, without starting anything", cluster=False)
    build.add_argument("what", nargs="*", default=["all"], help=f"{', '.join(programs.SETS)}, or names of programs (default: all)")
    shadow = verb(verbs, "shadow", run_shadow, "fill a folder with failing programs of all these names: as the first folder in the PATH it reveals programs that are used without being requested", cluster=False)
    shadow.add_argument("folder", type=Path)
    pin = verb(verbs, "pin-kubernetes", run_pin_kubernetes, "pin another version of Kubernetes in tools/kubernetes", cluster=False)
    pin.add_argument("version", help="for example 1.36.4")
    image = verbs.add_parser("image", help="build images without a container engine, and push images to the registry").add_subparsers(required=True, metavar="ACTION")
    make = verb(image, "build", run_image_build, "build an image from a description, and push it to the cluster's registry if the cluster is up")
    make.add_argument("description", help=f"a TOML file, or the name of a built-in description: {', '.join(sorted(path.stem for path in images.DESCRIPTIONS.glob('*.toml')))}")
    make.add_argument("--source", action="append", default=[], type=path_and_source, metavar="PATH=FILE", help="read the image's file PATH from FILE; can be repeated")
    make.add_argument("--output", metavar="FILE", help="also write the image to a tar archive of an OCI layout")
    push = verb(image, "push", run_image_push, "push an image from an OCI layout to the registry")
    push.add_argument("layout", help="a folder, or a tar archive of one (`docker save` makes such an archive)")
    push.add_argument("image", help="name of the image, such as dask/dask:latest; the registry part of the name is ignored")
    verb(image, "list", run_image_list, "list the images in the registry")
    nodes = verb(verbs, "fake-nodes", run_fake_nodes, "set the number of fake nodes in a cluster without a real one; pods on them are marked as running immediately")
    nodes.add_argument("count", type=int, metavar="N", help="number of fake nodes; 0 removes them")
    logs = verb(verbs, "logs", run_logs, "print a component's log")
    logs.add_argument("component", help="name of the component as shown by `status`")
    logs.add_argument("-f", "--follow", action="store_true", help="print new lines as they are written")
    during = verb(verbs, "session", run_session, "run a command that starts and stops a cluster, in a temporary folder of its own, and hold the cluster's session meanwhile; wait while another command holds it", cluster=False)
    during.add_argument("--name", required=True, help="name of the cluster")
    during.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the command and its arguments")
    verb(verbs, "leftovers", run_leftovers, "list everything that is left of clusters without a session in use (exit code 1 if there is anything)", cluster=False)
    verb(verbs, "smoke", run_smoke, "run the smoke test on clusters of its own, next to any other; takes about two minutes", cluster=False)
    return top


def path_and_source(text):
    """Parse ``PATH=FILE``."""
    path, separator, source = text.partition("=")
    if not (path and separator and source):
        raise argparse.ArgumentTypeError("write PATH=FILE, as in /usr/bin/tool=target/tool")
    return path, source


def chosen(arguments):
    """Return the cluster that the arguments select. Folder, range and rates default to those it was started with."""
    known = inventory.known(arguments.name)
    folder = arguments.dir or (known.folder if known else None)
    network = arguments.range or (known.range if known else DEFAULT_RANGE)
    # Only `up` has this option.
    default_rates = getattr(arguments, "default_rates", False) or bool(known and known.default_rates)
    try:
        return Cluster.create(arguments.name, folder, network, default_rates)
    except ValueError as error:
        raise Failure(str(error)) from None


def must_run(arguments):
    """Return the running cluster that the arguments select. Raises :class:`Failure` if it is not up."""
    running = Running(chosen(arguments))
    if not running.keeper:
        raise Failure(f"cluster {arguments.name} is not up; start it with: {COMMAND} up")
    return running


def foreign_kubeconfig(arguments):
    """Return KUBECONFIG if ``--prefer-kubeconfig`` is given and it is not that of a local cluster; otherwise None."""
    path = os.environ.get("KUBECONFIG")
    if not arguments.prefer_kubeconfig or not path:
        return None
    # The environment may still name the kubeconfig of a local cluster that is down by now.
    ours = Path(path) in {cluster.kubeconfig for cluster in inventory.all_known()} or STATE_HOME in Path(path).parents
    return None if ours else path


def run_up(arguments):
    """Run the verb ``up``."""
    given = foreign_kubeconfig(arguments)
    if given:
        kubectl = programs.ensure(["kubectl"])["kubectl"]
        response = subprocess.run([kubectl, "get", "--raw=/version", "--request-timeout=10s"], capture_output=True, text=True, check=False)
        if response.returncode != 0:
            raise Failure(f"KUBECONFIG is {given}, but its cluster does not respond ({response.stderr.strip()[-300:]}); unset KUBECONFIG to start a local one")
        say(f"using the cluster of KUBECONFIG={given}; nothing is started")
        return
    startup.up(chosen(arguments), with_node=not arguments.no_node)


def run_down(arguments):
    """Run the verb ``down``."""
    scratch.remove_abandoned()
    if not arguments.all:
        teardown.down(chosen(arguments))
        return
    clusters = teardown.present()
    for cluster in clusters:
        user = session.holder(cluster.name)
        if user:
            say(f"cluster {cluster.name} is left running, because it is in use by {user}; `{COMMAND} down --name {cluster.name}` stops it anyway")
        else:
            teardown.down(cluster)
    teardown.unguard()
    if not clusters:
        say("no cluster is up")


def run_status(arguments):
    """Run the verb ``status``."""
    lines, healthy = status.report(must_run(arguments))
    print("\n".join(lines))
    return 0 if healthy else 1


def run_kubeconfig(arguments):
    """Run the verb ``kubeconfig``."""
    if foreign_kubeconfig(arguments):
        # A user with a cluster also has a kubectl for it.
        print(":")
        return
    cluster = must_run(arguments).cluster
    lines = [f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}", f"export PATH={shlex.quote(str(cluster.path('bin')))}:\"$PATH\""]
    if any(name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name in os.environ):
        lines += [f"export {name}=\"${{{name}:+${name},}}{cluster.range}\"" for name in ("NO_PROXY", "no_proxy")]
    print("; ".join(lines))


def run_build(arguments):
    """Run the verb ``build``."""
    names = []
    for word in arguments.what:
        if word not in programs.SETS and word not in programs.PROGRAMS:
            raise Failure(f"unknown program {word}; known programs and sets are {', '.join([*programs.SETS, *programs.PROGRAMS])}")
        names += programs.SETS.get(word, (word,))
    for name, path in programs.ensure(names).items():
        print(f"{name}\t{path}")


def run_shadow(arguments):
    """Run the verb ``shadow``."""
    programs.shadow(arguments.folder)


def run_pin_kubernetes(arguments):
    """Run the verb ``pin-kubernetes``."""
    programs.pin_kubernetes(arguments.version)


def run_image_build(arguments):
    """Run the verb ``image build``."""
    image, cache = images.read(arguments.description, dict(arguments.source)), images.Cache()
    descriptor = cache.build(image)
    if arguments.output:
        Path(arguments.output).absolute().parent.mkdir(parents=True, exist_ok=True)
        oci.save_layout(cache.blobs, descriptor, image.name, Path(arguments.output).absolute())
        say(f"image {image.name} was written to {arguments.output}")
    running = Running(chosen(arguments))
    if running.keeper and running.size == "node":
        for name in image.names:
            registry.store(running.cluster, cache.blobs, descriptor, name)
        say(f"image {image.name} is in the registry of cluster {running.cluster.name}")
    else:
        say(f"image {image.name} is cached, but not pushed: cluster {arguments.name} is not up with a node")
    print(descriptor["digest"])


def run_image_push(arguments):
    """Run the verb ``image push``."""
    running = must_run(arguments)
    if running.size != "node":
        raise Failure(f"cluster {arguments.name} has no node, so it has no registry")
    with tempfile.TemporaryDirectory(dir=running.cluster.folder) as scratch:  # on the registry's file system, so that blobs can be hard links
        try:
            blobs, descriptor = oci.open_layout(arguments.layout, Path(scratch))
            registry.store(running.cluster, blobs, descriptor, arguments.image)
        except (OSError, ValueError) as error:
            raise Failure(f"cannot push {arguments.layout}: {error}") from None
    print(descriptor["digest"])


def run_image_list(arguments):
    """Run the verb ``image list``."""
    for name in registry.stored(must_run(arguments).cluster):
        print(name)


def run_fake_nodes(arguments):
    """Run the verb ``fake-nodes``."""
    fakenodes.scale(must_run(arguments), arguments.count)


def run_logs(arguments):
    """Run the verb ``logs``."""
    cluster = must_run(arguments).cluster
    log = cluster.log(arguments.component)
    if not log.exists():
        known = sorted(path.stem for path in log.parent.glob("*.log"))
        raise Failure(f"unknown component {arguments.component}; known components are {', '.join(known)}")
    sys.stdout.flush()
    os.execvp("tail", ["tail", *(["-F"] if arguments.follow else []), "-n", "+1", str(log)])


def run_session(arguments):
    """Run the verb ``session``."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise Failure(f"the command is missing; an example: {COMMAND} session --name bench -- tests/bench/run")
    with session.held(arguments.name, shlex.join(command)), scratch.folder():
        return subprocess.run(command, check=False).returncode


def run_leftovers(_):
    """Run the verb ``leftovers``."""
    used = [cluster.name for cluster in teardown.present() if session.holder(cluster.name)]
    for name in used:
        say(f"cluster {name} is in use by {session.holder(name)}")
    found = teardown.leftovers(but=used)
    print("\n".join(found) if found else "nothing is left")
    return 1 if found else 0


def run_smoke(_):
    """Run the verb ``smoke``."""
    with session.held("smoke", "the smoke test"), scratch.folder():
        return subprocess.run([sys.executable, "-m", "unittest", "-v", "localkube.smoke"], cwd=Path(__file__).resolve().parent.parent, check=False).returncode


def main(argv=None):
    """Run one verb and return the exit code."""
    arguments = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    machine.complete_path()
    os.umask(0o022)  # other users must be able to read files in images and in the cluster's folder
    try:
        return arguments.run(arguments) or 0
    except Failure as failure:
        say(f"error: {failure}")
        return 1
    except KeyboardInterrupt:
        say(f"\ninterrupted; `{COMMAND} down` removes what was started, `{COMMAND} up` starts again")
        return 130
    except BrokenPipeError:
        return 1
